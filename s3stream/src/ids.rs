//! The names of things: streams, incarnations, lanes, objects. Plain values, ordered, printable; the keys they have in
//! the bucket are here too, so that the layout of DESIGN §2 is written once.

use std::fmt;

/// Digits of every number in a key: enough for any `u64`, so that keys sort as numbers do.
pub const KEY_DIGITS: usize = 20;

/// An append-only log with dense offsets. Never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// The fencing number of a stream: grows by one with every owner (a partition's leader epoch).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamEpoch(pub u32);

/// One registration of a broker process: the commit that carries it and its place in there. Unique for ever, since a
/// commit may carry several registrations (SAFETY F2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    /// Number of the commit that registered it.
    pub seq: u64,
    /// Index of the registering mutation in that commit.
    pub index: u32,
}

/// Random bits that tell one attempt, process or object from every other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub u64);

/// A store of the cluster: 0 is `--storage`, 1 is `--wal-storage` where that is another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u8);

/// The numbered objects of one incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    /// Whose lane.
    pub incarnation: Incarnation,
    /// The nonce of its registration: a restored bucket may number incarnations again (SAFETY F2).
    pub nonce: Nonce,
}

/// The number of an object in its lane: 0, 1, 2 …
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneNumber(pub u64);

/// An object that the catalog refers to: one of `data/`, with a counter of its incarnation's own, or an object of a lane
/// that was adopted where it lies. Never reused (SAFETY F6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Who wrote it.
    pub incarnation: Incarnation,
    /// Of `data/`: 0, 1, 2 … in the order in which they were begun. Of a lane: [`ObjectId::adopted`].
    pub counter: u64,
}

/// Set in the counter of what lies in a lane: no process begins so many objects.
const ADOPTED: u64 = 1 << 63;

impl ObjectId {
    /// Object `number` of the lane of `incarnation`, adopted where it lies.
    pub fn adopted(incarnation: Incarnation, number: LaneNumber) -> ObjectId {
        ObjectId { incarnation, counter: ADOPTED | number.0 }
    }

    /// Its number in its lane, if it lies in one.
    pub fn lane_number(self) -> Option<LaneNumber> {
        (self.counter & ADOPTED != 0).then_some(LaneNumber(self.counter & !ADOPTED))
    }

    /// Where it is. `writer` is the lane that its incarnation registered.
    pub fn key(self, writer: LaneId) -> String {
        match self.lane_number() {
            Some(number) => lane_key(writer, number),
            None => data_key(self),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lane_number() {
            Some(number) => write!(f, "{} of lane {}", number, self.incarnation),
            None => write!(f, "{}-{}", self.incarnation, self.counter),
        }
    }
}

impl LaneNumber {
    /// The number after this one.
    pub fn next(self) -> LaneNumber {
        LaneNumber(self.0 + 1)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.seq, self.index)
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}.{}-{:016x}", self.incarnation.seq, self.incarnation.index, self.nonce.0)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LaneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `wal/<incarnation>-<nonce>/<n>`
pub fn lane_key(lane: LaneId, number: LaneNumber) -> String {
    format!("wal/{lane}/{:020}", number.0)
}

/// `wal/<incarnation>-<nonce>/`
pub fn lane_prefix(lane: LaneId) -> String {
    format!("wal/{lane}/")
}

/// `data/`
pub const DATA_PREFIX: &str = "data/";

/// `data/<spread>/<incarnation>-<counter>`. The spread is the counter's last byte, its low digit first, so that stores which
/// split by the front of a key share the load from the first object on.
pub fn data_key(object: ObjectId) -> String {
    let spread = (object.counter as u8).rotate_left(4);
    let Incarnation { seq, index } = object.incarnation;
    format!("{DATA_PREFIX}{spread:02x}/{seq:020}.{index}-{:020}", object.counter)
}

/// The object that a key of `data/` names; None for what is not one of ours.
pub fn parse_data_key(key: &str) -> Option<ObjectId> {
    let (_, name) = key.strip_prefix(DATA_PREFIX)?.split_once('/')?;
    let (incarnation, counter) = name.split_once('-')?;
    let (seq, index) = incarnation.split_once('.')?;
    let incarnation = Incarnation { seq: seq.parse().ok()?, index: index.parse().ok()? };
    let object = ObjectId { incarnation, counter: counter.parse().ok()? };
    (object.lane_number().is_none() && data_key(object) == key).then_some(object)
}

/// `meta/log/<seq>`
pub fn commit_key(seq: u64) -> String {
    format!("meta/log/{seq:020}")
}

/// `meta/snapshot/<seq>/<part>`; `manifest` for the part that makes it count.
pub fn snapshot_key(seq: u64, part: &str) -> String {
    format!("meta/snapshot/{seq:020}/{part}")
}

/// `meta/boundary/<stride>`
pub fn boundary_key(stride: u64) -> String {
    format!("meta/boundary/{stride:020}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_numbers_do() {
        let lane = LaneId { incarnation: Incarnation { seq: 7, index: 2 }, nonce: Nonce(0xabc) };
        assert_eq!(
            lane_key(lane, LaneNumber(3)),
            "wal/00000000000000000007.2-0000000000000abc/00000000000000000003"
        );
        assert!(lane_key(lane, LaneNumber(9)) < lane_key(lane, LaneNumber(10)));
        assert!(commit_key(99) < commit_key(100));
    }

    #[test]
    fn what_was_adopted_stays_where_it_is() {
        let lane = LaneId { incarnation: Incarnation { seq: 7, index: 2 }, nonce: Nonce(0xabc) };
        let adopted = ObjectId::adopted(lane.incarnation, LaneNumber(3));
        assert_eq!(adopted.lane_number(), Some(LaneNumber(3)));
        assert_eq!(adopted.key(lane), lane_key(lane, LaneNumber(3)));
        assert_eq!(parse_data_key(&data_key(adopted)), None, "it has no place in data/");
        let written = ObjectId { incarnation: lane.incarnation, counter: 3 };
        assert_eq!((written.lane_number(), written.key(lane)), (None, data_key(written)));
    }

    #[test]
    fn a_data_key_names_its_object_and_nothing_else_does() {
        let object = ObjectId { incarnation: Incarnation { seq: 7, index: 2 }, counter: 0x12f };
        let key = data_key(object);
        assert_eq!(key, "data/f2/00000000000000000007.2-00000000000000000303");
        assert_eq!(parse_data_key(&key), Some(object));
        for other in
            ["data/f2/7.2-303", "data/00/00000000000000000007.2-00000000000000000303", "data/", "wal/x", ""]
        {
            assert_eq!(parse_data_key(other), None, "{other}");
        }
    }
}

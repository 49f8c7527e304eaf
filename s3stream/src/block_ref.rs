//! Where a block of a stream is: a plain value, and the table that keeps it small.
//!
//! Owns [`BlockRef`] (what an index of a stream holds and a reader resolves) and [`LaneTable`] (series of numbered objects by
//! a short number, so that a reference to one costs four bytes and not 32). A series is a lane, or the objects of `data/`
//! that one incarnation wrote. Does not own the index of a stream ([`crate::stream`]), nor the bytes ([`crate::cache`]).
//!
//! A reference is made when an object is cut and handed out when it is durable; recovery makes the same value from the
//! object's index. It never outlives the process, so its lane is the process's own short number.

use std::collections::HashMap;

use parking_lot::RwLock;

use crate::ids::{LaneId, LaneNumber, ObjectId, StoreId, StreamEpoch, data_key, lane_key};
use crate::object::format::IndexEntry;

/// A series of this process's [`LaneTable`]. Means nothing in another process, and is never persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneRef(pub u32);

/// One block of a stream in a durable object: where its bytes are and what they must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// The series that holds the object.
    pub lane: LaneRef,
    /// The object's number in it.
    pub number: LaneNumber,
    /// First byte of the block in the object.
    pub position: u64,
    /// Bytes of the block.
    pub length: u32,
    /// The stream epoch it was written in.
    pub epoch: StreamEpoch,
    /// Offset of its first record.
    pub base: u64,
    /// Offset after its last record.
    pub end: u64,
    /// The largest timestamp of its records, in milliseconds; -1 where they have none.
    pub max_timestamp: i64,
    /// CRC-32 of its bytes (I7).
    pub crc: u32,
    /// The object is at most [`SMALL_OBJECT_BYTES`] long: a reader takes it whole, for all its streams at once.
    pub small: bool,
}

/// Objects up to this length are read whole: a new leader reads a dead lane once per broker, not once per stream
/// (SAFETY C7), and one GET of 4 MiB costs less than many of its parts (PRACTICE F3).
pub const SMALL_OBJECT_BYTES: u64 = 4 << 20;

impl BlockRef {
    /// The reference to the block of `entry` in an object of `object_len` bytes.
    pub fn new(lane: LaneRef, number: LaneNumber, entry: &IndexEntry, object_len: u64) -> BlockRef {
        BlockRef {
            lane,
            number,
            position: entry.position,
            length: entry.length,
            epoch: entry.epoch,
            base: entry.base,
            end: entry.end,
            max_timestamp: entry.max_timestamp,
            crc: entry.crc,
            small: object_len <= SMALL_OBJECT_BYTES,
        }
    }

    /// The bytes of the object that are this block.
    pub fn range(&self) -> std::ops::Range<u64> {
        self.position..self.position + u64::from(self.length)
    }
}

/// Series by short number. Grows by one or two per incarnation this process ever reads of (one per start of a broker),
/// shrinks never: references may be anywhere.
#[derive(Debug, Default)]
pub struct LaneTable {
    inner: RwLock<Lanes>,
}

#[derive(Debug, Default)]
struct Lanes {
    by_id: HashMap<(Series, LaneId), LaneRef>,
    by_ref: Vec<(StoreId, Series, LaneId)>,
}

/// Which objects of an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Series {
    Lane,
    Data(StoreId),
}

impl LaneTable {
    /// An empty table.
    pub fn new() -> LaneTable {
        LaneTable::default()
    }

    /// The short number of `lane`, which lies in `store`. The same lane always gets the same number.
    ///
    /// # Panics
    /// If the lane was interned with another store: a lane lies where its registration says, for ever.
    pub fn intern(&self, store: StoreId, lane: LaneId) -> LaneRef {
        let known = self.intern_series(store, Series::Lane, lane);
        self.assert_store(known, store);
        known
    }

    /// The short number of the objects of `data/` in `store` that the incarnation of `writer` wrote: the object's counter
    /// is its number in there.
    pub fn intern_data(&self, store: StoreId, writer: LaneId) -> LaneRef {
        self.intern_series(store, Series::Data(store), writer)
    }

    fn intern_series(&self, store: StoreId, series: Series, id: LaneId) -> LaneRef {
        if let Some(&known) = self.inner.read().by_id.get(&(series, id)) {
            return known;
        }
        let mut lanes = self.inner.write();
        let next =
            u32::try_from(lanes.by_ref.len()).expect("fewer than 2^32 series in the life of a process");
        let known = *lanes.by_id.entry((series, id)).or_insert(LaneRef(next));
        if known == LaneRef(next) {
            lanes.by_ref.push((store, series, id));
        }
        known
    }

    /// The short number of `lane`, if it has one.
    pub fn find(&self, lane: LaneId) -> Option<LaneRef> {
        self.inner.read().by_id.get(&(Series::Lane, lane)).copied()
    }

    /// Who wrote the objects behind a short number, and the store they lie in.
    ///
    /// # Panics
    /// If the number is not of this table.
    pub fn resolve(&self, lane: LaneRef) -> (StoreId, LaneId) {
        let (store, _, id) = self.inner.read().by_ref[lane.0 as usize];
        (store, id)
    }

    /// Store and key of the object that holds `block`.
    pub fn key(&self, lane: LaneRef, number: LaneNumber) -> (StoreId, String) {
        let (store, series, id) = self.inner.read().by_ref[lane.0 as usize];
        let key = match series {
            Series::Lane => lane_key(id, number),
            Series::Data(_) => data_key(ObjectId { incarnation: id.incarnation, counter: number.0 }),
        };
        (store, key)
    }

    fn assert_store(&self, lane: LaneRef, store: StoreId) {
        let (known, id) = self.resolve(lane);
        assert_eq!(known, store, "lane {id} was interned in store {known:?}, now in {store:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Incarnation, Nonce};

    fn lane(seq: u64) -> LaneId {
        LaneId { incarnation: Incarnation { seq, index: 0 }, nonce: Nonce(seq) }
    }

    #[test]
    fn a_lane_keeps_its_number_and_its_store() {
        let table = LaneTable::new();
        let a = table.intern(StoreId(0), lane(1));
        let b = table.intern(StoreId(1), lane(2));
        assert_ne!(a, b);
        assert_eq!(table.intern(StoreId(0), lane(1)), a);
        assert_eq!(table.resolve(b), (StoreId(1), lane(2)));
        assert_eq!(table.find(lane(3)), None);
        let data = table.intern_data(StoreId(0), lane(1));
        assert_ne!(data, a);
        assert_eq!(table.intern_data(StoreId(0), lane(1)), data);
        let object = ObjectId { incarnation: lane(1).incarnation, counter: 4 };
        assert_eq!(table.key(data, LaneNumber(4)), (StoreId(0), data_key(object)));
        assert_eq!(table.key(a, LaneNumber(4)), (StoreId(0), lane_key(lane(1), LaneNumber(4))));
    }

    #[test]
    #[should_panic(expected = "was interned in store")]
    fn a_lane_does_not_change_its_store() {
        let table = LaneTable::new();
        table.intern(StoreId(0), lane(1));
        table.intern(StoreId(1), lane(1));
    }
}

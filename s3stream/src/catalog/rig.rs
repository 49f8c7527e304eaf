//! A catalog with a log in front of it, and short words for records: what the tests of this module share.

use bytes::{Bytes, BytesMut};

use super::*;
use crate::journal::MutationPoint;

pub(super) fn incarnation(seq: u64) -> Incarnation {
    Incarnation { seq, index: 0 }
}

pub(super) fn at(seq: u64, proposer: Option<u64>) -> MutationPoint {
    MutationPoint { seq, index: 0, proposer: proposer.map(incarnation), level: 1 }
}

/// A catalog and the number of its last commit; proposers are named by the commit that registered them.
pub(super) struct Log {
    pub(super) catalog: Catalog,
    pub(super) seq: u64,
}

impl Log {
    /// Store 0, and incarnations 1 and 2.
    pub(super) fn new() -> Log {
        let mut log = Log { catalog: Catalog::new(), seq: 0 };
        log.catalog.apply(at(0, None), &store(0, "memory://")).unwrap();
        assert_eq!((log.register(), log.register()), (1, 2));
        log
    }

    pub(super) fn apply(&mut self, proposer: u64, record: StorageRecord) -> Result<(), Illegal> {
        self.seq += 1;
        let before = self.catalog.clone();
        let result = self.catalog.apply(at(self.seq, Some(proposer)), &record);
        assert!(
            result.is_ok() || self.catalog == before,
            "{record:?} was refused and yet changed the catalog"
        );
        result
    }

    pub(super) fn ok(&mut self, proposer: u64, record: StorageRecord) {
        self.apply(proposer, record.clone()).unwrap_or_else(|illegal| panic!("{record:?}: {illegal}"));
    }

    pub(super) fn refused(&mut self, proposer: u64, record: StorageRecord, why: &str) {
        let illegal = self.apply(proposer, record.clone()).expect_err(&format!("{record:?} is illegal"));
        assert!(illegal.to_string().contains(why), "{record:?}: {illegal:?} {illegal}");
    }

    pub(super) fn register(&mut self) -> u64 {
        let nonce = Nonce(self.seq + 1000);
        self.ok(0, StorageRecord::LaneRegistered { nonce, store: StoreId(0) });
        self.seq
    }

    pub(super) fn stream(&self, stream: u64) -> &StreamState {
        self.catalog.stream(StreamId(stream)).unwrap()
    }

    /// (epoch, incarnation, end) of a stream's list.
    pub(super) fn lanes(&self, stream: u64) -> Vec<(u32, u64, Option<u64>)> {
        let lane =
            |entry: &LaneEntry| (entry.epoch.0, entry.incarnation.seq, entry.sealed.map(|seal| seal.end));
        self.stream(stream).lanes.iter().map(lane).collect()
    }
}

pub(super) fn store(id: u8, url: &str) -> StorageRecord {
    StorageRecord::StoreRegistered { store: StoreId(id), url: url.into() }
}
pub(super) fn create(stream: u64, owner: u64) -> StorageRecord {
    StorageRecord::StreamCreated { stream: StreamId(stream), owner: incarnation(owner) }
}
pub(super) fn fence(of: u64, length: u64, heir: Option<u64>) -> StorageRecord {
    let (incarnation, heir) = (incarnation(of), heir.map(incarnation));
    StorageRecord::LaneFenced { incarnation, length: LaneNumber(length), seal_nonce: Nonce(7), heir }
}
pub(super) fn leave(of: u64, length: u64) -> StorageRecord {
    StorageRecord::LaneLeft { incarnation: incarnation(of), length: LaneNumber(length), seal_nonce: Nonce(8) }
}
pub(super) fn end(of: u64, length: u64) -> StorageRecord {
    StorageRecord::LaneEnded { incarnation: incarnation(of), length: LaneNumber(length) }
}
pub(super) fn heir(of: u64, heir: Option<u64>) -> StorageRecord {
    StorageRecord::LaneHeirNamed { incarnation: incarnation(of), heir: heir.map(incarnation) }
}
pub(super) fn trim_lane(of: u64, trim: u64) -> StorageRecord {
    StorageRecord::LaneTrimmed { incarnation: incarnation(of), trim: LaneNumber(trim) }
}
pub(super) fn open(stream: u64, to: Option<u64>) -> StorageRecord {
    StorageRecord::StreamOpened { stream: StreamId(stream), to: to.map(incarnation) }
}
pub(super) fn adopt(from: u64, to: Option<u64>) -> StorageRecord {
    StorageRecord::StreamsAdopted { from: incarnation(from), to: to.map(incarnation) }
}
pub(super) fn seal(stream: u64, epoch: u32, end: u64, to: u64) -> StorageRecord {
    StorageRecord::StreamSealed {
        stream: StreamId(stream),
        epoch: StreamEpoch(epoch),
        end,
        below: LaneNumber(end / 10 + 1),
        to: incarnation(to),
    }
}
pub(super) fn trim(stream: u64, start: u64) -> StorageRecord {
    StorageRecord::StreamTrimmed { stream: StreamId(stream), start }
}
pub(super) fn delete(stream: u64) -> StorageRecord {
    StorageRecord::StreamDeleted { stream: StreamId(stream) }
}
pub(super) fn lose(of: u64, number: u64) -> StorageRecord {
    StorageRecord::LossAccepted { incarnation: incarnation(of), number: LaneNumber(number) }
}

pub(super) fn encoded(catalog: &Catalog) -> Bytes {
    let mut out = BytesMut::new();
    catalog.encode(&mut out);
    out.freeze()
}

/// Object `counter` of incarnation `of`.
pub(super) fn object(of: u64, counter: u64) -> ObjectId {
    ObjectId { incarnation: incarnation(of), counter }
}
pub(super) fn new_object(id: ObjectId) -> NewObject {
    NewObject { id, store: StoreId(0), len: 1000 }
}
/// A part with the checkpoint of its stream.
pub(super) fn part(stream: u64, epoch: u32, start: u64, end: u64) -> ObjectPart {
    let (stream, epoch) = (StreamId(stream), StreamEpoch(epoch));
    let bytes = end.saturating_sub(start) * 10;
    ObjectPart { stream, epoch, start, end, bytes, max_timestamp: end as i64, checkpoint: true }
}
/// A part without.
pub(super) fn bare(stream: u64, epoch: u32, start: u64, end: u64) -> ObjectPart {
    ObjectPart { checkpoint: false, ..part(stream, epoch, start, end) }
}
pub(super) fn upload(
    of: u64,
    (from, trim): (u64, u64),
    object: ObjectId,
    parts: &[ObjectPart],
) -> StorageRecord {
    StorageRecord::LaneUploaded {
        incarnation: incarnation(of),
        from: LaneNumber(from),
        trim: LaneNumber(trim),
        object: new_object(object),
        parts: parts.to_vec(),
    }
}
/// Objects `numbers` of the lane, each with one part, and the object of `data/` with what is kept beside their streams.
pub(super) fn adopt_objects(
    of: u64,
    (from, trim): (u64, u64),
    numbers: &[(u64, &[ObjectPart])],
    checkpoints: Option<(ObjectId, &[ObjectPart])>,
) -> StorageRecord {
    let adopted = |number: u64| ObjectId::adopted(incarnation(of), LaneNumber(number));
    let lane = numbers.iter().map(|(number, parts)| (new_object(adopted(*number)), parts.to_vec()));
    let data = checkpoints.map(|(id, parts)| (new_object(id), parts.to_vec()));
    StorageRecord::LaneAdopted {
        incarnation: incarnation(of),
        from: LaneNumber(from),
        trim: LaneNumber(trim),
        objects: lane.chain(data).collect(),
    }
}
pub(super) fn merge(sources: &[ObjectId], objects: &[(ObjectId, &[ObjectPart])]) -> StorageRecord {
    let objects = objects.iter().map(|(id, parts)| (new_object(*id), parts.to_vec())).collect();
    StorageRecord::ObjectsMerged { sources: sources.to_vec(), objects }
}
/// `cleaned` is the end.
pub(super) fn rewrite(
    (stream, epoch): (u64, u32),
    (start, end): (u64, u64),
    objects: &[(ObjectId, &[ObjectPart])],
) -> StorageRecord {
    let (stream, epoch, cleaned) = (StreamId(stream), StreamEpoch(epoch), end);
    let objects = objects.iter().map(|(id, parts)| (new_object(*id), parts.to_vec())).collect();
    StorageRecord::StreamRewritten { stream, epoch, start, end, cleaned, objects }
}
pub(super) fn release(of: u64, below: u64) -> StorageRecord {
    StorageRecord::ObjectsReleased { incarnation: incarnation(of), below }
}
pub(super) fn delete_objects(objects: &[ObjectId]) -> StorageRecord {
    StorageRecord::ObjectsDeleted { objects: objects.to_vec() }
}

impl Log {
    /// (start, end, counter of the object) of a stream's ranges.
    pub(super) fn ranges(&self, stream: u64) -> Vec<(u64, u64, u64)> {
        let range = |range: &StreamRange| (range.start, range.end, range.object.counter);
        self.stream(stream).ranges.iter().map(range).collect()
    }

    /// References of an object; None where it is not in the catalog.
    pub(super) fn references(&self, object: ObjectId) -> Option<u32> {
        self.catalog.object(object).map(|state| state.references)
    }
}

/// What must hold of objects in every image: ranges ascend, have records, end where the uploads do and are above the log
/// start; every reference names an object, and every object counts its own.
pub(super) fn check_objects(catalog: &Catalog) {
    let mut counted = std::collections::BTreeMap::<ObjectId, u32>::new();
    for (stream, state) in catalog.streams() {
        let mut after = 0;
        for range in state.ranges.iter() {
            assert!(after <= range.start && range.start < range.end, "stream {stream}: {state:?}");
            assert!(range.end > state.start, "a dead range of stream {stream}: {state:?}");
            after = range.end;
        }
        assert!(state.cleaned <= state.base, "stream {stream} is clean above what was uploaded: {state:?}");
        assert!(after <= state.base, "stream {stream} has more than was uploaded: {state:?}");
        assert!(state.ranges.windows(2).all(|pair| pair[0].epoch <= pair[1].epoch), "{state:?}");
        for object in state.ranges.iter().map(|range| range.object).chain(state.checkpoint) {
            *counted.entry(object).or_default() += 1;
        }
    }
    for (object, state) in catalog.objects() {
        assert_eq!(counted.remove(&object).unwrap_or(0), state.references, "references of {object}");
    }
    assert!(counted.is_empty(), "referenced and not there: {counted:?}");
    let bytes = encoded(catalog);
    let decoded = Catalog::decode(bytes.clone()).expect("a snapshot is read back");
    assert_eq!(&decoded, catalog);
    assert_eq!(encoded(&decoded), bytes);
}

//! The journal: commits, the records in them, snapshots (manifest and image), and the file that names the cluster.

use broker::metadata::quota::{QuotaEntity, QuotaEntityType};
use broker::metadata::{ConfigResource, Endpoint, MetadataImage, MetadataRecord};
use broker::start::read_cluster_id;
use bytes::{Bytes, BytesMut};
use s3stream::catalog::StorageRecord;
use s3stream::ids::{Incarnation, LaneNumber, Nonce, StoreId, StreamEpoch, StreamId};
use s3stream::journal::commit::{Commit, Entry, Mutation};
use s3stream::journal::snapshot::Manifest;
use s3stream::journal::{
    DecodeError, Image, JournalImage, JournalRecord, MutationId, MutationPoint, Record, Times,
};

use crate::repair;

/// What decodes encodes, and what was encoded decodes to itself. Bytes that decode need not be those that would have been
/// written: readers take a flag of 2 for 1.
fn settles<T>(
    bytes: Bytes,
    decode: impl Fn(Bytes) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> Bytes,
) -> Option<T> {
    let read = decode(bytes).ok()?;
    let written = encode(&read);
    let again = decode(written.clone()).expect("what was written can be read");
    assert_eq!(encode(&again), written, "what was read is written the same");
    Some(read)
}

fn encoded(record: &MetadataRecord) -> Bytes {
    let mut out = BytesMut::new();
    record.encode(&mut out);
    out.freeze()
}

fn sealed(data: &[u8]) -> Bytes {
    let mut bytes = data.to_vec();
    repair::trailing_crc(&mut bytes);
    bytes.into()
}

/// A commit: what decodes is written to the byte; its records are read.
pub(super) fn commit(data: &[u8]) {
    let _ = Commit::decode(Bytes::copy_from_slice(data));
    let bytes = sealed(data);
    let Ok((commit, chain)) = Commit::decode(bytes.clone()) else { return };
    assert_eq!(commit.encode(), (bytes, chain));
    for entry in commit.mutations.iter().flat_map(|m| &m.entries) {
        if let Entry::User(record) = entry {
            settles(record.clone(), MetadataRecord::decode, encoded);
        }
    }
}

pub(super) fn commit_seeds() -> Vec<Vec<u8>> {
    let writer = Incarnation { seq: 41, index: 2 };
    let commit = |writer: Option<Incarnation>, mutations: Vec<Mutation>| Commit {
        level: 3,
        seq: 77,
        writer,
        nonce: Nonce(5),
        prev_chain: 9,
        idle_ms: 750,
        p99_ms: 63,
        mutations,
    };
    let own = |records: Vec<Entry>| Mutation {
        id: MutationId::Of { incarnation: writer, counter: 9 },
        entries: records,
    };
    let all: Vec<Entry> = records().iter().map(|r| Entry::User(encoded(r))).collect();
    let journal = vec![
        Entry::Journal(JournalRecord::ControllerElected),
        Entry::Journal(JournalRecord::ControllerResigned),
        Entry::Journal(JournalRecord::SnapshotTaken { seq: 70, log_bytes: 1 << 33, manifest_crc: 7 }),
        Entry::Journal(JournalRecord::FeatureLevelSet { level: 4 }),
        Entry::Journal(JournalRecord::TimesSet(Times::default())),
    ];
    let registration = Mutation { id: MutationId::Registration { nonce: Nonce(5) }, entries: all.clone() };
    [
        commit(None, vec![]),
        commit(Some(writer), vec![own(all), own(vec![])]),
        commit(None, vec![registration, own(journal)]),
    ]
    .iter()
    .map(|c| c.encode().0.to_vec())
    .collect()
}

/// One metadata record.
pub(super) fn record(data: &[u8]) {
    settles(Bytes::copy_from_slice(data), MetadataRecord::decode, encoded);
}

pub(super) fn record_seeds() -> Vec<Vec<u8>> {
    records().iter().map(|r| encoded(r).to_vec()).collect()
}

/// One of each.
fn records() -> Vec<MetadataRecord> {
    let me = Incarnation { seq: 41, index: 2 };
    let stream = StreamId(9);
    let (length, seal_nonce) = (LaneNumber(12), Nonce(6));
    let storage = [
        StorageRecord::StoreRegistered { store: StoreId(1), url: "s3://bucket/root".into() },
        StorageRecord::LaneRegistered { nonce: Nonce(5), store: StoreId(0) },
        StorageRecord::LaneFenced { incarnation: me, length, seal_nonce, heir: Some(me) },
        StorageRecord::LaneLeft { incarnation: me, length, seal_nonce },
        StorageRecord::LaneEnded { incarnation: me, length },
        StorageRecord::LaneHeirNamed { incarnation: me, heir: None },
        StorageRecord::LaneTrimmed { incarnation: me, trim: LaneNumber(4) },
        StorageRecord::StreamCreated { stream, owner: me },
        StorageRecord::StreamDeleted { stream },
        StorageRecord::StreamOpened { stream, to: Some(me) },
        StorageRecord::StreamsAdopted { from: me, to: None },
        StorageRecord::StreamSealed { stream, epoch: StreamEpoch(2), end: 50, below: LaneNumber(8), to: me },
        StorageRecord::StreamTrimmed { stream, start: 17 },
        StorageRecord::LossAccepted { incarnation: me, number: LaneNumber(3) },
    ];
    // An id is 16 bytes of anything; the codec's own type makes one.
    let topic_id = Default::default();
    let mut records: Vec<MetadataRecord> = storage.into_iter().map(MetadataRecord::Storage).collect();
    records.extend([
        MetadataRecord::BrokerRegistered {
            node_id: 1,
            endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: "h".into(), port: 9092 }],
            peer_address: "127.0.0.1:1".into(),
            rack: Some("r".into()),
            release: "0.1.0".into(),
        },
        MetadataRecord::TopicCreated { topic_id, name: "t".into(), replication_factor: -1 },
        MetadataRecord::PartitionCreated { topic_id, index: 3, stream, replicas: Some(vec![1, 2]) },
        MetadataRecord::PartitionsCreated { topic_id, first_index: 1, first_stream: stream, count: 3 },
        MetadataRecord::TopicDeleted { topic_id },
        MetadataRecord::ConfigSet {
            resource: ConfigResource::Topic,
            name: "t".into(),
            key: "retention.ms".into(),
            value: Some("1".into()),
        },
        MetadataRecord::ProducerIdsAllocated { next: 1000 },
        MetadataRecord::PartitionReplicasSet { topic_id, index: 3, replicas: Some(vec![2, 1]) },
        MetadataRecord::ClientQuotaSet {
            entity: quota(),
            key: "producer_byte_rate".into(),
            value: Some(1e6),
        },
        MetadataRecord::BrokerLevels { min: 1, max: 2 },
        MetadataRecord::BrokerUnregistered { incarnation: me },
    ]);
    records
}

fn quota() -> QuotaEntity {
    QuotaEntity::new([(QuotaEntityType::User, Some("u".into())), (QuotaEntityType::ClientId, None)])
}

/// A snapshot's manifest, written to the byte.
pub(super) fn manifest(data: &[u8]) {
    let _ = Manifest::decode(Bytes::copy_from_slice(data));
    let bytes = sealed(data);
    let Ok((manifest, crc)) = Manifest::decode(bytes.clone()) else { return };
    assert_eq!(manifest.encode(), (bytes, crc));
}

pub(super) fn manifest_seeds() -> Vec<Vec<u8>> {
    [vec![], vec![(8 << 20, 5), (77, 6)]]
        .map(|chunks| Manifest { level: 1, seq: 4096, chunks }.encode().0.to_vec())
        .into()
}

/// The whole image of a snapshot.
pub(super) fn image(data: &[u8]) {
    settles(Bytes::copy_from_slice(data), JournalImage::<MetadataImage>::decode, JournalImage::encode);
    settles(Bytes::copy_from_slice(data), MetadataImage::decode, |image: &MetadataImage| {
        let mut out = BytesMut::new();
        image.encode(&mut out);
        out.freeze()
    });
}

/// Images as commits make them.
pub(super) fn image_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut image = JournalImage::genesis(MetadataImage::default(), 1, Times::default());
    seeds.push(image.encode().to_vec());
    let me = Incarnation { seq: 1, index: 0 };
    let at = MutationPoint { seq: 1, index: 0, level: 2, proposer: None };
    let topic_id = Default::default();
    let mutation = [
        MetadataRecord::Storage(StorageRecord::StoreRegistered {
            store: StoreId(0),
            url: "memory://".into(),
        }),
        MetadataRecord::Storage(StorageRecord::LaneRegistered { nonce: Nonce(5), store: StoreId(0) }),
        MetadataRecord::BrokerRegistered {
            node_id: 1,
            endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: "h".into(), port: 9092 }],
            peer_address: "127.0.0.1:1".into(),
            rack: None,
            release: "0.1.0".into(),
        },
        MetadataRecord::TopicCreated { topic_id, name: "t".into(), replication_factor: 3 },
        MetadataRecord::Storage(StorageRecord::StreamCreated { stream: StreamId(0), owner: me }),
        MetadataRecord::PartitionCreated { topic_id, index: 0, stream: StreamId(0), replicas: Some(vec![1]) },
        MetadataRecord::ConfigSet {
            resource: ConfigResource::Topic,
            name: "t".into(),
            key: "retention.ms".into(),
            value: Some("1".into()),
        },
        MetadataRecord::ProducerIdsAllocated { next: 1000 },
        MetadataRecord::ClientQuotaSet {
            entity: quota(),
            key: "producer_byte_rate".into(),
            value: Some(1e6),
        },
    ];
    for record in &mutation {
        image.inner.apply(at, std::slice::from_ref(record)).expect("seeds are legal");
    }
    seeds.push(image.encode().to_vec());
    let mut inner = BytesMut::new();
    image.inner.encode(&mut inner);
    seeds.push(inner.to_vec());
    seeds
}

/// The file that names the cluster.
pub(super) fn cluster(data: &[u8]) {
    if let Ok(id) = read_cluster_id(data) {
        assert!(!id.contains('\n'));
        let again = format!("aquifer-cluster 1\n{id}\n");
        assert_eq!(read_cluster_id(again.as_bytes()), Ok(id));
    }
}

pub(super) fn cluster_seeds() -> Vec<Vec<u8>> {
    [
        &b"aquifer-cluster 1\nAAAAAAAAAAAAAAAAAAAAAA\n"[..],
        b"aquifer-cluster 2\nA\n",
        b"aquifer-cluster 1\r\nA\r\n",
    ]
    .map(<[u8]>::to_vec)
    .into()
}

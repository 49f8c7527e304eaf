//! Record batches, their codecs, and the records of groups inside them.

use broker::config::topic::TopicConfig;
use broker::config::{BrokerConfig, topic_keys};
use broker::coordinator::group::subscription;
use broker::coordinator::group::{
    GroupConfig, GroupMetadata, GroupRecord, GroupShard, MemberMetadata, OffsetAndMetadata, OffsetKey,
};
use broker::partition::append;
use bytes::Bytes;
use protocol::batch_builder::BatchBuilder;
use protocol::compression::{self, Compression};
use protocol::control_batch::{
    EndTransaction, EndTransactionMarker, end_transaction_batch, parse_control_batch,
};
use protocol::record_batch::{
    Batch, BatchHeader, HEADER_BYTES, split_batches, stamp, stamp_log_append_time, stamp_max_timestamp,
};

use super::{halves, joined};
use crate::repair;

/// The most a body may take decompressed here.
pub(super) const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;
const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
const TOPIC_CODECS: [&str; 6] = ["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"];

/// First byte: its low half is the topic's codec, bit 4 leaves length and CRC as they are, bit 5 compresses the body, which
/// then was plain. The batch follows.
pub(super) fn batch(data: &[u8]) {
    let Some((&how, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if how & 0x20 != 0 && bytes.len() > HEADER_BYTES {
        let codec = CODECS[usize::from(bytes[22] & 7) % CODECS.len()];
        bytes[22] = bytes[22] & !7 | codec.id() as u8;
        let body = compression::compress(codec, &bytes[HEADER_BYTES..]);
        bytes.truncate(HEADER_BYTES);
        bytes.extend(body);
    }
    if how & 0x10 == 0 {
        repair::batch(&mut bytes);
    }
    let bytes = Bytes::from(bytes);
    split(&bytes);
    if let Ok(header) = BatchHeader::parse(&bytes) {
        assert_eq!(header.to_bytes(), bytes[..HEADER_BYTES]);
    }
    if let Ok(batch) = Batch::parse(bytes.clone()) {
        read(&batch);
        stamped(&batch);
    }
    appended(bytes, TOPIC_CODECS[usize::from(how & 0x0f) % TOPIC_CODECS.len()]);
}

/// A log range: the batches of it are all of it, or an error ends it.
fn split(bytes: &Bytes) {
    let all = [&bytes[..], &bytes[..]].concat();
    let mut taken = 0;
    for batch in split_batches(Bytes::from(all.clone())) {
        match batch {
            Ok(batch) => taken += batch.bytes().len(),
            Err(_) => return,
        }
    }
    assert_eq!(taken, all.len());
}

fn read(batch: &Batch) {
    if batch.header().is_control() {
        let _ = parse_control_batch(batch);
    }
    let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) else { return };
    if batch.header().compression() != Ok(Compression::None) {
        assert!(records.body_bytes() <= DECOMPRESSED_BYTES_MAX);
    }
    let mut count = 0;
    for record in records.map_while(Result::ok) {
        assert_eq!(record.headers.iter().count(), record.headers.len(), "headers were checked");
        count += 1;
    }
    assert!(count <= batch.header().record_count);
}

/// Whatever is written in front of a body, its CRC is right where it was.
fn stamped(batch: &Batch) {
    if batch.check_crc().is_err() {
        return;
    }
    let header = batch.header();
    for head in [
        stamp(header, 77, 3),
        stamp_log_append_time(batch, 77, 3, 1_700_000_000_000),
        stamp_max_timestamp(batch, 77, 3, 5),
    ] {
        let whole = Batch::parse([&head[..], &batch.body()].concat().into()).expect("a stamped batch is one");
        whole.check_crc().expect("its CRC is right");
        assert_eq!((whole.header().base_offset, whole.header().partition_leader_epoch), (77, 3));
    }
}

/// As a produce request brings it to a topic; what a topic's codec makes of it holds the same records.
fn appended(bytes: Bytes, codec: &str) {
    let broker = BrokerConfig::default().values;
    let config =
        TopicConfig::read(&topic_keys::effective(&broker, [("compression.type", codec)].into_iter()));
    let sent = bytes.clone();
    let Ok(validated) = append::validate(Some(bytes), 9, &config, 1_700_000_000_000, DECOMPRESSED_BYTES_MAX)
    else {
        return;
    };
    validated.batch.check_crc().expect("what is appended has a right CRC");
    let all = |batch: &Batch| -> Vec<_> {
        let records = batch.records(DECOMPRESSED_BYTES_MAX).expect("what was validated can be read");
        records
            .map(|r| r.expect("every record was read"))
            .map(|r| (r.timestamp, r.key.clone(), r.value.clone(), r.headers.iter().collect::<Vec<_>>()))
            .collect()
    };
    let kept = all(&validated.batch);
    assert_eq!(kept.len() as i32, validated.batch.header().record_count);
    let offsets = validated.batch.records(DECOMPRESSED_BYTES_MAX).expect("what was validated can be read");
    assert!(offsets.zip(0..).all(|(record, n)| record.is_ok_and(|r| r.offset_delta == n)), "an offset each");
    if let Ok(sent) = Batch::parse(sent) {
        assert_eq!(kept, all(&sent), "{codec}");
    }
}

pub(super) fn batch_seeds() -> Vec<Vec<u8>> {
    let plain = |codec: Compression| {
        let builder = BatchBuilder::new().compression(codec);
        let headers = [("h", Some(&b"1"[..])), ("h", None)];
        (0..4i64)
            .fold(builder, |b, i| b.append(1_700_000_000_000 + i, Some(b"key"), Some(&[b'v'; 40]), &headers))
    };
    let mut seeds = Vec::new();
    for (n, codec) in CODECS.into_iter().enumerate() {
        let batches = [
            plain(codec).build(),
            plain(codec).producer(7, 1, 3).build(),
            plain(codec).producer(7, 1, 3).transactional(true).build(),
            BatchBuilder::new().compression(codec).delete_horizon(5).append(4, Some(b"k"), None, &[]).build(),
            BatchBuilder::new().compression(codec).append(-1, None, None, &[]).build(),
        ];
        for batch in batches {
            seeds.push([&[n as u8], &batch[..]].concat());
            seeds.push([&[(n as u8 + 1) | 0x10], &batch[..]].concat());
        }
        // A plain body whose codec is only named: compressed by the target.
        let mut named = plain(Compression::None).build().to_vec();
        named[22] = codec.id() as u8;
        seeds.push([&[0x20], &named[..]].concat());
    }
    for kind in [EndTransaction::Commit, EndTransaction::Abort] {
        let marker = EndTransactionMarker { kind, coordinator_epoch: 2 };
        let marker = end_transaction_batch(7, 1, 1_700_000_000_000, marker);
        seeds.push([&[0], &marker[..]].concat());
    }
    seeds
}

/// First byte: the codec; two bytes: the limit, in units of 16 bytes; then the input.
pub(super) fn compression(data: &[u8]) {
    let Some(([codec, high, low], input)) = data.split_first_chunk::<3>().map(|(head, rest)| (*head, rest))
    else {
        return;
    };
    let codec = CODECS[1 + usize::from(codec) % 4];
    let limit = usize::from(u16::from_be_bytes([high, low])) * 16;
    let Ok(plain) = compression::decompress(codec, &Bytes::copy_from_slice(input), limit) else { return };
    assert!(plain.len() <= limit);
    let packed = Bytes::from(compression::compress(codec, &plain));
    assert_eq!(compression::decompress(codec, &packed, limit), Ok(plain));
}

pub(super) fn compression_seeds() -> Vec<Vec<u8>> {
    let text: Vec<u8> = (0..3000u32).map(|i| b"abcdefgh"[(i * i % 8) as usize]).collect();
    let mut seeds = Vec::new();
    for (n, codec) in CODECS[1..].iter().enumerate() {
        for plain in [&b""[..], b"x", &text] {
            let packed = compression::compress(*codec, plain);
            seeds.push([&[n as u8, 0xff, 0xff], &packed[..]].concat());
            seeds.push([&[n as u8, 0, 1], &packed[..]].concat());
            seeds.push([&[n as u8, 0xff, 0xff], &packed[..], &packed[..]].concat());
        }
    }
    seeds
}

/// Key, then value. What decodes encodes, what was encoded decodes to the same, and a shard replays it.
pub(super) fn group_record(data: &[u8]) {
    let (key, value) = halves(data);
    let _ = subscription::topics(value);
    for value in [Some(value), None] {
        let Ok(Some(record)) = GroupRecord::decode(key, value) else { continue };
        let (key, value) = record.encode();
        assert_eq!(GroupRecord::decode(&key, value.as_deref()), Ok(Some(record.clone())));
        let mut shard = GroupShard::new(GroupConfig::default());
        shard.replay(&record);
        shard.replay_transactional(7, &record);
        shard.replay_marker(7, true);
        for (_, record) in shard.checkpoint() {
            record.encode();
        }
        shard.loaded(1_700_000_000_000);
    }
}

pub(super) fn group_record_seeds() -> Vec<Vec<u8>> {
    let member = |n: &str, instance: Option<&str>| MemberMetadata {
        member_id: format!("member-{n}"),
        group_instance_id: instance.map(str::to_string),
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 45_000,
        subscription: Bytes::from_static(b"\0\x01\0\0\0\x01\0\x01t\0\0\0\0"),
        assignment: Bytes::from_static(b"\0\x01\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\0\0\0"),
    };
    let group = |members: Vec<MemberMetadata>| GroupRecord::GroupMetadata {
        group_id: "g".into(),
        value: Some(GroupMetadata {
            protocol_type: "consumer".into(),
            generation_id: 3,
            protocol_name: Some("range".into()),
            leader: members.first().map(|m| m.member_id.clone()),
            current_state_timestamp_ms: 1_700_000_000_000,
            members,
        }),
    };
    let offset = |expire: Option<i64>| GroupRecord::OffsetCommit {
        key: OffsetKey { group_id: "g".into(), topic: "t".into(), partition: 3 },
        value: Some(OffsetAndMetadata {
            offset: 77,
            leader_epoch: -1,
            metadata: "note".into(),
            commit_timestamp_ms: 1_700_000_000_000,
            expire_timestamp_ms: expire,
        }),
    };
    let records = [
        group(vec![]),
        group(vec![member("a", None), member("b", Some("i"))]),
        offset(None),
        offset(Some(9)),
    ];
    let mut seeds = Vec::new();
    for record in records {
        let (key, value) = record.encode();
        let value = value.unwrap_or_default();
        // In every version, whether it reads so or not.
        for version in 0..=4u8 {
            let mut value = value.to_vec();
            value[1] = version;
            seeds.push(joined(&key, &value));
        }
    }
    // Version 4 is flexible: compact lengths, tagged fields.
    let key = offset(None).encode().0;
    let mut flexible = vec![0, 4];
    flexible.extend(77i64.to_be_bytes());
    flexible.extend((-1i32).to_be_bytes());
    flexible.extend(b"\x03ab");
    flexible.extend(5i64.to_be_bytes());
    flexible.push(0);
    seeds.push(joined(&key, &flexible));
    // Longer than what the versions that are written can hold.
    let mut long = vec![0, 4];
    long.extend(77i64.to_be_bytes());
    long.extend((-1i32).to_be_bytes());
    long.extend([0xc1, 0xb8, 0x02]);
    long.extend([b'n'; 40_000]);
    long.extend(5i64.to_be_bytes());
    long.push(0);
    seeds.push(joined(&key, &long));
    let key = group(vec![]).encode().0;
    let mut flexible = vec![0, 4];
    flexible.extend(b"\x09consumer\0\0\0\x03\x06range\x02m");
    flexible.extend(5i64.to_be_bytes());
    flexible.extend(b"\x02\x02m\0\x02c\x02h\0\0\0\x01\0\0\0\x02\x02s\x02a\0\0");
    seeds.push(joined(&key, &flexible));
    seeds
}

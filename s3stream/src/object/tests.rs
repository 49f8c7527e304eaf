//! The format's promises: golden bytes, and that no truncation, flip or lie is ever taken for an object, or panics.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::format::{ENTRY_LEN, FOOTER_LEN, HEADER_LEN, VERSION, encode_index_and_footer};
use super::*;
use crate::ids::{Incarnation, LaneId, Nonce, StreamEpoch, StreamId};
use crate::store::Tail;
use crate::wal::chunk::{ALIGNMENT, ChunkPool};

fn lane() -> LaneId {
    LaneId { incarnation: Incarnation { seq: 7, index: 2 }, nonce: Nonce(0xabcd) }
}

fn pool() -> Arc<ChunkPool> {
    ChunkPool::new(0)
}

fn wal_header(number: u64) -> ObjectHeader {
    ObjectHeader::new(ObjectKind::Wal, lane(), number, Nonce(0x1122_3344_5566_7788))
}

fn builder(body_len: usize) -> ObjectBuilder {
    ObjectBuilder::new(wal_header(42), pool(), body_len, 4)
}

fn bytes_of(object: &Object) -> Bytes {
    Bytes::from(object.payload.concat())
}

fn tail_of(bytes: &Bytes, len: usize) -> Tail {
    Tail { bytes: bytes.slice(bytes.len() - len.min(bytes.len())..), object_len: bytes.len() as u64 }
}

/// A WAL object with every kind of block that one may hold.
fn sample() -> Object {
    let mut builder = builder(100);
    builder.append(StreamId(1), StreamEpoch(3), 10, 12, 1_000, &[b"first ", b"batch"]);
    builder.append(StreamId(1), StreamEpoch(3), 12, 13, 900, &[b"second"]);
    builder.append(StreamId(1), StreamEpoch(4), 13, 15, NO_TIMESTAMP, &[b"", b"next epoch"]);
    builder.append(StreamId(9), StreamEpoch(0), 0, 1, 5, &[b"other stream"]);
    builder.attach(StreamId(1), StreamEpoch(3), 10, b"aborted");
    builder.attach(StreamId(1), StreamEpoch(3), 12, b"");
    builder.opaque(BlockKind::Checkpoint, StreamId(9), StreamEpoch(0), 1, b"state");
    builder.finish()
}

fn seal() -> Object {
    let header = ObjectHeader::new(ObjectKind::Seal, lane(), 43, Nonce(5));
    let mut builder = ObjectBuilder::new(header, pool(), 2, 1);
    builder.opaque(BlockKind::Note, StreamId(0), StreamEpoch(0), 0, b"by");
    builder.finish()
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| line.iter().map(|b| format!("{b:02x}")).collect::<String>());
    lines.map(|line| line + "\n").collect()
}

/// Golden files are never regenerated: a difference is a format break, and needs a new version beside the old one.
#[test]
fn golden_bytes_of_version_1() {
    for (object, golden) in
        [(sample(), include_str!("golden/wal-v1.hex")), (seal(), include_str!("golden/seal-v1.hex"))]
    {
        let bytes = bytes_of(&object);
        assert_eq!(hex(&bytes), golden, "an object's bytes changed");
        let whole = parse_whole(bytes).expect("what is golden is readable for ever");
        assert_eq!(whole.footer.entries, object.index);
        whole.verify_all().expect("blocks");
    }
}

#[test]
fn what_was_written_is_read() {
    let object = sample();
    let whole = parse_whole(bytes_of(&object)).expect("whole");
    assert_eq!(whole.footer.header, wal_header(42));
    assert_eq!((whole.footer.object_len, whole.footer.header.version), (object.len(), VERSION));
    let texts: Vec<Bytes> = whole
        .footer
        .entries
        .iter()
        .filter(|e| e.kind == BlockKind::Data)
        .map(|e| whole.block(e).expect("block"))
        .collect();
    assert_eq!(texts, [&b"first batchsecond"[..], b"next epoch", b"other stream"]);
    let first = whole.footer.entries[0];
    assert_eq!(
        (first.base, first.end, first.max_timestamp, first.position),
        (10, 13, 1_000, HEADER_LEN as u64)
    );
    let attached = object.blocks(BlockKind::Attachment).next().expect("attachments");
    let entries = attachments(attached, &whole.block(attached).expect("block")).expect("attachments");
    let expected =
        [(10, &b"aborted"[..]), (12, b"")].map(|(offset, b)| AttachmentEntry { offset, bytes: b.into() });
    assert_eq!(entries, expected);
    for entry in &object.index {
        assert_eq!(object.slice(entry.position, entry.length), Some(whole.block(entry).expect("block")));
    }
}

#[test]
fn a_short_tail_asks_for_what_it_needs_and_no_more() {
    let object = sample();
    let bytes = bytes_of(&object);
    let need = (object.index.len() * ENTRY_LEN + FOOTER_LEN) as u64;
    assert_eq!(parse_tail(&tail_of(&bytes, 10)), Ok(TailParse::NeedMore(FOOTER_LEN as u64)));
    assert_eq!(parse_tail(&tail_of(&bytes, FOOTER_LEN)), Ok(TailParse::NeedMore(need)));
    assert_eq!(parse_tail(&tail_of(&bytes, need as usize - 1)), Ok(TailParse::NeedMore(need)));
    let Ok(TailParse::Index(footer)) = parse_tail(&tail_of(&bytes, need as usize)) else { panic!("enough") };
    assert_eq!(footer.entries, object.index);

    let attachments_from = footer.tail_from(BlockKind::Attachment).expect("there are some") as usize;
    let (tail, attached) =
        (tail_of(&bytes, attachments_from), object.blocks(BlockKind::Attachment).next().expect("one"));
    assert!(matches!(footer.block_in_tail(&tail, attached), Some(Ok(_))));
    assert!(footer.block_in_tail(&tail_of(&bytes, attachments_from - 1), attached).is_none());
}

#[test]
fn no_block_straddles_chunks_or_passes_its_bound_but_a_single_large_append() {
    let sizes = [100, 300 << 10, 300 << 10, 300 << 10, 200 << 10, 3 << 20, 1, 512 << 10, 1 << 20, 7];
    let body: usize = sizes.iter().sum();
    let mut builder = builder(body);
    for (&size, at) in sizes.iter().zip(0u64..) {
        builder.append(StreamId(1), StreamEpoch(0), at, at + 1, at as i64, &[&vec![at as u8; size]]);
    }
    let object = builder.finish();
    assert!(object.payload.iter().all(|chunk| chunk.len() <= (3 << 20) + ALIGNMENT));
    for entry in &object.index {
        assert!(entry.length as usize <= MAX_BLOCK_BYTES || entry.end == entry.base + 1, "{entry:?}");
        assert!(object.slice(entry.position, entry.length).is_some(), "{entry:?} straddles");
    }
    assert!(object.index.windows(2).all(|w| w[0].end == w[1].base));
    parse_whole(bytes_of(&object)).expect("whole").verify_all().expect("blocks");
}

#[test]
fn small_objects_hold_about_their_own_bytes() {
    let mut builder = builder(5_000);
    builder.append(StreamId(1), StreamEpoch(0), 0, 1, 0, &[&[7; 5_000]]);
    let object = builder.finish();
    assert!(
        object.capacity() < object.len() as usize + 4 * ENTRY_LEN,
        "{} for {}",
        object.capacity(),
        object.len()
    );
    assert_eq!(object.payload.len(), 1);
}

#[test]
#[should_panic(expected = "has a hole or overlap")]
fn a_hole_in_a_stream_is_never_written() {
    let mut builder = builder(10);
    builder.append(StreamId(1), StreamEpoch(0), 0, 1, 0, &[b"a"]);
    builder.append(StreamId(1), StreamEpoch(0), 2, 3, 0, &[b"b"]);
}

/// An index whose CRCs are right and whose numbers lie.
#[test]
fn lying_lengths_are_refused_although_their_crc_is_right() {
    let object = sample();
    let honest = object.index.clone();
    type Lie = fn(&mut Vec<IndexEntry>);
    let lies: [(&str, Lie); 7] = [
        ("length beyond the object", |e| e[0].length = u32::MAX),
        ("position beyond the object", |e| e[1].position = u64::MAX - 3),
        ("overlap", |e| e[1].position -= 1),
        ("gap", |e| e[1].position += 1),
        ("empty", |e| e[0].length = 0),
        ("no offsets", |e| e[0].end = e[0].base),
        ("ends before it begins", |e| e[0].end = e[0].base - 1),
    ];
    let body = bytes_of(&object)
        .slice(..object.index.last().map(|e| e.position + u64::from(e.length)).unwrap() as usize);
    for (name, lie) in lies {
        let mut entries = honest.clone();
        lie(&mut entries);
        // The last entry stays honest: it tells the writer where the index begins.
        let mut out = body.to_vec();
        encode_index_and_footer(&object.header, &entries, &mut out);
        assert!(parse_whole(Bytes::from(out)).is_err(), "{name}");
    }
    let mut out = body.to_vec();
    encode_index_and_footer(&object.header, &honest, &mut out);
    assert!(parse_whole(Bytes::from(out.clone())).is_ok(), "the check above is not vacuous");
    out.splice(body.len()..body.len(), [0; 7]);
    assert!(parse_whole(Bytes::from(out)).is_err(), "bytes between blocks and index");
}

#[test]
fn an_attachment_block_that_lies_is_refused() {
    let entry = IndexEntry {
        kind: BlockKind::Attachment,
        stream: StreamId(1),
        epoch: StreamEpoch(1),
        base: 5,
        end: 7,
        position: 52,
        length: 1,
        max_timestamp: NO_TIMESTAMP,
        crc: 0,
    };
    let block = |offset: u64, length: u32, bytes: &[u8]| {
        Bytes::from([&offset.to_be_bytes()[..], &length.to_be_bytes(), bytes].concat())
    };
    assert_eq!(attachments(&entry, &block(6, 1, b"x")).expect("honest").len(), 1);
    for lie in
        [block(6, 2, b"x"), block(6, u32::MAX, b"x"), block(4, 1, b"x"), block(7, 1, b"x"), block(6, 0, b"x")]
    {
        assert!(attachments(&entry, &lie).is_err(), "{lie:?}");
    }
    let descending = [block(6, 0, b""), block(5, 0, b"")].concat();
    assert!(attachments(&entry, &descending.into()).is_err());
}

#[test]
fn another_version_says_upgrade() {
    let mut header = wal_header(1);
    header.version = 2;
    let object = ObjectBuilder::new(header, pool(), 0, 0).finish();
    assert_eq!(parse_whole(bytes_of(&object)).err(), Some(FormatError::UnknownVersion(2)));
}

/// Every way of reading an object, to the last block.
fn reads(bytes: &Bytes) -> Result<(), FormatError> {
    let whole = parse_whole(bytes.clone())?;
    whole.verify_all()
}

proptest! {
    #[test]
    fn any_truncation_is_an_error(cut in 0usize..10_000) {
        let bytes = bytes_of(&sample());
        let cut = bytes.slice(..cut % bytes.len());
        prop_assert!(reads(&cut).is_err());
        let _ = parse_tail(&Tail { object_len: cut.len() as u64, bytes: cut });
    }

    #[test]
    fn any_flip_is_an_error(at in 0usize..1_000_000, mask in 1u8..) {
        let bytes = bytes_of(&sample());
        let mut flipped = bytes.to_vec();
        flipped[at % bytes.len()] ^= mask;
        prop_assert!(reads(&Bytes::from(flipped)).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), object_len: u64) {
        let bytes = Bytes::from(bytes);
        prop_assert!(reads(&bytes).is_err());
        let tail = parse_tail(&Tail { bytes: bytes.clone(), object_len });
        prop_assert!(!matches!(tail, Ok(TailParse::Index(_))));
        let entry = IndexEntry {
            kind: BlockKind::Attachment, stream: StreamId(0), epoch: StreamEpoch(0), base: 0, end: object_len,
            position: 0, length: bytes.len() as u32, max_timestamp: 0, crc: 0,
        };
        let _ = attachments(&entry, &bytes);
    }

    #[test]
    fn random_footers_with_a_right_crc_do_not_panic(
        fields in proptest::collection::vec(any::<u8>(), FOOTER_LEN - 12), object_len: u64,
    ) {
        let mut footer = b"AQUIFERE".to_vec();
        footer.extend_from_slice(&fields);
        footer[8..12].copy_from_slice(&[0, 1, 1, 0]);
        footer.extend_from_slice(&crc32fast::hash(&footer).to_be_bytes());
        let tail = parse_tail(&Tail { bytes: Bytes::from(footer), object_len });
        prop_assert!(tail.is_err());
    }
}

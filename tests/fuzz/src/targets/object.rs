//! Objects of the store: index and footer, blocks, attachments in them, seals.

use broker::partition::attachment::ProducerAttachment;
use bytes::Bytes;
use s3stream::ids::{Incarnation, LaneId, LaneNumber, Nonce, StreamEpoch, StreamId};
use s3stream::object::format::{FOOTER_LEN, HEADER_LEN, encode_header, encode_index_and_footer};
use s3stream::object::{
    BlockKind, IndexEntry, ObjectHeader, ObjectKind, TailParse, attachments, parse_tail, parse_whole,
};
use s3stream::store::Tail;
use s3stream::wal::FencedBy;
use s3stream::wal::seal::read_fence;

use crate::repair;

/// First byte: bit 0 leaves the object as it is; the rest says how much of its end is read first.
pub(super) fn object(data: &[u8]) {
    let Some((&how, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if how & 1 == 0 {
        repair::object(&mut bytes);
    }
    let bytes = Bytes::from(bytes);
    let first = bytes.len() * usize::from(how >> 1) / 127;
    let by_tail = from_its_end(&bytes, first);
    let Ok(whole) = parse_whole(bytes.clone()) else { return };
    let footer = &whole.footer;
    assert_eq!(by_tail.as_ref(), Some(footer), "read by its end it is the same object");

    let mut again = Vec::new();
    encode_header(&footer.header, &mut again);
    assert_eq!(again, bytes[..HEADER_LEN]);
    again.clear();
    encode_index_and_footer(&footer.header, &footer.entries, &mut again);
    assert_eq!(again, bytes[footer.index_position as usize..]);

    let tail = Tail { object_len: bytes.len() as u64, bytes: bytes.slice(bytes.len() - first..) };
    for entry in &footer.entries {
        let block = whole.block(entry);
        if let Some(in_tail) = footer.block_in_tail(&tail, entry) {
            assert_eq!(in_tail, block);
        }
        let Ok(block) = block else { continue };
        if entry.kind == BlockKind::Attachment
            && let Ok(all) = attachments(entry, &block)
        {
            assert!(all.iter().all(|a| (entry.base..entry.end).contains(&a.offset)));
            assert!(all.is_sorted_by_key(|a| a.offset));
        }
    }
}

/// As a reader does who asks for more until it is enough; None where it is no object.
fn from_its_end(bytes: &Bytes, first: usize) -> Option<s3stream::object::Footer> {
    let object_len = bytes.len() as u64;
    let mut have = first as u64;
    loop {
        let tail = Tail { object_len, bytes: bytes.slice((object_len - have) as usize..) };
        match parse_tail(&tail).ok()? {
            TailParse::Index(footer) => return Some(footer),
            TailParse::NeedMore(need) => {
                assert!(have < need && need <= object_len, "{need} wanted of {object_len}, {have} there");
                have = need;
            }
        }
    }
}

fn lane() -> LaneId {
    LaneId { incarnation: Incarnation { seq: 7, index: 0 }, nonce: Nonce(0x0123_4567_89ab_cdef) }
}

/// An object of these blocks, its CRCs to be filled in.
fn made(kind: ObjectKind, blocks: &[(BlockKind, u64, u64, &[u8])]) -> Vec<u8> {
    let header = ObjectHeader::new(kind, lane(), 3, Nonce(9));
    let mut bytes = Vec::new();
    encode_header(&header, &mut bytes);
    let mut entries = Vec::new();
    for (kind, base, end, block) in blocks {
        entries.push(IndexEntry {
            kind: *kind,
            stream: StreamId(5),
            epoch: StreamEpoch(1),
            base: *base,
            end: *end,
            position: bytes.len() as u64,
            length: block.len() as u32,
            max_timestamp: 1_700_000_000_000,
            crc: crc32fast::hash(block),
        });
        bytes.extend_from_slice(block);
    }
    encode_index_and_footer(&header, &entries, &mut bytes);
    bytes
}

pub(super) fn object_seeds() -> Vec<Vec<u8>> {
    let attachment = [&7u64.to_be_bytes()[..], &3u32.to_be_bytes(), b"abc"].concat();
    let objects = [
        made(ObjectKind::Wal, &[]),
        made(ObjectKind::Wal, &[(BlockKind::Data, 0, 4, b"block")]),
        made(
            ObjectKind::Wal,
            &[(BlockKind::Data, 7, 9, b"records"), (BlockKind::Attachment, 7, 9, &attachment.repeat(2))],
        ),
        made(
            ObjectKind::Merged,
            &[(BlockKind::Checkpoint, 4, 4, b"state"), (BlockKind::Pointer, 4, 9, b"p")],
        ),
        made(ObjectKind::Stream, &[(BlockKind::Data, 0, u64::MAX, &[0; 300])]),
        made(ObjectKind::Seal, &[(BlockKind::Note, 0, 0, b"node 1")]),
    ];
    objects.iter().flat_map(|o| [0, 1, 254, 255].map(|how| [&[how], &o[..]].concat())).collect()
}

/// First byte as for an object; what an owner finds at its own number is a seal, or is named.
pub(super) fn seal(data: &[u8]) {
    let Some((&how, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if how & 1 == 0 {
        repair::object(&mut bytes);
    }
    let bytes = Bytes::from(bytes);
    match read_fence(lane(), LaneNumber(3), bytes.clone()) {
        FencedBy::Seal { note, .. } => assert!(note.len() + FOOTER_LEN < bytes.len().max(FOOTER_LEN + 1)),
        FencedBy::Foreign(what) => assert!(!what.is_empty()),
    }
}

pub(super) fn seal_seeds() -> Vec<Vec<u8>> {
    let objects = [
        made(ObjectKind::Seal, &[]),
        made(ObjectKind::Seal, &[(BlockKind::Note, 0, 0, b"node 1 of 127.0.0.1:9092")]),
        made(ObjectKind::Seal, &[(BlockKind::Note, 0, 0, &[b'n'; 2000])]),
        made(ObjectKind::Wal, &[(BlockKind::Data, 0, 4, b"block")]),
        made(ObjectKind::Merged, &[]),
    ];
    objects.iter().flat_map(|o| [0, 1].map(|how| [&[how], &o[..]].concat())).collect()
}

/// What was read is written the same, but for flags that nobody knows.
pub(super) fn attachment(data: &[u8]) {
    if let Some(read) = ProducerAttachment::decode(data) {
        assert_eq!(ProducerAttachment::decode(&read.encode()), Some(read));
    }
    let mut whole = repair::attachment(data);
    let read = ProducerAttachment::decode(&whole).expect("a tag and a length are all there is to refuse");
    whole[1] &= 3;
    assert_eq!(read.encode(), whole);
}

pub(super) fn attachment_seeds() -> Vec<Vec<u8>> {
    let producer = |transactional, control| ProducerAttachment {
        producer_id: 7,
        producer_epoch: 1,
        base_sequence: i32::MAX,
        last_offset_delta: 4,
        max_timestamp: -1,
        transactional,
        control,
    };
    [(false, false), (true, false), (true, true)].map(|(t, c)| producer(t, c).encode().to_vec()).into()
}

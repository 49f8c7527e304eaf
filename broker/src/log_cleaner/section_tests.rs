//! What is written covers what was there, offset for offset.

use bytes::Bytes;
use protocol::record_batch::split_batches;
use s3stream::ids::{Incarnation, LaneId, Nonce, ObjectId, StreamEpoch};
use s3stream::object::{ObjectHeader, ObjectKind};

use super::*;
use crate::log_cleaner::samples::{parse, plain};

fn range(start: u64, end: u64, epoch: u32) -> StreamRange {
    let incarnation = Incarnation { seq: 1, index: 0 };
    let object = ObjectId { incarnation, counter: start };
    StreamRange { start, end, epoch: StreamEpoch(epoch), object, bytes: 100, max_timestamp: 7 }
}

fn writer(ranges: &[StreamRange]) -> SectionWriter {
    let owner = LaneId { incarnation: Incarnation { seq: 1, index: 0 }, nonce: Nonce(1) };
    let header = ObjectHeader::new(ObjectKind::Stream, owner, 0, Nonce(2));
    SectionWriter::new(StreamId(3), ranges, Composer::new(header))
}

fn batch(base: i64, records: usize) -> Bytes {
    plain(base, &vec![("k", Some("v")); records])
}

#[test]
fn sections_are_whole_ranges_in_order() {
    let ranges = [range(0, 5, 0), range(5, 9, 0), range(9, 12, 0)];
    let ends = |max| -> Vec<(u64, u64)> {
        sections(&ranges, max).iter().map(|s| (s[0].start, s[s.len() - 1].end)).collect()
    };
    assert_eq!(ends(1), [(0, 5), (5, 9), (9, 12)]);
    assert_eq!(ends(200), [(0, 9), (9, 12)]);
    assert_eq!(ends(u64::MAX), [(0, 12)]);
    assert!(sections(&[], 1).is_empty());
}

#[test]
fn blocks_meet_over_what_went_and_the_last_batch_of_a_run_stays() {
    let ranges = [range(0, 4, 0), range(4, 8, 0), range(8, 12, 1), range(20, 24, 1)];
    let mut writer = writer(&ranges);
    for base in [0, 4, 8, 20] {
        for (base, keep) in [(base, base == 4), (base + 2, false)] {
            let bytes = batch(base, 2);
            let filtered = if keep { Filtered::Keep(bytes.clone()) } else { Filtered::Drop };
            writer.push(parse(bytes).header(), &filtered).unwrap();
        }
    }
    assert!(writer.is_changed());
    let (composed, parts) = writer.finish().unwrap();
    let covered: Vec<_> = parts.iter().map(|part| (part.start, part.end, part.epoch.0)).collect();
    assert_eq!(covered, [(0, 8, 0), (8, 12, 1), (20, 24, 1)]);
    let blocks: Vec<_> = composed.index.iter().map(|e| (e.base, e.end, e.max_timestamp)).collect();
    // Timestamps of the samples are the offset plus 100.
    assert_eq!(blocks, [(0, 8, 105), (8, 12, NO_TIMESTAMP), (20, 24, NO_TIMESTAMP)]);
    assert_eq!(parts.iter().map(|part| part.max_timestamp).collect::<Vec<_>>(), [105, 7, 7]);
    let object: Bytes =
        composed.payload.iter().flat_map(|part| part.iter().copied()).collect::<Vec<_>>().into();
    for (entry, part) in composed.index.iter().zip(&parts) {
        let block =
            object.slice(entry.position as usize..(entry.position + u64::from(entry.length)) as usize);
        assert_eq!((crc32fast::hash(&block), u64::from(entry.length)), (entry.crc, part.bytes));
        let last = split_batches(block).last().unwrap().unwrap();
        assert_eq!(last.header().next_offset() as u64, entry.end);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let one = [range(0, 4, 0)];
    let push = |writer: &mut SectionWriter, base, records| {
        let bytes = batch(base, records);
        writer.push(parse(bytes.clone()).header(), &Filtered::Keep(bytes))
    };
    let mut over = writer(&one);
    assert!(matches!(push(&mut over, 2, 3), Err(SectionError::OutOfPlace { .. })), "past the end");
    let mut twice = writer(&one);
    push(&mut twice, 0, 2).unwrap();
    assert!(!twice.is_changed());
    assert!(matches!(push(&mut twice, 1, 2), Err(SectionError::OutOfPlace { .. })), "an offset twice");
    assert!(matches!(twice.finish(), Err(SectionError::Incomplete { covered: 2, end: 4 })));
    let mut more = writer(&one);
    push(&mut more, 0, 4).unwrap();
    assert!(matches!(push(&mut more, 4, 1), Err(SectionError::OutOfPlace { .. })), "after the last");
}

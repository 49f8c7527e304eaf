//! When to cut, as a table; what a cut makes, against a model.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::CutDecision::{At, Now, Wait, Yield};
use super::*;
use crate::entropy::Entropy;
use crate::ids::{Incarnation, StreamEpoch, StreamId};
use crate::object::{attachments, parse_whole};
use crate::wal::open_object::{Append, Attachment, Prefix, tests::Deaf};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An object of 1,000 bytes whose first append came at 100 ms; nothing in flight; PUTs take 64 ms, so the gather is 2.
fn state() -> CutState {
    CutState {
        now: ms(100),
        open_bytes: 1_000,
        first_at: Some(ms(100)),
        full: false,
        flush: false,
        in_flight: 0,
        put_time: ms(64),
        yielded: false,
        small_from: Duration::ZERO,
    }
}

#[test]
fn when_to_cut() {
    let cloud = CutPolicy { linger: ms(5), puts_in_flight: 4 };
    let directory = CutPolicy { linger: ms(5), puts_in_flight: 1 };
    let large = SMALL_OBJECT_BYTES;
    let s = state();
    let us = Duration::from_micros;
    #[rustfmt::skip]
    let table = [
        ("nothing was pushed",                      &cloud, CutState { first_at: None, flush: true, ..s }, Wait),
        ("idle: gather first",                      &cloud, s, At(ms(102))),
        ("idle: gathered",                          &cloud, CutState { now: ms(102), ..s }, Now),
        ("idle, and it waited while busy",          &cloud, CutState { now: ms(103), ..s }, Now),
        ("idle: a short gather is one yield",       &cloud, CutState { put_time: us(3_200), ..s }, Yield),
        ("idle: and no more than one",              &cloud, CutState { put_time: us(3_200), yielded: true, ..s }, Now),
        ("idle: no PUT time known yet",             &cloud, CutState { put_time: ms(0), ..s }, Now),
        ("idle: a slow store gathers no longer than the linger", &cloud, CutState { put_time: ms(60_000), ..s }, At(ms(105))),
        ("idle: a yield is no gather",              &cloud, CutState { yielded: true, ..s }, At(ms(102))),
        ("idle: flush",                             &cloud, CutState { flush: true, ..s }, Now),
        ("busy: linger",                            &cloud, CutState { in_flight: 1, ..s }, At(ms(105))),
        ("busy: linger is over",                    &cloud, CutState { in_flight: 3, now: ms(105), ..s }, Now),
        ("busy: full",                              &cloud, CutState { in_flight: 3, full: true, open_bytes: large, ..s }, Now),
        ("busy: no PUT to be had",                  &cloud, CutState { in_flight: 4, now: ms(900), ..s }, Wait),
        ("busy: no PUT to be had, flush",           &cloud, CutState { in_flight: 4, flush: true, ..s }, Wait),
        ("busy: one full object is cut ahead",      &cloud, CutState { in_flight: 4, full: true, ..s }, Now),
        ("busy: and no more than one",              &cloud, CutState { in_flight: 5, full: true, ..s }, Wait),
        ("directory: one at a time",                &directory, CutState { in_flight: 1, now: ms(900), ..s }, Wait),
        ("directory: 112 us a PUT",                 &directory, CutState { put_time: us(112), ..s }, Yield),
        ("directory: the PUT is back",              &directory, CutState { put_time: us(112), now: ms(101), ..s }, Now),
        ("cap: a small object waits",               &cloud, CutState { small_from: ms(150), now: ms(120), ..s }, At(ms(150))),
        ("cap: and not less than the gather",       &cloud, CutState { small_from: ms(101), ..s }, At(ms(102))),
        ("cap: its time has come",                  &cloud, CutState { small_from: ms(150), now: ms(150), ..s }, Now),
        ("cap: a large one does not wait",          &cloud, CutState { small_from: ms(150), now: ms(120), open_bytes: large, ..s }, Now),
        ("cap: a full one does not wait",           &cloud, CutState { small_from: ms(150), full: true, in_flight: 1, ..s }, Now),
        ("cap: a flush does not wait",              &cloud, CutState { small_from: ms(150), flush: true, in_flight: 1, ..s }, Now),
    ];
    for (name, policy, state, expected) in table {
        assert_eq!(policy.decide(&state), expected, "{name}: {state:?}");
    }
}

/// Small PUTs that start as early as they may, within the first second.
fn small_puts_in_a_second(cap: &mut PutCap) -> usize {
    let mut now = Duration::ZERO;
    let mut puts = 0;
    while now < ms(1_000) {
        cap.spend(now);
        puts += 1;
        now = now.max(cap.small_from()) + Duration::from_micros(1);
        if puts > 2_000 {
            break;
        }
    }
    puts
}

#[test]
fn the_cap_holds_over_a_second_and_lets_a_short_burst_through() {
    assert_eq!(small_puts_in_a_second(&mut PutCap::new(Some(16))), 16 + 3);
    assert_eq!(small_puts_in_a_second(&mut PutCap::new(Some(1))), 1);
    assert_eq!(small_puts_in_a_second(&mut PutCap::new(None)), 2_001, "no cap");
    let mut cap = PutCap::new(Some(16));
    (0..4).for_each(|_| cap.spend(ms(10)));
    assert_eq!(cap.small_from(), ms(10) + Duration::from_micros(62_500), "the burst is used up");
    (0..100).for_each(|_| cap.spend(ms(10)));
    assert!(cap.small_from() <= ms(10 + 63), "large PUTs do not starve small ones");
}

fn lane() -> LaneId {
    LaneId { incarnation: Incarnation { seq: 1, index: 0 }, nonce: Nonce(1) }
}

fn append(stream: u64, epoch: u32, base: u64, count: u32, prefix: &[u8], body: Vec<u8>) -> Append {
    Append {
        stream: StreamId(stream),
        epoch: StreamEpoch(epoch),
        base,
        count,
        max_timestamp: base as i64,
        prefix: Prefix::new(prefix).expect("fits"),
        body: Bytes::from(body),
        attachment: None,
        sink: Arc::new(Deaf),
        charge: None,
    }
}

fn cut_all(appends: Vec<Append>) -> (CutObject, u64) {
    cut_into(&ChunkPool::new(0), appends)
}

fn cut_into(pool: &Arc<ChunkPool>, appends: Vec<Append>) -> (CutObject, u64) {
    let mut open = OpenObject::new(LaneNumber(3));
    appends.into_iter().for_each(|a| open.push(a, Duration::default));
    let capacity_max = capacity_max(&open);
    (cut(open, lane(), LaneRef(8), Nonce(2), pool), capacity_max)
}

#[test]
fn blocks_are_sorted_by_stream_epoch_and_offset_and_attachments_come_last() {
    let mut marker = append(2, 1, 5, 1, b"", b"marker".to_vec());
    marker.attachment = Attachment::new(b"aborted");
    let appends = vec![
        append(2, 1, 3, 2, b"c", b"d".to_vec()),
        append(1, 0, 0, 1, b"", b"x".to_vec()),
        marker,
        append(1, 0, 1, 4, b"y", b"".to_vec()),
        // The stream was away and came back: a later epoch may begin below the end of what nobody confirmed.
        append(2, 3, 4, 1, b"", b"e3".to_vec()),
    ];
    let (cut, _) = cut_all(appends);
    let blocks: Vec<_> =
        cut.object.index.iter().map(|e| (e.kind, e.stream.0, e.epoch.0, e.base, e.end)).collect();
    let (data, attachment) = (BlockKind::Data, BlockKind::Attachment);
    assert_eq!(
        blocks,
        [(data, 1, 0, 0, 5), (data, 2, 1, 3, 6), (data, 2, 3, 4, 5), (attachment, 2, 1, 5, 6)]
    );
    assert_eq!(cut.sinks.iter().map(|(_, range)| range.clone()).collect::<Vec<_>>(), [0..1, 1..2, 2..3]);
    assert!(cut.blocks.iter().all(|b| (b.lane, b.number) == (LaneRef(8), LaneNumber(3))));
    assert_eq!((cut.bytes, cut.object.header.number, cut.blocks[1].max_timestamp), (10 + 2 + 7 + 12, 3, 5));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was pushed is read back, per stream and in order, from an object that takes no more memory than was
    /// reserved for it.
    #[test]
    fn what_is_pushed_is_read(
        pushes in proptest::collection::vec((0u64..5, 0usize..65, 0usize..4, any::<bool>()), 1..60),
        shared_before in proptest::option::of(0..ChunkPool::CHUNK_BYTES),
    ) {
        let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
        let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut attached: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut appends = Vec::new();
        for (i, (stream, prefix, size, attach)) in pushes.into_iter().enumerate() {
            let base = ends.entry(stream).or_default();
            let body = vec![i as u8; [1, 700, 60_000, 600_000][size]];
            let prefix = vec![!(i as u8); prefix];
            model.entry(stream).or_default().extend(prefix.iter().chain(&body));
            let mut a = append(stream, 0, *base, 1 + i as u32, &prefix, body);
            if attach {
                a.attachment = Attachment::new(&[i as u8; 40][..i.min(40)]);
                attached.entry(stream).or_default().push(*base);
            }
            *base += 1 + i as u64;
            appends.push(a);
        }
        let pool = ChunkPool::new(shared_before.map_or(0, |_| 16 << 20));
        let before = shared_before.map(|bytes| {
            let mut writer = pool.take(ChunkPool::CHUNK_BYTES - 1, 0, 0);
            writer.extend(&vec![0; bytes.min(writer.room())]);
            writer.freeze()
        });
        let (cut, capacity_max) = cut_into(&pool, appends);
        drop(before);
        let object = &cut.object;
        prop_assert!(object.capacity() as u64 <= capacity_max, "{} of {capacity_max}", object.capacity());
        prop_assert!(object.capacity() as u64 >= object.len());
        let whole = parse_whole(object.payload.concat().into()).expect("whole");
        prop_assert_eq!(&whole.footer.entries, &object.index);
        let mut read: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut read_attached: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for entry in &whole.footer.entries {
            let block = whole.block(entry).expect("block");
            prop_assert_eq!(object.slice(entry.position, entry.length), Some(block.clone()));
            if entry.kind == BlockKind::Data {
                read.entry(entry.stream.0).or_default().extend_from_slice(&block);
            } else {
                let offsets = attachments(entry, &block).expect("attachments").into_iter().map(|a| a.offset);
                read_attached.entry(entry.stream.0).or_default().extend(offsets);
            }
        }
        prop_assert_eq!(read, model);
        prop_assert_eq!(read_attached, attached);
        for (stream, end) in ends {
            let of_stream = object.blocks(BlockKind::Data).filter(|e| e.stream.0 == stream);
            prop_assert_eq!(of_stream.last().map(|e| e.end), Some(end));
        }
    }
}

/// One pool for many objects of all sizes, some of which live on: none is written over, and none takes more than was reserved.
#[test]
fn objects_that_share_a_pool_do_not_touch_one_another() {
    const SIZES: [u64; 8] =
        [70 << 10, 200 << 10, 700 << 10, 1900 << 10, (2 << 20) - 4296, 2 << 20, 2100 << 10, 3 << 20];
    for seed in 0..4_u64 {
        let dice = Entropy::seeded(seed);
        let next = |below: u64| dice.u64() % below;
        let pool = ChunkPool::new(32 << 20);
        let mut live: Vec<(CutObject, Vec<u8>)> = Vec::new();
        for number in 0..60_u64 {
            let wanted = SIZES[next(8) as usize] + next(5000);
            let most = [300, 5_000, 60_000, 300_000, 520_000, 1_200_000, 2_200_000][next(7) as usize];
            let (mut appends, mut sum) = (Vec::new(), 0);
            let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
            while sum < wanted {
                let stream = next(if most < 1000 { 3000 } else { 7 });
                let base = ends.entry(stream).or_default();
                let size = (1 + next(most)).min(wanted - sum + 1);
                let records = vec![(number + stream) as u8; size as usize];
                let mut one = append(stream, 0, *base, 1, b"prefix", records);
                if next(9) == 0 {
                    one.attachment = Attachment::new(&[7; 40]);
                }
                appends.push(one);
                *base += 1;
                sum += size;
            }
            let (cut, capacity_max) = cut_into(&pool, appends);
            let capacity = cut.object.capacity() as u64;
            assert!(
                (cut.object.len()..=capacity_max).contains(&capacity),
                "{wanted} bytes in {most}, seed {seed}"
            );
            let bytes = cut.object.payload.concat();
            live.push((cut, bytes));
            while live.len() > 4 + next(20) as usize {
                let any = next(live.len() as u64) as usize;
                live.remove(if next(3) == 0 { any } else { 0 });
            }
        }
        for (cut, bytes) in &live {
            assert!(cut.object.payload.concat() == *bytes, "written over, seed {seed}");
            parse_whole(bytes.clone().into()).expect("whole").verify_all().expect("right");
        }
        live.clear();
        // What nobody fills any more goes with the next that come.
        for _ in 0..40 {
            drop(pool.take(100, 100, 0));
        }
        assert!(pool.in_use() <= 2 << 20, "{} bytes, seed {seed}", pool.in_use());
    }
}

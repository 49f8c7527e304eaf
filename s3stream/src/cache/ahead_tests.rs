//! Sequential readers over a slow store: what they wait for, what it costs, what is left.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use super::*;
use crate::budget::Class;
use crate::cache::read_ahead::READERS_MAX;
use crate::cache::rig::RigReader;
use crate::ids::StreamId;

const KIB: usize = 1 << 10;
const MIB: u64 = 1 << 20;
/// Records per block.
const RECORDS: u64 = 10;

/// Stream, first offset and body of a block.
type Part<'a> = (u64, u64, &'a [u8]);

/// One stream of blocks of 512 KiB, `per_object` of them in each object.
struct Log {
    rig: RigReader,
    blocks: Arc<Vec<BlockRef>>,
    /// Does its reader tell what it reads?
    tells: bool,
}

impl Log {
    fn new(budget: u64, mib: u64, per_object: usize) -> Log {
        let object_of = |number: u64| (number / per_object as u64, 1);
        Log::of_objects(budget, mib, object_of)
    }

    /// Of two objects, by turns of so many blocks.
    fn by_turns(budget: u64, mib: u64, turn: u64) -> Log {
        // A stream of its own for each turn: an object of a rig has no holes.
        Log::of_objects(budget, mib, |number| (number / turn % 2, number / turn))
    }

    /// `place` gives the object of a block, and the stream that it is of there.
    fn of_objects(budget: u64, mib: u64, place: impl Fn(u64) -> (u64, u64)) -> Log {
        let rig = RigReader::with_budget(budget);
        rig.read_takes(20);
        let bodies: Vec<Vec<u8>> = (0..mib * 2).map(|number| vec![number as u8; 512 * KIB]).collect();
        let mut objects: BTreeMap<u64, Vec<Part<'_>>> = BTreeMap::new();
        for (number, body) in bodies.iter().enumerate() {
            let (object, stream) = place(number as u64);
            objects.entry(object).or_default().push((stream, number as u64 * RECORDS, body));
        }
        let mut blocks: Vec<BlockRef> =
            objects.iter().flat_map(|(object, parts)| rig.put_object(*object, parts)).collect();
        blocks.sort_by_key(|block| block.base);
        Log { rig, blocks: Arc::new(blocks), tells: true }
    }

    fn silent(mut self) -> Log {
        self.tells = false;
        self
    }

    fn end(&self) -> u64 {
        self.blocks.last().unwrap().end
    }

    fn find(blocks: &[BlockRef], from: u64, bytes: u64) -> Vec<BlockRef> {
        let mut found = 0;
        let enough = |block: &&BlockRef| {
            found += u64::from(block.length);
            found <= bytes
        };
        blocks.iter().filter(|block| block.end > from).take_while(enough).copied().collect()
    }

    /// One fetch, as a broker serves it: what is in memory, else what a load brings. Gives the offset to go on at.
    async fn fetch(&self, from: u64, bytes: u64) -> u64 {
        let found = Log::find(&self.blocks, from, bytes);
        let mut got: Vec<Bytes> = found.iter().map_while(|block| self.rig.reader.memory(block)).collect();
        let to = found.last().map_or(from, |block| block.end);
        if self.tells {
            let (read, blocks) = (
                SequentialRead { stream: StreamId(1), from, to, missed: got.is_empty() },
                Arc::clone(&self.blocks),
            );
            self.rig.reader.sequential(read, move |from, bytes| {
                let found = Log::find(&blocks, from, bytes);
                async move { Ok(found) }
            });
        }
        if got.is_empty() {
            got = self.rig.reader.load(&found).await.expect("it is there");
        }
        for (block, bytes) in found.iter().zip(&got) {
            assert_eq!(u64::from(bytes[0]), block.base / RECORDS % 256);
        }
        self.check_budget();
        // Until the next request other tasks get their turn.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        found[..got.len()].last().map_or(from, |block| block.end)
    }

    async fn read(&self, from: u64, to: u64) -> Duration {
        let (began, mut at) = (Instant::now(), from);
        while at < to {
            at = self.fetch(at, MIB).await;
        }
        began.elapsed()
    }

    fn check_budget(&self) {
        let inner = &self.rig.reader.0;
        let class = self.rig.budget.class(Class::BlockCache).capacity();
        let (loads, ahead) = (inner.cache.loads().usage(), inner.ahead.room.usage());
        assert!(loads.peak <= loads.capacity && ahead.peak <= ahead.capacity, "{loads:?} {ahead:?}");
        assert!(ahead.used <= loads.used);
        assert!(
            inner.cache.bytes() + loads.used <= class,
            "{} and {loads:?} of {class}",
            inner.cache.bytes()
        );
    }

    fn gets(&self) -> u64 {
        self.rig.gets()
    }

    /// Everything that was ahead has been given up.
    async fn check_nothing_is_left(&self) {
        tokio::time::sleep(2 * IDLE).await;
        let inner = &self.rig.reader.0;
        assert_eq!(self.rig.reader.ahead(), (0, 0));
        assert_eq!((inner.cache.loads_in_use(), inner.ahead.room.usage().used), (0, 0));
        let loads = inner.in_flight.lock().values().filter(|load| load.load().is_some()).count();
        assert_eq!(loads, 0);
        assert_eq!(inner.env.tasks.running(), [""; 0], "nor a task");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sequential_reader_waits_a_tenth_of_the_time_for_a_tenth_of_the_gets() {
    let plain = Log::new(1 << 30, 64, 64).silent();
    let without = plain.read(0, plain.end()).await;
    assert_eq!((without, plain.gets()), (Duration::from_millis(64 * 20), 64));
    let log = Log::new(1 << 30, 64, 64);
    let with = log.read(0, log.end()).await;
    // Two waits before it is known to be sequential, one for 1 to 4 MiB; then three GETs of 8 MiB are on their way at once.
    assert!(with <= Duration::from_millis(6 * 20), "{with:?} instead of {without:?}");
    assert!(log.gets() <= 14, "{} GETs", log.gets());
    assert_eq!(log.rig.reader.stats().get_bytes, 64 * MIB, "nothing twice, nothing beyond");
    log.check_nothing_is_left().await;
    assert_eq!(log.rig.reader.stats().ahead_unread, 0);
}

/// Objects of 4 MiB are smaller than a GET ahead may be: two of them are on their way.
#[tokio::test(start_paused = true)]
async fn a_replay_goes_on_into_the_next_object() {
    let log = Log::new(1 << 30, 64, 10);
    let took = log.read(0, log.end()).await;
    assert!(took <= Duration::from_millis(7 * 20), "{took:?}");
    assert!(log.gets() <= 20, "{} GETs for 13 objects", log.gets());
    log.check_nothing_is_left().await;
}

/// Merges may leave a stream in two objects by turns: a GET brings what lies in a row in one of them.
#[tokio::test(start_paused = true)]
async fn a_replay_of_what_lies_in_two_objects_by_turns_costs_few_gets() {
    let plain = Log::by_turns(1 << 30, 64, 2).silent();
    plain.read(0, plain.end()).await;
    let log = Log::by_turns(1 << 30, 64, 2);
    let took = log.read(0, log.end()).await;
    assert!(took <= Duration::from_millis(9 * 20), "{took:?}");
    assert_eq!(plain.gets(), 64);
    assert!(log.gets() <= 20, "{} GETs", log.gets());
    assert_eq!(log.rig.reader.stats().get_bytes, 64 * MIB, "nothing twice, nothing beyond");
    log.check_nothing_is_left().await;
    assert_eq!(log.rig.reader.stats().ahead_unread, 0);
}

#[tokio::test(start_paused = true)]
async fn four_readers_of_a_range_cost_the_gets_of_one() {
    let one = Log::new(1 << 30, 128, 64);
    one.read(0, one.end()).await;
    let bound = one.gets() + one.gets() / 4;
    for apart_ms in [0, 1, 10, 50, 200, 5000] {
        let log = Log::new(1 << 30, 128, 64);
        join_all((0..4).map(|reader| {
            let log = &log;
            async move {
                tokio::time::sleep(Duration::from_millis(reader * apart_ms)).await;
                // Each has its own pace.
                let mut at = 0;
                while at < log.end() {
                    at = log.fetch(at, MIB + reader * 300_000).await;
                    tokio::time::sleep(Duration::from_millis(1 + reader * apart_ms % 7)).await;
                }
            }
        }))
        .await;
        assert!(log.gets() <= bound, "{apart_ms} ms apart: {} GETs, one reader {}", log.gets(), one.gets());
        log.check_nothing_is_left().await;
    }
}

/// The cache holds 38 MiB, others read 200 MiB while this one pauses: what was loaded for it is there when it comes.
#[tokio::test(start_paused = true)]
async fn what_was_loaded_stays_until_its_reader_has_passed() {
    let log = Log::new(256 << 20, 256, 512);
    let mut at = 0;
    while at < 8 * 2 * RECORDS {
        at = log.fetch(at, MIB).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (_, held) = log.rig.reader.ahead();
    assert!(held >= 2, "{held} GETs are ahead");
    let busy = Log { rig: log.rig, blocks: log.blocks, tells: false };
    busy.read(50 * 2 * RECORDS, 250 * 2 * RECORDS).await;
    let log = Log { tells: true, ..busy };
    let (gets, began) = (log.gets(), Instant::now());
    while log.gets() == gets && at < 9 * 2 * RECORDS {
        at = log.fetch(at, MIB).await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "it waited");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_leaves_nothing_behind() {
    let log = Log::new(1 << 30, 64, 64);
    let mut at = 0;
    while at < 20 * 2 * RECORDS {
        at = log.fetch(at, MIB).await;
    }
    assert!(log.rig.reader.loads_in_use() >= 16 * MIB, "two GETs are ahead");
    log.check_nothing_is_left().await;
    assert!(log.rig.reader.stats().ahead_unread >= 2);
    // Nor one that stops while its GETs are on their way.
    let log = Log::new(1 << 30, 64, 64);
    log.rig.read_takes(120_000);
    tokio::time::timeout(Duration::from_secs(200), log.fetch(0, MIB)).await.unwrap();
    let waits = tokio::time::timeout(Duration::from_secs(1), log.fetch(2 * RECORDS, MIB)).await;
    waits.expect_err("it gave up");
    tokio::time::sleep(Duration::from_secs(200)).await;
    log.check_nothing_is_left().await;
}

/// Sixty readers in a small budget: none waits for room that others fill ahead, all come through.
#[tokio::test(start_paused = true)]
async fn loading_ahead_takes_only_what_is_free() {
    let log = Log::new(64 << 20, 80, 200);
    join_all((0..60).map(|reader| log.read(reader * 2 * RECORDS, (reader + 15) * 2 * RECORDS))).await;
    assert!(log.rig.reader.stats().ahead_refused > 0, "the budget was tight");
    log.check_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_ahead_is_told_to_who_asks_for_it() {
    let log = Log::new(1 << 30, 32, 64);
    let mut at = log.fetch(0, MIB).await;
    at = log.fetch(at, MIB).await;
    let honest = log.rig.flip(0, log.blocks[30].position);
    while at < log.blocks[30].base {
        at = log.fetch(at, MIB / 2).await;
    }
    let error = log.rig.reader.load(&log.blocks[30..31]).await.unwrap_err();
    assert!(matches!(error, ReadError::Corrupt { .. }), "{error}");
    log.rig.replace(0, honest);
    log.read(at, log.end()).await;
    log.check_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn readers_that_are_remembered_are_bounded() {
    let log = Log::new(1 << 30, 1, 2);
    for stream in 0..2 * READERS_MAX as u64 {
        let read = SequentialRead { stream: StreamId(stream), from: 0, to: 1, missed: false };
        log.rig.reader.sequential(read, |_, _| async { Ok(Vec::new()) });
    }
    assert_eq!(log.rig.reader.ahead(), (READERS_MAX, 0));
}

/// One GET in fifty takes two seconds: what is read does not.
#[tokio::test(start_paused = true)]
async fn a_slow_get_is_sent_twice() {
    let log = Log::new(1 << 30, 120, 240);
    log.rig.slow_every(50, 2000);
    let began = Instant::now();
    for reader in 0..60 {
        // Nobody is sequential.
        log.fetch(reader * 7 % 60 * 4 * RECORDS, MIB).await;
        log.fetch((reader * 7 % 60 * 4 + 2) * RECORDS, MIB).await;
    }
    let stats = log.rig.reader.stats();
    assert_eq!((stats.hedges, stats.hedges_won), (2, 2));
    assert!(began.elapsed() < Duration::from_millis(130 * 20), "{:?}", began.elapsed());
    log.check_nothing_is_left().await;
}

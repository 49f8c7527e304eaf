//! How fast the store is read beside a producer (DESIGN §7: cold reads do not delay a produce). Pure: time is an argument.
//!
//! What an object of the lane takes, from its first append until it is durable, is what a producer waits for. Where nothing
//! is read these times are *quiet*; the last of them are remembered, and renewed by a *pause* of all reads now and then. An
//! object is *late* where it takes half as long again as 95 of a hundred quiet ones, or four times as long as half of them.
//! Some are so by themselves. The rate of reads is halved when several times as many are late beside reads as without, which
//! Page's test decides ("Continuous inspection schemes", 1954): a sum of logarithms of likelihood ratios that never falls below
//! zero. The rate grows by itself while it is made use of, slowly where it was lowered, and faster the longer it was not.
//! Who begins to read beside a producer begins slowly, and soon reads as fast as he can where nobody is late.
//!
//! So who stands in nobody's way is not held up in the end, and who only reads never is: without objects nothing is late.

use std::collections::VecDeque;
use std::time::Duration;

/// Quiet times that are remembered at most; and those beyond the last few for how many times of what they are renewed after: a
/// start is forgotten soon.
const WINDOW: usize = 256;
const REMEMBERED: u32 = 4;
const REMEMBERED_MIN: usize = 20;
/// With fewer nothing is known, and nothing late.
const SAMPLES_MIN: usize = 10;
/// What was read goes on through sockets and clients for so long after a GET.
const SETTLE: Duration = Duration::from_millis(50);
/// Quiet times are renewed when the last is so old, and reads were not held up for so many times of that.
const RENEW_AFTER: Duration = Duration::from_secs(5);
const TIMES_WITHOUT: u32 = 20;
/// How long reads pause for that, once all is quiet: so long, or twice what an object takes, and no longer than that.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long all reads wait for those under way to end. One that hangs shall not stop the others.
const DRAIN_MAX: Duration = Duration::from_millis(500);
/// How often who waits asks again.
const LOOK: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(100);
/// A lane that has had no object for so long is idle: nobody gives way to it.
const LANE_IDLE: Duration = Duration::from_secs(5);
/// Nobody is late who took no longer: it is what producers linger by default (librdkafka's `linger.ms`, and Kafka's since
/// KIP-1030), and disks hesitate by themselves.
const LATE_MIN: Duration = Duration::from_millis(5);
/// Of quiet objects those are no measure that took longer than so many times what they take usually: a start, a hesitation.
const USUAL_MAX: u32 = 4;
/// The test: are so many times as many late as when it is quiet? No fewer than this share is taken to be late when quiet, as few
/// were seen, and no more, as nothing could be told.
const TIMES_AS_MANY: f64 = 2.0;
const LATE_QUIET_MIN: f64 = 0.01;
const LATE_QUIET_MAX: f64 = 0.25;
/// It is decided by as much as so many late ones say; by so many times that more where all are late when quiet, and by their
/// share else: the more are late by themselves, the sooner chance brings some together.
const LATE_OBJECTS: f64 = 3.5;
const MORE_BY_SHARE: f64 = 8.0;
/// What one counts that was on its way when another came late: a disk that hesitates once does so for a few.
const TOGETHER: f64 = 0.25;
/// Reads that begin beside a producer have so many times the least rate, and so many times more with every second, until
/// somebody is late: as fast as they can at once, they were a blow. They begin where none was for so long.
const START: f64 = 2.0;
const GROWTH_START: f64 = 4.0;
const READS_IDLE: Duration = Duration::from_secs(5);
/// What is left of the rate then.
const LOWERED: f64 = 0.5;
/// What was begun before holds up objects for so long after it was lowered.
const LOWERED_AFTER: Duration = Duration::from_secs(1);
/// The first rate is this part of what is read until then.
const FIRST: f64 = 0.125;
/// By what it grows in a second; from this part on of where it was lowered by that, and by so much more for each second since.
const GROWTH: f64 = 1.5;
const NEAR: f64 = 0.8;
const GROWTH_NEAR: f64 = 1.05;
const GROWTH_MORE: f64 = 0.01;
/// A rate that is larger than so many times what is read is not made use of.
const USED: f64 = 1.5;
/// What is read at once where there is a limit: so much time of it, or half of what a read takes where that is longer, as few
/// are under way at once; and no less than this.
const BURST: Duration = Duration::from_millis(30);
const BURST_MAX: Duration = Duration::from_millis(500);
/// Weight of one more read in what they take.
const READ_TIME_GAIN: u32 = 8;
const READ_MIN: u64 = 1 << 20;
/// Bytes per second that are no limit any more.
const RATE_MAX: f64 = (8_u64 << 30) as f64;

/// What an object of the lane met when it was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    at: Duration,
    /// Reads begun until then.
    reads: u64,
    /// None of them was under way.
    alone: bool,
}

/// When a read may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Then. It counts already.
    At(Duration),
    /// That is not known. To be asked again then.
    Ask(Duration),
}

/// The rate of reads, and what it is derived from. Times are since some fixed moment.
#[derive(Clone, Debug)]
pub struct ReadPace {
    /// Bytes per second that reads have in any case.
    rate_min: f64,
    /// Quiet times and when they were taken, oldest first.
    quiet: VecDeque<(Duration, Duration)>,
    /// What follows from these; None where it was not asked for since they changed.
    measure: Option<Measure>,
    /// When the lane's last object was durable, and how long it took.
    object_at: Option<Duration>,
    took: Duration,
    /// Bytes per second; None is no limit.
    rate: Option<f64>,
    /// When it was that.
    rate_at: Duration,
    /// It was not lowered since reads began.
    starting: bool,
    /// Where it was lowered last, and when.
    ceiling: f64,
    lowered_at: Duration,
    /// What was put before says nothing of the rate that is.
    judged_from: Duration,
    /// For that more are late than when quiet: logarithm of the ratio of likelihoods, of objects put since then.
    evidence: f64,
    /// When the last late one was durable. What had come before that may have been held up by the same.
    late_at: Duration,
    /// When the next read may begin.
    next: Duration,
    pause: Pause,
    /// When the last one ended.
    paused_at: Option<Duration>,
    in_flight: usize,
    /// Reads begun.
    reads: u64,
    /// When the last one ended, and what they take, smoothed.
    ended_at: Duration,
    read_time: Duration,
    /// Bytes read in this second, and in the one before.
    second: u64,
    bytes: [u64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    None,
    /// Until what is under way has ended, since then.
    Draining(Duration),
    /// Until then.
    Until(Duration),
}

impl ReadPace {
    /// No limit yet. Never one below `rate_min` bytes per second: a replay comes to its end.
    pub fn new(rate_min: u64) -> ReadPace {
        ReadPace {
            rate_min: rate_min.max(1) as f64,
            quiet: VecDeque::new(),
            measure: None,
            object_at: None,
            rate: None,
            rate_at: Duration::ZERO,
            starting: false,
            ceiling: 0.0,
            lowered_at: Duration::ZERO,
            judged_from: Duration::ZERO,
            evidence: 0.0,
            late_at: Duration::ZERO,
            took: Duration::ZERO,
            next: Duration::ZERO,
            pause: Pause::None,
            paused_at: None,
            in_flight: 0,
            reads: 0,
            ended_at: Duration::ZERO,
            read_time: Duration::ZERO,
            second: 0,
            bytes: [0; 2],
        }
    }

    /// A read of about `bytes` is wanted: when may it begin?
    pub fn wanted(&mut self, bytes: u64, now: Duration) -> Turn {
        if let Some(ask) = self.paused(now) {
            return Turn::Ask(ask);
        }
        self.start(now);
        self.grow(now);
        Turn::At(self.take_turn(bytes, now))
    }

    /// The turn of a read of about `bytes` was to be `at`: may it begin now? Else gives when to ask again; `at` may be another
    /// then.
    pub fn begin(&mut self, at: &mut Duration, bytes: u64, now: Duration) -> Option<Duration> {
        if let Some(ask) = self.paused(now) {
            return Some(ask);
        }
        // All whose turn came while reads paused would begin at once now.
        if self.rate.is_some() && self.paused_at.is_some_and(|paused| *at < paused) {
            *at = self.take_turn(bytes, now);
        }
        // What was slow when the turn was given may be so no more.
        if *at > now && self.rate.is_some() {
            return Some((*at).min(now + LOOK_MAX));
        }
        self.begun();
        None
    }

    /// The read of about `bytes` whose turn was to be `at` does not begin: what of its time is to come is others'.
    pub fn gave_up(&mut self, at: Duration, bytes: u64, now: Duration) {
        if let Some(rate) = self.rate {
            let end = at + Duration::from_secs_f64(bytes as f64 / rate);
            self.next = self.next.saturating_sub(end.saturating_sub(at.max(now))).max(now);
        }
    }

    /// A read begins that nobody may hold up. About `bytes` count for those that come.
    pub fn at_once(&mut self, bytes: u64, now: Duration) {
        self.take_turn(bytes, now);
        self.begun();
    }

    fn take_turn(&mut self, bytes: u64, now: Duration) -> Duration {
        let begin = self.next.max(now);
        self.charge(bytes, begin);
        begin
    }

    fn begun(&mut self) {
        self.in_flight += 1;
        self.reads += 1;
    }

    /// It has ended after so long, and brought `bytes` where about `wanted` of them were.
    pub fn ended(&mut self, wanted: u64, bytes: u64, took: Duration, now: Duration) {
        self.in_flight -= 1;
        self.ended_at = now;
        self.read_time = (self.read_time * (READ_TIME_GAIN - 1) + took.min(BURST_MAX * 2)) / READ_TIME_GAIN;
        let second = now.as_secs();
        if second != self.second {
            self.bytes = [0, if second == self.second + 1 { self.bytes[0] } else { 0 }];
            self.second = second;
        }
        self.bytes[0] += bytes;
        if let Some(rate) = self.rate {
            let time = |bytes: u64| Duration::from_secs_f64(bytes as f64 / rate);
            self.next += time(bytes.saturating_sub(wanted));
            self.next = self.next.saturating_sub(time(wanted.saturating_sub(bytes))).max(now);
        }
    }

    /// Is there so much to be read before something that is wanted now that nothing should be read ahead? That is more than what
    /// comes while one read is under way: who is far from the store reads so much ahead, or never makes use of his rate.
    pub fn behind(&self, now: Duration) -> bool {
        self.pause != Pause::None || self.next > now + self.read_time.max(BURST)
    }

    /// An object of the lane is put now.
    pub fn put(&self, now: Duration) -> Met {
        Met { at: now, reads: self.reads, alone: self.in_flight == 0 }
    }

    /// It is durable, `took` after its first append.
    pub fn durable(&mut self, met: Met, took: Duration, now: Duration) {
        (self.object_at, self.took) = (Some(now), took);
        let remembered = self.renew_after() * REMEMBERED;
        let old = |(_, at): &(Duration, Duration)| now.saturating_sub(*at) > remembered;
        while self.quiet.len() >= WINDOW
            || (self.quiet.len() > REMEMBERED_MIN && self.quiet.front().is_some_and(old))
        {
            self.quiet.pop_front();
            self.measure = None;
        }
        // From its first append on: what waited for others beside reads is not quiet.
        let settled = self.reads == 0 || now.saturating_sub(took) >= self.ended_at + SETTLE;
        if met.alone && met.reads == self.reads && settled {
            self.quiet.push_back((took, now));
            self.measure = None;
            // What was late beside reads that are over is of another time.
            self.evidence = (self.evidence - TOGETHER).max(0.0);
        } else if met.at >= self.judged_from {
            self.judge(took, now);
        }
    }

    fn judge(&mut self, took: Duration, now: Duration) {
        if self.quiet.len() < SAMPLES_MIN {
            return;
        }
        let measure = *self.measure.get_or_insert_with(|| Measure::of(&self.quiet));
        let weight = if now.saturating_sub(took) >= self.late_at { 1.0 } else { TOGETHER };
        if took <= measure.late_from {
            self.evidence = (self.evidence - measure.against * weight).max(0.0);
            return;
        }
        self.evidence += TIMES_AS_MANY.ln() * weight;
        self.late_at = now;
        if self.evidence >= measure.decided {
            self.lower(now);
        }
    }

    /// Bytes per second that reads have at most. None: no limit.
    pub fn rate(&self) -> Option<u64> {
        self.rate.map(|rate| rate as u64)
    }

    /// Bytes that one read brings at most: what comes at once is a burst for everybody behind it, however seldom.
    pub fn read_bytes_max(&self) -> u64 {
        let burst = (self.read_time / 2).clamp(BURST, BURST_MAX);
        self.rate.map_or(u64::MAX, |rate| ((rate * burst.as_secs_f64()) as u64).max(READ_MIN))
    }

    fn lower(&mut self, now: Duration) {
        self.grow(now);
        // Of a limit that nobody reaches nothing would be left to see. What has just begun is not read for a second yet.
        let used = if self.starting { RATE_MAX } else { self.used() };
        self.ceiling = self.rate.unwrap_or(RATE_MAX).min(used).max(self.rate_min);
        (self.lowered_at, self.evidence, self.starting) = (now, 0.0, false);
        self.judged_from = now + LOWERED_AFTER;
        self.limit(self.ceiling * LOWERED, now);
    }

    /// Reads begin beside a lane that lives.
    fn start(&mut self, now: Duration) {
        let idle = self.reads == 0 || now.saturating_sub(self.ended_at) > READS_IDLE;
        if self.rate.is_none() && self.in_flight == 0 && idle && !self.lane_is_idle(now) {
            self.starting = true;
            self.limit(self.rate_min * START, now);
        }
    }

    fn grow(&mut self, now: Duration) {
        let Some(rate) = self.rate else { return };
        let made_use_of = if self.starting {
            self.next >= now
        } else {
            let used = if now.as_secs() > self.second + 1 { 0.0 } else { self.used() };
            rate <= used * USED
        };
        if !made_use_of {
            self.rate_at = now;
            return;
        }
        let since = now.saturating_sub(self.rate_at).as_secs_f64();
        let calm = now.saturating_sub(self.lowered_at).as_secs_f64();
        let growth = if self.starting {
            GROWTH_START
        } else if rate < self.ceiling * NEAR {
            GROWTH
        } else {
            (GROWTH_NEAR + GROWTH_MORE * calm).min(GROWTH)
        };
        self.limit(rate * growth.powf(since), now);
    }

    fn limit(&mut self, rate: f64, now: Duration) {
        self.rate = (rate < RATE_MAX).then_some(rate.max(self.rate_min));
        self.rate_at = now;
        self.starting &= self.rate.is_some();
    }

    fn lane_is_idle(&self, now: Duration) -> bool {
        self.object_at.is_none_or(|at| now.saturating_sub(at) > LANE_IDLE)
    }

    /// When to ask again, while reads pause.
    fn paused(&mut self, now: Duration) -> Option<Duration> {
        if self.lane_is_idle(now) {
            (self.rate, self.starting, self.next) = (None, false, now);
            (self.pause, self.evidence) = (Pause::None, 0.0);
            return None;
        }
        match self.pause {
            Pause::None => {
                let newest = self.quiet.back().map(|(_, at)| *at).max(self.paused_at);
                if newest.is_none_or(|newest| now.saturating_sub(newest) > self.renew_after()) {
                    self.pause = Pause::Draining(now);
                }
            }
            Pause::Draining(_) if self.in_flight == 0 => {
                let settled_at = self.ended_at.max(now.saturating_sub(SETTLE)) + SETTLE;
                self.pause = Pause::Until(settled_at + self.pause_time());
                if self.ceiling == 0.0 && self.quiet.len() < SAMPLES_MIN {
                    // Nobody knows what producers bear, who have just begun.
                    self.ceiling = (self.used() * FIRST).max(self.rate_min);
                    self.lowered_at = now;
                    self.limit(self.ceiling, now);
                }
            }
            Pause::Draining(since) if now.saturating_sub(since) > DRAIN_MAX => self.go_on(now),
            Pause::Until(until) if now >= until => self.go_on(now),
            Pause::Draining(_) | Pause::Until(_) => {}
        }
        match self.pause {
            Pause::None => None,
            Pause::Draining(_) => Some(now + LOOK),
            Pause::Until(until) => Some(until),
        }
    }

    fn renew_after(&self) -> Duration {
        RENEW_AFTER.max(self.pause_time() * TIMES_WITHOUT)
    }

    fn pause_time(&self) -> Duration {
        (self.took * 2).clamp(PAUSE, PAUSE_MAX)
    }

    fn go_on(&mut self, now: Duration) {
        (self.pause, self.paused_at) = (Pause::None, Some(now));
    }

    fn charge(&mut self, bytes: u64, begin: Duration) {
        if let Some(rate) = self.rate {
            self.next = begin + Duration::from_secs_f64(bytes as f64 / rate);
        }
    }

    fn used(&self) -> f64 {
        self.bytes[0].max(self.bytes[1]) as f64
    }
}

/// By what objects are judged.
#[derive(Clone, Copy, Debug)]
struct Measure {
    /// What takes longer is late.
    late_from: Duration,
    /// What one that is not late says against that more are than when quiet.
    against: f64,
    /// From this sum on it is decided.
    decided: f64,
}

impl Measure {
    /// Of [`SAMPLES_MIN`] quiet times and more.
    fn of(quiet: &VecDeque<(Duration, Duration)>) -> Measure {
        let mut sorted: Vec<Duration> = quiet.iter().map(|(took, _)| *took).collect();
        let (faster, slow, _) = sorted.select_nth_unstable(quiet.len() * 95 / 100);
        let slow = *slow;
        let (_, usual, _) = faster.select_nth_unstable(quiet.len() / 2);
        let late_from = (slow * 3 / 2).min(*usual * USUAL_MAX).max(LATE_MIN);
        // Those that are late by themselves, of one more than there were: nobody has seen all.
        let late = quiet.iter().filter(|(took, _)| *took > late_from).count() as f64 + 0.5;
        let share = (late / (quiet.len() as f64 + 1.0)).clamp(LATE_QUIET_MIN, LATE_QUIET_MAX);
        let more = 1.0 + (share - LATE_QUIET_MIN) * MORE_BY_SHARE;
        let against = ((1.0 - share) / (1.0 - share * TIMES_AS_MANY)).ln();
        Measure { late_from, against, decided: TIMES_AS_MANY.ln() * LATE_OBJECTS * more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    const MIB: u64 = 1 << 20;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A lane that puts an object every 10 ms, and readers who want 1 MiB at a time, as fast as they may: `takes` says how long
    /// an object takes at so many MiB of the last 50 ms.
    struct World {
        pace: ReadPace,
        now: Duration,
        read: VecDeque<Duration>,
        late: u32,
        objects: u32,
    }

    impl World {
        fn new(rate_min: u64) -> World {
            let pace = ReadPace::new(rate_min);
            World { pace, now: ms(60_000), read: VecDeque::new(), late: 0, objects: 0 }
        }

        /// Goes on for so long; gives the MiB read.
        fn run(&mut self, time: Duration, readers: bool, takes: impl Fn(usize) -> Duration) -> u64 {
            let (until, mut mib, mut turn) = (self.now + time, 0, None);
            while self.now < until {
                let met = self.pace.put(self.now);
                let end = self.now + ms(10);
                // A MiB takes a quarter of a millisecond at least.
                while readers && self.now < end {
                    match turn.unwrap_or_else(|| self.pace.wanted(MIB, self.now)) {
                        Turn::At(mut at) if at <= self.now => {
                            if let Some(ask) = self.pace.begin(&mut at, MIB, self.now) {
                                if ask > end {
                                    break;
                                }
                                (self.now, turn) = (ask, Some(Turn::At(at)));
                                continue;
                            }
                            self.now += Duration::from_micros(250);
                            self.pace.ended(MIB, MIB, Duration::from_micros(250), self.now);
                            self.read.push_back(self.now);
                            (mib, turn) = (mib + 1, None);
                        }
                        Turn::At(at) if at <= end => {
                            self.now = at;
                            turn = Some(Turn::At(at));
                        }
                        Turn::At(at) => {
                            turn = Some(Turn::At(at));
                            break;
                        }
                        Turn::Ask(at) if at <= end => self.now = at,
                        Turn::Ask(_) => break,
                    }
                }
                self.now = self.now.max(end);
                while self.read.front().is_some_and(|at| *at + SETTLE < self.now) {
                    self.read.pop_front();
                }
                let took = takes(self.read.len());
                self.late += u32::from(took > ms(25));
                self.objects += 1;
                self.pace.durable(met, took, self.now);
            }
            mib
        }
    }

    #[test]
    fn who_is_in_nobodys_way_is_not_held_up() {
        let mut world = World::new(32 * MIB);
        world.run(ms(10_000), false, |_| ms(20));
        let alone = world.run(ms(20_000), true, |_| ms(22));
        assert!(
            alone >= 20 * 4000 * 4 / 5,
            "{alone} MiB of 80,000: reads begin slowly, and pause now and then"
        );
    }

    #[test]
    fn reads_that_begin_are_no_blow() {
        for quiet in [10_000, 60_000] {
            let mut world = World::new(32 * MIB);
            world.run(ms(quiet), false, |_| ms(15));
            let read = world.run(ms(200), true, |_| ms(15));
            assert!((10..40).contains(&read), "{read} MiB in 200 ms, of 800");
        }
    }

    #[test]
    fn who_waited_for_a_turn_in_a_pause_waits_for_one_after_it() {
        let mut pace = limited(MIB);
        pace.pause = Pause::Until(ms(3000));
        let mut turns = [ms(1500), ms(2000), ms(2500)];
        let begun = |pace: &mut ReadPace, turns: &mut [Duration], now| {
            turns.iter_mut().map(|turn| pace.begin(turn, MIB / 4, now)).filter(Option::is_none).count()
        };
        assert_eq!(begun(&mut pace, &mut turns, ms(2900)), 0);
        assert_eq!(begun(&mut pace, &mut turns, ms(3000)), 1, "all of these came in the pause");
        assert_eq!(turns, [ms(3000), ms(3250), ms(3500)]);
        assert_eq!(begun(&mut pace, &mut turns[1..], ms(3300)), 1);
    }

    #[test]
    fn without_a_producer_there_is_no_limit() {
        let mut pace = ReadPace::new(MIB);
        for n in 0..1000 {
            let now = ms(n);
            assert_eq!(pace.wanted(8 * MIB, now), Turn::At(now));
            assert_eq!(pace.begin(&mut now.clone(), 8 * MIB, now), None);
            pace.ended(8 * MIB, 8 * MIB, ms(0), now);
        }
        assert_eq!(pace.rate(), None);
    }

    #[test]
    fn reads_find_the_rate_at_which_producers_are_not_late() {
        let mut world = World::new(32 * MIB);
        world.run(ms(10_000), false, |_| ms(15));
        // From 25 MiB in 50 ms on, objects take twice as long.
        let takes = |mib| if mib > 25 { ms(30) } else { ms(15) };
        world.run(ms(10_000), true, takes);
        (world.late, world.objects) = (0, 0);
        let read = world.run(ms(60_000), true, takes);
        assert!(world.late * 50 < world.objects, "{} of {} are late", world.late, world.objects);
        assert!((60 * 250..60 * 500).contains(&read), "{read} MiB of 30,000");
    }

    #[test]
    fn reads_go_on_however_late_producers_are() {
        let mut world = World::new(32 * MIB);
        world.run(ms(10_000), false, |_| ms(1));
        world.run(ms(10_000), true, |mib| if mib > 0 { ms(1000) } else { ms(1) });
        let read = world.run(ms(60_000), true, |mib| if mib > 0 { ms(1000) } else { ms(1) });
        assert!((60 * 25..60 * 64).contains(&read), "{read} MiB in a minute, with 32 a second in any case");
    }

    #[test]
    fn a_store_that_is_slow_by_itself_is_learned_in_pauses() {
        let mut world = World::new(32 * MIB);
        world.run(ms(10_000), false, |_| ms(15));
        world.run(ms(30_000), true, |_| ms(60));
        let read = world.run(ms(30_000), true, |_| ms(60));
        assert!(read > 30 * 2000, "{read} MiB");
    }

    #[test]
    fn who_is_late_now_and_then_by_himself_is_not_held_up_by_reads() {
        for one_in in [50, 20, 10, 5, 3] {
            let mut world = World::new(32 * MIB);
            let dice = Entropy::seeded(1);
            let takes = |_| if dice.u64().is_multiple_of(one_in) { ms(20) } else { ms(2) };
            world.run(ms(10_000), false, takes);
            let read = world.run(ms(60_000), true, takes);
            assert!(read > 60 * 1000, "{read} MiB, one in {one_in} is late");
        }
    }

    #[test]
    fn reads_of_a_store_that_is_far_away_are_not_held_up_by_their_size() {
        let mut pace = limited(32 * MIB);
        let (mut reads, mut turn) = (Vec::<(Duration, u64)>::new(), None);
        for n in 1000..60_000 {
            if n % 10 == 0 {
                pace.durable(pace.put(ms(n)), ms(5), ms(n));
            }
            for (_, bytes) in reads.extract_if(.., |(at, _)| *at + ms(300) <= ms(n)).collect::<Vec<_>>() {
                pace.ended(bytes, bytes, ms(300), ms(n));
            }
            // Three at once, as one sequential reader has.
            while reads.len() < 3 {
                if turn.is_none() {
                    let bytes = pace.read_bytes_max().min(8 * MIB);
                    let Turn::At(at) = pace.wanted(bytes, ms(n)) else { break };
                    turn = Some((at, bytes));
                }
                let Some((at, bytes)) = &mut turn else { break };
                if pace.begin(at, *bytes, ms(n)).is_some() {
                    break;
                }
                reads.push((ms(n), *bytes));
                turn = None;
            }
        }
        assert!(pace.used() > 70.0 * MIB as f64, "{} of 80 MiB a second", pace.used() / MIB as f64);
    }

    #[test]
    fn a_producer_who_sends_little_is_judged_for_as_long_as_reads_go_on() {
        let mut pace = ReadPace::new(MIB);
        let mut now = ms(0);
        // One object at a time, of 100 ms; and reads that are there all the time but in pauses.
        let mut reading = false;
        while now < ms(120_000) {
            let met = pace.put(now);
            for _ in 0..10 {
                now += ms(10);
                if reading {
                    pace.ended(MIB, MIB, ms(10), now);
                    reading = false;
                }
                if now > ms(5_000) && matches!(pace.wanted(MIB, now), Turn::At(_)) {
                    pace.begun();
                    reading = true;
                }
            }
            pace.durable(met, ms(100), now);
        }
        assert!(pace.quiet.len() >= SAMPLES_MIN, "{} are remembered", pace.quiet.len());
    }

    #[test]
    fn a_producer_that_comes_to_reads_is_learned_first() {
        let mut world = World::new(32 * MIB);
        let takes = |mib| if mib > 25 { ms(100) } else { ms(15) };
        let now = world.now;
        for n in 0..2000 {
            world.pace.at_once(MIB, now + ms(n));
            world.pace.ended(MIB, MIB, ms(0), now + ms(n));
        }
        world.now = now + ms(2000);
        world.run(ms(10_000), true, takes);
        assert!(world.late * 50 < world.objects, "{} of {} are late", world.late, world.objects);
    }

    /// A pace with a limit beside a lane that lives.
    fn limited(rate: u64) -> ReadPace {
        let mut pace = ReadPace::new(MIB);
        pace.durable(pace.put(ms(0)), ms(1), ms(1000));
        pace.limit(rate as f64, ms(1000));
        pace
    }

    #[test]
    fn a_read_counts_as_what_it_brought() {
        for (wanted, brought, next) in [(MIB / 4, MIB, 2000), (MIB, MIB / 4, 1250), (MIB, 0, 1000)] {
            let mut pace = limited(MIB);
            assert_eq!(pace.wanted(wanted, ms(1000)), Turn::At(ms(1000)));
            assert_eq!(pace.begin(&mut ms(1000), wanted, ms(1000)), None);
            pace.ended(wanted, brought, ms(0), ms(1000));
            assert_eq!(pace.wanted(1, ms(1000)), Turn::At(ms(next)), "{wanted} wanted, {brought} brought");
        }
    }

    #[test]
    fn who_is_urgent_does_not_wait_and_counts() {
        let mut pace = limited(MIB);
        pace.at_once(MIB, ms(1000));
        pace.at_once(MIB, ms(1000));
        assert_eq!(pace.wanted(1, ms(1000)), Turn::At(ms(3000)));
        assert!(pace.behind(ms(1000)));
    }

    #[test]
    fn who_gives_up_leaves_what_of_his_turn_is_to_come() {
        for (given_up, next) in [(1000, 3000), (2000, 3000), (3500, 3500), (5000, 5000)] {
            let mut pace = limited(MIB);
            pace.at_once(2 * MIB, ms(1000));
            assert_eq!(pace.wanted(MIB, ms(1000)), Turn::At(ms(3000)));
            pace.gave_up(ms(3000), MIB, ms(given_up));
            assert_eq!(pace.wanted(1, ms(given_up)), Turn::At(ms(next)), "given up at {given_up} ms");
        }
        // Nobody else's: behind a turn that is over others wait for theirs.
        let mut pace = limited(MIB);
        assert_eq!(pace.wanted(MIB, ms(1000)), Turn::At(ms(1000)));
        pace.at_once(3 * MIB, ms(1000));
        pace.gave_up(ms(1000), MIB, ms(2500));
        assert_eq!(pace.wanted(1, ms(2500)), Turn::At(ms(5000)));
    }

    #[test]
    fn who_waits_begins_when_there_is_no_limit_any_more() {
        let mut pace = limited(MIB);
        pace.at_once(100 * MIB, ms(1000));
        let Turn::At(mut at) = pace.wanted(MIB, ms(1000)) else { panic!("a pause") };
        assert_eq!((pace.begin(&mut at, MIB, ms(1000)), at), (Some(ms(1100)), ms(101_000)));
        assert_eq!(pace.begin(&mut at, MIB, ms(7000)), None, "the lane is idle");
        assert_eq!(pace.wanted(MIB, ms(7000)), Turn::At(ms(7000)));
    }

    #[test]
    fn one_read_that_hangs_does_not_stop_the_others() {
        let mut pace = limited(MIB);
        pace.at_once(1, ms(1000));
        let mut asked = 0;
        for n in 1000..20_000 {
            pace.durable(pace.put(ms(n)), ms(1), ms(n));
            asked += u32::from(matches!(pace.wanted(0, ms(n)), Turn::Ask(_)));
        }
        assert!((1000..3000).contains(&asked), "{asked} of 19,000 ms");
    }

    /// Pauses to learn what an object takes beside no reads, when it took `took` before; tells when reads may go on.
    fn learned_after(took: Duration) -> Duration {
        let mut pace = ReadPace::new(MIB);
        pace.durable(pace.put(ms(1000)), took, ms(1000));
        let known_until = ms(1000) + RENEW_AFTER.max(pace.pause_time() * TIMES_WITHOUT);
        // The lane goes on beside a read that goes on, so that nothing quiet is seen.
        pace.at_once(1, ms(1000));
        let mut now = ms(1000);
        while now <= known_until {
            assert!(matches!(pace.wanted(0, now), Turn::At(_)), "a pause at {now:?}, {took:?} an object");
            pace.durable(pace.put(now), took, now);
            now += ms(500);
        }
        assert!(matches!(pace.wanted(0, now), Turn::Ask(_)), "reads are drained at {now:?}");
        assert!(pace.behind(now), "nothing is read ahead in a pause");
        pace.ended(1, 1, ms(0), now);
        match pace.wanted(0, now) {
            Turn::Ask(until) => until - now,
            Turn::At(at) => panic!("no pause, a turn at {at:?}"),
        }
    }

    #[test]
    fn a_pause_is_as_long_as_the_store_is_slow() {
        for (took, pause) in [(1, 200), (100, 200), (300, 600), (5_000, 2_000)] {
            assert_eq!(learned_after(ms(took)), SETTLE + ms(pause), "{took} ms an object");
        }
    }

    #[test]
    fn nothing_is_read_ahead_while_turns_are_waited_for() {
        let mut pace = limited(MIB);
        assert!(!pace.behind(ms(1000)));
        // Of a limit of 1 MiB a second a burst is 30 ms: 32 KiB are 31.25 ms, 16 KiB half of that.
        pace.at_once(MIB / 64, ms(1000));
        assert!(!pace.behind(ms(1000)));
        pace.at_once(MIB / 64, ms(1000));
        assert!(pace.behind(ms(1000)) && !pace.behind(ms(1002)));
        // Of a store that takes 300 ms a read so much is.
        for _ in 0..40 {
            pace.ended(0, 0, ms(300), ms(1000));
            pace.at_once(0, ms(1000));
        }
        pace.at_once(MIB / 4, ms(1000));
        assert!(!pace.behind(ms(1000)));
        pace.at_once(MIB / 16, ms(1000));
        assert!(pace.behind(ms(1000)));
    }

    #[test]
    fn what_is_held_up_together_counts_little() {
        let mut pace = ReadPace::new(MIB);
        for n in 0..30 {
            pace.durable(pace.put(ms(n)), ms(1), ms(n));
        }
        pace.at_once(1, ms(100));
        for n in 0..3 {
            pace.durable(pace.put(ms(100)), ms(90), ms(200 + n));
        }
        let rates = [300, 400, 500].map(|at| {
            pace.durable(pace.put(ms(at)), ms(90), ms(at + 100));
            pace.rate()
        });
        assert_eq!(rates, [None, None, Some(MIB)]);
    }

    #[test]
    fn what_is_late_when_quiet_is_no_measure_where_it_is_far_from_usual() {
        let late_from = |slow: u64| {
            let mut pace = ReadPace::new(MIB);
            for n in 0..100 {
                pace.durable(pace.put(ms(n)), ms(if n < 10 { slow } else { 5 }), ms(n));
            }
            Measure::of(&pace.quiet).late_from
        };
        assert_eq!(late_from(8), ms(12));
        assert_eq!(late_from(500), ms(20), "the first of a lane that has just begun");
    }

    #[test]
    fn what_is_put_right_after_the_rate_was_lowered_is_not_judged() {
        let mut pace = ReadPace::new(MIB);
        for n in 0..30 {
            pace.durable(pace.put(ms(n)), ms(1), ms(n));
        }
        pace.at_once(1, ms(1000));
        pace.at_once(1, ms(1000));
        pace.ended(1, 800 * MIB, ms(0), ms(1000));
        let mut late = |at: u64| {
            pace.durable(pace.put(ms(at)), ms(90), ms(at + 100));
            pace.rate().map(|rate| rate / MIB)
        };
        assert_eq!([1010, 1120, 1230, 1340].map(&mut late), [None, None, None, Some(400)]);
        for at in (1450..2440).step_by(110) {
            assert_eq!(late(at), Some(400), "put at {at}, lowered at 1440");
        }
        assert_eq!(
            [2440, 2550, 2660, 2770].map(late),
            [400, 400, 400, 357].map(Some),
            "half of what it had grown to"
        );
    }

    #[test]
    fn the_lower_the_rate_the_less_is_read_at_once() {
        let mut pace = ReadPace::new(MIB);
        assert_eq!(pace.read_bytes_max(), u64::MAX);
        pace.limit(100.0 * MIB as f64, ms(0));
        assert_eq!(pace.read_bytes_max(), 3 * MIB);
        pace.limit(0.0, ms(0));
        assert_eq!((pace.rate(), pace.read_bytes_max()), (Some(MIB), MIB));
    }
}

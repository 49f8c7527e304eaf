//! Scripts and properties of who is a sequential reader.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;
const S: StreamId = StreamId(7);

fn read(from: u64, to: u64) -> SequentialRead {
    SequentialRead { stream: S, from, to, missed: false }
}

fn missed(from: u64, to: u64) -> SequentialRead {
    SequentialRead { missed: true, ..read(from, to) }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Offsets are MiB: a GET of so many bytes reaches that far.
fn begin_all(all: &mut ReadAhead, step: Step) -> Vec<(u64, u64)> {
    let (mut begun, mut next) = (Vec::new(), step.ask);
    while let Some(ask) = next {
        let to = ask.from + ask.bytes / MIB;
        begun.push((ask.from, to));
        next = all.begun(&ask, to, to, ask.bytes).ask;
    }
    begun
}

#[test]
fn the_second_read_begins_two_gets_and_each_next_one_doubles() {
    let mut all = ReadAhead::new();
    assert_eq!(all.read(missed(0, 1), at(0)), Step::default(), "one read is not a sequence");
    assert_eq!(all.read(read(0, 1), at(0)), Step::default(), "nor is the same one again");
    let step = all.read(missed(1, 2), at(0));
    assert_eq!(begin_all(&mut all, step), [(2, 3), (3, 5)]);
    let script = [
        (read(1, 2), vec![], 0),          // still there
        (read(2, 3), vec![(5, 9)], 0),    // in the first GET: one is ahead
        (read(3, 4), vec![(9, 17)], 1),   // past it
        (read(4, 5), vec![], 0),          // two are ahead
        (read(5, 6), vec![(17, 25)], 1),  // 8 MiB is the most
        (read(9, 10), vec![(25, 33)], 1), // a reader may skip what was loaded for it
    ];
    for (what, expected, served) in script {
        let step = all.read(what, at(1));
        assert_eq!(step.served.len(), served, "{what:?}");
        assert_eq!(begin_all(&mut all, step), expected, "{what:?}");
    }
}

#[test]
fn who_seeks_is_a_new_reader_and_others_go_on() {
    let mut all = ReadAhead::new();
    all.read(read(0, 1), at(0));
    let step = all.read(read(1, 2), at(0));
    begin_all(&mut all, step);
    for elsewhere in [read(1000, 1001), SequentialRead { stream: StreamId(8), ..read(2, 3) }, missed(0, 1)] {
        assert_eq!(all.read(elsewhere, at(0)), Step::default(), "{elsewhere:?}");
    }
    assert_eq!(all.len(), 4);
    let step = all.read(read(1001, 1002), at(0));
    assert_eq!(begin_all(&mut all, step), [(1002, 1003), (1003, 1005)], "small again");
    let step = all.read(read(2, 3), at(0));
    assert_eq!(begin_all(&mut all, step), [(5, 9)], "the first reader goes on");
}

#[test]
fn who_comes_behind_is_led_until_it_finds_nothing_in_memory() {
    let mut all = ReadAhead::new();
    for from in 10..14 {
        let step = all.read(read(from, from + 1), at(0));
        begin_all(&mut all, step);
    }
    for from in 10..13 {
        assert_eq!(all.read(read(from, from + 1), at(0)), Step::default());
    }
    assert_eq!(all.len(), 1);
    // They meet, and the one from behind takes the lead.
    assert_eq!(all.read(read(13, 14), at(0)), Step::default());
    let step = all.read(read(14, 15), at(0));
    begin_all(&mut all, step);
    assert_eq!(all.len(), 1);
    // What a leader has on its way is as good as there; else it left nothing, or was never here.
    assert_eq!(all.read(missed(13, 14), at(0)), Step::default());
    assert_eq!(all.len(), 1);
    all.read(missed(11, 12), at(0));
    all.read(read(9, 10), at(0));
    assert_eq!(all.len(), 3);
    let step = all.read(missed(12, 13), at(0));
    assert_eq!(begin_all(&mut all, step), [(13, 14), (14, 16)], "it is on its own");
}

#[test]
fn one_is_looked_up_at_a_time_and_an_answer_that_comes_late_is_void() {
    let mut all = ReadAhead::new();
    all.read(read(0, 1), at(0));
    let ask = all.read(read(1, 4), at(0)).ask.unwrap();
    assert_eq!(all.read(read(2, 4), at(0)).ask, None, "one is being looked up");
    // The reader was faster: what is looked up begins in the midst of what it reads.
    let ahead = all.read(read(3, 6), at(0)).ask.unwrap();
    assert_eq!(ahead.from, 6);
    assert_eq!(all.begun(&ask, 5, 5, MIB), Step { served: vec![ask.get], ask: None });
    all.nothing(&ahead);
    let again = all.read(read(5, 7), at(0)).ask.unwrap();
    assert_eq!((again.from, again.bytes), (7, GET_MIN), "the next read asks again");
    // Of a reader that is gone nothing is begun.
    all.expire(at(31));
    assert_eq!(all.begun(&again, 8, 8, MIB).served, [again.get]);
    all.ended(again.get);
    assert!(all.is_empty());
}

#[test]
fn without_room_it_asks_for_less() {
    let mut all = ReadAhead::new();
    all.read(read(0, 1), at(0));
    let step = all.read(read(1, 2), at(0));
    begin_all(&mut all, step);
    let ask = all.read(read(2, 3), at(0)).ask.unwrap();
    assert_eq!(ask.bytes, 4 * MIB);
    all.refused(&ask);
    assert_eq!(all.read(read(3, 4), at(0)).ask.unwrap().bytes, 2 * MIB);
}

#[test]
fn who_finds_little_does_not_ask_for_more() {
    let mut all = ReadAhead::new();
    all.read(read(0, 1), at(0));
    let ask = all.read(read(1, 2), at(0)).ask.unwrap();
    let next = all.begun(&ask, 10, 10, GET_MIN / 2 - 1).ask.unwrap();
    assert_eq!((next.from, next.bytes), (10, GET_MIN));
    all.begun(&next, 20, 20, GET_MIN / 2);
    let reader = all.readers.values().next().unwrap();
    assert_eq!(reader.bytes, 2 * GET_MIN);
}

#[test]
fn who_has_come_to_the_tail_holds_nothing_and_others_take_nothing_from_who_is_behind() {
    let mut all = ReadAhead::new();
    all.read(read(0, 1), at(0));
    let step = all.read(read(1, 2), at(0));
    assert_eq!(begin_all(&mut all, step), [(2, 3), (3, 5)]);
    assert_eq!(all.passed(S, 90), [], "somebody at the end, beside it");
    assert_eq!(all.passed(StreamId(8), 5), [], "another stream");
    let step = all.read(read(3, 5), at(0));
    assert_eq!(step.served.len(), 1);
    begin_all(&mut all, step);
    assert_eq!(all.passed(S, 5).len(), 1, "it goes on in the tail");
    assert_eq!(all.readers.values().next().unwrap().gets.len(), 2, "what lies behind is still ahead");
}

#[test]
fn what_was_in_memory_and_left_it_is_loaded_again_from_there() {
    let mut all = ReadAhead::new();
    all.read(read(0, 1), at(0));
    let ask = all.read(read(1, 2), at(0)).ask.unwrap();
    let next = all.begun(&ask, 10, 10, 0).ask.unwrap();
    let get = next.get;
    assert_eq!(all.begun(&next, 20, 20, MIB).ask, None);
    let step = all.read(missed(4, 5), at(0));
    assert_eq!(step.served, [ask.get, get]);
    let ask = step.ask.unwrap();
    assert_eq!((ask.from, ask.bytes), (5, GET_MIN));
    // What is on its way is waited for.
    all.begun(&ask, 6, 6, MIB);
    assert!(all.read(missed(5, 6), at(0)).served.is_empty());
}

#[test]
fn what_lies_in_two_objects_by_turns_is_brought_by_two_gets_and_serves_to_its_end() {
    let mut all = ReadAhead::new();
    all.read(read(0, 1), at(0));
    let ask = all.read(read(1, 2), at(0)).ask.unwrap();
    // Every other MiB from 2 on, then those between.
    let between = all.begun(&ask, 3, 9, 4 * MIB).ask.unwrap();
    assert_eq!((ask.from, between.from), (2, 3));
    assert_eq!(all.begun(&between, 10, 10, 4 * MIB).ask, None, "two are ahead");
    let next = all.read(read(2, 3), at(0)).ask.unwrap();
    assert_eq!(next.from, 10, "what is there or comes in a row ends there");
    all.begun(&next, 18, 18, 8 * MIB);
    let further = all.read(read(3, 4), at(0)).ask.unwrap();
    assert_eq!((all.read(read(4, 5), at(0)).served, further.from), (vec![], 18), "both are being read");
    assert_eq!(all.read(read(9, 10), at(0)).served, [ask.get], "all that it brought lies behind");
    assert_eq!(all.read(read(10, 11), at(0)).served, [between.get]);
}

#[test]
fn who_does_not_come_is_forgotten_and_there_are_never_too_many() {
    let mut all = ReadAhead::new();
    all.read(read(0, 1), at(0));
    let step = all.read(read(1, 2), at(0));
    begin_all(&mut all, step);
    all.read(read(50, 51), at(20));
    assert_eq!(all.expire(at(29)), Expired::default());
    let expired = all.expire(at(30));
    assert_eq!((expired.gets.len(), expired.unread), (2, 2));
    assert_eq!(all.len(), 1);
    for reader in 0..2 * READERS_MAX as u64 {
        all.read(read(reader * 100, reader * 100 + 1), at(30));
    }
    assert_eq!(all.len(), READERS_MAX);
    assert_eq!((all.places.len(), all.by_use.len()), (READERS_MAX, READERS_MAX));
    let newest = (2 * READERS_MAX as u64 - 1) * 100;
    assert!(all.read(read(newest + 1, newest + 2), at(30)).ask.is_some(), "the newest are kept");
}

#[derive(Clone, Debug)]
enum Op {
    Read { stream: u64, from: u64, len: u64, missed: bool },
    Begun { reach: u64, beyond: u64, brought: u64 },
    Passed { stream: u64, from: u64 },
    Nothing,
    Refused,
    Ended,
    Wait(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..2u64, 0..60u64, 0..6u64, any::<bool>())
            .prop_map(|(stream, from, len, missed)| Op::Read { stream, from, len, missed }),
        4 => (0..12u64, 0..12u64, 0..9u64)
            .prop_map(|(reach, beyond, brought)| Op::Begun { reach, beyond, brought }),
        1 => (0..2u64, 0..60u64).prop_map(|(stream, from)| Op::Passed { stream, from }),
        1 => Just(Op::Nothing),
        1 => Just(Op::Refused),
        2 => Just(Op::Ended),
        1 => (0..20u64).prop_map(Op::Wait),
    ];
    proptest::collection::vec(op, 0..120)
}

proptest! {
    /// Whatever happens in whatever order: every GET that is begun has served once and only once, a reader has two ahead
    /// at most, and nothing is left of readers that stop.
    #[test]
    fn every_get_serves_once_and_nothing_is_left(ops in ops()) {
        let mut all = ReadAhead::new();
        let (mut open, mut live, mut served) = (Vec::new(), HashSet::new(), HashSet::new());
        let mut now = Duration::ZERO;
        let mut serve = |live: &mut HashSet<GetId>, ids: Vec<GetId>| {
            for id in ids {
                prop_assert!(live.remove(&id), "{id:?} was not begun");
                prop_assert!(served.insert(id), "{id:?} has served twice");
            }
            Ok(())
        };
        for op in ops {
            match op {
                Op::Read { stream, from, len, missed } => {
                    let read = SequentialRead { stream: StreamId(stream), from, to: from + len, missed };
                    let step = all.read(read, now);
                    serve(&mut live, step.served)?;
                    open.extend(step.ask);
                }
                Op::Passed { stream, from } => serve(&mut live, all.passed(StreamId(stream), from))?,
                Op::Begun { reach, beyond, brought } => {
                    let Some(ask) = open.pop() else { continue };
                    live.insert(ask.get);
                    let to = ask.from + reach;
                    let step = all.begun(&ask, to, to + beyond, brought * MIB);
                    serve(&mut live, step.served)?;
                    open.extend(step.ask);
                }
                Op::Nothing => open.pop().iter().for_each(|ask| all.nothing(ask)),
                Op::Refused => open.pop().iter().for_each(|ask| all.refused(ask)),
                Op::Ended => live.iter().copied().for_each(|get| all.ended(get)),
                Op::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    serve(&mut live, all.expire(now).gets)?;
                }
            }
            for reader in all.readers.values() {
                prop_assert!(reader.ahead() <= AHEAD_GETS);
                prop_assert!((GET_MIN..=GET_MAX).contains(&reader.bytes) && reader.frontier >= reader.to);
            }
            let held: usize = all.readers.values().map(|reader| reader.gets.len()).sum();
            prop_assert_eq!(held, live.len());
            prop_assert_eq!(all.places.len(), all.len());
            prop_assert_eq!(all.by_use.len(), all.len());
        }
        serve(&mut live, all.expire(now + IDLE).gets)?;
        prop_assert!(all.is_empty() && live.is_empty());
    }
}

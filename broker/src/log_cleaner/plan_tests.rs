//! Kafka's arithmetic in tables. Units of 10 offsets and 100 bytes, timestamps of 1,000 ms per unit.

use super::*;
use crate::config::BrokerConfig;
use crate::config::topic_keys;

const CONFIG: CompactionConfig = CompactionConfig {
    min_cleanable_dirty_ratio: 0.5,
    min_compaction_lag_ms: 0,
    max_compaction_lag_ms: i64::MAX,
    delete_retention_ms: 86_400_000,
    segment_ms: 0,
};
const NOW: i64 = 1_000_000;

fn units(count: i64) -> Vec<Unit> {
    let unit = |n| Unit {
        start: n * 10,
        end: n * 10 + 10,
        bytes: 100,
        first_timestamp: n * 1_000 + 1,
        max_timestamp: n * 1_000 + 999,
    };
    (0..count).map(unit).collect()
}

fn facts(units: &[Unit]) -> LogFacts<'_> {
    let end = units.last().map_or(0, |unit| unit.end);
    LogFacts {
        log_start: units.first().map_or(0, |unit| unit.start),
        log_end: end,
        last_stable_offset: end,
        uploaded_end: end,
        cleaned_until: None,
        units,
    }
}

#[test]
fn the_defaults_are_kafkas() {
    let broker = BrokerConfig::read([].into_iter()).unwrap().values;
    let read = CompactionConfig::read(&topic_keys::effective(&broker, [].into_iter()));
    assert_eq!(read, CompactionConfig { segment_ms: 7 * 86_400_000, ..CONFIG });
}

#[test]
fn a_new_log_is_dirty_as_far_as_it_is_uploaded() {
    let units = units(5);
    let cleaning = plan(&facts(&units), &CONFIG, NOW).unwrap();
    let expected = Cleaning {
        from_start: 0,
        dirty_from: 0,
        until: 50,
        clean_bytes: 0,
        dirty_bytes: 500,
        ratio: 1.0,
        delay_ms: 0,
    };
    assert_eq!(cleaning, expected);
    assert!(!cleaning.must());
}

#[test]
fn what_bounds_the_section() {
    let units = units(5);
    let all = facts(&units);
    let lag = |min_compaction_lag_ms| CompactionConfig { min_compaction_lag_ms, ..CONFIG };
    let cleaned = |at| LogFacts { cleaned_until: Some(at), ..all };
    for (what, log, config, now, section) in [
        ("nothing", all, CONFIG, NOW, (0, 50)),
        ("the LSO", LogFacts { last_stable_offset: 20, ..all }, CONFIG, NOW, (0, 20)),
        ("down to a unit's start", LogFacts { last_stable_offset: 29, ..all }, CONFIG, NOW, (0, 20)),
        ("the uploaded end", LogFacts { uploaded_end: 35, ..all }, CONFIG, NOW, (0, 30)),
        ("uploaded into the newest", LogFacts { uploaded_end: 41, ..all }, CONFIG, NOW, (0, 40)),
        ("the lag, in the newest only", all, lag(1), 4_000, (0, 40)),
        // The largest timestamp of the unit from 20 on is 2,999: clean from 2,999 + lag on.
        ("the lag, just in time", all, lag(1_000), 3_999, (0, 30)),
        ("the lag, a moment early", all, lag(1_000), 3_998, (0, 20)),
        ("the lag of the clean part does not count", cleaned(20), lag(9_000), 11_999, (20, 30)),
        ("the unit that is half clean counts", cleaned(25), lag(9_000), 11_998, (25, 25)),
        ("a lag below zero is none", all, lag(-5), 0, (0, 50)),
        ("a log start above the last round", LogFacts { log_start: 10, ..cleaned(5) }, CONFIG, NOW, (10, 50)),
        ("a last round above the end", cleaned(51), CONFIG, NOW, (0, 50)),
        ("a last round at the end", cleaned(50), CONFIG, NOW, (50, 50)),
        ("a last round in the newest", cleaned(45), CONFIG, NOW, (45, 50)),
    ] {
        let cleaning = measure(&log, &config, now).unwrap();
        assert_eq!((cleaning.dirty_from, cleaning.until), section, "{what}");
        assert_eq!(cleaning.from_start, log.log_start, "{what}");
    }
}

#[test]
fn the_ratio_decides_and_has_to_be_passed() {
    let units = units(5);
    for (cleaned, clean, dirty, due) in [
        (0, 0, 500, true),
        (10, 100, 400, true),
        (20, 200, 300, true),
        (25, 300, 300, false),
        (30, 300, 200, false),
        (50, 500, 0, false),
    ] {
        let log = LogFacts { cleaned_until: Some(cleaned), ..facts(&units) };
        let measured = measure(&log, &CONFIG, NOW).unwrap();
        assert_eq!((measured.clean_bytes, measured.dirty_bytes), (clean, dirty), "from {cleaned}");
        assert!((measured.ratio - dirty as f64 / (clean + dirty) as f64).abs() < 1e-12);
        assert_eq!(plan(&log, &CONFIG, NOW), due.then_some(measured), "from {cleaned}");
    }
    let log = LogFacts { cleaned_until: Some(50), ..facts(&units) };
    assert_eq!(plan(&log, &CompactionConfig { min_cleanable_dirty_ratio: 0.0, ..CONFIG }, NOW), None);
}

#[test]
fn age_makes_a_partition_due_if_there_is_anything_to_clean() {
    let units = units(5);
    let aged = |max_compaction_lag_ms| CompactionConfig { max_compaction_lag_ms, ..CONFIG };
    let log = LogFacts { cleaned_until: Some(30), uploaded_end: 40, ..facts(&units[..4]) };
    // The unit from 30 on begins at 3,001.
    for (config, now, delay, due) in [
        (aged(5_000), 8_001, 0, false),
        (aged(5_000), 8_002, 1, true),
        (aged(0), 3_002, 1, true),
        (aged(-7), 3_002, 1, true),
        (aged(i64::MAX), i64::MAX, 0, false),
    ] {
        let measured = measure(&log, &config, now).unwrap();
        assert_eq!((measured.delay_ms, measured.must()), (delay, due), "{config:?} at {now}");
        assert_eq!(plan(&log, &config, now).is_some(), due, "{config:?} at {now}");
    }
    let held = LogFacts { last_stable_offset: 30, ..log };
    assert!(measure(&held, &aged(1), NOW).unwrap().must());
    assert_eq!(plan(&held, &aged(1), NOW), None, "it must, but it cannot");
    let mut unknown = units.clone();
    unknown.iter_mut().for_each(|unit| unit.first_timestamp = -1);
    assert_eq!(measure(&facts(&unknown), &aged(1), NOW).unwrap().delay_ms, 0);
    let all_clean = LogFacts { cleaned_until: Some(50), ..facts(&units) };
    assert_eq!(measure(&all_clean, &aged(1), NOW).unwrap().delay_ms, 0);
}

#[test]
fn what_kafka_would_still_write_to_waits_for_more() {
    let units = units(5);
    let log = LogFacts { cleaned_until: Some(20), ..facts(&units) };
    // Dirty: 300 bytes, the first unit of which is as old as 2,999.
    for (segment_ms, now, due) in [(i64::MAX, NOW, false), (1_000, 3_999, true), (1_000, 3_998, false)] {
        let config = CompactionConfig { segment_ms, ..CONFIG };
        assert_eq!(plan(&log, &config, now).is_some(), due, "{config:?} at {now}");
        let aged = CompactionConfig { max_compaction_lag_ms: 1, ..config };
        assert!(plan(&log, &aged, now).is_some(), "age asks for nothing else");
    }
    let mut large = units.clone();
    let config = CompactionConfig { segment_ms: i64::MAX, ..CONFIG };
    for (bytes, due) in [(ROUND_BYTES_MIN / 3, false), (ROUND_BYTES_MIN / 3 + 1, true)] {
        large.iter_mut().for_each(|unit| unit.bytes = bytes);
        let log = LogFacts { cleaned_until: Some(20), ..facts(&large) };
        assert_eq!(plan(&log, &config, NOW).is_some(), due, "{bytes} bytes each");
    }
}

#[test]
fn without_bytes_there_is_nothing() {
    assert_eq!(plan(&facts(&[]), &CONFIG, NOW), None);
    let young = CompactionConfig { min_compaction_lag_ms: NOW, ..CONFIG };
    assert_eq!(measure(&facts(&units(5)), &young, NOW), None, "nothing is old enough");
}

#[test]
fn the_dirtiest_comes_first_and_equals_as_they_came() {
    let of = |ratio, delay_ms| Cleaning {
        from_start: 0,
        dirty_from: 0,
        until: 10,
        clean_bytes: 1,
        dirty_bytes: 1,
        ratio,
        delay_ms,
    };
    let ordered = order(vec![("a", of(0.6, 0)), ("b", of(0.2, 99)), ("c", of(0.9, 0)), ("d", of(0.6, 5))]);
    assert_eq!(ordered.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["c", "a", "d", "b"]);
}

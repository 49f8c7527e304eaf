//! The bytes of `__consumer_offsets`, pinned: written by Kafka's rules by hand, and to be readable for ever.

use bytes::Bytes;

use super::super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn offset_record(value: Option<OffsetAndMetadata>) -> GroupRecord {
    let key = OffsetKey { group_id: "g1".into(), topic: "top".into(), partition: 7 };
    GroupRecord::OffsetCommit { key, value }
}

fn offset(leader_epoch: i32, expire_timestamp_ms: Option<i64>) -> OffsetAndMetadata {
    OffsetAndMetadata {
        offset: 258,
        leader_epoch,
        metadata: "m".into(),
        commit_timestamp_ms: 1_000,
        expire_timestamp_ms,
    }
}

fn group() -> GroupMetadata {
    GroupMetadata {
        protocol_type: "consumer".into(),
        generation_id: 3,
        protocol_name: Some("range".into()),
        leader: Some("m1".into()),
        current_state_timestamp_ms: 1_000,
        members: vec![MemberMetadata {
            member_id: "m1".into(),
            group_instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout_ms: 60_000,
            session_timeout_ms: 10_000,
            subscription: Bytes::from_static(b"s"),
            assignment: Bytes::from_static(b"as"),
        }],
    }
}

const OFFSET_KEY: &str = "0001 0002 6731 0003 746f70 00000007";
const GROUP_KEY: &str = "0002 0002 6731";
const MEMBER_V3: &str = "0002 6d31 0001 69 0001 63 0002 2f68 0000ea60 00002710 00000001 73 00000002 6173";

/// (record, key, value as this release writes it).
fn written() -> Vec<(GroupRecord, &'static str, Option<String>)> {
    let group_record = |value| GroupRecord::GroupMetadata { group_id: "g1".into(), value };
    let empty = GroupMetadata {
        protocol_type: String::new(),
        generation_id: 0,
        protocol_name: None,
        leader: None,
        current_state_timestamp_ms: 1_000,
        members: Vec::new(),
    };
    vec![
        (
            offset_record(Some(offset(5, None))),
            OFFSET_KEY,
            Some("0003 0000000000000102 00000005 0001 6d 00000000000003e8".to_string()),
        ),
        (
            offset_record(Some(offset(-1, Some(2_000)))),
            OFFSET_KEY,
            Some("0001 0000000000000102 0001 6d 00000000000003e8 00000000000007d0".to_string()),
        ),
        (offset_record(None), OFFSET_KEY, None),
        (
            group_record(Some(group())),
            GROUP_KEY,
            Some(format!(
                "0003 0008 636f6e73756d6572 00000003 0005 72616e6765 0002 6d31 00000000000003e8 00000001 {MEMBER_V3}"
            )),
        ),
        (
            group_record(Some(empty)),
            GROUP_KEY,
            Some("0003 0000 00000000 ffff ffff 00000000000003e8 00000000".to_string()),
        ),
        (group_record(None), GROUP_KEY, None),
    ]
}

#[test]
fn records_are_written_and_read_as_kafka_does() {
    for (record, key, value) in written() {
        let (key, value) = (hex(key), value.map(|v| hex(&v)));
        assert_eq!(record.encode(), (key.clone().into(), value.clone().map(Bytes::from)), "{record:?}");
        assert_eq!(GroupRecord::decode(&key, value.as_deref()), Ok(Some(record)));
    }
}

#[test]
fn values_of_every_older_version_and_of_the_flexible_one_are_read() {
    let key_v0 = hex("0000 0002 6731 0003 746f70 00000007");
    let offsets = [
        ("0000 0000000000000102 0001 6d 00000000000003e8", offset(-1, None)),
        ("0001 0000000000000102 0001 6d 00000000000003e8 ffffffffffffffff", offset(-1, None)),
        ("0002 0000000000000102 0001 6d 00000000000003e8", offset(-1, None)),
        // Compact string, one unknown tagged field (tag 9, two bytes).
        ("0004 0000000000000102 00000005 02 6d 00000000000003e8 01 09 02 ffff", offset(5, None)),
    ];
    for (value, expected) in offsets {
        let read = GroupRecord::decode(&key_v0, Some(&hex(value)));
        assert_eq!(read, Ok(Some(offset_record(Some(expected)))), "{value}");
    }

    let old = |with_rebalance_timeout: bool, with_timestamp: bool| {
        let mut old = group();
        old.members[0].group_instance_id = None;
        if !with_rebalance_timeout {
            old.members[0].rebalance_timeout_ms = 10_000;
        }
        if !with_timestamp {
            old.current_state_timestamp_ms = -1;
        }
        old
    };
    let head = "0008 636f6e73756d6572 00000003 0005 72616e6765 0002 6d31";
    let (before, after) = ("00000001 0002 6d31 0001 63 0002 2f68", "00002710 00000001 73 00000002 6173");
    let groups = [
        (format!("0000 {head} {before} {after}"), old(false, false)),
        (format!("0001 {head} {before} 0000ea60 {after}"), old(true, false)),
        (format!("0002 {head} 00000000000003e8 {before} 0000ea60 {after}"), old(true, true)),
        (
            "0004 09 636f6e73756d6572 00000003 06 72616e6765 03 6d31 00000000000003e8 02 03 6d31 02 69 02 63 03 2f68
             0000ea60 00002710 02 73 03 6173 00 00"
                .to_string(),
            group(),
        ),
    ];
    for (value, expected) in groups {
        let read = GroupRecord::decode(&hex(GROUP_KEY), Some(&hex(&value)));
        let expected = GroupRecord::GroupMetadata { group_id: "g1".into(), value: Some(expected) };
        assert_eq!(read, Ok(Some(expected)), "{value}");
    }
}

#[test]
fn keys_of_later_features_are_skipped_and_broken_records_are_errors() {
    // ConsumerGroupMetadataKey (3), and whatever comes after all that is known.
    assert_eq!(GroupRecord::decode(&hex("0003 0002 6731"), Some(&[1, 2, 3])), Ok(None));
    assert_eq!(GroupRecord::decode(&hex("7fff"), None), Ok(None));

    for (record, key, value) in written() {
        let (key, value) = (hex(key), value.map(|v| hex(&v)));
        for cut in 0..key.len() {
            assert!(
                GroupRecord::decode(&key[..cut], value.as_deref()).is_err(),
                "{record:?} key cut at {cut}"
            );
        }
        let long = [&key[..], b"x"].concat();
        assert_eq!(GroupRecord::decode(&long, value.as_deref()), Err(RecordError::TrailingBytes(1)));
        let Some(value) = value else { continue };
        for cut in 0..value.len() {
            assert!(GroupRecord::decode(&key, Some(&value[..cut])).is_err(), "{record:?} value cut at {cut}");
        }
    }
    let unknown = GroupRecord::decode(&hex(GROUP_KEY), Some(&hex("0005")));
    assert_eq!(unknown, Err(RecordError::UnknownValueVersion(5)));
    // A member count of two thousand million reserves nothing.
    let lying = hex("0003 0000 00000000 ffff ffff 00000000000003e8 7fffffff");
    let read = GroupRecord::decode(&hex(GROUP_KEY), Some(&lying));
    assert_eq!(read, Err(RecordError::Truncated { needed: 2 * 0x7fff_ffff, left: 0 }));
}

#[test]
fn a_string_longer_than_the_written_versions_hold_is_refused() {
    // Version 4 is flexible: its strings have lengths of 32 bits. Read, such a note could never be written again.
    let of_note = |len: usize| {
        let compact = len as u32 + 1;
        let len = [compact as u8 | 0x80, (compact >> 7) as u8 | 0x80, (compact >> 14) as u8];
        let note = vec![b'n'; compact as usize - 1];
        let value =
            [&hex("0004 000000000000004d ffffffff")[..], &len, &note, &hex("0000000000000005 00")].concat();
        GroupRecord::decode(&hex(OFFSET_KEY), Some(&value))
    };
    let longest = of_note(i16::MAX as usize).unwrap().unwrap();
    let (key, value) = longest.encode();
    assert_eq!(GroupRecord::decode(&key, value.as_deref()), Ok(Some(longest)));
    assert_eq!(of_note(1 << 15), Err(RecordError::InvalidLength(1 << 15)));
}

#[test]
fn any_bytes_are_a_record_or_an_error() {
    use proptest::prelude::*;
    let bytes = || proptest::collection::vec(any::<u8>(), 0..64);
    let key = (0i16..4, bytes()).prop_map(|(version, rest)| [&version.to_be_bytes()[..], &rest].concat());
    let value = (0i16..6, bytes()).prop_map(|(version, rest)| [&version.to_be_bytes()[..], &rest].concat());
    proptest!(|(key in key, value in value)| {
        let _ = GroupRecord::decode(&key, Some(&value));
        let _ = GroupRecord::decode(&hex(GROUP_KEY), Some(&value));
        let _ = GroupRecord::decode(&hex(OFFSET_KEY), Some(&value));
    });
}

#[test]
fn groups_are_where_kafka_puts_them() {
    // Java: "".hashCode() = 0, "a" = 97, "group" = 98629247, "console-consumer-1" by the definition.
    let java = |s: &str| s.encode_utf16().fold(0i32, |h, u| h.wrapping_mul(31).wrapping_add(u.into()));
    assert_eq!(java("group"), 98_629_247);
    assert_eq!(partition_for("", 50), 0);
    assert_eq!(partition_for("a", 50), 47);
    assert_eq!(partition_for("group", 50), 47);
    assert_eq!(partition_for("connect-cluster", 50), java("connect-cluster").abs() % 50);
    // The hash of this one is Integer.MIN_VALUE, whose absolute value is not one: Utils.abs says 0.
    assert_eq!(java("polygenelubricants"), i32::MIN);
    assert_eq!(partition_for("polygenelubricants", 50), 0);
    // Beyond the basic plane Java hashes both surrogates: U+1F600 = D83D DE00 = 31 * 55357 + 56832 = 1772899.
    assert_eq!(partition_for("\u{1f600}", 50), 1_772_899 % 50);
    assert_eq!(new_member_id("client", Some("instance"), "uuid"), "instance-uuid");
    assert_eq!(new_member_id("client", None, "uuid"), "client-uuid");
}

//! The guard and the message codec agree on every API and version; lies are refused; nothing panics.
//!
//! Bodies are generated from the schema, so they are only as right as it is. That is what is tested: the
//! codec, which has its own idea of every message, must decode each body to its last byte and write the same
//! bytes again.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::api::APIS;
use crate::samples::{Generator, decode_and_encode};

fn every_version() -> impl Iterator<Item = (&'static Api, i16)> {
    APIS.iter().flat_map(|api| (api.min_usable..=api.max).map(move |version| (api, version)))
}

#[test]
fn every_version_of_every_api_is_walked_to_the_end_and_is_what_the_codec_means() {
    for (api, version) in every_version() {
        for seed in 0..40 {
            let body = Bytes::from(Generator::request(api, version, seed * 7919 + 1, seed % 4 == 0).bytes);
            let again = decode_and_encode(api.key, version, body.clone());
            assert_eq!(again.as_ref(), Ok(&body), "{} v{version}, seed {seed}", api.name);
        }
    }
}

#[test]
fn a_body_cut_short_is_refused_and_what_follows_it_is_ignored_in_every_version() {
    for (api, version) in every_version() {
        let body = Generator::request(api, version, 99, true).bytes;
        for end in 0..body.len() {
            assert!(decoded_size(api.key, version, &body[..end]).is_err(), "{} v{version}: {end}", api.name);
        }
        // Bytes after the request change nothing.
        let mut long = body.clone();
        long.extend([0; 3]);
        assert!(decoded_size(api.key, version, &body).is_ok(), "{} v{version}", api.name);
        assert_eq!(
            decoded_size(api.key, version, &long).is_ok(),
            decoded_size(api.key, version, &body).is_ok(),
            "{} v{version}",
            api.name
        );
    }
}

#[test]
fn every_lying_array_length_is_refused_in_every_version() {
    let mut lies = 0;
    for (api, version) in every_version() {
        let honest = Generator::request(api, version, 4242, true);
        for at in &honest.array_lengths {
            for count in [honest.bytes.len() as u32, 1 << 20, i32::MAX as u32, u32::MAX - 2] {
                let body = honest.with_length(at, count);
                let walked = decoded_size(api.key, version, &body);
                assert!(walked.is_err(), "{} v{version}: {count} at {at:?} gave {walked:?}", api.name);
                lies += 1;
            }
        }
    }
    assert!(lies > 1000, "only {lies} lies were told");
}

#[test]
fn five_bytes_that_ask_for_300_gigabytes_are_refused() {
    let body = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(matches!(decoded_size(ApiKey::Metadata, 9, &body), Err(DecodeError::ArrayTooLong { .. })));
}

#[test]
fn short_elements_that_decode_to_many_times_their_size_pass_only_up_to_the_limit() {
    // Metadata v1, topics of empty names: two bytes each on the wire, a struct each in memory.
    let body = |count: u32| {
        let mut bytes = count.to_be_bytes().to_vec();
        bytes.resize(4 + 2 * count as usize, 0);
        bytes
    };
    let modest = body(10_000);
    let size = decoded_size(ApiKey::Metadata, 1, &modest).unwrap();
    assert!((500_000..decoded_bytes_max(modest.len())).contains(&size), "{size}");
    let bomb = body(2_000_000);
    let limit = decoded_bytes_max(bomb.len());
    assert_eq!(
        decoded_size(ApiKey::Metadata, 1, &bomb),
        Err(DecodeError::TooMuchMemory { frame: bomb.len(), limit })
    );
    assert!(limit <= 32 * 1024 * 1024, "{limit}");
}

#[test]
fn the_charge_covers_what_the_decoded_vectors_hold() {
    for seed in 1..50 {
        let api = crate::api::find(ApiKey::CreateTopics as i16).unwrap();
        let body = Generator::request(api, 7, seed * 31, true).bytes;
        let charged = decoded_size(ApiKey::CreateTopics, 7, &body).unwrap();
        let request = crate::codec::decode_create_topics(Bytes::from(body), 7).unwrap();
        let mut held = size_of_val(&request.topics[..]);
        for topic in &request.topics {
            held += size_of_val(&topic.assignments[..]) + size_of_val(&topic.configs[..]);
            held += topic.assignments.iter().map(|a| size_of_val(&a.broker_ids[..])).sum::<usize>();
        }
        assert!(charged >= held, "{charged} charged, {held} held");
    }
}

#[test]
fn unknown_tagged_fields_are_charged() {
    // ListGroups v3 is nothing but its tagged fields; each empty one takes three bytes.
    let body = |count: u32| {
        let mut generator = Generator::request(crate::api::find(16).unwrap(), 3, 1, true);
        generator.bytes.clear();
        generator.varint(count);
        for tag in 0..count {
            generator.varint(tag);
            generator.varint(0);
        }
        generator.bytes
    };
    assert!(decoded_size(ApiKey::ListGroups, 3, &body(100)).unwrap() > 100 * 36);
    assert!(matches!(
        decoded_size(ApiKey::ListGroups, 3, &body(1_000_000)),
        Err(DecodeError::TooMuchMemory { .. })
    ));
}

#[test]
fn a_tagged_field_that_lies_about_its_size_is_refused() {
    let api = crate::api::find(ApiKey::Fetch as i16).unwrap();
    let mut untagged = Generator::request(api, 12, 7, true);
    untagged.bytes.clear();
    for field in schema::request(ApiKey::Fetch).unwrap() {
        if field.tag.is_none() && field.is_in(12) {
            untagged.value(field);
        }
    }
    for (size, trailing, expected) in [
        (2, 0, None),
        (0, 0, Some(DecodeError::TaggedFieldSize { tag: 0, size: 0, used: 2 })),
        (1, 0, Some(DecodeError::TaggedFieldSize { tag: 0, size: 1, used: 2 })),
        (3, 0, Some(DecodeError::Truncated { what: "tagged field", needed: 3, remaining: 2 })),
        (3, 1, Some(DecodeError::TaggedFieldSize { tag: 0, size: 3, used: 2 })),
    ] {
        // One tagged field: cluster id (tag 0), of one letter.
        let mut body = untagged.bytes.clone();
        body.extend([1, 0, size, 2, b'c']);
        body.resize(body.len() + trailing, 0);
        assert_eq!(decoded_size(ApiKey::Fetch, 12, &body).err(), expected, "size {size}");
    }
}

#[test]
fn a_tag_beyond_31_bits_is_refused() {
    // ListGroups v3 is nothing but its tagged fields.
    for (tag, expected) in [
        (&[0xff, 0xff, 0xff, 0xff, 0x07][..], None),
        (&[0x80, 0x80, 0x80, 0x80, 0x08], Some(DecodeError::BadVarint)),
    ] {
        let body = [&[1], tag, &[0]].concat();
        assert_eq!(decoded_size(ApiKey::ListGroups, 3, &body).err(), expected, "{tag:?}");
    }
}

#[test]
fn null_is_refused_where_the_version_has_none() {
    // Metadata v0 asks for all topics with an empty array, v1 with null.
    let null = (-1i32).to_be_bytes();
    assert_eq!(decoded_size(ApiKey::Metadata, 1, &null), Ok(0));
    assert_eq!(
        decoded_size(ApiKey::Metadata, 0, &null),
        Err(DecodeError::BadLength { what: "topics", length: -1 })
    );
}

#[test]
fn variable_length_integers_end_within_32_bits() {
    for (bytes, expected) in [
        (&[0x00][..], Ok((0, 1))),
        (&[0x7f], Ok((127, 1))),
        (&[0x80, 0x01], Ok((128, 2))),
        (&[0xff, 0xff, 0xff, 0xff, 0x0f], Ok((u32::MAX, 5))),
        (&[0xff, 0xff, 0xff, 0xff, 0x1f], Err(DecodeError::BadVarint)),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Err(DecodeError::BadVarint)),
    ] {
        assert_eq!(unsigned_varint(bytes), expected, "{bytes:?}");
    }
    assert!(matches!(unsigned_varint(&[0x80]), Err(DecodeError::Truncated { .. })));
}

fn any_version() -> impl Strategy<Value = (&'static Api, i16)> {
    let all: Vec<_> = every_version().collect();
    prop::sample::select(all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What the guard lets through is decoded within its bound (or refused), and neither ever panics or
    /// aborts.
    #[test]
    fn random_bytes_never_panic((api, version) in any_version(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(size) = decoded_size(api.key, version, &body) {
            prop_assert!(size <= decoded_bytes_max(body.len()));
        }
        let _ = decode_and_encode(api.key, version, Bytes::from(body));
    }

    #[test]
    fn mutated_requests_never_panic(
        (api, version) in any_version(),
        seed in any::<u64>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(0xff), Just(0x7f), Just(0)]), 1..4),
    ) {
        let mut body = Generator::request(api, version, seed, true).bytes;
        for (at, byte) in changes {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        if let Ok(size) = decoded_size(api.key, version, &body) {
            prop_assert!(size <= decoded_bytes_max(body.len()));
        }
        let _ = decode_and_encode(api.key, version, Bytes::from(body));
    }
}

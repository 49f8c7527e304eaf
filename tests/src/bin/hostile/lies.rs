//! Frames whose numbers lie: array counts, string lengths, frame lengths; and bytes without any sense.
//!
//! Bodies are made without a schema, for every API and version the codec knows: a base of bytes that decodes far
//! (zeros: empty arrays and strings; ones and twos: compact arrays of none and of one element; `00 00 00 01`: arrays of
//! one) with a lie at each place in turn, and soups of plausible tokens. What the broker makes of one does not
//! matter: it may answer or close.

use std::time::Duration;

use anyhow::Result;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, CreateTopicsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::frames::{self, Taken, barrage, request};
use crate::{Tally, Target};

/// A body that parks (a fetch that waits) is not waited for.
const GLANCE: Duration = Duration::from_millis(100);
/// Bytes of a base body, and so places of a lie.
const BODY: usize = 24;
/// Soups per API and version.
const SOUPS: usize = 150;

/// Numbers that lie: as int32, as unsigned varint (compact arrays and strings), as int16 (strings).
const LIES: &[&[u8]] = &[
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0x7f, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    // 2^28: below every sanity bound that only looks for negative or enormous counts.
    &[0x10, 0x00, 0x00, 0x00],
    &[0x80, 0x80, 0x80, 0x80, 0x01],
];

/// What, said honestly by anybody on a listener without log-in, harms everybody by design: quotas, configurations,
/// fencing, features, quorum. A soup that happens to be such a request proves nothing, so these get no bodies that
/// may decode.
const HONEST_HARM: &[ApiKey] = &[
    ApiKey::DeleteRecords,
    ApiKey::AlterConfigs,
    ApiKey::AlterReplicaLogDirs,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::AlterClientQuotas,
    ApiKey::AlterUserScramCredentials,
    ApiKey::UpdateFeatures,
    ApiKey::Envelope,
    ApiKey::UnregisterBroker,
    ApiKey::AddRaftVoter,
    ApiKey::RemoveRaftVoter,
];

/// Every API and version the codec knows, and one version to either side; whether bodies go to it: this broker serves
/// it and it is not one of [`HONEST_HARM`].
fn surface(target: &Target) -> Result<Vec<(ApiKey, i16, bool)>> {
    let patience = Duration::from_secs(5);
    let answer = frames::ask(target.addr, &ApiVersionsRequest::default(), 0, patience)?;
    let mut all = Vec::new();
    for key in ApiKey::iter() {
        let served = answer.api_keys.iter().find(|api| api.api_key == key as i16);
        let versions = key.valid_versions();
        for version in versions.min.saturating_sub(1)..=versions.max.saturating_add(1) {
            let known = (versions.min..=versions.max).contains(&version);
            let served = !HONEST_HARM.contains(&key)
                && served.is_some_and(|api| (api.min_version..=api.max_version).contains(&version));
            all.push((key, version, known && served));
        }
    }
    Ok(all)
}

/// A lie at every place of every base body; three frames for what is not served.
pub fn counts_and_lengths(target: &Target) -> Result<Tally> {
    let mut total = Tally::default();
    for (key, version, served) in surface(target)? {
        let mut bodies = vec![vec![], vec![0xff; BODY], LIES[1].to_vec()];
        if served {
            for base in [vec![0; BODY], vec![1; BODY], vec![2; BODY], [0, 0, 0, 1].repeat(BODY / 4)] {
                bodies.extend(with_lies(&base));
            }
        }
        let frames = bodies.iter().map(|body| request(key, version, body)).collect::<Result<Vec<_>>>()?;
        total.add(barrage(target.addr, &frames, GLANCE)?);
    }
    // An honest frame that asks for more than there can be.
    let absurd = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("hostile-two-thousand-million")))
        .with_num_partitions(i32::MAX)
        .with_replication_factor(1);
    let create = CreateTopicsRequest::default().with_topics(vec![absurd]).with_timeout_ms(1000);
    let answer = frames::ask(target.addr, &create, 5, Duration::from_secs(10))?;
    total.sent += 1;
    total.answered += 1;
    if answer.topics.first().is_none_or(|topic| topic.error_code == 0) {
        total.complaints.push("a topic of 2^31-1 partitions was created".into());
    }
    Ok(total)
}

fn with_lies(base: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for place in 0..base.len() {
        for lie in LIES {
            let mut body = base[..place].to_vec();
            body.extend_from_slice(lie);
            body.extend_from_slice(&base[place..]);
            bodies.push(body);
        }
    }
    bodies
}

/// Bodies made of what requests are made of, in no order.
pub fn token_soup(target: &Target) -> Result<Tally> {
    let mut rng = StdRng::seed_from_u64(target.seed);
    let mut total = Tally::default();
    for (key, version, served) in surface(target)? {
        if !served {
            continue;
        }
        let frames =
            (0..SOUPS).map(|_| request(key, version, &soup(&mut rng))).collect::<Result<Vec<_>>>()?;
        total.add(barrage(target.addr, &frames, GLANCE)?);
    }
    Ok(total)
}

fn soup(rng: &mut StdRng) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..rng.random_range(1..60) {
        match rng.random_range(0..12) {
            0 => body.extend(0i32.to_be_bytes()),
            1 | 2 => body.extend(1i32.to_be_bytes()),
            3 => body.extend((-1i32).to_be_bytes()),
            4 => body.extend([0, 3, b'a', b'b', b'c']),
            5 => body.extend([4, b'a', b'b', b'c']),
            6 | 7 => body.push(rng.random_range(0..4)),
            8 => body.extend([0; 8]),
            9 => body.extend([0; 16]),
            10 => body.extend_from_slice(LIES[rng.random_range(0..LIES.len())]),
            _ => body.push(rng.random()),
        }
    }
    body
}

/// Frames whose length is not their length, and headers whose client id's length is not its length.
pub fn frame_lengths(target: &Target) -> Result<Tally> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for length in [-1i32, i32::MIN, 0, 1, 3, 4, 8, 13, i32::MAX, 100 << 20, (100 << 20) + 1] {
        for content in [&[][..], &[0; 3], &[0; 64]] {
            frames.push([&length.to_be_bytes()[..], content].concat());
        }
    }
    for client_id in [-2i16, i16::MIN, i16::MAX, 100] {
        for key in [0i16, 3, 18, 200, -1, i16::MAX] {
            let mut content = Vec::new();
            content.extend(key.to_be_bytes());
            content.extend(1i16.to_be_bytes());
            content.extend(7i32.to_be_bytes());
            content.extend(client_id.to_be_bytes());
            content.extend([b'x'; 8]);
            frames.push(frames::framed(&content));
        }
    }
    let mut total = Tally::default();
    // Each on a connection of its own that then goes away: what follows must not hang on what was announced.
    for frame in frames.iter().cycle().take(frames.len() * 20) {
        match frames::connect(target.addr) {
            Ok(mut stream) => total.count(&frames::send(&mut stream, frame, Duration::from_millis(5))),
            Err(_) => total.refused += 1,
        }
    }
    Ok(total)
}

/// Random bytes, other protocols, random bytes in honest frames.
pub fn noise(target: &Target) -> Result<Tally> {
    let mut rng = StdRng::seed_from_u64(target.seed ^ 1);
    let mut frames: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        b"\x00\x00\x00\x2f\x00\x03\x00\x00user\x00x\x00".to_vec(),
    ];
    for _ in 0..1000 {
        let mut bytes = vec![0; rng.random_range(1..65_536)];
        rng.fill_bytes(&mut bytes);
        frames.push(bytes.clone());
        frames.push(frames::framed(&bytes));
        let key = ApiKey::iter().nth(rng.random_range(0..80));
        if let Some(key) = key {
            let versions = key.valid_versions();
            frames.push(request(key, rng.random_range(versions.min..=versions.max), &bytes)?);
        }
    }
    let mut total = Tally::default();
    for frame in &frames {
        match frames::connect(target.addr) {
            Ok(mut stream) => {
                let taken = frames::send(&mut stream, frame, Duration::from_millis(10));
                total.count(&taken);
                if let Taken::Answered(_) = taken {
                    total.count(&frames::send(&mut stream, frame, Duration::from_millis(10)));
                }
            }
            Err(_) => total.refused += 1,
        }
    }
    Ok(total)
}

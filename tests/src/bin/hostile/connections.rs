//! Connections that take and give nothing: announced frames that never come, idle ones, answers nobody reads.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Result;
use benches::client::{self, Load, Payloads};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{ApiKey, FetchRequest, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};

use crate::{Tally, Target, frames, topic};

/// The victim alone, for comparison and to see that everything is as before.
pub fn nothing(_: &Target) -> Result<Tally> {
    std::thread::sleep(Duration::from_secs(3));
    Ok(Tally::default())
}

/// 400 connections announce a frame of 50 MB each: half of them send nothing more, half the beginning of a Produce.
pub fn announced(target: &Target) -> Result<Tally> {
    let announced = 50_000_000u32.to_be_bytes();
    let header = frames::header(ApiKey::Produce, 7)?;
    hold(target, 400, |stream, i| {
        stream.write_all(&announced)?;
        if i % 2 == 1 {
            stream.write_all(&header)?;
            stream.write_all(&[0; 1000])?;
        }
        Ok(())
    })
}

/// 600 connections that say nothing at all.
pub fn idle(target: &Target) -> Result<Tally> {
    hold(target, 600, |_, _| Ok(()))
}

/// 200 connections ask for 64 MiB each, half a million frames of metadata too, and read nothing.
pub fn unread(target: &Target) -> Result<Tally> {
    let topic = topic(target, "bulk", &[])?;
    let load = Load { topic: &topic, partitions: 1, records: 16_384, per_second: None, settings: &[] };
    client::produce(&target.addr.to_string(), &Payloads::new(target.seed), &load, |_| {})?;

    let fetch = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(0)
        .with_max_bytes(4 << 20)
        .with_topics(vec![
            FetchTopic::default().with_topic(TopicName(StrBytes::from_string(topic))).with_partitions(vec![
                FetchPartition::default()
                    .with_partition(0)
                    .with_fetch_offset(0)
                    .with_partition_max_bytes(4 << 20),
            ]),
        ]);
    let mut body = bytes::BytesMut::new();
    fetch.encode(&mut body, 11)?;
    let fetches = frames::request(ApiKey::Fetch, 11, &body)?.repeat(16);
    // Metadata v1, null topics: all of them.
    let metadata = frames::request(ApiKey::Metadata, 1, &(-1i32).to_be_bytes())?.repeat(5000);
    hold(target, 200, |stream, i| {
        // A broker that stops reading us is right; what it did not take does not matter.
        stream.set_write_timeout(Some(Duration::from_millis(20)))?;
        let _ = stream.write_all(if i % 2 == 0 { &fetches } else { &metadata });
        Ok(())
    })
}

/// Opens connections, greets on each, holds all of them, lets go.
fn hold(
    target: &Target,
    count: u64,
    greet: impl Fn(&mut TcpStream, u64) -> std::io::Result<()>,
) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut open = Vec::new();
    for i in 0..count {
        match frames::connect(target.addr) {
            Ok(mut stream) => {
                tally.sent += 1;
                if greet(&mut stream, i).is_ok() {
                    open.push(stream);
                } else {
                    tally.closed += 1;
                }
            }
            Err(_) => tally.refused += 1,
        }
    }
    std::thread::sleep(target.hold);
    tally.held = open.len() as u64;
    Ok(tally)
}

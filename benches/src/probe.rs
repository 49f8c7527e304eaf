//! The smallest raw requests that show a broker answers.
//!
//! Start-up is measured in milliseconds, less than a client library needs to begin, so Metadata v1 and ListOffsets
//! v1 are written by hand here (both oldest versions that say what is needed and that Kafka 4 still serves).
//! Reads only what it must from the answers. Not a client: see [`crate::client`].

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::poll_until;

const METADATA: i16 = 3;
const LIST_OFFSETS: i16 = 2;
const LATEST: i64 = -1;

/// Waits until the broker answers Metadata with at least one broker; returns the time since `from`.
///
/// Tries every millisecond, so the figure is at most about that too large.
pub fn until_metadata(addr: SocketAddr, from: Instant, patience: Duration) -> Result<Duration> {
    poll_until("an answered Metadata", patience, Duration::from_millis(1), || {
        Ok(brokers(addr).ok().filter(|brokers| *brokers > 0).map(|_| from.elapsed()))
    })
}

/// Waits until partitions 0..`partitions` of `topic` all answer their end offset; returns the time since `from`
/// and the sum of the offsets.
pub fn until_end_offsets(
    addr: SocketAddr,
    topic: &str,
    partitions: i32,
    from: Instant,
    patience: Duration,
) -> Result<(Duration, i64)> {
    poll_until("end offsets", patience, Duration::from_millis(1), || {
        let offsets = (0..partitions).map(|p| end_offset(addr, topic, p)).collect::<Result<Vec<i64>>>();
        Ok(offsets.ok().map(|offsets| (from.elapsed(), offsets.iter().sum())))
    })
}

/// How many brokers a Metadata v1 answer for no topics names, asked on a connection of its own.
pub fn brokers(addr: SocketAddr) -> Result<i32> {
    let no_topics = 0i32.to_be_bytes();
    let answer = ask(addr, METADATA, 1, &no_topics)?;
    be_i32(&answer, 0)
}

/// The end offset of one partition, by ListOffsets v1.
fn end_offset(addr: SocketAddr, topic: &str, partition: i32) -> Result<i64> {
    let mut body = Vec::new();
    body.extend((-1i32).to_be_bytes()); // replica id: a client
    body.extend(1i32.to_be_bytes());
    body.extend((topic.len() as i16).to_be_bytes());
    body.extend(topic.as_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(LATEST.to_be_bytes());
    let answer = ask(addr, LIST_OFFSETS, 1, &body)?;
    // topics[1]: name, partitions[1]: index int32, error int16, timestamp int64, offset int64
    let at = 4 + 2 + topic.len() + 4 + 4;
    let error = i16::from_be_bytes(answer.get(at..at + 2).context("short answer")?.try_into()?);
    if error != 0 {
        bail!("ListOffsets error {error}");
    }
    Ok(i64::from_be_bytes(answer.get(at + 10..at + 18).context("short answer")?.try_into()?))
}

/// One request with header v1 on its own connection; the answer's body after the correlation id.
fn ask(addr: SocketAddr, key: i16, version: i16, body: &[u8]) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(1i32.to_be_bytes()); // correlation id
    frame.extend(5i16.to_be_bytes());
    frame.extend(b"probe");
    frame.extend(body);
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(1))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(&(frame.len() as i32).to_be_bytes())?;
    stream.write_all(&frame)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if !(4..=16 << 20).contains(&length) {
        bail!("an answer of {length} bytes");
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    Ok(answer.split_off(4))
}

fn be_i32(bytes: &[u8], at: usize) -> Result<i32> {
    Ok(i32::from_be_bytes(bytes.get(at..at + 4).context("short answer")?.try_into()?))
}

//! What a store gives when it is just asked: GETs of ranges of its objects, from a few connections, by hand.
//!
//! No client library is between, so that what is found is the store's limit and not a library's. The URLs are signed
//! beforehand.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::signer::Signer;

use crate::peers::minio;

/// Bytes of one GET: what Aquifer asks for at most when it reads ahead.
const RANGE_BYTES: u64 = 8 << 20;
/// How long a signature holds, and nothing may take longer.
const SIGNED_FOR: Duration = Duration::from_secs(3600);
/// The longest silence.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest head of an answer.
const HEAD_MAX: usize = 16 << 10;

/// What was got.
#[derive(Clone, Copy, Debug)]
pub struct Got {
    /// Bytes of bodies.
    pub bytes: u64,
    /// GETs.
    pub gets: usize,
    /// From the first request to the last byte.
    pub took: Duration,
}

struct Range {
    /// Path and query.
    target: String,
    first: u64,
    last: u64,
}

/// Gets the objects `(key, length)` in ranges, at most `most` bytes of them, from `connections` at once.
pub fn get(
    store: SocketAddr,
    bucket: &str,
    objects: &[(String, u64)],
    connections: usize,
    most: u64,
) -> Result<Got> {
    let ranges = ranges(&minio::client(store, bucket)?, objects, most)?;
    let bytes: u64 = ranges.iter().map(|range| range.last + 1 - range.first).sum();
    let gets = ranges.len();
    let left = Mutex::new(VecDeque::from(ranges));
    let started = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..connections).map(|_| scope.spawn(|| get_what_is_left(store, &left))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a getter does not panic"))
    })?;
    Ok(Got { bytes, gets, took: started.elapsed() })
}

/// In the order in which a reader wants them.
fn ranges(client: &AmazonS3, objects: &[(String, u64)], most: u64) -> Result<Vec<Range>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut ranges, mut bytes) = (Vec::new(), 0);
    for (key, length) in objects {
        let path = Path::parse(key)?;
        let url = runtime.block_on(client.signed_url(http::Method::GET, &path, SIGNED_FOR))?;
        let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        for first in (0..*length).step_by(RANGE_BYTES as usize) {
            if bytes >= most {
                return Ok(ranges);
            }
            let last = (first + RANGE_BYTES).min(*length) - 1;
            bytes += last + 1 - first;
            ranges.push(Range { target: target.clone(), first, last });
        }
    }
    Ok(ranges)
}

fn get_what_is_left(store: SocketAddr, left: &Mutex<VecDeque<Range>>) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&store, Duration::from_secs(1))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let Some(range) = left.lock().expect("no holder panics").pop_front() else { return Ok(()) };
        let Range { target, first, last } = &range;
        write!(stream, "GET {target} HTTP/1.1\r\nHost: {store}\r\nRange: bytes={first}-{last}\r\n\r\n")?;
        let got = read_answer(&mut stream, &mut buffer).with_context(|| target.clone())?;
        ensure!(got == last + 1 - first, "{target}: {got} bytes for {first}-{last}");
    }
}

/// Reads an answer and drops its body; returns the body's length.
fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<u64> {
    let mut head = Vec::new();
    let end = loop {
        let read = stream.read(buffer)?;
        ensure!(read > 0, "the connection was closed");
        head.extend_from_slice(&buffer[..read]);
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        ensure!(head.len() <= HEAD_MAX, "an endless head");
    };
    let length = content_length(&String::from_utf8_lossy(&head[..end]))?;
    let mut missing = length.checked_sub((head.len() - end) as u64).context("more than was asked for")?;
    while missing > 0 {
        let room = buffer.len().min(usize::try_from(missing)?);
        let read = stream.read(&mut buffer[..room])?;
        ensure!(read > 0, "the connection was closed");
        missing -= read as u64;
    }
    Ok(length)
}

/// The length of the body of a 206.
fn content_length(head: &str) -> Result<u64> {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("206") {
        bail!("answered with {status}");
    }
    let header = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    Ok(header.context("an answer without a length")?.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_cut_into_ranges_until_there_is_enough() {
        let client = minio::client(([127, 0, 0, 1], 9).into(), "bench").unwrap();
        let objects = [("a/1".to_owned(), 9 << 20), ("a/2".to_owned(), 1), ("a/3".to_owned(), 5 << 20)];
        let of = |most| -> Vec<(u64, u64)> {
            ranges(&client, &objects, most).unwrap().iter().map(|range| (range.first, range.last)).collect()
        };
        let (five, eight, nine) = (5 << 20, 8 << 20, 9 << 20);
        let first = [(0, eight - 1), (eight, nine - 1)];
        assert_eq!(of(nine), first);
        assert_eq!(of(u64::MAX), [&first[..], &[(0, 0), (0, five - 1)]].concat());
        let signed = &ranges(&client, &objects, 1).unwrap()[0].target;
        assert!(signed.starts_with("/bench/a/1?X-Amz-Algorithm="), "{signed}");
    }

    #[test]
    fn only_a_206_has_a_length() {
        assert_eq!(content_length("HTTP/1.1 206 Partial Content\r\ncontent-length: 12\r\n\r\n").unwrap(), 12);
        assert!(content_length("HTTP/1.1 403 Forbidden\r\nContent-Length: 12\r\n\r\n").is_err());
        assert!(content_length("HTTP/1.1 206 Partial Content\r\n\r\n").is_err());
    }
}

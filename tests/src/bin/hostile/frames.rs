//! Raw frames and what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::Tally;

/// How a broker took some bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    /// It answered with a frame.
    Answered(Bytes),
    /// It closed the connection.
    Closed,
    /// It did neither in time.
    Held,
}

impl Tally {
    /// Counts one.
    pub fn count(&mut self, taken: &Taken) {
        self.sent += 1;
        match taken {
            Taken::Answered(_) => self.answered += 1,
            Taken::Closed => self.closed += 1,
            Taken::Held => self.held += 1,
        }
    }
}

/// A frame with a length in front.
pub fn framed(content: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(content.len() + 4);
    frame.extend((content.len() as u32).to_be_bytes());
    frame.extend(content);
    frame
}

/// A request header of an API and version, and `body` after it, framed.
pub fn request(key: ApiKey, version: i16, body: &[u8]) -> Result<Vec<u8>> {
    let mut content = header(key, version)?;
    content.extend_from_slice(body);
    Ok(framed(&content))
}

/// The header alone.
pub fn header(key: ApiKey, version: i16) -> Result<BytesMut> {
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(7)
        .with_client_id(Some(StrBytes::from_static_str("hostile")));
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, key.request_header_version(version))?;
    Ok(bytes)
}

/// A new connection.
pub fn connect(addr: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// Sends bytes and looks at what comes back within `patience`.
pub fn send(stream: &mut TcpStream, bytes: &[u8], patience: Duration) -> Taken {
    // A broker that closes while we write has answered too.
    if stream.write_all(bytes).is_err() {
        return Taken::Closed;
    }
    receive(stream, patience)
}

/// One frame, or the end.
pub fn receive(stream: &mut TcpStream, patience: Duration) -> Taken {
    if stream.set_read_timeout(Some(patience)).is_err() {
        return Taken::Closed;
    }
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            return Taken::Held;
        }
        Err(_) => return Taken::Closed,
    }
    let mut frame = vec![0; (u32::from_be_bytes(length) as usize).min(64 << 20)];
    match stream.read_exact(&mut frame) {
        Ok(()) => Taken::Answered(frame.into()),
        Err(_) => Taken::Closed,
    }
}

/// An honest request on its own connection, decoded.
pub fn ask<R: Request>(
    addr: SocketAddr,
    request: &R,
    version: i16,
    patience: Duration,
) -> Result<R::Response> {
    let key = ApiKey::try_from(R::KEY).ok().context("an unknown API")?;
    let mut body = BytesMut::new();
    request.encode(&mut body, version)?;
    let Taken::Answered(mut answer) =
        send(&mut connect(addr)?, &self::request(key, version, &body)?, patience)
    else {
        bail!("no answer to {key:?} v{version}");
    };
    kafka_protocol::messages::ResponseHeader::decode(&mut answer, R::Response::header_version(version))?;
    R::Response::decode(&mut answer, version)
}

/// Sends each frame on a connection that is used until the broker closes it. Pieces of work are shared by two
/// threads: enough to keep a broker busy, few enough that the victim's own client gets to run.
pub fn barrage(addr: SocketAddr, frames: &[Vec<u8>], patience: Duration) -> Result<Tally> {
    let mut total = Tally::default();
    let halves = frames.chunks(frames.len().div_ceil(2).max(1));
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            halves.map(|half| scope.spawn(move || one_after_another(addr, half, patience))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
    });
    for tally in tallies {
        total.add(tally);
    }
    Ok(total)
}

fn one_after_another(addr: SocketAddr, frames: &[Vec<u8>], patience: Duration) -> Tally {
    let mut tally = Tally::default();
    let mut open: Option<TcpStream> = None;
    for frame in frames {
        let Some(mut stream) = open.take().or_else(|| connect(addr).ok()) else {
            tally.refused += 1;
            continue;
        };
        let taken = send(&mut stream, frame, patience);
        tally.count(&taken);
        if matches!(taken, Taken::Answered(_)) {
            open = Some(stream);
        }
    }
    tally
}

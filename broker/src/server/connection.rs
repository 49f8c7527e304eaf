//! One client. Two tasks: the reader takes frames in order and lets each take effect before it reads the next; the writer
//! sends the answers in the same order, each when it may leave (PRACTICE P1). What is pipelined is thus appended in
//! order and answered in order, and several requests share one PUT.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use protocol::StrBytes;
use s3stream::budget::{ByteSemaphore, Class, Permit};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::frame_reader::{FrameReader, ReadError};
use super::reply_queue::{Frame, Queued, REPLY_BYTES_MAX, Reply, reply_queue, resolve, resolve_now};
use crate::broker::Broker;
use crate::dispatch::{Close, dispatch};
use crate::fetch::session::ConnectionFetch;

/// What is known of a client beyond one request.
pub struct Connection {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Its address without port, as Kafka shows it: `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// The listener it uses.
    pub listener: Arc<str>,
    /// What it says it is (KIP-511).
    pub software: Option<(StrBytes, StrBytes)>,
    /// What its sessionless fetches look at.
    pub fetch: Arc<ConnectionFetch>,
    /// Where answers to produces are written, one behind the other.
    pub answers: BytesMut,
}

impl Connection {
    /// A client that has just connected.
    pub fn new(peer: SocketAddr, listener: Arc<str>) -> Connection {
        Connection {
            peer,
            client_host: format!("/{}", peer.ip()).into(),
            listener,
            software: None,
            fetch: Arc::new(ConnectionFetch::default()),
            answers: BytesMut::new(),
        }
    }
}

/// Serves a connection until either side ends it.
pub async fn serve<R, W>(broker: Arc<Broker>, mut connection: Connection, reader: R, writer: W)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (replies, queue) = reply_queue();
    let writing = write_replies(broker.clone(), queue, writer);
    let reading = read_requests(broker, &mut connection, reader, replies);
    // Whoever ends first ends the other: an answer that nobody reads, or a request that nobody may answer. But a reader
    // that ended cleanly (the client closed its half) leaves the answers it is owed to the writer.
    tokio::pin!(writing);
    let end = tokio::select! {
        // In one order always, so that a run of the simulation repeats.
        biased;
        end = reading => {
            if matches!(end, End::Client) {
                writing.await;
            }
            end
        }
        () = &mut writing => End::Writer,
    };
    debug!(peer = %connection.peer, %end, "connection closed");
}

/// Why a connection was over.
enum End {
    Client,
    Read(ReadError),
    Request(Close),
    Writer,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Client => write!(f, "by the client"),
            End::Read(e) => write!(f, "{e}"),
            End::Request(e) => write!(f, "{e}"),
            End::Writer => write!(f, "answers cannot be written"),
        }
    }
}

/// Requests of one connection that are answered at once, one after another, before others have their turn. A client that
/// pipelines thousands of them would else hold a thread for as long as the runtime lets a task run, and so would each of
/// a hundred such clients before anybody's next record is looked at (I11).
const ANSWERED_AT_ONCE_MAX: usize = 16;

async fn read_requests<R: AsyncRead + Unpin>(
    broker: Arc<Broker>,
    connection: &mut Connection,
    reader: R,
    replies: mpsc::Sender<Queued>,
) -> End {
    let unsent = ByteSemaphore::new("unsent answers", REPLY_BYTES_MAX);
    let (limits, idle) = (broker.frame_limits(), broker.config.connections_max_idle());
    let mut frames = {
        let (small, middling) = (broker.receive_buffers.clone(), broker.frame_buffers.clone());
        FrameReader::new(reader, limits, &broker.budget, small, middling, idle)
    };
    let mut answered_at_once = 0;
    loop {
        let frame = match frames.next(true).await {
            Ok(frame) => frame,
            Err(ReadError::Closed) => return End::Client,
            Err(e) => return End::Read(e),
        };
        let request_bytes = frame.bytes.len();
        let reply = match dispatch(&broker, connection, frame).await {
            Ok(reply) => reply,
            Err(close) => return End::Request(close),
        };
        if matches!(reply, Reply::None) {
            continue;
        }
        answered_at_once = if matches!(reply, Reply::Ready(_)) { answered_at_once + 1 } else { 0 };
        let charge = unsent.acquire(reply.held_bytes(request_bytes)).await;
        if replies.send(Queued { reply, charge }).await.is_err() {
            return End::Writer;
        }
        if answered_at_once == ANSWERED_AT_ONCE_MAX {
            answered_at_once = 0;
            tokio::task::yield_now().await;
        }
    }
}

async fn write_replies<W: AsyncWrite + Unpin>(
    broker: Arc<Broker>,
    mut queue: mpsc::Receiver<Queued>,
    mut writer: W,
) {
    let responses = broker.budget.class(Class::Responses);
    let patience = broker.config.connections_max_idle();
    let mut next = None;
    loop {
        let Some(Queued { reply, charge }) = (match next.take() {
            Some(queued) => Some(queued),
            None => queue.recv().await,
        }) else {
            return;
        };
        let Some(frame) = resolve(reply, &broker.lane).await else { return };
        let mut outgoing = Outgoing::new(frame, charge);
        let mut close = false;
        // What may leave already leaves in the same write: one object answers many requests (PRACTICE P6).
        while !close && outgoing.parts.len() < WRITE_PARTS_MAX {
            let Ok(Queued { reply, charge }) = queue.try_recv() else { break };
            match resolve_now(reply, &broker.lane) {
                Ok(Some(frame)) => outgoing.add(frame, charge),
                Ok(None) => close = true,
                Err(reply) => {
                    next = Some(Queued { reply, charge });
                    break;
                }
            }
        }
        if write_out(&mut writer, outgoing, responses, patience).await.is_err() || close {
            return;
        }
    }
}

/// Slices that one write gathers.
const WRITE_PARTS_MAX: usize = 64;
/// A client that takes nothing for so long is given up while other answers wait for memory.
const WRITE_STALL_CONTENDED: Duration = Duration::from_secs(2);

/// Answers that leave together, in order.
struct Outgoing {
    parts: Vec<Bytes>,
    /// Of what they pin.
    pinned: Vec<Permit>,
    /// Of their places in the queue.
    queued: Vec<Permit>,
}

impl Outgoing {
    fn new(frame: Frame, charge: Permit) -> Outgoing {
        let Frame { parts, charge: pinned } = frame;
        Outgoing { parts: parts.into_vec(), pinned: pinned.into_iter().collect(), queued: vec![charge] }
    }

    fn add(&mut self, frame: Frame, charge: Permit) {
        self.parts.extend(frame.parts);
        self.pinned.extend(frame.charge);
        self.queued.push(charge);
    }
}

/// A client that takes nothing for so long is answered from a copy of what it is owed. A slice of a fetch keeps all that came by
/// the same GET, and is charged for itself alone: memory would be full of what a few clients do not read (I8, I11).
const WRITE_STALL_COPIED: Duration = Duration::from_millis(100);
/// And so is one that takes longer for all of it.
const WRITE_SLOW_COPIED: Duration = Duration::from_secs(1);

/// Writes answers vectored; their charges are given back when they have left. Who does not read is given up after
/// `patience`, or much sooner when others wait for what it pins (I11).
async fn write_out<W: AsyncWrite + Unpin>(
    writer: &mut W,
    outgoing: Outgoing,
    responses: &ByteSemaphore,
    patience: Duration,
) -> std::io::Result<()> {
    let Outgoing { parts, pinned, queued } = outgoing;
    let mut parts = Parts::new(parts);
    let mut waited = Duration::ZERO;
    let (begun, mut copied) = (Instant::now(), false);
    while parts.has_remaining() {
        let stall = match copied {
            true => WRITE_STALL_CONTENDED,
            false => WRITE_STALL_COPIED.min(WRITE_SLOW_COPIED.saturating_sub(begun.elapsed())),
        };
        match timeout(stall, writer.write_buf(&mut parts)).await {
            Ok(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                written?;
                waited = Duration::ZERO;
            }
            Err(_) if !copied => {
                waited += stall;
                copied = true;
                parts = Parts::new(vec![parts.copy_to_bytes(parts.remaining())]);
            }
            Err(_) => {
                waited += stall;
                let contended = !pinned.is_empty() && responses.usage().waiting > 0;
                if contended || waited >= patience {
                    return Err(std::io::ErrorKind::TimedOut.into());
                }
            }
        }
    }
    writer.flush().await?;
    drop((pinned, queued));
    Ok(())
}

/// Slices as one buffer, so that a write gathers up to 64 of them.
struct Parts {
    parts: std::vec::IntoIter<Bytes>,
    first: Bytes,
    remaining: usize,
}

impl Parts {
    fn new(parts: Vec<Bytes>) -> Parts {
        let remaining = parts.iter().map(Bytes::len).sum();
        let mut parts = parts.into_iter();
        Parts { first: parts.next().unwrap_or_default(), parts, remaining }
    }
}

impl Buf for Parts {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        if self.first.is_empty() { self.parts.as_slice().first().map_or(&[], |p| p) } else { &self.first }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [std::io::IoSlice<'a>]) -> usize {
        let all = std::iter::once(&self.first).chain(self.parts.as_slice()).filter(|p| !p.is_empty());
        let mut n = 0;
        for (slot, part) in slices.iter_mut().zip(all) {
            *slot = std::io::IoSlice::new(part);
            n += 1;
        }
        n
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while count >= self.first.len() && (count > 0 || self.first.is_empty()) {
            count -= self.first.len();
            match self.parts.next() {
                Some(next) => self.first = next,
                None => {
                    self.first = Bytes::new();
                    break;
                }
            }
        }
        self.first.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_one_buffer_however_they_are_advanced() {
        let parts: Vec<Bytes> =
            ["", "abc", "", "d", "efgh", ""].iter().map(|s| Bytes::from_static(s.as_bytes())).collect();
        for step in 1..9 {
            let mut buffer = Parts::new(parts.clone());
            let mut out = Vec::new();
            while buffer.has_remaining() {
                let n = step.min(buffer.chunk().len());
                assert!(n > 0);
                out.extend_from_slice(&buffer.chunk()[..n]);
                buffer.advance(n);
            }
            assert_eq!(out, b"abcdefgh", "in steps of {step}");
        }
        let mut buffer = Parts::new(parts);
        buffer.advance(4);
        assert_eq!(buffer.copy_to_bytes(4), Bytes::from_static(b"efgh"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_keeps_no_more_than_its_answer() {
        let budget = s3stream::budget::Budget::new(256 << 20);
        let responses = budget.class(Class::Responses);
        let memory: Arc<[u8]> = (0..1 << 20).map(|at| (at / 5) as u8).collect::<Vec<u8>>().into();
        let slice = Bytes::from_owner(memory.clone()).slice(1_000..101_000);
        let outgoing = Outgoing::new(
            Frame { parts: [Bytes::from_static(b"head"), slice].into_iter().collect(), charge: None },
            responses.try_acquire(1).unwrap(),
        );
        let (mut writer, mut reader) = tokio::io::duplex(64);
        let responses = responses.clone();
        let writing = tokio::spawn(async move {
            write_out(&mut writer, outgoing, &responses, Duration::from_secs(60)).await
        });
        tokio::time::sleep(WRITE_STALL_COPIED / 2).await;
        assert_eq!(Arc::strong_count(&memory), 2, "a client may be slow");
        tokio::time::sleep(WRITE_STALL_COPIED).await;
        assert_eq!(Arc::strong_count(&memory), 1);
        let mut read = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut read).await.unwrap();
        writing.await.unwrap().unwrap();
        assert!(read[..4] == *b"head" && read[4..] == memory[1_000..101_000]);
    }
}

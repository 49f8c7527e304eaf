//! Reading frames so that hostile ones cost nothing (I11): the length is judged on the first eight bytes, memory grows with
//! what has arrived and not with what was announced, and no more than a first piece of a frame is read before ingress has
//! room for all of it (I8).
//!
//! Small frames of a busy connection lie one behind the other in [`super::receive_buffers`]; one of middling size is read into
//! memory that an earlier one has left.
//!
//! The charge of a frame is taken at once, never in steps: two half-read frames that wait for each other's memory would
//! wait for ever. A frame that was charged and then stalls is given up after a while, sooner when others wait.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use protocol::api::FrameClass;
use protocol::frame::{FrameError, FrameHead, FrameLimits, HEAD_BYTES};
use s3stream::budget::{Budget, ByteSemaphore, Class, ConnectionShare, Permit};
use s3stream::buffers::{Buffer, BufferPool, POOLED_BYTES_MAX};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::receive_buffers::{RECEIVE_BUFFER_BYTES, ReceiveBuffers};

/// What an idle connection keeps ready.
const IDLE_BUFFER_BYTES: usize = 4 << 10;
/// A busy one reads several small frames at once, one behind the other into the same memory.
const BUSY_BUFFER_BYTES: usize = RECEIVE_BUFFER_BYTES;
/// A connection is idle when nothing has come for so long.
const IDLE_AFTER: Duration = Duration::from_millis(500);
/// Read of a frame before it is charged, or along with the one before it: proof that somebody sends it.
const UNCHARGED_BYTES: usize = BUSY_BUFFER_BYTES;
/// Allocated for a frame before that much of it has arrived.
const FIRST_ALLOCATION_BYTES: usize = 1 << 20;
/// A frame that makes no progress for so long is given up (`connections.max.idle.ms` is for those between frames).
const STALL: Duration = Duration::from_secs(30);
/// The same while other connections wait for memory.
const STALL_CONTENDED: Duration = Duration::from_secs(3);
/// Slower than this per second while others wait is a stall, too.
const RATE_CONTENDED: usize = 256 << 10;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The client closed it, between frames.
    #[error("closed by the client")]
    Closed,
    /// The socket failed, or was closed within a frame.
    #[error("connection lost: {0}")]
    Io(#[from] std::io::Error),
    /// The frame's head is refused.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The frame did not arrive in time.
    #[error("{arrived} of {announced} bytes of a frame arrived, then none for too long")]
    Stalled {
        /// Bytes that came.
        arrived: usize,
        /// Bytes that were announced.
        announced: usize,
    },
    /// Nothing was asked for `connections.max.idle.ms`.
    #[error("idle for too long")]
    Idle,
}

/// A frame: everything after its length.
#[derive(Debug)]
pub struct RequestFrame {
    /// Key, version and size.
    pub head: FrameHead,
    /// The bytes, from the API key on.
    pub bytes: Bytes,
    /// What it is charged.
    pub charge: Permit,
}

/// The reading half of a connection.
pub struct FrameReader<R> {
    socket: R,
    buffer: BytesMut,
    /// It is one of `buffers`.
    received: bool,
    buffer_bytes: usize,
    buffers: Arc<ReceiveBuffers>,
    pool: Arc<BufferPool>,
    limits: FrameLimits,
    ingress: ConnectionShare,
    ingress_class: ByteSemaphore,
    control: ByteSemaphore,
    idle: Duration,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `socket` within `limits`, charging `budget`; `idle` is the longest pause between frames.
    pub fn new(
        socket: R,
        limits: FrameLimits,
        budget: &Budget,
        buffers: Arc<ReceiveBuffers>,
        pool: Arc<BufferPool>,
        idle: Duration,
    ) -> FrameReader<R> {
        FrameReader {
            socket,
            buffer: BytesMut::new(),
            received: false,
            buffer_bytes: IDLE_BUFFER_BYTES,
            buffers,
            pool,
            limits,
            ingress: budget.connection(),
            ingress_class: budget.class(Class::Ingress).clone(),
            control: budget.class(Class::Control).clone(),
            idle,
        }
    }

    /// The next frame, charged.
    pub async fn next(&mut self, authenticated: bool) -> Result<RequestFrame, ReadError> {
        self.fill_head().await?;
        let first: [u8; HEAD_BYTES] = self.buffer[..HEAD_BYTES].try_into().expect("filled");
        let head = FrameHead::parse(&first, &self.limits, authenticated)?;
        let size = 4 + head.body_bytes;
        self.fill(size.min(UNCHARGED_BYTES), size).await?;
        let charge = self.charge(&head, size).await;
        let bytes = if size > UNCHARGED_BYTES && size <= POOLED_BYTES_MAX && self.buffer.len() < size {
            self.fill_pooled(size).await?
        } else {
            self.fill(size, size).await?;
            self.take(size)
        };
        Ok(RequestFrame { head, bytes: bytes.slice(4..), charge })
    }

    /// The frame that the buffer begins with. Memory that was made for it, or is used up, goes with it: the buffer would keep all
    /// of it for as long as the connection lives.
    fn take(&mut self, size: usize) -> Bytes {
        let frame = self.buffer.split_to(size).freeze();
        if size > self.buffer_bytes || (self.buffer.is_empty() && self.is_used_up()) {
            self.go_on_in(BytesMut::with_capacity(self.buffer.len()), false);
        }
        frame
    }

    async fn charge(&self, head: &FrameHead, size: usize) -> Permit {
        match head.api().map(|api| api.frame_class) {
            Some(FrameClass::Produce) => self.ingress.acquire(size as u64).await,
            _ => self.control.acquire(size as u64).await,
        }
    }

    async fn fill_head(&mut self) -> Result<(), ReadError> {
        let now = Instant::now();
        let (deadline, idle_at) = (now + self.idle, now + self.idle.min(IDLE_AFTER));
        while self.buffer.len() < HEAD_BYTES {
            if self.is_used_up() {
                self.renew();
            }
            let mut room = (&mut self.buffer).limit(BUSY_BUFFER_BYTES - HEAD_BYTES);
            let until = if self.buffer_bytes == IDLE_BUFFER_BYTES { deadline } else { idle_at };
            let read = match timeout_at(until, self.socket.read_buf(&mut room)).await {
                Ok(read) => read?,
                Err(_) if until == deadline => return Err(ReadError::Idle),
                Err(_) => {
                    self.buffer_bytes = IDLE_BUFFER_BYTES;
                    self.go_on_in(BytesMut::with_capacity(self.buffer.len()), false);
                    continue;
                }
            };
            if read == 0 {
                return Err(if self.buffer.is_empty() { ReadError::Closed } else { lost() });
            }
            if let Some(length) = self.buffer.first_chunk() {
                FrameHead::check_length(*length)?;
            }
            if read >= IDLE_BUFFER_BYTES {
                self.buffer_bytes = BUSY_BUFFER_BYTES;
            }
        }
        Ok(())
    }

    /// What little is left at the end of a buffer is not worth a read.
    fn is_used_up(&self) -> bool {
        self.buffer.capacity() - self.buffer.len() < self.buffer_bytes / 8
    }

    /// Goes on in fresh memory of the usual size: `reserve` might double what there is.
    fn renew(&mut self) {
        match self.buffer_bytes {
            RECEIVE_BUFFER_BYTES => self.go_on_in(self.buffers.take(), true),
            bytes => self.go_on_in(BytesMut::with_capacity(bytes), false),
        }
    }

    fn go_on_in(&mut self, mut fresh: BytesMut, received: bool) {
        fresh.extend_from_slice(&self.buffer);
        let before = std::mem::replace(&mut self.buffer, fresh);
        if std::mem::replace(&mut self.received, received) {
            self.buffers.give(before);
        }
    }

    /// Reads until the buffer holds `want` bytes of a frame of `size`, and beyond them only what a buffer of
    /// [`BUSY_BUFFER_BYTES`] takes: the frames behind it.
    async fn fill(&mut self, want: usize, size: usize) -> Result<(), ReadError> {
        while self.buffer.len() < want {
            let have = self.buffer.len();
            if self.buffer.capacity() < want && want <= self.buffer_bytes {
                self.renew();
            } else if self.buffer.capacity() < want {
                let target =
                    if have < FIRST_ALLOCATION_BYTES { want.min(FIRST_ALLOCATION_BYTES) } else { want };
                self.buffer.reserve(target - have);
                self.received = false;
            }
            let pace = self.pace(want - have);
            let mut got = 0;
            while got < pace.floor {
                let missing = want - have - got;
                let along = BUSY_BUFFER_BYTES.saturating_sub(self.buffer.len());
                let mut room = (&mut self.buffer).limit(missing.max(along));
                got += pace.read(self.socket.read_buf(&mut room), have + got, size).await?;
            }
        }
        Ok(())
    }

    /// Reads the rest of a charged frame of `size` into a pooled buffer, behind what the own one holds of it.
    async fn fill_pooled(&mut self, size: usize) -> Result<Bytes, ReadError> {
        let mut frame: Buffer = self.pool.take(size);
        let mut have = self.buffer.len();
        frame[..have].copy_from_slice(&self.buffer);
        self.buffer.clear();
        while have < size {
            let pace = self.pace(size - have);
            let mut got = 0;
            while got < pace.floor {
                got += pace.read(self.socket.read(&mut frame[have + got..]), have + got, size).await?;
            }
            have += got;
        }
        Ok(frame.freeze())
    }

    /// How much of the `missing` bytes must come by when.
    fn pace(&self, missing: usize) -> Pace {
        let contended = self.ingress_class.usage().waiting > 0;
        let patience = if contended { STALL_CONTENDED } else { STALL };
        let floor =
            if contended { (RATE_CONTENDED * STALL_CONTENDED.as_secs() as usize).min(missing) } else { 1 };
        Pace { floor, deadline: Instant::now() + patience }
    }
}

/// So many bytes by then, or the frame is given up.
struct Pace {
    floor: usize,
    deadline: Instant,
}

impl Pace {
    /// One read of a frame of which `arrived` of `announced` bytes are there.
    async fn read(
        &self,
        read: impl Future<Output = std::io::Result<usize>>,
        arrived: usize,
        announced: usize,
    ) -> Result<usize, ReadError> {
        match timeout_at(self.deadline, read).await {
            Ok(Ok(0)) => Err(lost()),
            Ok(read) => Ok(read?),
            Err(_) => Err(ReadError::Stalled { arrived, announced }),
        }
    }
}

fn lost() -> ReadError {
    ReadError::Io(std::io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn frame(api_key: i16, body: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_i32(4 + body as i32);
        bytes.put_i16(api_key);
        bytes.put_i16(3);
        bytes.resize(8 + body, 7);
        bytes
    }

    fn reader(budget: &Budget) -> (tokio::io::DuplexStream, FrameReader<tokio::io::DuplexStream>) {
        let (client, server) = tokio::io::duplex(1 << 20);
        let pool = BufferPool::new(1 << 20);
        let (limits, idle) = (FrameLimits::default(), Duration::from_secs(600));
        (client, FrameReader::new(server, limits, budget, ReceiveBuffers::new(1 << 20), pool, idle))
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_all_sizes_come_out_whole_and_charged() {
        let budget = Budget::new(512 << 20);
        let (mut client, mut reader) = reader(&budget);
        let sizes = [6, 7, 100, 5_000, 70_000, 3 << 20, 9, 1 << 20, 70_000, 5 << 20, 70_000, 80_000];
        let sender = tokio::spawn(async move {
            for size in sizes {
                client.write_all(&frame(0, size)).await.unwrap();
            }
            client
        });
        for size in sizes {
            let frame = reader.next(true).await.unwrap();
            assert_eq!(frame.bytes.len(), 4 + size);
            assert!(frame.bytes[4..].iter().all(|b| *b == 7));
            assert_eq!(frame.charge.bytes(), 8 + size as u64);
        }
        drop(sender.await.unwrap());
        assert!(matches!(reader.next(true).await, Err(ReadError::Closed)));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_a_busy_connection_share_memory_and_an_idle_one_keeps_little() {
        let budget = Budget::new(512 << 20);
        let (mut client, mut reader) = reader(&budget);
        for _ in 0..3 {
            client.write_all(&frame(0, 16_000)).await.unwrap();
        }
        // The first tells that there is more; the others lie in one buffer, whether they came at once or in two reads.
        reader.next(true).await.unwrap();
        let (second, third) = (reader.next(true).await.unwrap(), reader.next(true).await.unwrap());
        assert_eq!(second.bytes.as_ptr_range().end.wrapping_add(4), third.bytes.as_ptr());

        assert!(tokio::time::timeout(IDLE_AFTER * 2, reader.next(true)).await.is_err());
        assert_eq!((reader.buffer_bytes, reader.buffer.capacity()), (IDLE_BUFFER_BYTES, IDLE_BUFFER_BYTES));
        client.write_all(&frame(0, 9)).await.unwrap();
        assert_eq!(reader.next(true).await.unwrap().bytes.len(), 4 + 9);
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_of_a_large_frame_goes_with_it() {
        let budget = Budget::new(512 << 20);
        let (mut client, mut reader) = reader(&budget);
        for size in [40 << 20, 9 << 20, 40_000, 5_000] {
            let sender = tokio::spawn(async move {
                client.write_all(&frame(0, size)).await.unwrap();
                client.write_all(&frame(3, 10)).await.unwrap();
                client
            });
            drop(reader.next(true).await.unwrap());
            client = sender.await.unwrap();
            reader.next(true).await.unwrap();
            assert!(reader.buffer.capacity() <= BUSY_BUFFER_BYTES, "{size}: {}", reader.buffer.capacity());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_announcement_alone_is_charged_nothing_and_given_up() {
        let budget = Budget::new(512 << 20);
        let (mut client, mut reader) = reader(&budget);
        client.write_all(&frame(0, 50 << 20)[..8]).await.unwrap();
        assert!(matches!(
            reader.next(true).await,
            Err(ReadError::Stalled { arrived: 8, announced }) if announced == 8 + (50 << 20)
        ));
        assert_eq!(budget.class(Class::Ingress).usage().peak, 0);
        assert!(reader.buffer.capacity() <= 1 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn an_impossible_length_is_refused_before_anything_follows_it() {
        let budget = Budget::new(512 << 20);
        for length in [0, 9, -1, i32::MIN] {
            let (mut client, mut reader) = reader(&budget);
            client.write_i32(length).await.unwrap();
            let refused = reader.next(true).await.unwrap_err();
            assert!(matches!(refused, ReadError::Frame(FrameError::TooShort { .. })), "{length}: {refused}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_and_a_torn_one_says_so() {
        let budget = Budget::new(512 << 20);
        let (client, mut idle) = reader(&budget);
        assert!(matches!(idle.next(true).await, Err(ReadError::Idle)));
        drop(client);
        let (mut client, mut torn) = reader(&budget);
        client.write_all(&frame(3, 10)[..12]).await.unwrap();
        drop(client);
        assert!(matches!(torn.next(true).await, Err(ReadError::Io(_))));
    }
}

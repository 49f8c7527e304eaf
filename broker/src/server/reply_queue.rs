//! Answers leave in the order of their requests (Kafka's clients match them by order), each when it may: at once, when its
//! lane object is durable, or when what it waits for has happened.
//!
//! The queue is bounded by requests and by bytes: a client that does not read its answers stops being read itself. What
//! fetches pin is charged to the class of responses besides.

use bytes::Bytes;
use futures::future::BoxFuture;
use protocol::produce_response::Encoded;
use s3stream::budget::Permit;
use s3stream::ids::LaneNumber;
use s3stream::wal::{Lane, LaneEnded};
use smallvec::{SmallVec, smallvec};
use tokio::sync::mpsc;

use crate::error::append_error_code;
use crate::partition::append::AppendError;

/// Requests of one connection that may be unanswered. librdkafka pipelines without a limit of its own.
pub const REPLIES_MAX: usize = 1_024;

/// A whole answer, length prefix included, as slices to be written one after another.
#[derive(Debug, Default)]
pub struct Frame {
    /// The slices. Most answers are one.
    pub parts: SmallVec<[Bytes; 1]>,
    /// Charge of what they pin; given back when they are written.
    pub charge: Option<Permit>,
}

impl From<Bytes> for Frame {
    fn from(bytes: Bytes) -> Frame {
        Frame { parts: smallvec![bytes], charge: None }
    }
}

/// What a handler returns when its request has taken effect in order.
pub enum Reply {
    /// No answer is owed (acks=0).
    None,
    /// The answer is there.
    Ready(Frame),
    /// The answer may leave when lane object `at`, and with it every earlier one, is durable (I1).
    Durable {
        /// The last lane object that the request touched.
        at: LaneNumber,
        /// The answer, revoked if the lane ends first.
        answer: Encoded,
    },
    /// The answer comes when this resolves; None closes the connection.
    Parked(BoxFuture<'static, Option<Frame>>),
}

/// Bytes that one connection's unsent answers may hold; a single larger one goes alone.
pub const REPLY_BYTES_MAX: u64 = 128 << 10;

/// An answer in the queue, with its part of [`REPLY_BYTES_MAX`].
pub struct Queued {
    /// The answer.
    pub reply: Reply,
    /// Given back when it has left.
    pub charge: Permit,
}

impl Reply {
    /// What it holds while it waits. `request_bytes` is the length of the request's frame: what is parked keeps it.
    pub fn held_bytes(&self, request_bytes: usize) -> u64 {
        const LEAST: usize = 512;
        let held = match self {
            Reply::None => 0,
            Reply::Ready(frame) => frame.parts.iter().map(Bytes::len).sum(),
            // The batches are in the lane, which has charged them.
            Reply::Durable { answer, .. } => answer.size(),
            Reply::Parked(_) => request_bytes,
        };
        held.max(LEAST) as u64
    }

    /// An answer that is there.
    pub fn ready(bytes: Bytes) -> Reply {
        Reply::Ready(bytes.into())
    }
}

/// The two ends of a connection's queue.
pub fn reply_queue() -> (mpsc::Sender<Queued>, mpsc::Receiver<Queued>) {
    mpsc::channel(REPLIES_MAX)
}

/// Waits until the answer may leave. None: close the connection.
pub async fn resolve(reply: Reply, lane: &Lane) -> Option<Frame> {
    match reply {
        Reply::None => Some(Frame::default()),
        Reply::Ready(frame) => Some(frame),
        Reply::Durable { at, answer } => Some(outcome_of(answer, lane.wait_durable(at).await)),
        Reply::Parked(answer) => answer.await,
    }
}

/// The answer, if it may leave already; else the reply as it was. None: close the connection.
pub fn resolve_now(reply: Reply, lane: &Lane) -> Result<Option<Frame>, Reply> {
    match reply {
        Reply::None => Ok(Some(Frame::default())),
        Reply::Ready(frame) => Ok(Some(frame)),
        Reply::Durable { at, answer } => match lane.outcome(at) {
            Some(outcome) => Ok(Some(outcome_of(answer, outcome))),
            None => Err(Reply::Durable { at, answer }),
        },
        Reply::Parked(answer) => Err(Reply::Parked(answer)),
    }
}

/// Where the lane ended first, nothing that the answer waited for is promised (I4: a retriable error).
fn outcome_of(answer: Encoded, durable: Result<(), LaneEnded>) -> Frame {
    let bytes = match durable {
        Ok(()) => answer.confirm(),
        Err(ended) => answer.revoke(append_error_code(&AppendError::LaneEnded(ended)).code()),
    };
    bytes.into()
}

//! Answers leave in the order of their requests (Kafka's clients match them by order), each when it may: at once, when its
//! lane object is durable, or when what it waits for has happened.
//!
//! The queue is bounded by requests here and by bytes through the permits that large answers hold: a client that does
//! not read its answers stops being read itself.

use bytes::Bytes;
use futures::future::BoxFuture;
use s3stream::budget::Permit;
use s3stream::ids::LaneNumber;
use s3stream::wal::{Lane, LaneEnded};
use tokio::sync::mpsc;

/// Requests of one connection that may be unanswered. librdkafka pipelines without a limit of its own.
pub const REPLIES_MAX: usize = 1_024;

/// A whole answer, length prefix included, as slices to be written one after another.
#[derive(Debug, Default)]
pub struct Frame {
    /// The slices.
    pub parts: Vec<Bytes>,
    /// Charge of what they pin; given back when they are written.
    pub charge: Option<Permit>,
}

impl From<Bytes> for Frame {
    fn from(bytes: Bytes) -> Frame {
        Frame { parts: vec![bytes], charge: None }
    }
}

/// Shapes the answer once it is known whether the lane object became durable.
pub type ShapeFrame = Box<dyn FnOnce(Result<(), LaneEnded>) -> Option<Frame> + Send>;

/// What a handler returns when its request has taken effect in order.
pub enum Reply {
    /// No answer is owed (acks=0).
    None,
    /// The answer is there.
    Ready(Frame),
    /// The answer may leave when lane object `at`, and with it every earlier one, is durable (I1). No frame: the
    /// connection is closed instead.
    Durable {
        /// The last lane object that the request touched.
        at: LaneNumber,
        /// The answer.
        frame: ShapeFrame,
    },
    /// The answer comes when this resolves; None closes the connection.
    Parked(BoxFuture<'static, Option<Frame>>),
}

impl Reply {
    /// An answer that is there.
    pub fn ready(bytes: Bytes) -> Reply {
        Reply::Ready(bytes.into())
    }
}

/// The two ends of a connection's queue.
pub fn reply_queue() -> (mpsc::Sender<Reply>, mpsc::Receiver<Reply>) {
    mpsc::channel(REPLIES_MAX)
}

/// Waits until the answer may leave. None: close the connection.
pub async fn resolve(reply: Reply, lane: &Lane) -> Option<Frame> {
    match reply {
        Reply::None => Some(Frame::default()),
        Reply::Ready(frame) => Some(frame),
        Reply::Durable { at, frame } => frame(lane.wait_durable(at).await),
        Reply::Parked(answer) => answer.await,
    }
}

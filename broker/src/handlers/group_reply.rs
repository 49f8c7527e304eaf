//! What the group APIs share: who waits for a shard's answer gets it when all that the shard appended is durable.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol::error::{EncodeError, ErrorCode};
use s3stream::ids::LaneNumber;
use tokio::sync::oneshot;

use crate::broker::Broker;
use crate::coordinator::group::{GroupResponse, PartitionResults};
use crate::coordinator::runtime::Answer;
use crate::server::reply_queue::Reply;

/// Waits for the answer of a shard, then for its durability, then shapes it. A refusal is shaped at once.
pub fn park(
    broker: &Arc<Broker>,
    asked: Result<oneshot::Receiver<Answer>, ErrorCode>,
    shape: impl FnOnce(Result<GroupResponse, ErrorCode>) -> Result<Bytes, EncodeError> + Send + 'static,
) -> Reply {
    let broker = broker.clone();
    Reply::Parked(Box::pin(async move { encoded(shape(answered(&broker, asked).await)) }))
}

/// The answer of a shard, once it may be told.
pub async fn answered(
    broker: &Broker,
    asked: Result<oneshot::Receiver<Answer>, ErrorCode>,
) -> Result<GroupResponse, ErrorCode> {
    match asked?.await {
        // The shard ended with its lane.
        Err(_) => Err(ErrorCode::NotCoordinator),
        Ok(answer) => wait(broker, answer.at).await.map(|()| answer.response),
    }
}

/// Waits until what an answer was computed from is durable (SAFETY F12).
pub async fn wait(broker: &Broker, at: Option<LaneNumber>) -> Result<(), ErrorCode> {
    match at {
        None => Ok(()),
        Some(at) => broker.lane.wait_durable(at).await.map_err(|_| ErrorCode::NotCoordinator),
    }
}

/// A frame, or the end of the connection: an answer that cannot be encoded is a fault of ours.
pub fn encoded(frame: Result<Bytes, EncodeError>) -> Option<crate::server::reply_queue::Frame> {
    frame.map_err(|error| tracing::error!(%error, "an answer could not be encoded")).ok().map(Into::into)
}

/// The partitions of a request, by topic.
pub type Shape = Vec<(String, Vec<i32>)>;

/// Every partition asked for, in the request's order; one the shard was not asked about does not exist.
pub fn in_request_order(
    shape: Shape,
    answered: Vec<(String, PartitionResults)>,
) -> Vec<(String, PartitionResults)> {
    let mut results: HashMap<(String, i32), Option<ErrorCode>> = HashMap::new();
    for (topic, partitions) in answered {
        for (partition, error) in partitions {
            results.insert((topic.clone(), partition), error);
        }
    }
    let topics = shape.into_iter().map(|(topic, partitions)| {
        let result = |p: i32| {
            results.get(&(topic.clone(), p)).copied().unwrap_or(Some(ErrorCode::UnknownTopicOrPartition))
        };
        let partitions = partitions.into_iter().map(|p| (p, result(p))).collect();
        (topic, partitions)
    });
    topics.collect()
}

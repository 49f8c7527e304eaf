//! ElectLeaders (key 43), v0–v2.
//! Behavior: nothing is elected on request: a partition whose leader lives needs nothing, and one whose leader is gone is
//!   placed by the controller. Null asks for all, and gets those that need something (`ReplicationControlManager.electLeaders`).
//! Versions: v1 election type, top-level error (KIP-460).
//! Errors: INVALID_REQUEST (election type); per partition ELECTION_NOT_NEEDED, UNKNOWN_TOPIC_OR_PARTITION,
//!   PREFERRED_LEADER_NOT_AVAILABLE, ELIGIBLE_LEADERS_NOT_AVAILABLE.

use std::sync::Arc;

use protocol::codec::encode_elect_leaders;
use protocol::error::ErrorCode;
use protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::{text, topic_name};
use crate::broker::Broker;
use crate::controller::Refused;
use crate::controller::elections::{ElectionType, elect};
use crate::dispatch::{Close, RequestContext};
use crate::metadata::Places;
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ElectLeadersRequest,
) -> Result<Reply, Close> {
    let response = match ElectionType::from_code(request.election_type) {
        Ok(kind) => {
            ElectLeadersResponse::default().with_replica_election_results(results(broker, kind, request))
        }
        // v0 has no type, and no error at the top.
        Err(refused) => ElectLeadersResponse::default().with_error_code(refused.code.code()),
    };
    Ok(Reply::ready(encode_elect_leaders(ctx.correlation_id, ctx.version, &response)?))
}

fn results(broker: &Broker, kind: ElectionType, request: ElectLeadersRequest) -> Vec<ReplicaElectionResult> {
    let journal = broker.journal.image();
    let (image, places) = (&journal.inner, Places::new(&journal.inner));
    let said = |topic: &str, index: i32| (index, elect(image, &places, kind, topic, index));
    match request.topic_partitions {
        Some(asked) => asked
            .iter()
            .map(|asked| {
                let said = asked.partitions.iter().map(|index| said(&asked.topic, *index));
                result(&asked.topic, said.collect())
            })
            .collect(),
        None => {
            let all = image.topics().map(|topic| {
                let said = (0..topic.partitions.len() as i32).map(|index| said(&topic.name, index));
                let needing = said.filter(|(_, refused)| refused.code != ErrorCode::ElectionNotNeeded);
                result(&topic.name, needing.collect())
            });
            all.filter(|result| !result.partition_result.is_empty()).collect()
        }
    }
}

fn result(topic: &str, said: Vec<(i32, Refused)>) -> ReplicaElectionResult {
    let partitions = said.into_iter().map(|(index, refused)| {
        PartitionResult::default()
            .with_partition_id(index)
            .with_error_code(refused.code.code())
            .with_error_message(Some(text(&refused.message)))
    });
    ReplicaElectionResult::default().with_topic(topic_name(topic)).with_partition_result(partitions.collect())
}

//! DescribeTopicPartitions (key 75), v0 (KIP-966).
//! Behavior: topics by name, or all, in the order of their names, up to a number of partitions; what is left begins at the
//!   cursor of the answer, and goes on there in the next request (`DescribeTopicPartitionsRequestHandler`).
//! Errors: INVALID_REQUEST (a cursor outside the topics asked for, a negative partition) on every topic;
//!   UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION per topic asked for by name.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use protocol::codec::encode_describe_topic_partitions;
use protocol::error::{self, ErrorCode};
use protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use protocol::messages::{BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::{authorized_operations, topic_name};
use crate::broker::Broker;
use crate::controller::topics::check_name;
use crate::coordinator::is_internal;
use crate::dispatch::{Close, RequestContext};
use crate::metadata::{MetadataImage, Placement, Places, TopicImage};
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeTopicPartitionsRequest,
) -> Result<Reply, Close> {
    let response = match wanted(broker, &request) {
        Ok(names) => describe(broker, ctx, &request, names),
        // The answer has no error of its own.
        Err(InvalidCursor) => {
            let topics = request.topics.iter().map(|t| absent(&t.name, ErrorCode::InvalidRequest));
            DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
        }
    };
    Ok(Reply::ready(encode_describe_topic_partitions(ctx.correlation_id, ctx.version, &response)?))
}

/// The request's cursor is not one of ours.
#[derive(Debug, PartialEq, Eq)]
struct InvalidCursor;

/// The names from the cursor on, in order.
fn wanted(
    broker: &Broker,
    request: &DescribeTopicPartitionsRequest,
) -> Result<BTreeSet<String>, InvalidCursor> {
    let from = request.cursor.as_ref().map_or("", |c| &*c.topic_name.0);
    let names: BTreeSet<String> = if request.topics.is_empty() {
        let journal = broker.journal.image();
        journal.inner.topics().map(|t| t.name.to_string()).filter(|name| &**name >= from).collect()
    } else {
        request.topics.iter().map(|t| t.name.0.to_string()).filter(|name| &**name >= from).collect()
    };
    match &request.cursor {
        Some(cursor) if cursor.partition_index < 0 => Err(InvalidCursor),
        Some(_) if !request.topics.is_empty() && !names.contains(from) => Err(InvalidCursor),
        _ => Ok(names),
    }
}

fn describe(
    broker: &Broker,
    ctx: &RequestContext,
    request: &DescribeTopicPartitionsRequest,
    names: BTreeSet<String>,
) -> DescribeTopicPartitionsResponse {
    let journal = broker.journal.image();
    let image = &journal.inner;
    let limit = broker.config.values.int("max.request.partition.size.limit");
    let limit = request.response_partition_limit.min(limit).max(1) as usize;
    let cursor = request.cursor.as_ref().map(|c| (&*c.topic_name.0, c.partition_index as usize));
    let sizes = names.iter().map(|name| (&**name, image.topic(name).map(|t| t.partitions.len())));
    let page = page(sizes, cursor, limit);
    let shape = Shape { ctx, image, places: Places::new(image) };
    let all = request.topics.is_empty();
    let topics = page.topics.into_iter().filter_map(|(name, range)| match (image.topic(name), range) {
        (Some(topic), Some(range)) => Some(shape.topic(topic, range)),
        // Asked for by name: it is said that it is not there.
        _ if !all => Some(absent(name, unknown(name))),
        _ => None,
    });
    let topics = topics.collect();
    let next = page.next.map(|(name, index)| {
        Cursor::default().with_topic_name(topic_name(name)).with_partition_index(index as i32)
    });
    DescribeTopicPartitionsResponse::default().with_topics(topics).with_next_cursor(next)
}

fn unknown(name: &str) -> ErrorCode {
    check_name(name).map_or_else(|invalid| invalid.code, |()| ErrorCode::UnknownTopicOrPartition)
}

fn absent(name: &str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(topic_name(name)))
        .with_is_internal(is_internal(name))
        .with_topic_authorized_operations(authorized_operations::TOPIC)
}

/// What one answer holds.
#[derive(Debug, PartialEq, Eq)]
struct Page<'a> {
    /// Names, and the partitions of those that exist.
    topics: Vec<(&'a str, Option<Range<usize>>)>,
    /// Where the next one begins.
    next: Option<(&'a str, usize)>,
}

/// Cuts the first page out of `topics` (names in order, with their number of partitions if they exist). Only partitions count
/// for the limit (`KRaftMetadataCache.describeTopicResponse`).
fn page<'a>(
    topics: impl Iterator<Item = (&'a str, Option<usize>)>,
    cursor: Option<(&str, usize)>,
    limit: usize,
) -> Page<'a> {
    let mut page = Page { topics: Vec::new(), next: None };
    let mut room = limit;
    for (name, partitions) in topics {
        if room == 0 {
            page.next = Some((name, 0));
            break;
        }
        let Some(partitions) = partitions else {
            page.topics.push((name, None));
            continue;
        };
        let start = cursor.filter(|(topic, _)| *topic == name).map_or(0, |(_, index)| index);
        let end = partitions.min(start.saturating_add(room));
        page.topics.push((name, Some(start..end.max(start))));
        if end < partitions {
            page.next = Some((name, end));
            break;
        }
        room -= end.saturating_sub(start);
    }
    page
}

struct Shape<'a> {
    ctx: &'a RequestContext,
    image: &'a MetadataImage,
    places: Places<'a>,
}

impl Shape<'_> {
    fn topic(&self, topic: &TopicImage, range: Range<usize>) -> DescribeTopicPartitionsResponseTopic {
        debug_assert!(self.image.topic_by_id(topic.id).is_some());
        let partitions = range.filter_map(|index| {
            let place = self.places.of(topic.partitions.get(index)?);
            Some(self.partition(index as i32, place))
        });
        DescribeTopicPartitionsResponseTopic::default()
            .with_error_code(error::NONE)
            .with_name(Some(topic_name(&topic.name)))
            .with_topic_id(topic.id)
            .with_is_internal(is_internal(&topic.name))
            .with_partitions(partitions.collect())
            .with_topic_authorized_operations(authorized_operations::TOPIC)
    }

    fn partition(&self, index: i32, place: Placement) -> DescribeTopicPartitionsResponsePartition {
        let reached = place.leader.filter(|leader| self.places.listens(*leader, &self.ctx.listener));
        let ids = |list: Vec<i32>| list.into_iter().map(BrokerId).collect::<Vec<_>>();
        DescribeTopicPartitionsResponsePartition::default()
            .with_error_code(error::NONE)
            .with_partition_index(index)
            .with_leader_id(BrokerId(reached.unwrap_or(-1)))
            .with_leader_epoch(place.leader_epoch)
            .with_replica_nodes(ids(place.replicas))
            .with_isr_nodes(ids(place.isr))
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
            .with_offline_replicas(ids(place.offline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_and_hold_no_more_than_the_limit() {
        let topics = [("a", Some(3)), ("b", None), ("c", Some(2)), ("d", Some(1))];
        let from = |cursor: Option<(&'static str, usize)>, limit| {
            let at = cursor.map_or("", |(name, _)| name);
            page(topics.into_iter().filter(|(name, _)| *name >= at), cursor, limit)
        };
        type Case = (
            Option<(&'static str, usize)>,
            usize,
            Vec<(&'static str, Option<Range<usize>>)>,
            Option<(&'static str, usize)>,
        );
        let cases: [Case; 6] = [
            (None, 10, vec![("a", Some(0..3)), ("b", None), ("c", Some(0..2)), ("d", Some(0..1))], None),
            (None, 2, vec![("a", Some(0..2))], Some(("a", 2))),
            (Some(("a", 2)), 2, vec![("a", Some(2..3)), ("b", None), ("c", Some(0..1))], Some(("c", 1))),
            // Full to the brim: the next begins with the topic that had no room at all, be there one or not.
            (Some(("a", 0)), 3, vec![("a", Some(0..3))], Some(("b", 0))),
            (Some(("c", 1)), 2, vec![("c", Some(1..2)), ("d", Some(0..1))], None),
            // The topic shrank to less than the cursor: it was deleted and made again.
            (Some(("c", 7)), 1, vec![("c", Some(7..7)), ("d", Some(0..1))], None),
        ];
        for (cursor, limit, topics, next) in cases {
            assert_eq!(from(cursor, limit), Page { topics, next }, "{cursor:?} limit {limit}");
        }
    }
}

//! Who leads instead: told beside an error that says "not here", so that a client need not ask for metadata first (KIP-951).

use uuid::Uuid;

use super::{Endpoint, MetadataImage, Places, TopicImage};

/// A topic as the request named it.
#[derive(Clone, Copy, Debug)]
pub enum TopicRef<'a> {
    /// By name.
    Name(&'a str),
    /// By id.
    Id(Uuid),
}

/// The leader of a partition, as this image knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// Its node id; -1: nobody, or not known.
    pub leader_id: i32,
    /// Its epoch; -1: not known.
    pub leader_epoch: i32,
    /// Where it is on the listener that was asked, and its rack.
    pub node: Option<(Endpoint, Option<String>)>,
}

/// The hint for one partition (`KafkaApis.getCurrentLeader`).
pub fn leader_hint(image: &MetadataImage, listener: &str, topic: TopicRef<'_>, index: i32) -> LeaderHint {
    let unknown = LeaderHint { leader_id: -1, leader_epoch: -1, node: None };
    let topic: Option<&TopicImage> = match topic {
        TopicRef::Name(name) => image.topic(name).map(|t| &**t),
        TopicRef::Id(id) => image.topic_by_id(id).map(|t| &**t),
    };
    let partition = topic.and_then(|t| t.partitions.get(usize::try_from(index).ok()?));
    let Some(partition) = partition else { return unknown };
    let place = Places::new(image).of(partition);
    let Some(leader_id) = place.leader else { return unknown };
    let leader = image.live_brokers().find(|(_, b)| b.node_id == leader_id);
    let node = leader.and_then(|(_, b)| {
        let endpoint = b.endpoints.iter().find(|e| e.listener == listener)?;
        Some((endpoint.clone(), b.rack.clone()))
    });
    LeaderHint { leader_id, leader_epoch: place.leader_epoch, node }
}

//! Who leads instead: told beside an error that says "not here", so that a client need not ask for metadata first (KIP-951).

use std::collections::BTreeMap;

use protocol::primitives::{LeaderIdAndEpoch, NodeEndpoint};
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

impl TopicRef<'_> {
    /// As a Produce or a Fetch of that version names it: by id from version 13 on, of both.
    pub fn of(version: i16, name: &str, id: Uuid) -> TopicRef<'_> {
        if version >= 13 { TopicRef::Id(id) } else { TopicRef::Name(name) }
    }
}

/// The leader of a partition, as this image knows it.
struct LeaderHint {
    /// Its node id; -1: nobody, or not known.
    leader_id: i32,
    /// Its epoch; -1: not known.
    leader_epoch: i32,
    /// Where it is on the listener that was asked, and its rack.
    node: Option<(Endpoint, Option<String>)>,
}

/// The leaders that an answer names, and where each of them is.
#[derive(Debug, Default)]
pub struct LeadersTold(BTreeMap<i32, NodeEndpoint>);

impl LeadersTold {
    /// Who leads a partition instead.
    pub fn tell(
        &mut self,
        image: &MetadataImage,
        listener: &str,
        topic: TopicRef<'_>,
        index: i32,
    ) -> LeaderIdAndEpoch {
        let LeaderHint { leader_id, leader_epoch, node } = leader_hint(image, listener, topic, index);
        if let Some((Endpoint { host, port, .. }, rack)) = node {
            let node = NodeEndpoint { node_id: leader_id, host, port: i32::from(port), rack };
            self.0.insert(leader_id, node);
        }
        LeaderIdAndEpoch { leader_id, leader_epoch }
    }

    /// Where they are, each once.
    pub fn endpoints(self) -> Vec<NodeEndpoint> {
        self.0.into_values().collect()
    }
}

/// The hint for one partition (`KafkaApis.getCurrentLeader`).
fn leader_hint(image: &MetadataImage, listener: &str, topic: TopicRef<'_>, index: i32) -> LeaderHint {
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

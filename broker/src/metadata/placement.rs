//! Where a partition is, as clients are told: leader, replicas, who is in sync.
//!
//! The bucket replicates, so lists are names for people and for tools: what a user assigned is shown verbatim, else the
//! leader stands alone; in sync is who lives (PRACTICE R3).

use super::{BrokerRegistration, MetadataImage, PartitionImage};

/// A partition's place at one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Node id of the leader; None while its owner's lane has ended.
    pub leader: Option<i32>,
    /// The leader's epoch, or that of the last leader; -1 where there never was one.
    pub leader_epoch: i32,
    /// Node ids.
    pub replicas: Vec<i32>,
    /// Those of `replicas` that live.
    pub isr: Vec<i32>,
    /// Those that do not.
    pub offline: Vec<i32>,
}

/// What one answer needs to know of brokers, found once.
pub struct Places<'a> {
    image: &'a MetadataImage,
    live: Vec<&'a BrokerRegistration>,
}

impl<'a> Places<'a> {
    /// Of this image.
    pub fn new(image: &'a MetadataImage) -> Places<'a> {
        Places { image, live: image.live_brokers().map(|(_, b)| &**b).collect() }
    }

    /// Does that node live?
    pub fn is_live(&self, node_id: i32) -> bool {
        self.live.iter().any(|b| b.node_id == node_id)
    }

    /// Does that node live and have a listener of that name?
    pub fn listens(&self, node_id: i32, listener: &str) -> bool {
        let node = self.live.iter().find(|b| b.node_id == node_id);
        node.is_some_and(|b| b.endpoints.iter().any(|e| e.listener == listener))
    }

    /// Where that partition is.
    pub fn of(&self, partition: &PartitionImage) -> Placement {
        let owner = self.image.owner(partition.stream);
        let live = owner.filter(|(incarnation, _)| self.image.catalog.is_live(*incarnation));
        let leader = live.and_then(|(incarnation, _)| Some(self.image.broker(incarnation)?.node_id));
        let replicas: Vec<i32> = match &partition.replicas {
            Some(assigned) => assigned.to_vec(),
            None => leader.into_iter().collect(),
        };
        let (isr, offline): (Vec<i32>, Vec<i32>) = replicas.iter().partition(|r| self.is_live(**r));
        // Whoever leads is in sync, listed or not.
        let isr = if isr.is_empty() { leader.into_iter().collect() } else { isr };
        let leader_epoch = owner.map_or(-1, |(_, epoch)| epoch.0 as i32);
        Placement { leader, leader_epoch, replicas, isr, offline }
    }
}

//! Replicas that a user assigns (`ReplicationControlManager.validateManualPartitionAssignment`). Pure. They are kept and
//! shown as they were given: the bucket replicates, whoever is named.

use std::collections::BTreeSet;

use protocol::error::ErrorCode;

use super::Refused;
use crate::metadata::MetadataImage;

/// Judges the replicas of one partition, of which `like` others before it have so many.
pub fn check_replicas(
    image: &MetadataImage,
    partition: i32,
    replicas: &[i32],
    like: Option<usize>,
) -> Result<(), Refused> {
    let invalid = |why: String| Err(Refused::new(ErrorCode::InvalidReplicaAssignment, why));
    if replicas.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".into());
    }
    let registered: BTreeSet<i32> = image.registrations().map(|(_, b)| b.node_id).collect();
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    let mut before = None;
    for id in &sorted {
        if !registered.contains(id) {
            return invalid(format!(
                "The manual partition assignment includes broker {id}, but no such broker is registered."
            ));
        }
        if before == Some(id) {
            return invalid(format!(
                "The manual partition assignment includes the broker {id} more than once."
            ));
        }
        before = Some(id);
    }
    if let Some(like) = like.filter(|like| *like != replicas.len()) {
        return invalid(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with \
             previous partitions, which have {like} replica(s).",
            replicas.len()
        ));
    }
    if !image.live_brokers().any(|(_, b)| replicas.contains(&b.node_id)) {
        return invalid(format!(
            "All brokers specified in the manual partition assignment for partition {partition} are fenced or in \
             controlled shutdown."
        ));
    }
    Ok(())
}

//! ElectLeaders, judged (`ReplicationControlManager.electLeader`). Pure.
//!
//! Leadership follows lanes, not lists: a partition whose leader lives needs no unclean election, and no preferred one unless a
//! user's list begins with another broker.

use protocol::error::ErrorCode;

use super::Refused;
use crate::metadata::{MetadataImage, Places};

/// `ElectionType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionType {
    /// The first replica of the list.
    Preferred,
    /// Anybody, if there is no leader.
    Unclean,
}

impl ElectionType {
    /// By its number.
    pub fn from_code(code: i8) -> Result<ElectionType, Refused> {
        match code {
            0 => Ok(ElectionType::Preferred),
            1 => Ok(ElectionType::Unclean),
            other => Err(Refused::new(ErrorCode::InvalidRequest, format!("Unknown election type {other}"))),
        }
    }
}

/// What is to be said of one partition: there is nothing to elect, or nobody who could be.
pub fn elect(
    image: &MetadataImage,
    places: &Places<'_>,
    kind: ElectionType,
    topic: &str,
    index: i32,
) -> Refused {
    let Some(found) = image.topic(topic) else {
        return Refused::new(ErrorCode::UnknownTopicOrPartition, format!("No such topic as {topic}"));
    };
    let Some(partition) = usize::try_from(index).ok().and_then(|index| found.partitions.get(index)) else {
        return Refused::new(
            ErrorCode::UnknownTopicOrPartition,
            format!("No such partition as {topic}-{index}"),
        );
    };
    let place = places.of(partition);
    let preferred = place.replicas.first().copied();
    match (kind, place.leader) {
        (ElectionType::Preferred, Some(leader)) if preferred == Some(leader) => {
            Refused::new(ErrorCode::ElectionNotNeeded, "Leader election not needed for topic partition.")
        }
        (ElectionType::Unclean, Some(_)) => {
            Refused::new(ErrorCode::ElectionNotNeeded, "Leader election not needed for topic partition.")
        }
        (ElectionType::Preferred, _) => {
            Refused::new(ErrorCode::PreferredLeaderNotAvailable, "The preferred leader was not available.")
        }
        (ElectionType::Unclean, None) => Refused::new(
            ErrorCode::EligibleLeadersNotAvailable,
            "Eligible topic partition leaders are not available.",
        ),
    }
}

//! Which topics a DeleteTopics means (`ControllerApis.deleteTopics`). Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::error::ErrorCode;
use uuid::Uuid;

use super::Refused;
use crate::metadata::{MetadataImage, TopicImage};

/// A topic as it was named: by name, by id, or wrongly.
pub type Named = (Option<String>, Uuid);

/// What is to be deleted, and what is refused with the name and id that the answer gives it.
#[derive(Debug, Default)]
pub struct Deletions {
    /// Each once.
    pub topics: Vec<Arc<TopicImage>>,
    /// The others.
    pub refused: Vec<(Named, Refused)>,
}

/// Finds what was asked for. Whoever is named twice, in whichever way, is not deleted.
pub fn resolve(image: &MetadataImage, asked: &[Named]) -> Deletions {
    let mut deletions = Deletions::default();
    let (mut names, mut ids): (BTreeMap<&str, u32>, BTreeMap<Uuid, u32>) = Default::default();
    for (name, id) in asked {
        match (name, id.is_nil()) {
            (Some(name), true) => *names.entry(name).or_default() += 1,
            (None, false) => *ids.entry(*id).or_default() += 1,
            (None, true) => {
                deletions.refuse((None, *id), invalid("Neither topic name nor id were specified."))
            }
            (Some(name), false) => deletions.refuse(
                (Some(name.clone()), *id),
                invalid("You may not specify both topic name and topic id."),
            ),
        }
    }
    let mut by_id: BTreeMap<Uuid, Arc<TopicImage>> = BTreeMap::new();
    let mut twice = BTreeSet::new();
    for (id, times) in ids {
        match image.topic_by_id(id) {
            _ if times > 1 => {
                twice.insert(id);
                deletions.refuse((None, id), invalid("Duplicate topic id."));
            }
            Some(topic) => drop(by_id.insert(id, topic.clone())),
            None => {
                let unknown = "This server does not host this topic ID.";
                deletions.refuse((None, id), Refused::new(ErrorCode::UnknownTopicId, unknown));
            }
        }
    }
    for (name, times) in names {
        let named = |id: Uuid| (Some(name.to_string()), id);
        match image.topic(name) {
            _ if times > 1 => deletions.refuse(named(Uuid::nil()), invalid("Duplicate topic name.")),
            Some(topic) if twice.contains(&topic.id) || by_id.contains_key(&topic.id) => {
                twice.insert(topic.id);
                by_id.remove(&topic.id);
                let why = "The provided topic name maps to an ID that was already supplied.";
                deletions.refuse(named(topic.id), invalid(why));
            }
            Some(topic) => drop(by_id.insert(topic.id, topic.clone())),
            None => {
                let unknown = "This server does not host this topic-partition.";
                let refused = Refused::new(ErrorCode::UnknownTopicOrPartition, unknown);
                deletions.refuse(named(Uuid::nil()), refused);
            }
        }
    }
    deletions.topics = by_id.into_values().collect();
    deletions
}

fn invalid(why: &str) -> Refused {
    Refused::new(ErrorCode::InvalidRequest, why)
}

impl Deletions {
    fn refuse(&mut self, named: Named, refused: Refused) {
        self.refused.push((named, refused));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::rig::Rig;

    #[test]
    fn a_topic_is_deleted_if_it_is_named_once() {
        let mut rig = Rig::new();
        for name in ["a", "b", "c", "d"] {
            rig.create(name, 1);
        }
        let id = |name: &str| rig.image.topic(name).unwrap().id;
        let by_name = |name: &str| (Some(name.to_string()), Uuid::nil());
        let by_id = |id: Uuid| (None, id);
        let unknown = Uuid::from_u128(99);
        let asked = [
            by_name("a"),
            by_id(id("b")),
            by_name("c"),
            by_id(id("c")),
            by_name("d"),
            by_name("d"),
            by_name("nosuch"),
            by_id(unknown),
            by_id(Uuid::nil()),
            (Some("a".into()), id("a")),
        ];
        let deletions = resolve(&rig.image, &asked);
        let mut names: Vec<&str> = deletions.topics.iter().map(|t| &*t.name).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "b"]);
        let mut refused: Vec<(Named, ErrorCode)> =
            deletions.refused.into_iter().map(|(named, refused)| (named, refused.code)).collect();
        refused.sort_by(|a, b| a.0.cmp(&b.0));
        let mut expected = vec![
            (by_id(Uuid::nil()), ErrorCode::InvalidRequest),
            (by_id(unknown), ErrorCode::UnknownTopicId),
            ((Some("a".into()), id("a")), ErrorCode::InvalidRequest),
            ((Some("c".into()), id("c")), ErrorCode::InvalidRequest),
            (by_name("d"), ErrorCode::InvalidRequest),
            (by_name("nosuch"), ErrorCode::UnknownTopicOrPartition),
        ];
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(refused, expected);
    }
}

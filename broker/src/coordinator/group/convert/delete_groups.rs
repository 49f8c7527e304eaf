//! DeleteGroups (key 42), v0-v2.

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::super::message::DeletedGroup;
use super::{code, group_id, owned};

/// The groups to delete, each once: the answer is a map by id (`DeletableGroupResultCollection`).
pub fn request(request: &DeleteGroupsRequest) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    request.groups_names.iter().map(|name| owned(name)).filter(|name| seen.insert(name.clone())).collect()
}

/// The answer, gathered from all coordinators that were asked.
pub fn response(deleted: Vec<DeletedGroup>) -> DeleteGroupsResponse {
    let results = deleted.into_iter().map(|group| {
        DeletableGroupResult::default()
            .with_group_id(group_id(group.group_id))
            .with_error_code(code(group.error))
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}

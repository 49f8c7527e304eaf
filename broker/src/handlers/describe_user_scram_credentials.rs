//! DescribeUserScramCredentials (key 50), v0.
//! Behavior: nobody has credentials, since there is no log-in: asked for all users, none; asked for some, an error for each.
//!   `kafka-configs --describe --entity-type users` asks this beside the quotas of users.
//! Errors: RESOURCE_NOT_FOUND, DUPLICATE_RESOURCE per user (`ScramImage.describe`).

use std::collections::HashSet;
use std::sync::Arc;

use protocol::codec::encode_describe_user_scram_credentials;
use protocol::error::{self, ErrorCode};
use protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use protocol::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};

use super::text;
use crate::broker::Broker;
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub fn handle(
    _broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeUserScramCredentialsRequest,
) -> Result<Reply, Close> {
    let users = request.users.unwrap_or_default();
    let (mut seen, mut twice) = (HashSet::new(), HashSet::new());
    for user in &users {
        if !seen.insert(&user.name) {
            twice.insert(&user.name);
        }
    }
    let mut told = HashSet::new();
    let results = users.iter().filter(|user| told.insert(&user.name)).map(|user| {
        let (code, message) = match twice.contains(&user.name) {
            true => (
                ErrorCode::DuplicateResource,
                format!(
                    "Cannot describe SCRAM credentials for the same user twice in a single request: {}",
                    user.name
                ),
            ),
            false => (
                ErrorCode::ResourceNotFound,
                format!("Attempt to describe a user credential that does not exist: {}", user.name),
            ),
        };
        DescribeUserScramCredentialsResult::default()
            .with_user(user.name.clone())
            .with_error_code(code.code())
            .with_error_message(Some(text(&message)))
    });
    let response = DescribeUserScramCredentialsResponse::default()
        .with_error_code(error::NONE)
        .with_error_message(None)
        .with_results(results.collect());
    Ok(Reply::ready(encode_describe_user_scram_credentials(ctx.correlation_id, ctx.version, &response)?))
}

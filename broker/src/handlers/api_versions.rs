//! ApiVersions (key 18), v0–v4.
//! Behavior: what this broker serves, and its features. Any other version is answered in the shape of v0 with
//!   UNSUPPORTED_VERSION and the range of ApiVersions itself, so that the client can ask again (KIP-511).
//! Versions: v3 client software name and version, features (KIP-584) · v4 features with a minimum of 0 (KAFKA-17492).
//! Errors: UNSUPPORTED_VERSION, INVALID_REQUEST (software name or version of another shape).

use std::sync::Arc;

use bytes::Bytes;
use protocol::StrBytes;
use protocol::api_versions::answer;
use protocol::codec::RequestHeader;

use crate::broker::Broker;
use crate::controller::features::features;
use crate::dispatch::Close;
use crate::server::connection::Connection;
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    connection: &mut Connection,
    header: &RequestHeader,
    body: Bytes,
) -> Result<Reply, Close> {
    let journal = broker.journal.image();
    let features = features(journal.level, journal.seq);
    let answer = answer(header.correlation_id, header.api_version, body, &features)?;
    if let Some(client) = answer.client {
        // Copied: slices would hold the frame for as long as the connection lives.
        let copied = |text: StrBytes| StrBytes::from_string(text.to_string());
        connection.software = Some((copied(client.name), copied(client.version)));
    }
    Ok(Reply::ready(answer.frame))
}

//! UpdateFeatures (key 57), v0–v2 (KIP-584, KIP-778).
//! Behavior: all updates together or none; `aquifer.version` raises the journal's feature level, for good.
//! Versions: v1 upgrade type, validate only (v0: a downgrade is allowed or not) · v2 no results per feature.
//! Errors: INVALID_UPDATE_VERSION (`controller::features::update`), REQUEST_TIMED_OUT.

use std::sync::Arc;

use protocol::codec::encode_update_features;
use protocol::error::{self, ErrorCode};
use protocol::messages::update_features_response::UpdatableFeatureResult;
use protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use s3stream::journal::{ProposeError, Refusal};

use super::text;
use crate::broker::Broker;
use crate::controller::Refused;
use crate::controller::features::{FeatureUpdate, UpgradeType, features, update};
use crate::dispatch::{Close, RequestContext};
use crate::error::propose_error_code;
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: UpdateFeaturesRequest,
) -> Result<Reply, Close> {
    let updates: Vec<FeatureUpdate> = request
        .feature_updates
        .iter()
        .map(|u| FeatureUpdate {
            feature: u.feature.to_string(),
            level: u.max_version_level,
            upgrade_type: match (ctx.version, u.allow_downgrade) {
                (0, true) => UpgradeType::SafeDowngrade,
                (0, false) => UpgradeType::Upgrade,
                _ => UpgradeType::from_code(u.upgrade_type),
            },
        })
        .collect();
    let response = match apply(broker, &updates, request.validate_only).await {
        Err(refused) => UpdateFeaturesResponse::default()
            .with_error_code(refused.code.code())
            .with_error_message(Some(text(&refused.message))),
        Ok(()) => {
            let response =
                UpdateFeaturesResponse::default().with_error_code(error::NONE).with_error_message(None);
            if ctx.version >= 2 {
                response
            } else {
                let results = updates.iter().map(|u| {
                    UpdatableFeatureResult::default()
                        .with_feature(text(&u.feature))
                        .with_error_code(error::NONE)
                        .with_error_message(None)
                });
                response.with_results(results.collect())
            }
        }
    };
    Ok(Reply::ready(encode_update_features(ctx.correlation_id, ctx.version, &response)?))
}

async fn apply(broker: &Broker, updates: &[FeatureUpdate], validate_only: bool) -> Result<(), Refused> {
    let journal = broker.journal.image();
    let Some(level) = update(&features(journal.level, journal.seq), updates)? else { return Ok(()) };
    if validate_only {
        return Ok(());
    }
    match broker.journal.raise_level(level).await {
        Ok(_) => Ok(()),
        // Another live broker does not know it, or it was raised meanwhile.
        Err(ProposeError::Refused(refusal @ (Refusal::Illegal(_) | Refusal::Own(_)))) => {
            Err(Refused::new(ErrorCode::InvalidUpdateVersion, refusal.to_string()))
        }
        Err(error) => Err(Refused::new(propose_error_code(&error), error.to_string())),
    }
}

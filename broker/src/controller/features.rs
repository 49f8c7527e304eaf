//! Features: what a broker says it can, what the cluster has agreed on, and what may be changed (`FeatureControlManager`). Pure.
//!
//! | feature | levels | what it is |
//! |---|---|---|
//! | `aquifer.version` | 1–4 | the journal's feature level: records, formats and messages in use (DESIGN §3) |
//! | `metadata.version` | 27 | Kafka's, for its tools: the APIs are those of 4.1-IV1. No level of it is switched on or off here |
//!
//! `transaction.version`, `group.version` and the like are not said: what they would switch on is not served.

use protocol::api_versions::{Features, FinalizedFeature, SupportedFeature};
use protocol::error::ErrorCode;

use super::Refused;
use crate::metadata::{LEVEL_MAX, LEVEL_MIN};

/// Name of the journal's feature level.
pub const AQUIFER_VERSION: &str = "aquifer.version";
/// `MetadataVersion.FEATURE_NAME`.
const METADATA_VERSION: &str = "metadata.version";
/// `MetadataVersion.IBP_4_1_IV1`.
const METADATA_VERSION_LEVEL: i16 = 27;

/// What ApiVersions tells. The epoch is the commit of the image: it grows with every change, and clients heed features only
/// when it has grown (`FinalizedFeaturesEpoch`).
pub fn features(level: u16, seq: u64) -> Features {
    Features {
        supported: vec![
            SupportedFeature { name: AQUIFER_VERSION, min: LEVEL_MIN as i16, max: LEVEL_MAX as i16 },
            SupportedFeature {
                name: METADATA_VERSION,
                min: METADATA_VERSION_LEVEL,
                max: METADATA_VERSION_LEVEL,
            },
        ],
        finalized: vec![
            FinalizedFeature { name: AQUIFER_VERSION, level: level as i16 },
            FinalizedFeature { name: METADATA_VERSION, level: METADATA_VERSION_LEVEL },
        ],
        finalized_epoch: seq as i64,
    }
}

/// `FeatureUpdate.UpgradeType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeType {
    /// To a higher level.
    Upgrade,
    /// To a lower one, if nothing is lost.
    SafeDowngrade,
    /// To a lower one, whatever is lost.
    UnsafeDowngrade,
    /// A number that we do not know.
    Unknown,
}

impl UpgradeType {
    /// By its number.
    pub fn from_code(code: i8) -> UpgradeType {
        match code {
            1 => UpgradeType::Upgrade,
            2 => UpgradeType::SafeDowngrade,
            3 => UpgradeType::UnsafeDowngrade,
            _ => UpgradeType::Unknown,
        }
    }
}

/// A change that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// Which.
    pub feature: String,
    /// Its level from then on; 0 is off.
    pub level: i16,
    /// Up or down.
    pub upgrade_type: UpgradeType,
}

/// Judges all changes together: the level that the journal is to be raised to, if any. `current` is what the cluster has
/// agreed on.
pub fn update(current: &Features, updates: &[FeatureUpdate]) -> Result<Option<u16>, Refused> {
    let mut raise = None;
    for update in updates {
        let refuse = |why: String| {
            Refused::new(
                ErrorCode::InvalidUpdateVersion,
                format!(
                    "The update failed for all features since the following feature had an error: Invalid update \
                     version {} for feature {}. {why}",
                    update.level, update.feature
                ),
            )
        };
        if let Err(why) = check(current, update) {
            return Err(refuse(why));
        }
        let now = finalized(current, &update.feature);
        if update.feature == AQUIFER_VERSION && update.level > now {
            raise = Some(update.level as u16);
        }
    }
    Ok(raise)
}

fn finalized(features: &Features, name: &str) -> i16 {
    features.finalized.iter().find(|f| f.name == name).map_or(0, |f| f.level)
}

fn check(current: &Features, update: &FeatureUpdate) -> Result<(), String> {
    if update.upgrade_type == UpgradeType::Unknown {
        return Err("The controller does not support the given upgrade type.".into());
    }
    if update.level < 0 {
        return Err("A feature version cannot be less than 0.".into());
    }
    let Some(supported) = current.supported.iter().find(|f| f.name == update.feature) else {
        return Err("The broker does not support this feature.".into());
    };
    if !(supported.min..=supported.max).contains(&update.level) {
        return Err(format!("The broker only supports versions {}-{}", supported.min, supported.max));
    }
    let now = finalized(current, &update.feature);
    if update.level > now && update.upgrade_type != UpgradeType::Upgrade {
        return Err("Can't downgrade to a newer version.".into());
    }
    if update.level < now {
        return Err(match update.upgrade_type {
            UpgradeType::Upgrade => "Can't downgrade the version of this feature without setting the upgrade type to \
                                     either safe or unsafe downgrade."
                .into(),
            // The log holds records of the higher level, and is replayed from its snapshots for ever.
            _ => "Refusing to perform the requested downgrade: the journal of this cluster is written at the higher \
                  level."
                .into(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_judged_as_kafka_does() {
        use UpgradeType::*;
        // (finalized level of aquifer.version, updates, the raise or a word of the refusal)
        type Case<'a> = (u16, &'a [(&'a str, i16, UpgradeType)], Result<Option<u16>, &'a str>);
        let cases: &[Case] = &[
            (1, &[], Ok(None)),
            (1, &[(AQUIFER_VERSION, 2, Upgrade)], Ok(Some(2))),
            (1, &[(AQUIFER_VERSION, 1, Upgrade)], Ok(None)),
            (2, &[(AQUIFER_VERSION, 2, SafeDowngrade)], Ok(None)),
            (1, &[(AQUIFER_VERSION, 2, SafeDowngrade)], Err("newer version")),
            (2, &[(AQUIFER_VERSION, 1, Upgrade)], Err("without setting the upgrade type")),
            (2, &[(AQUIFER_VERSION, 1, SafeDowngrade)], Err("Refusing")),
            (2, &[(AQUIFER_VERSION, 1, UnsafeDowngrade)], Err("Refusing")),
            (2, &[(AQUIFER_VERSION, 5, Upgrade)], Err("only supports versions 1-4")),
            (2, &[(AQUIFER_VERSION, 0, UnsafeDowngrade)], Err("only supports versions 1-4")),
            (2, &[(AQUIFER_VERSION, -1, Upgrade)], Err("less than 0")),
            (2, &[(AQUIFER_VERSION, 2, Unknown)], Err("upgrade type")),
            (2, &[(METADATA_VERSION, 26, SafeDowngrade)], Err("27-27")),
            (2, &[("transaction.version", 2, Upgrade)], Err("does not support this feature")),
            (2, &[("nonsense", 0, SafeDowngrade)], Err("does not support this feature")),
            // `kafka-features upgrade --metadata 4.1`, and what `--release-version 4.1` asks for besides.
            (2, &[(METADATA_VERSION, METADATA_VERSION_LEVEL, Upgrade)], Ok(None)),
            (
                2,
                &[
                    (METADATA_VERSION, METADATA_VERSION_LEVEL, Upgrade),
                    ("transaction.version", 2, Upgrade),
                    ("group.version", 1, Upgrade),
                    ("eligible.leader.replicas.version", 1, Upgrade),
                    ("kraft.version", 1, Upgrade),
                ],
                Err("feature transaction.version"),
            ),
            // One that is refused refuses all.
            (1, &[(AQUIFER_VERSION, 2, Upgrade), ("group.version", 1, Upgrade)], Err("group.version")),
        ];
        for (level, updates, expected) in cases {
            let updates: Vec<_> = updates
                .iter()
                .map(|(feature, level, upgrade_type)| FeatureUpdate {
                    feature: feature.to_string(),
                    level: *level,
                    upgrade_type: *upgrade_type,
                })
                .collect();
            match (update(&features(*level, 7), &updates), expected) {
                (Ok(raise), Ok(expected)) => assert_eq!(raise, *expected, "{updates:?}"),
                (Err(refused), Err(word)) => {
                    assert_eq!(refused.code, ErrorCode::InvalidUpdateVersion);
                    assert!(refused.message.contains(word), "{updates:?}: {refused}");
                }
                (got, _) => panic!("{updates:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn nothing_is_said_that_would_switch_on_what_is_not_served() {
        let said = features(2, 7);
        let names: Vec<_> = said.supported.iter().map(|f| f.name).collect();
        assert_eq!(names, [AQUIFER_VERSION, METADATA_VERSION]);
        assert_eq!(finalized(&said, AQUIFER_VERSION), 2);
        assert_eq!(said.finalized_epoch, 7);
    }
}

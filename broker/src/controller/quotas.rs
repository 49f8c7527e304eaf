//! Client quotas: what may be set, and what a filter finds (`ClientQuotaControlManager`, `ClientQuotasImage`). Pure.
//!
//! They are kept and told; nothing is throttled by them in this release.

use std::collections::{BTreeMap, BTreeSet};

use protocol::error::ErrorCode;

use super::{Refused, check_level};
use crate::metadata::{MetadataImage, MetadataRecord, QuotaEntity, QuotaEntityType};

/// What somebody wants of one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaAlteration {
    /// Kinds and names as on the wire.
    pub entity: Vec<(String, Option<String>)>,
    /// Keys and values; None removes the key.
    pub ops: Vec<(String, Option<f64>)>,
}

/// What is to become of one entity: its records, none where nothing changes.
pub type Judged = Result<Vec<MetadataRecord>, Refused>;

/// Judges all alterations. `is_ip` says whether a text is an address, or a host that has one.
pub fn alter(
    image: &MetadataImage,
    level: u16,
    alterations: &[QuotaAlteration],
    is_ip: impl Fn(&str) -> bool,
) -> Vec<Judged> {
    let mut seen = BTreeSet::new();
    let judge = |alteration: &QuotaAlteration| {
        // A second alteration of an entity changes nothing: what it says may contradict the first.
        if !seen.insert(alteration.entity.iter().cloned().collect::<BTreeMap<_, _>>()) {
            return Err(invalid("Ignoring duplicate entity"));
        }
        let mut keys = BTreeSet::new();
        if let Some((key, _)) = alteration.ops.iter().find(|(key, _)| !keys.insert(key)) {
            return Err(invalid(format!("Duplicate quota key {key} not updating quota for this entity")));
        }
        alter_entity(image, level, alteration, &is_ip)
    };
    alterations.iter().map(judge).collect()
}

fn alter_entity(
    image: &MetadataImage,
    level: u16,
    alteration: &QuotaAlteration,
    is_ip: &impl Fn(&str) -> bool,
) -> Judged {
    let entity = check_entity(&alteration.entity, is_ip)?;
    let current = image.quotas_of(&entity);
    let mut records = Vec::new();
    for (key, value) in &alteration.ops {
        let now = current.and_then(|values| values.get(key)).copied();
        if let Some(value) = value {
            check_value(&entity, key, *value)?;
        }
        if now != *value {
            let record =
                MetadataRecord::ClientQuotaSet { entity: entity.clone(), key: key.clone(), value: *value };
            check_level(&record, level)?;
            records.push(record);
        }
    }
    Ok(records)
}

fn check_entity(
    parts: &[(String, Option<String>)],
    is_ip: &impl Fn(&str) -> bool,
) -> Result<QuotaEntity, Refused> {
    if parts.is_empty() {
        return Err(invalid("Invalid empty client quota entity"));
    }
    let mut known = Vec::with_capacity(parts.len());
    for (kind, name) in parts {
        let Some(kind) = QuotaEntityType::from_name(kind) else {
            return Err(invalid(format!("Unhandled client quota entity type: {kind}")));
        };
        if name.as_deref() == Some("") {
            return Err(invalid(format!("Empty {} not supported", kind.name())));
        }
        known.push((kind, name.clone()));
    }
    let entity = QuotaEntity::new(known);
    if let Some(ip) = entity.part(QuotaEntityType::Ip) {
        if entity.len() > 1 {
            return Err(invalid(
                "Invalid quota entity combination, IP entity should not be combined with User or ClientId",
            ));
        }
        if let Some(ip) = ip.filter(|ip| !is_ip(ip)) {
            return Err(invalid(format!("{ip} is not a valid IP or resolvable host.")));
        }
    }
    Ok(entity)
}

/// The kinds of number a key takes (`QuotaConfig`).
enum ValueKind {
    Double,
    Int,
    Long,
}

fn check_value(entity: &QuotaEntity, key: &str, value: f64) -> Result<(), Refused> {
    let of_ip = entity.part(QuotaEntityType::Ip).is_some();
    let kind = match key {
        "producer_byte_rate" | "consumer_byte_rate" if !of_ip => ValueKind::Long,
        "request_percentage" | "controller_mutation_rate" if !of_ip => ValueKind::Double,
        "connection_creation_rate" if of_ip => ValueKind::Int,
        _ => return Err(invalid(format!("Invalid configuration key {key}"))),
    };
    // Also what is not a number at all.
    if value.is_nan() || value <= 0.0 {
        return Err(invalid(format!("Quota {key} must be greater than 0")));
    }
    let (max, said) = match kind {
        ValueKind::Double => return Ok(()),
        ValueKind::Int => (f64::from(i32::MAX), "an INT"),
        ValueKind::Long => (i64::MAX as f64, "a LONG"),
    };
    if value > max {
        return Err(invalid(format!("Proposed value for {key} is too large for {said}.")));
    }
    if value % 1.0 > 1e-6 {
        return Err(invalid(format!("{key} cannot be a fractional value.")));
    }
    Ok(())
}

/// How a filter's component matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// This name.
    Exact(String),
    /// The default of the kind.
    Default,
    /// Any name, and the default.
    Any,
}

/// A component of a filter as on the wire: kind, match type, name.
pub type Component<'a> = (&'a str, i8, Option<&'a str>);

/// An entity, and what is set for it.
pub type Described<'a> = (&'a QuotaEntity, &'a BTreeMap<String, f64>);

/// The entities that a filter finds, with what is set for them.
pub fn describe<'a>(
    image: &'a MetadataImage,
    components: &[Component<'_>],
    strict: bool,
) -> Result<Vec<Described<'a>>, Refused> {
    let filter = check_filter(components)?;
    let matches = |entity: &QuotaEntity| {
        let all = filter.iter().all(|(kind, wanted)| match (entity.part(*kind), wanted) {
            (None, _) => false,
            (Some(name), Match::Exact(wanted)) => name == Some(wanted),
            (Some(name), Match::Default) => name.is_none(),
            (Some(_), Match::Any) => true,
        });
        all && (!strict || entity.len() == filter.len())
    };
    Ok(image
        .quotas()
        .filter(|(entity, _)| matches(entity))
        .map(|(entity, values)| (entity, &**values))
        .collect())
}

fn check_filter(components: &[Component<'_>]) -> Result<BTreeMap<QuotaEntityType, Match>, Refused> {
    let mut filter = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (kind, match_type, name) in components {
        if kind.is_empty() {
            return Err(invalid("Invalid empty entity type."));
        }
        if !seen.insert(*kind) {
            return Err(invalid(format!("Entity type {kind} cannot appear more than once in the filter.")));
        }
        let Some(entity_type) = QuotaEntityType::from_name(kind) else {
            return Err(Refused::new(
                ErrorCode::UnsupportedVersion,
                format!("Unsupported entity type {kind}"),
            ));
        };
        let wanted = match (match_type, name) {
            (0, Some(name)) => Match::Exact(name.to_string()),
            (0, None) => {
                return Err(invalid("Request specified MATCH_TYPE_EXACT, but set match string to null."));
            }
            (1, None) => Match::Default,
            (1, Some(_)) => {
                return Err(invalid(
                    "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.",
                ));
            }
            (2, None) => Match::Any,
            (2, Some(_)) => {
                return Err(invalid(
                    "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.",
                ));
            }
            (other, _) => return Err(invalid(format!("Unknown match type {other}"))),
        };
        filter.insert(entity_type, wanted);
    }
    if filter.len() > 1 && filter.contains_key(&QuotaEntityType::Ip) {
        return Err(invalid(
            "Invalid entity filter component combination. IP filter component should not be used with user or clientId \
             filter component.",
        ));
    }
    Ok(filter)
}

fn invalid(why: impl Into<String>) -> Refused {
    Refused::new(ErrorCode::InvalidRequest, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3stream::journal::{Image, MutationPoint};

    type Parts<'a> = &'a [(&'a str, Option<&'a str>)];
    type Ops<'a> = &'a [(&'a str, Option<f64>)];

    fn wanted(entity: Parts, ops: Ops) -> QuotaAlteration {
        QuotaAlteration {
            entity: entity.iter().map(|(k, n)| (k.to_string(), n.map(str::to_string))).collect(),
            ops: ops.iter().map(|(k, v)| (k.to_string(), *v)).collect(),
        }
    }

    fn is_ip(text: &str) -> bool {
        text.parse::<std::net::IpAddr>().is_ok()
    }

    fn set(image: &mut MetadataImage, seq: u64, alteration: QuotaAlteration) -> usize {
        let records = alter(image, 2, &[alteration], is_ip).remove(0).unwrap();
        let at = MutationPoint { seq, index: 0, proposer: None, level: 2 };
        image.apply(at, &records).unwrap();
        records.len()
    }

    const RATE: &str = "producer_byte_rate";

    #[test]
    fn quotas_are_set_changed_and_removed_and_survive_a_snapshot() {
        let mut image = MetadataImage::default();
        let both = [("user", Some("u")), ("client-id", None)];
        assert_eq!(
            set(&mut image, 1, wanted(&both, &[(RATE, Some(5.0)), ("request_percentage", Some(0.5))])),
            2
        );
        assert_eq!(set(&mut image, 2, wanted(&both, &[(RATE, Some(5.0))])), 0, "it is so already");
        assert_eq!(set(&mut image, 3, wanted(&both, &[("consumer_byte_rate", None)])), 0, "it was not set");
        let mut bytes = bytes::BytesMut::new();
        image.encode(&mut bytes);
        let bytes = bytes.freeze();
        for n in 0..bytes.len() {
            let cut = MetadataImage::decode(bytes.slice(..n));
            // An image without its last area is one of level 1; any other cut is an error.
            assert!(cut.map_or(true, |image| image.quotas().count() == 0), "cut at {n}");
        }
        let mut image = MetadataImage::decode(bytes).unwrap();
        let found = describe(&image, &[], false).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0.to_string(), "user u, client-id <default>");
        assert_eq!(found[0].1[RATE], 5.0);
        let gone = wanted(&both, &[(RATE, None), ("request_percentage", None)]);
        assert_eq!(set(&mut image, 4, gone), 2);
        assert_eq!(image.quotas().count(), 0);
    }

    #[test]
    fn what_may_not_be_set_is_refused() {
        let image = MetadataImage::default();
        let user: Parts = &[("user", Some("u"))];
        let ip: Parts = &[("ip", Some("127.0.0.1"))];
        let rate = [(RATE, Some(1.0))];
        let cases: &[(Parts, Ops, &str)] = &[
            (&[], &rate, "empty"),
            (&[("principal", None)], &rate, "Unhandled"),
            (&[("user", Some(""))], &rate, "Empty user"),
            (&[("ip", None), ("user", None)], &[("connection_creation_rate", Some(1.0))], "combination"),
            (&[("ip", Some("nowhere"))], &[("connection_creation_rate", Some(1.0))], "resolvable"),
            (ip, &rate, "Invalid configuration key"),
            (user, &[("connection_creation_rate", Some(1.0))], "Invalid configuration key"),
            (user, &[("nonsense", Some(1.0))], "Invalid configuration key"),
            (user, &[(RATE, Some(0.0))], "greater than 0"),
            (user, &[(RATE, Some(f64::NAN))], "greater than 0"),
            (user, &[(RATE, Some(1.5))], "fractional"),
            (user, &[(RATE, Some(1e19))], "too large for a LONG"),
            (ip, &[("connection_creation_rate", Some(3e9))], "too large for an INT"),
            (user, &[(RATE, Some(1.0)), (RATE, Some(2.0))], "Duplicate quota key"),
        ];
        for (entity, ops, word) in cases {
            let refused = alter(&image, 2, &[wanted(entity, ops)], is_ip).remove(0).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidRequest);
            assert!(refused.message.contains(word), "{entity:?} {ops:?}: {refused}");
        }
        let legal = wanted(&[("ip", None)], &[("connection_creation_rate", Some(7.0))]);
        let judged = alter(&image, 2, &[legal.clone(), legal.clone()], is_ip);
        assert!(judged[0].is_ok());
        assert!(judged[1].as_ref().is_err_and(|r| r.message.contains("duplicate entity")));
        let early = alter(&image, 1, &[legal], is_ip).remove(0).unwrap_err();
        assert_eq!(early.code, ErrorCode::UnsupportedVersion);
    }

    #[test]
    fn filters_match_by_name_default_or_kind() {
        let mut image = MetadataImage::default();
        let entities: &[Parts] = &[
            &[("user", Some("a"))],
            &[("user", None)],
            &[("user", Some("a")), ("client-id", Some("c"))],
            &[("client-id", Some("c"))],
        ];
        for (seq, entity) in entities.iter().enumerate() {
            set(&mut image, seq as u64 + 1, wanted(entity, &[(RATE, Some(1.0))]));
        }
        let cases: &[(&[Component], bool, &[&str])] = &[
            (&[], true, &[]),
            (&[("user", 0, Some("a"))], false, &["user a", "user a, client-id c"]),
            (&[("user", 0, Some("a"))], true, &["user a"]),
            (&[("user", 1, None)], false, &["user <default>"]),
            (&[("user", 2, None)], true, &["user <default>", "user a"]),
            (&[("user", 2, None), ("client-id", 0, Some("c"))], true, &["user a, client-id c"]),
            (&[("ip", 2, None)], false, &[]),
        ];
        for (components, strict, expected) in cases {
            let found = describe(&image, components, *strict).unwrap();
            let mut found: Vec<String> = found.iter().map(|(entity, _)| entity.to_string()).collect();
            found.sort();
            assert_eq!(found, *expected, "{components:?} strict {strict}");
        }
        assert_eq!(describe(&image, &[], false).unwrap().len(), 4);
        let code = |components: &[Component]| describe(&image, components, false).unwrap_err().code;
        assert_eq!(code(&[("", 0, Some("a"))]), ErrorCode::InvalidRequest);
        assert_eq!(code(&[("group", 2, None)]), ErrorCode::UnsupportedVersion);
        assert_eq!(code(&[("user", 0, None)]), ErrorCode::InvalidRequest);
        assert_eq!(code(&[("user", 1, Some("a"))]), ErrorCode::InvalidRequest);
        assert_eq!(code(&[("user", 2, Some("a"))]), ErrorCode::InvalidRequest);
        assert_eq!(code(&[("user", 3, None)]), ErrorCode::InvalidRequest);
        assert_eq!(code(&[("user", 2, None), ("user", 1, None)]), ErrorCode::InvalidRequest);
        assert_eq!(code(&[("user", 2, None), ("ip", 1, None)]), ErrorCode::InvalidRequest);
    }
}

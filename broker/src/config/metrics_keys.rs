//! The keys of a subscription to client metrics (`ClientMetricsConfigs`, KIP-714).

use std::collections::BTreeMap;

use protocol::error::ErrorCode;

use super::def::{ConfigDef, Kind, split};
use super::unused::NO_TELEMETRY;

const fn key(name: &'static str, kind: Kind, default: &'static str) -> ConfigDef {
    ConfigDef::new(name, kind, Some(default)).unused(NO_TELEMETRY)
}

/// By name.
pub static METRICS_KEYS: &[ConfigDef] = &[
    key("interval.ms", Kind::Int, "300000")
        .between(100, 3_600_000)
        .doc("How often a client pushes its metrics."),
    key("match", Kind::List, "").doc(
        "Which clients: a list of NAME=REGULAR EXPRESSION, all of which must match; all clients where empty.",
    ),
    key("metrics", Kind::List, "").doc("Which metrics, by the beginnings of their names; * for all."),
];

/// What a client can be matched by (`ClientMetricsConfigs.ALLOWED_MATCH_PARAMS`).
const MATCHED: &[&str] = &[
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// The row of a key.
pub fn find(name: &str) -> Option<&'static ConfigDef> {
    METRICS_KEYS.iter().find(|d| d.name == name)
}

/// Judges a subscription's own values, all of them (`ClientMetricsConfigs.validate`).
///
/// # Errors
/// The first thing that is wrong, with Kafka's code and in its words.
pub fn check(own: &BTreeMap<String, String>) -> Result<(), (ErrorCode, String)> {
    for (name, value) in own {
        let value = value.trim();
        match name.as_str() {
            "interval.ms" => {
                let number: i32 = value.parse().map_err(|_| {
                    let def = find(name).expect("it is in the table");
                    let why = def.check(value).err().map(|e| e.to_string()).unwrap_or_default();
                    (ErrorCode::InvalidConfig, why)
                })?;
                if !(100..=3_600_000).contains(&number) {
                    let why = format!(
                        "Invalid value {value} for interval.ms, interval must be between 100 and 3600000 (1 hour)"
                    );
                    return Err((ErrorCode::InvalidRequest, why));
                }
            }
            "match" => {
                if let Some(pattern) = split(value).into_iter().find(|pattern| !is_match(pattern)) {
                    let why = format!("Illegal client matching pattern: {pattern}");
                    return Err((ErrorCode::InvalidConfig, why));
                }
            }
            "metrics" => {}
            unknown => {
                let why = format!("Unknown client metrics configuration: {unknown}");
                return Err((ErrorCode::InvalidRequest, why));
            }
        }
    }
    Ok(())
}

fn is_match(pattern: &str) -> bool {
    pattern.split_once('=').is_some_and(|(name, expression)| {
        MATCHED.contains(&name.trim()) && regex_syntax::parse(expression.trim()).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_judged_as_kafka_judges_it() {
        let say = |key: &str, value: &str| check(&BTreeMap::from([(key.to_string(), value.to_string())]));
        assert!(METRICS_KEYS.is_sorted_by_key(|d| d.name));
        for (key, value) in
            [("interval.ms", "500"), ("match", "client_id=a.*,client_source_port=9.*"), ("metrics", "a,b")]
        {
            assert_eq!(say(key, value), Ok(()), "{key}={value}");
        }
        let refused = [
            (
                "interval.ms",
                "5",
                ErrorCode::InvalidRequest,
                "Invalid value 5 for interval.ms, interval must be between \
              100 and 3600000 (1 hour)",
            ),
            ("match", "x", ErrorCode::InvalidConfig, "Illegal client matching pattern: x"),
            ("match", "foo=a", ErrorCode::InvalidConfig, "Illegal client matching pattern: foo=a"),
            (
                "match",
                "client_id=[",
                ErrorCode::InvalidConfig,
                "Illegal client matching pattern: client_id=[",
            ),
            ("nope", "a", ErrorCode::InvalidRequest, "Unknown client metrics configuration: nope"),
        ];
        for (key, value, code, why) in refused {
            assert_eq!(say(key, value), Err((code, why.to_string())), "{key}={value}");
        }
    }
}

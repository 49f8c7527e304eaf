//! From file, environment and command line to one configuration, with a sentence for everything that was given and has no
//! effect. Pure but for reading the file.
//!
//! Weakest first: the table's default, `--config FILE`, the environment, `--set`, named flags: one table drives
//! all of them. Every value is judged where it was given, so that an error names the place.

use std::collections::BTreeMap;
use std::path::Path;

use super::args::StoreArgs;
use crate::config::BrokerConfig;
use crate::config::keys;
use crate::config::meaningless::{ALIASES, Verdict, judge};

/// Variables that begin so are ours.
const ENVIRONMENT_PREFIX: &str = "AQUIFER_";
/// The variable for `--config`.
const CONFIG_VARIABLE: &str = "AQUIFER_CONFIG";

/// A value and where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    place: String,
    key: String,
    value: String,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The configuration.
    pub config: BrokerConfig,
    /// What has no effect, and why; a sentence each.
    pub warnings: Vec<String>,
}

/// Why there is no configuration; a line with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The file.
    #[error("--config {path}: {why}")]
    File {
        /// Which.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// `--set` without a key and a value.
    #[error("--set {0}: give a key and a value, as in --set num.partitions=3")]
    NotKeyValue(String),
    /// A value, where it was given.
    #[error("{place}: {why}")]
    Value {
        /// Where.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// Values that do not go together.
    #[error("{0}")]
    Whole(String),
}

/// Reads everything. `flags` are the named ones, by key; `environment` all variables there are.
///
/// # Errors
/// See [`SettingsError`].
pub fn resolve(
    store: &StoreArgs,
    flags: &[(&'static str, String)],
    environment: &BTreeMap<String, String>,
) -> Result<Resolved, SettingsError> {
    let file = store.config.clone().or_else(|| environment.get(CONFIG_VARIABLE).map(Into::into));
    let settings = file.map_or(Ok(Vec::new()), |path| from_file(&path))?;
    resolve_above(settings, &store.set, flags, environment)
}

/// As [`resolve`], of a properties file that was read already; `place` names it.
///
/// # Errors
/// See [`SettingsError`].
pub fn resolve_text(place: &str, properties: &[u8], set: &[String]) -> Result<Resolved, SettingsError> {
    resolve_above(from_properties(place, properties)?, set, &[], &BTreeMap::new())
}

/// What stands above the file, then the judgement.
fn resolve_above(
    mut settings: Vec<Setting>,
    set: &[String],
    flags: &[(&'static str, String)],
    environment: &BTreeMap<String, String>,
) -> Result<Resolved, SettingsError> {
    settings.extend(from_environment(environment));
    for text in set {
        settings.push(from_set(text)?);
    }
    for (key, value) in flags {
        let place = format!("--{}", key.replace('.', "-"));
        settings.push(Setting { place, key: (*key).to_string(), value: value.clone() });
    }
    judge_all(settings)
}

fn from_file(path: &Path) -> Result<Vec<Setting>, SettingsError> {
    let place = path.display().to_string();
    let text =
        std::fs::read(path).map_err(|e| SettingsError::File { path: place.clone(), why: e.to_string() })?;
    from_properties(&place, &text)
}

fn from_properties(place: &str, text: &[u8]) -> Result<Vec<Setting>, SettingsError> {
    let mut settings = Vec::new();
    java_properties::PropertiesIter::new(text)
        .read_into(|key, value| settings.push(Setting { place: place.into(), key, value }))
        .map_err(|e| SettingsError::File {
            path: place.into(),
            why: format!("not a properties file: {e}"),
        })?;
    Ok(settings)
}

fn from_environment(environment: &BTreeMap<String, String>) -> Vec<Setting> {
    let known = |name: &str| {
        let mut keys = keys::all().map(|d| d.name);
        keys.find(|key| key.replace('.', "_").eq_ignore_ascii_case(name)).map(str::to_string)
    };
    let ours = environment.iter().filter(|(name, _)| *name != CONFIG_VARIABLE);
    ours.filter_map(|(name, value)| {
        let rest = name.strip_prefix(ENVIRONMENT_PREFIX)?;
        let key = known(rest).unwrap_or_else(|| rest.to_ascii_lowercase().replace('_', "."));
        Some(Setting { place: name.clone(), key, value: value.clone() })
    })
    .collect()
}

fn from_set(text: &str) -> Result<Setting, SettingsError> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok(Setting { place: "--set".into(), key: key.trim().into(), value: value.trim().into() })
        }
        _ => Err(SettingsError::NotKeyValue(text.into())),
    }
}

fn judge_all(settings: Vec<Setting>) -> Result<Resolved, SettingsError> {
    let mut warnings = Vec::new();
    let settings = without_quorum_listeners(settings, &mut warnings);
    let mut read = Vec::new();
    for setting in without_outranked(settings) {
        let wrong = |why: String| SettingsError::Value { place: setting.place.clone(), why };
        let alias = ALIASES.iter().find(|(name, _)| *name == setting.key);
        let key = alias.map_or(setting.key.clone(), |(_, key)| key.to_string());
        let value = setting.value.clone();
        let known = keys::find(&key);
        if let Some(def) = known {
            def.check(&value).map_err(|e| wrong(e.to_string()))?;
            read.push((key.clone(), value.clone()));
        }
        match judge(&key, &value) {
            Some(Verdict::Refused(reason)) => {
                return Err(wrong(format!(
                    "{key}={value}: {reason}. Take the key out if that is acceptable, and keep the listener private"
                )));
            }
            Some(Verdict::Ignored(reason)) => {
                warnings.push(format!("{}: {key} has no effect: {reason}", setting.place));
            }
            None if known.is_none() => warnings.push(unknown(&setting)),
            None => {}
        }
    }
    let config = BrokerConfig::read(read.iter().map(|(k, v)| (k.as_str(), v.as_str())))
        .map_err(SettingsError::Whole)?;
    Ok(Resolved { config, warnings })
}

/// Of one duration in several units Kafka takes the finest that is set; but what a stronger place says in hours is not
/// undone by what a weaker one says in milliseconds.
fn without_outranked(settings: Vec<Setting>) -> Vec<Setting> {
    let in_environment = |place: &str| place.starts_with(ENVIRONMENT_PREFIX);
    let one_place = |a: &Setting, b: &Setting| {
        a.place == b.place || (in_environment(&a.place) && in_environment(&b.place))
    };
    let outranked = |at: usize| {
        let setting = &settings[at];
        settings[at + 1..].iter().any(|later| !one_place(setting, later) && family(setting) == family(later))
    };
    let kept: Vec<bool> = (0..settings.len()).map(|at| !outranked(at)).collect();
    settings.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(setting, _)| setting).collect()
}

/// The key that a setting says in its own or a coarser unit.
fn family(setting: &Setting) -> &str {
    let says = |def: &&crate::config::ConfigDef| def.coarser.iter().any(|(name, _)| *name == setting.key);
    keys::all().find(says).map_or(&setting.key, |def| def.name)
}

/// Takes the listeners of a KRaft controller out, which the file that Apache Kafka ships has: there is no quorum.
fn without_quorum_listeners(mut settings: Vec<Setting>, warnings: &mut Vec<String>) -> Vec<Setting> {
    let names = settings.iter().rfind(|s| s.key == "controller.listener.names").map(|s| s.value.clone());
    let names: Vec<&str> = names.as_deref().map(crate::config::def::split).unwrap_or_default();
    for setting in &mut settings {
        if !matches!(setting.key.as_str(), "listeners" | "advertised.listeners") {
            continue;
        }
        let of_quorum = |address: &&str| {
            address
                .split_once("://")
                .is_some_and(|(name, _)| names.iter().any(|n| n.eq_ignore_ascii_case(name)))
        };
        let (dropped, kept): (Vec<&str>, Vec<&str>) =
            crate::config::def::split(&setting.value).into_iter().partition(of_quorum);
        if dropped.is_empty() {
            continue;
        }
        warnings.push(format!(
            "{}: {} of {} is not served: there is no controller quorum",
            setting.place,
            dropped.join(", "),
            setting.key
        ));
        setting.value = kept.join(",");
    }
    settings
}

fn unknown(setting: &Setting) -> String {
    let changes_max = setting.key.len() / 3;
    // At least as many changes as the lengths differ by: a key that is a page long is compared with nothing.
    let names = keys::all().map(|d| d.name).filter(|n| n.len().abs_diff(setting.key.len()) <= changes_max);
    let nearest = names.map(|name| (distance(&setting.key, name), name)).min();
    let hint = match nearest {
        Some((changes, name)) if changes <= changes_max => format!("; did you mean {name}?"),
        _ => "; `aquifer config` prints those there are".to_string(),
    };
    format!("{}: there is no key {}{hint}", setting.place, setting.key)
}

/// Levenshtein's: characters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn args(file: Option<&tempfile::NamedTempFile>, set: &[&str]) -> StoreArgs {
        let set = set.iter().map(|s| s.to_string()).collect();
        StoreArgs { config: file.map(|f| f.path().into()), set, ..StoreArgs::default() }
    }

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn the_later_of_file_environment_set_and_flag_wins() {
        let file = file("num.partitions=2\nnode.id=2\nstorage=/f\nbroker.rack=f\n");
        let env = environment(&[
            ("AQUIFER_NODE_ID", "3"),
            ("AQUIFER_STORAGE", "/e"),
            ("AQUIFER_BROKER_RACK", "e"),
            ("HOME", "/"),
        ]);
        let r = resolve(
            &args(Some(&file), &["storage=/s", "broker.rack=s"]),
            &[("storage", "/flag".into())],
            &env,
        )
        .unwrap();
        let v = &r.config.values;
        assert_eq!((v.int("num.partitions"), v.int("node.id")), (2, 3));
        assert_eq!((v.string("broker.rack"), v.string("storage")), ("s", "/flag"));
        assert_eq!(v.int("offsets.topic.num.partitions"), 50);
        assert_eq!(r.warnings, [""; 0]);
    }

    #[test]
    fn the_file_that_kafka_ships_is_taken() {
        let file = file(
            "process.roles=broker,controller\nnode.id=1\ncontroller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n\
             advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL\n\
             num.network.threads=3\nlog.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\nlog.retention.hours=168\n\
             log.segment.bytes=1073741824\n",
        );
        let r = resolve(&args(Some(&file), &[]), &[], &environment(&[])).unwrap();
        assert_eq!(r.config.listeners.len(), 1);
        assert_eq!(r.config.advertised[0].host, "localhost");
        assert_eq!(r.config.values.get("log.retention.hours"), Some("168"));
        let said = r.warnings.join("\n");
        for part in [
            "CONTROLLER://:9093",
            "process.roles has no effect",
            "log.dirs has no effect: a broker keeps no data",
        ] {
            assert!(said.contains(part), "{part} in\n{said}");
        }
        assert!(!said.contains("num.partitions"), "{said}");
    }

    #[test]
    fn of_several_units_the_finest_counts_and_a_stronger_place_still_wins() {
        let file = file("log.retention.ms=5\nlog.retention.minutes=2\nlog.retention.hours=1\n");
        let of = |set: &[&str]| {
            let r = resolve(&args(Some(&file), set), &[], &environment(&[])).unwrap();
            crate::config::topic_keys::effective(&r.config.values, std::iter::empty()).long("retention.ms")
        };
        assert_eq!(of(&[]), 5);
        assert_eq!(of(&["log.retention.hours=1"]), 3_600_000);
    }

    #[test]
    fn an_unknown_key_is_said_with_the_nearest_one() {
        let env = environment(&[("AQUIFER_NUM_PARTITION", "3")]);
        let r = resolve(&args(None, &["auto.create.topic.enable=false", "x.y=1"]), &[], &env).unwrap();
        assert_eq!(
            r.warnings,
            [
                "AQUIFER_NUM_PARTITION: there is no key num.partition; did you mean num.partitions?",
                "--set: there is no key auto.create.topic.enable; did you mean auto.create.topics.enable?",
                "--set: there is no key x.y; `aquifer config` prints those there are",
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_said_where_it_was_given() {
        let say = |set: &[&str], env: &[(&str, &str)]| {
            resolve(&args(None, set), &[], &environment(env)).unwrap_err().to_string()
        };
        assert!(say(&["num.partitions"], &[]).starts_with("--set num.partitions: give a key and a value"));
        let error = say(&[], &[("AQUIFER_NUM_PARTITIONS", "many")]);
        assert!(error.starts_with("AQUIFER_NUM_PARTITIONS: ") && error.contains("Not a number"), "{error}");
        assert!(say(&["sasl.enabled.mechanisms=PLAIN"], &[]).contains("SASL is not in this release"));
        assert!(say(&["listeners=SASL_SSL://:9092"], &[]).contains("PLAINTEXT is"));
        let missing = StoreArgs { config: Some("no/such/file".into()), ..StoreArgs::default() };
        assert!(matches!(resolve(&missing, &[], &environment(&[])), Err(SettingsError::File { .. })));
    }

    #[test]
    fn distances() {
        for (a, b, d) in
            [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("num.partition", "num.partitions", 1)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (d, d), "{a} {b}");
        }
    }
}

//! A row of the tables, how its values are judged, and a set of values read by type.

use std::collections::{BTreeMap, HashSet};

/// Kafka's `ConfigDef.Type`; the numbers are those of DescribeConfigs (`ConfigEntry.ConfigType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    /// Of a key that is in no table.
    Unknown = 0,
    /// `true` or `false`.
    Boolean = 1,
    /// Any text.
    String = 2,
    /// 32-bit.
    Int = 3,
    /// 16-bit.
    Short = 4,
    /// 64-bit.
    Long = 5,
    /// Floating point.
    Double = 6,
    /// Comma-separated.
    List = 7,
    /// A Java class name; kept as text.
    Class = 8,
    /// Text that is never shown.
    Password = 9,
}

/// When a broker key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// At start only.
    ReadOnly,
    /// Per broker, by `AlterConfigs`.
    PerBroker,
    /// Per broker and only of one listener, under `listener.name.NAME.`.
    PerListener,
    /// Cluster-wide, by `AlterConfigs`.
    ClusterWide,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct ConfigDef {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its default; None is null.
    pub default: Option<&'static str>,
    /// What it does, in a sentence or two.
    pub doc: &'static str,
    /// When it takes effect.
    pub scope: Scope,
    /// The broker key that gives a key of a topic or group its default.
    pub synonym: Option<&'static str>,
    /// Keys that say the same in coarser units where this one is not set: name and factor, the finest first.
    pub coarser: &'static [(&'static str, i64)],
    /// Why it has no effect here; None: it has one.
    pub unused: Option<&'static str>,
    /// Described only where it is set: Kafka's internal keys.
    pub hidden: bool,
    pub(super) rule: Rule,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    OneOf(&'static [&'static str]),
    OneOfAnyCase(&'static [&'static str]),
    ListOf(&'static [&'static str]),
    Ratio,
    NotEmpty,
    /// -1 or a level from 1 to 9.
    GzipLevel,
    /// `*` or a list of partition:broker (`ThrottledReplicaListValidator`).
    ThrottledReplicas,
    /// `earliest`, `latest` or `by_duration:` and an ISO duration (`ShareGroupAutoOffsetResetStrategy`).
    OffsetReset,
}

/// Why a value is refused: what the user reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

impl ConfigDef {
    /// A row.
    pub const fn new(name: &'static str, kind: Kind, default: Option<&'static str>) -> ConfigDef {
        ConfigDef {
            name,
            kind,
            default,
            doc: "",
            scope: Scope::ReadOnly,
            synonym: None,
            coarser: &[],
            unused: None,
            hidden: false,
            rule: Rule::Any,
        }
    }

    /// Its documentation.
    pub const fn doc(mut self, doc: &'static str) -> ConfigDef {
        self.doc = doc;
        self
    }

    /// A number not below this.
    pub const fn at_least(mut self, min: i64) -> ConfigDef {
        self.rule = Rule::AtLeast(min);
        self
    }

    /// A number in this range, both ends included.
    pub const fn between(mut self, min: i64, max: i64) -> ConfigDef {
        self.rule = Rule::Between(min, max);
        self
    }

    /// One of these words.
    pub const fn one_of(mut self, words: &'static [&'static str]) -> ConfigDef {
        self.rule = Rule::OneOf(words);
        self
    }

    /// One of these words, in capitals or not.
    pub const fn one_of_any_case(mut self, words: &'static [&'static str]) -> ConfigDef {
        self.rule = Rule::OneOfAnyCase(words);
        self
    }

    /// Not the empty text.
    pub const fn not_empty(mut self) -> ConfigDef {
        self.rule = Rule::NotEmpty;
        self
    }

    /// -1 or a level of gzip.
    pub const fn gzip_level(mut self) -> ConfigDef {
        self.rule = Rule::GzipLevel;
        self
    }

    /// `*` or a list of partition:broker.
    pub const fn throttled_replicas(mut self) -> ConfigDef {
        self.rule = Rule::ThrottledReplicas;
        self
    }

    /// Where a share group without a position begins.
    pub const fn offset_reset(mut self) -> ConfigDef {
        self.rule = Rule::OffsetReset;
        self
    }

    /// A list of these words.
    pub const fn list_of(mut self, words: &'static [&'static str]) -> ConfigDef {
        self.rule = Rule::ListOf(words);
        self
    }

    /// A number from 0 to 1.
    pub const fn ratio(mut self) -> ConfigDef {
        self.rule = Rule::Ratio;
        self
    }

    /// The broker key that gives its default.
    pub const fn synonym(mut self, broker_key: &'static str) -> ConfigDef {
        self.synonym = Some(broker_key);
        self
    }

    /// Keys that say the same in coarser units, and their factors.
    pub const fn coarser(mut self, keys: &'static [(&'static str, i64)]) -> ConfigDef {
        self.coarser = keys;
        self
    }

    /// It is accepted, stored and reported, and changes nothing, for this reason.
    pub const fn unused(mut self, reason: &'static str) -> ConfigDef {
        self.unused = Some(reason);
        self
    }

    /// Described only where it is set.
    pub const fn hidden(mut self) -> ConfigDef {
        self.hidden = true;
        self
    }

    /// May be changed for one broker while it runs.
    pub const fn per_broker(mut self) -> ConfigDef {
        self.scope = Scope::PerBroker;
        self
    }

    /// May be changed for one listener of one broker while it runs.
    pub const fn per_listener(mut self) -> ConfigDef {
        self.scope = Scope::PerListener;
        self
    }

    /// May be changed for the whole cluster while it runs.
    pub const fn cluster_wide(mut self) -> ConfigDef {
        self.scope = Scope::ClusterWide;
        self
    }

    /// Is it a secret, never to be shown?
    pub fn is_sensitive(&self) -> bool {
        matches!(self.kind, Kind::Password | Kind::Unknown)
    }

    /// What it does, and why not here.
    pub fn documentation(&self) -> String {
        match self.unused {
            None => self.doc.to_string(),
            Some(reason) => format!("{} No effect here: {reason}.", self.doc),
        }
    }

    /// The values that its rule allows, for people; None where its type allows all.
    pub fn allowed(&self) -> Option<String> {
        match self.rule {
            Rule::Any => None,
            Rule::AtLeast(min) => Some(format!("at least {min}")),
            Rule::Between(min, max) => Some(format!("from {min} to {max}")),
            Rule::OneOf(words) | Rule::OneOfAnyCase(words) => Some(format!("one of: {}", words.join(", "))),
            Rule::ListOf(words) => Some(format!("of: {}", words.join(", "))),
            Rule::Ratio => Some("from 0 to 1".into()),
            Rule::NotEmpty => Some("not empty".into()),
            Rule::GzipLevel => Some("from 1 to 9, or -1".into()),
            Rule::ThrottledReplicas => Some("* or PARTITION:BROKER, several by commas".into()),
            Rule::OffsetReset => Some("earliest, latest, or by_duration:PnDTnHnMn.nS".into()),
        }
    }

    /// The value as Kafka shows it: without what its type does not need.
    pub fn shown(&self, value: &str) -> String {
        let value = value.trim();
        let number = |digits: Option<String>| digits.unwrap_or_else(|| value.to_string());
        match self.kind {
            Kind::Boolean => value.to_ascii_lowercase(),
            Kind::List => split(value).join(","),
            Kind::Int | Kind::Short | Kind::Long => number(value.parse::<i64>().ok().map(|n| n.to_string())),
            _ => value.to_string(),
        }
    }

    /// Judges a value.
    pub fn check(&self, value: &str) -> Result<(), InvalidValue> {
        let value = value.trim();
        if let Some(fault) = self.fault_of_list(value) {
            return Err(InvalidValue(format!("Configuration '{}' values must not be {fault}.", self.name)));
        }
        self.reason_against(value).map_or(Ok(()), |(shown, reason)| {
            let value = if self.is_sensitive() { "[hidden]".to_string() } else { shown };
            Err(InvalidValue(format!("Invalid value {value} for configuration {}: {reason}", self.name)))
        })
    }

    /// What no list of known words may hold (`ConfigDef.ValidList`, KIP-1161). No words at all are fine.
    fn fault_of_list(&self, value: &str) -> Option<&'static str> {
        let Rule::ListOf(_) = self.rule else { return None };
        let words: Vec<&str> = value.split(',').map(str::trim).collect();
        let mut seen = HashSet::new();
        let repeated = !words.iter().all(|word| seen.insert(word));
        match value {
            "" => None,
            _ if repeated => Some("duplicated"),
            _ if words.contains(&"") => Some("empty"),
            _ => None,
        }
    }

    /// What is wrong with a value, and the part of it that is, in Kafka's words (`ConfigDef.parseType`, `Validator`).
    fn reason_against(&self, value: &str) -> Option<(String, String)> {
        let whole = |reason: &str| Some((value.to_string(), reason.to_string()));
        let number = match self.kind {
            Kind::Boolean if !matches!(value.to_ascii_lowercase().as_str(), "true" | "false") => {
                return whole("Expected value to be either true or false");
            }
            Kind::Int => match value.parse::<i32>() {
                Ok(n) => i64::from(n),
                Err(_) => return whole("Not a number of type INT"),
            },
            Kind::Short => match value.parse::<i16>() {
                Ok(n) => i64::from(n),
                Err(_) => return whole("Not a number of type SHORT"),
            },
            Kind::Long => match value.parse::<i64>() {
                Ok(n) => n,
                Err(_) => return whole("Not a number of type LONG"),
            },
            Kind::Double => return self.reason_against_double(value),
            _ => return self.reason_against_text(value),
        };
        match self.rule {
            Rule::AtLeast(min) | Rule::Between(min, _) if number < min => {
                whole(&format!("Value must be at least {min}"))
            }
            Rule::Between(_, max) if number > max => whole(&format!("Value must be no more than {max}")),
            Rule::GzipLevel if number != -1 && !(1..=9).contains(&number) => {
                whole("Value must be between 1 and 9 or equal to -1")
            }
            _ => None,
        }
    }

    fn reason_against_double(&self, value: &str) -> Option<(String, String)> {
        let Ok(number) = value.parse::<f64>() else {
            return Some((value.to_string(), "Not a number of type DOUBLE".into()));
        };
        let reason = match self.rule {
            Rule::Ratio if number > 1.0 => "Value must be no more than 1",
            Rule::Ratio if number < 0.0 || number.is_nan() => "Value must be at least 0",
            _ => return None,
        };
        Some((format!("{number:?}"), reason.into()))
    }

    fn reason_against_text(&self, value: &str) -> Option<(String, String)> {
        let whole = |reason: String| Some((value.to_string(), reason));
        match self.rule {
            Rule::OneOf(words) if !words.contains(&value) => {
                whole(format!("String must be one of: {}", words.join(", ")))
            }
            Rule::OneOfAnyCase(words) if !words.iter().any(|word| word.eq_ignore_ascii_case(value)) => {
                whole(format!("String must be one of (case insensitive): {}", words.join(", ")))
            }
            Rule::ListOf(words) => {
                let bad = split(value).into_iter().find(|word| !words.contains(word))?;
                Some((bad.to_string(), format!("String must be one of: {}", words.join(", "))))
            }
            Rule::NotEmpty if value.is_empty() => whole("String must be non-empty".into()),
            Rule::ThrottledReplicas if !is_replica_list(value) => Some((
                format!("[{}]", split(value).join(", ")),
                format!(
                    "{} must be the literal '*' or a list of replicas in the following format: \
                     [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                    self.name
                ),
            )),
            Rule::OffsetReset if !is_offset_reset(value) => whole(format!(
                "Invalid value `{value}` for configuration {}. The value must be either 'earliest', 'latest' or of the \
                 format 'by_duration:<PnDTnHnMn.nS>'.",
                self.name
            )),
            _ => None,
        }
    }
}

fn is_replica_list(value: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let replica = |word: &&str| word.split_once(':').is_some_and(|(p, b)| number(p) && number(b));
    value == "*" || split(value).iter().all(replica)
}

fn is_offset_reset(value: &str) -> bool {
    match value.split_once(':') {
        None => matches!(value.to_ascii_lowercase().as_str(), "earliest" | "latest"),
        Some((kind, duration)) => kind.eq_ignore_ascii_case("by_duration") && is_duration(duration),
    }
}

/// An ISO 8601 duration as `java.time.Duration.parse` takes it, and not negative: days, hours, minutes, seconds, at least
/// one of them, in that order.
fn is_duration(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    let Some(rest) = text.strip_prefix('P') else { return false };
    let (days, time) = rest.split_once('T').map_or((rest, None), |(days, time)| (days, Some(time)));
    let mut any = false;
    let mut parts = |mut text: &str, units: &[char]| {
        for unit in units {
            let Some((digits, rest)) = text.split_once(*unit) else { continue };
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
            let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
            let whole_unit = fraction == "0" || *unit == 'S';
            if whole.is_empty() || !is_number(whole) || !is_number(fraction) || !whole_unit {
                return false;
            }
            any = true;
            text = rest;
        }
        text.is_empty()
    };
    parts(days, &['D']) && time.is_none_or(|time| !time.is_empty() && parts(time, &['H', 'M', 'S'])) && any
}

/// The words of a comma-separated list.
pub fn split(list: &str) -> Vec<&str> {
    list.split(',').map(str::trim).filter(|w| !w.is_empty()).collect()
}

/// Effective values by key, all validated, read by type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<&'static str, String>);

impl Values {
    /// The defaults of a table.
    pub fn defaults<'a>(defs: impl IntoIterator<Item = &'a ConfigDef>) -> Values {
        Values(defs.into_iter().filter_map(|d| Some((d.name, d.default?.to_string()))).collect())
    }

    /// Sets a value that was checked.
    pub fn set(&mut self, def: &ConfigDef, value: &str) {
        self.0.insert(def.name, value.trim().to_string());
    }

    /// Takes a value away.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The value as text, if there is one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A text that has a default.
    pub fn string(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// A list.
    pub fn list(&self, name: &str) -> Vec<&str> {
        split(self.string(name))
    }

    /// A 32-bit number that has a default.
    pub fn int(&self, name: &str) -> i32 {
        self.parse(name)
    }

    /// A 64-bit number that has a default.
    pub fn long(&self, name: &str) -> i64 {
        self.parse(name)
    }

    /// A fraction that has a default.
    pub fn double(&self, name: &str) -> f64 {
        self.parse(name)
    }

    /// A boolean that has a default.
    pub fn boolean(&self, name: &str) -> bool {
        self.string(name).eq_ignore_ascii_case("true")
    }

    fn parse<T: std::str::FromStr>(&self, name: &str) -> T {
        let value = self.string(name);
        value.parse().ok().unwrap_or_else(|| panic!("{name}={value} was checked and is in the table"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_judged_by_type_and_rule() {
        let long = ConfigDef::new("retention.ms", Kind::Long, Some("1")).at_least(-1);
        for (value, good) in [("-1", true), (" 7 ", true), ("-2", false), ("x", false), ("", false)] {
            assert_eq!(long.check(value).is_ok(), good, "{value}");
        }
        let list = ConfigDef::new("cleanup.policy", Kind::List, None).list_of(&["compact", "delete"]);
        for (value, good) in [
            ("compact", true),
            ("compact, delete", true),
            ("", true),
            ("x", false),
            ("delete,", false),
            ("delete,compact,delete", false),
        ] {
            assert_eq!(list.check(value).is_ok(), good, "{value}");
        }
        let boolean = ConfigDef::new("b", Kind::Boolean, None);
        assert!(boolean.check("TRUE").is_ok() && boolean.check("yes").is_err());
        let ratio = ConfigDef::new("r", Kind::Double, None).ratio();
        assert!(ratio.check("0.5").is_ok() && ratio.check("1.5").is_err());
        let secret = ConfigDef::new("p", Kind::Password, None).one_of(&[]);
        assert!(!secret.check("hunter2").unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn refusals_are_in_kafkas_words() {
        let say = |def: ConfigDef, value: &str| def.check(value).map_err(|e| e.to_string()).err();
        let said = |text: &str| Some(format!("Invalid value {text}"));
        let ratio = ConfigDef::new("r", Kind::Double, None).ratio();
        assert_eq!(say(ratio, "2"), said("2.0 for configuration r: Value must be no more than 1"));
        let list = ConfigDef::new("l", Kind::List, None).list_of(&["compact", "delete"]);
        assert_eq!(
            say(list, "delete,foo"),
            said("foo for configuration l: String must be one of: compact, delete")
        );
        assert_eq!(
            say(list, "delete, delete"),
            Some("Configuration 'l' values must not be duplicated.".into())
        );
        assert_eq!(say(list, "delete,"), Some("Configuration 'l' values must not be empty.".into()));
        let gzip = ConfigDef::new("g", Kind::Int, None).gzip_level();
        assert_eq!(
            say(gzip, "0"),
            said("0 for configuration g: Value must be between 1 and 9 or equal to -1")
        );
        assert_eq!(say(gzip, "-1").or(say(gzip, "9")), None);
        let replicas = ConfigDef::new("t", Kind::List, None).throttled_replicas();
        for (value, good) in
            [("*", true), ("0:1,1:2", true), ("", true), ("x", false), ("0:1,", true), ("1:", false)]
        {
            assert_eq!(say(replicas, value).is_none(), good, "{value}");
        }
        assert_eq!(
            say(replicas, "x"),
            said(
                "[x] for configuration t: t must be the literal '*' or a list of replicas in the following format: \
                 [partitionId]:[brokerId],[partitionId]:[brokerId],..."
            )
        );
    }

    #[test]
    fn a_share_group_begins_at_an_end_or_a_duration_ago() {
        let reset = ConfigDef::new("s", Kind::String, None).offset_reset();
        for good in ["earliest", "latest", "by_duration:P1D", "by_duration:PT1H30M", "by_duration:P2DT0.5S"] {
            assert!(reset.check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "foo",
            "by_duration",
            "by_duration:",
            "by_duration:-P1D",
            "by_duration:P",
            "by_duration:PT",
            "by_duration:P1DT",
            "by_duration:P1H",
            "by_duration:PT1.5H",
            "by_duration:PT1S1M",
        ] {
            assert!(reset.check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_shown_without_what_their_type_does_not_need() {
        for (kind, value, shown) in [
            (Kind::Boolean, " TRUE ", "true"),
            (Kind::List, " delete , compact ", "delete,compact"),
            (Kind::Long, " 007 ", "7"),
            (Kind::String, " a b ", "a b"),
        ] {
            assert_eq!(ConfigDef::new("k", kind, None).shown(value), shown);
        }
    }
}

//! A row of the tables, how its values are judged, and a set of values read by type.

use std::collections::BTreeMap;

/// Kafka's `ConfigDef.Type`; the numbers are those of DescribeConfigs (`ConfigEntry.ConfigType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
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
    /// The broker key that gives a topic key its default.
    pub synonym: Option<&'static str>,
    pub(super) rule: Rule,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    OneOf(&'static [&'static str]),
    ListOf(&'static [&'static str]),
    Ratio,
}

/// Why a value is refused; the text is what the user reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid value {value} for configuration {name}: {reason}")]
pub struct InvalidValue {
    name: String,
    value: String,
    reason: String,
}

impl ConfigDef {
    /// A row.
    pub const fn new(name: &'static str, kind: Kind, default: Option<&'static str>) -> ConfigDef {
        ConfigDef { name, kind, default, doc: "", scope: Scope::ReadOnly, synonym: None, rule: Rule::Any }
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

    /// May be changed for the whole cluster while it runs.
    pub const fn cluster_wide(mut self) -> ConfigDef {
        self.scope = Scope::ClusterWide;
        self
    }

    /// The values that its rule allows, for people; None where its type allows all.
    pub fn allowed(&self) -> Option<String> {
        match self.rule {
            Rule::Any => None,
            Rule::AtLeast(min) => Some(format!("at least {min}")),
            Rule::Between(min, max) => Some(format!("from {min} to {max}")),
            Rule::OneOf(words) => Some(format!("one of: {}", words.join(", "))),
            Rule::ListOf(words) => Some(format!("of: {}", words.join(", "))),
            Rule::Ratio => Some("from 0 to 1".into()),
        }
    }

    /// Judges a value.
    pub fn check(&self, value: &str) -> Result<(), InvalidValue> {
        self.reason_against(value).map_or(Ok(()), |reason| {
            let value = if self.kind == Kind::Password { "(hidden)" } else { value };
            Err(InvalidValue { name: self.name.into(), value: value.into(), reason })
        })
    }

    fn reason_against(&self, value: &str) -> Option<String> {
        let value = value.trim();
        let number = match self.kind {
            Kind::Boolean if !matches!(value.to_ascii_lowercase().as_str(), "true" | "false") => {
                return Some("Expected value to be either true or false".into());
            }
            Kind::Int => match value.parse::<i32>() {
                Ok(n) => Some(i64::from(n)),
                Err(_) => return Some("Not a number of type INT".into()),
            },
            Kind::Short => match value.parse::<i16>() {
                Ok(n) => Some(i64::from(n)),
                Err(_) => return Some("Not a number of type SHORT".into()),
            },
            Kind::Long => match value.parse::<i64>() {
                Ok(n) => Some(n),
                Err(_) => return Some("Not a number of type LONG".into()),
            },
            Kind::Double if value.parse::<f64>().is_err() => {
                return Some("Not a number of type DOUBLE".into());
            }
            _ => None,
        };
        match (self.rule, number) {
            (Rule::AtLeast(min), Some(n)) if n < min => Some(format!("Value must be at least {min}")),
            (Rule::Between(min, _), Some(n)) if n < min => Some(format!("Value must be at least {min}")),
            (Rule::Between(_, max), Some(n)) if n > max => Some(format!("Value must be no more than {max}")),
            (Rule::OneOf(words), _) if !words.contains(&value) => {
                Some(format!("String must be one of: {}", words.join(", ")))
            }
            (Rule::ListOf(words), _) => {
                let bad = split(value).into_iter().find(|word| !words.contains(word));
                bad.map(|word| format!("{word} is not one of: {}", words.join(", ")))
            }
            (Rule::Ratio, _) if !value.parse::<f64>().is_ok_and(|x| (0.0..=1.0).contains(&x)) => {
                Some("Value must be between 0 and 1".into())
            }
            _ => None,
        }
    }
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
    pub fn defaults(defs: &[ConfigDef]) -> Values {
        Values(defs.iter().filter_map(|d| Some((d.name, d.default?.to_string()))).collect())
    }

    /// Sets a value that was checked.
    pub fn set(&mut self, def: &ConfigDef, value: &str) {
        self.0.insert(def.name, value.trim().to_string());
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
        for (value, good) in [("compact", true), ("compact, delete", true), ("", true), ("x", false)] {
            assert_eq!(list.check(value).is_ok(), good, "{value}");
        }
        let boolean = ConfigDef::new("b", Kind::Boolean, None);
        assert!(boolean.check("TRUE").is_ok() && boolean.check("yes").is_err());
        let ratio = ConfigDef::new("r", Kind::Double, None).ratio();
        assert!(ratio.check("0.5").is_ok() && ratio.check("1.5").is_err());
        let secret = ConfigDef::new("p", Kind::Password, None).one_of(&[]);
        assert!(!secret.check("hunter2").unwrap_err().to_string().contains("hunter2"));
    }
}

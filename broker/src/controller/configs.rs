//! Changes of configuration: what a request to alter comes to, per resource (`ConfigAdminManager`, `DynamicBrokerConfig`,
//! `ConfigurationControlManager`, `ControllerConfigurationValidator`). Pure.
//!
//! A resource's values are judged together as they would be after the change; one that is wrong leaves all of that resource
//! as it was, and other resources alone. Codes and words are Kafka's: of brokers INVALID_REQUEST (KAFKA-13609), of the
//! others INVALID_CONFIG.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use protocol::error::ErrorCode;

use super::Refused;
use super::topics::check_name;
use crate::config::def::{Kind, split};
use crate::config::live::{Layer, per_ip_overrides};
use crate::config::meaningless::asks_for_protection;
use crate::config::{ConfigDef, Scope, Values, group_keys, keys, metrics_keys, topic_keys};
use crate::metadata::{ConfigResource, MetadataImage, MetadataRecord};

/// Kafka's `ConfigResource.Type.BROKER_LOGGER`: not stored, so no [`ConfigResource`].
pub const BROKER_LOGGER: i8 = 8;

/// The longest value, that also fits a string of the wire before flexible versions (`ConfigurationControlManager`).
const VALUE_BYTES_MAX: usize = i16::MAX as usize;

/// What is done to a key (`AlterConfigOp.OpType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Operation {
    /// It gets this value.
    Set = 0,
    /// It goes back to its default.
    Delete = 1,
    /// These are added to its list.
    Append = 2,
    /// These are taken from its list.
    Subtract = 3,
}

impl Operation {
    /// The operation of that number.
    pub fn from_code(code: i8) -> Option<Operation> {
        [Operation::Set, Operation::Delete, Operation::Append, Operation::Subtract]
            .into_iter()
            .find(|op| *op as i8 == code)
    }

    /// As Kafka says it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Set => "SET",
            Operation::Delete => "DELETE",
            Operation::Append => "APPEND",
            Operation::Subtract => "SUBTRACT",
        }
    }
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// The key.
    pub name: String,
    /// What is done, as sent.
    pub operation: i8,
    /// The value.
    pub value: Option<String>,
}

/// Changes of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alteration {
    /// Its type, as sent.
    pub resource: i8,
    /// Its name.
    pub name: String,
    /// The keys.
    pub keys: Vec<KeyChange>,
}

/// What a change comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Altered {
    /// Stored: these records, none where nothing changes.
    Stored(Vec<MetadataRecord>),
    /// Levels of loggers of this process: the shell's.
    Loggers(Vec<(String, Operation, Option<String>)>),
}

/// What changes are judged on.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// What is stored.
    pub image: &'a MetadataImage,
    /// This broker's id: others' are changed at them.
    pub node_id: i32,
    /// This broker's values in force.
    pub values: &'a Values,
}

impl Judge<'_> {
    /// IncrementalAlterConfigs: a result per resource, in order.
    pub fn incremental(&self, alterations: &[Alteration]) -> Vec<Result<Altered, Refused>> {
        let repeated = repeated(alterations);
        let judge = |(at, alteration): (usize, &Alteration)| {
            refuse_repeated(repeated.contains(&at), alteration)?;
            let mut operations = Vec::with_capacity(alteration.keys.len());
            let null = |key: &&KeyChange| key.operation != Operation::Delete as i8 && key.value.is_none();
            refuse_nulls(alteration.keys.iter().filter(null))?;
            for key in &alteration.keys {
                let operation = Operation::from_code(key.operation)
                    .ok_or_else(|| invalid_request(format!("Unknown operations type {}", key.operation)))?;
                operations.push((key, operation));
            }
            if alteration.resource == BROKER_LOGGER {
                self.check_node_id(&alteration.name)?;
                let changes =
                    operations.into_iter().map(|(key, op)| (key.name.clone(), op, key.value.clone()));
                return Ok(Altered::Loggers(changes.collect()));
            }
            let resource = self.resource(alteration)?;
            let mut after = self.stored(resource, &alteration.name);
            for (key, operation) in operations {
                apply(resource, &mut after, key, operation)?;
            }
            self.altered(resource, &alteration.name, after)
        };
        alterations.iter().enumerate().map(judge).collect()
    }

    /// AlterConfigs: what is given replaces all that was set. A result per resource, in order.
    pub fn legacy(&self, alterations: &[Alteration]) -> Vec<Result<Altered, Refused>> {
        let repeated = repeated(alterations);
        let judge = |(at, alteration): (usize, &Alteration)| {
            refuse_repeated(repeated.contains(&at), alteration)?;
            refuse_nulls(alteration.keys.iter().filter(|key| key.value.is_none()))?;
            let resource = self.resource(alteration)?;
            let given = alteration.keys.iter();
            let after =
                given.map(|k| (k.name.clone(), k.value.as_deref().unwrap_or_default().trim().to_string()));
            self.altered(resource, &alteration.name, after.collect())
        };
        alterations.iter().enumerate().map(judge).collect()
    }

    fn resource(&self, alteration: &Alteration) -> Result<ConfigResource, Refused> {
        let resource = ConfigResource::from_code(alteration.resource)
            .ok_or_else(|| invalid_request(format!("Unknown resource type {}", alteration.resource)))?;
        if resource == ConfigResource::Broker && !alteration.name.is_empty() {
            self.check_node_id(&alteration.name)?;
        }
        Ok(resource)
    }

    fn check_node_id(&self, name: &str) -> Result<(), Refused> {
        match name.parse::<i32>() {
            Err(_) => Err(invalid_request(format!("Node id must be an integer, but it is: {name}"))),
            Ok(id) if id != self.node_id => Err(invalid_request(format!(
                "Unexpected broker id, expected {}, but received {name}",
                self.node_id
            ))),
            Ok(_) => Ok(()),
        }
    }

    fn stored(&self, resource: ConfigResource, name: &str) -> Layer {
        self.image.config(resource, name).map(|set| (**set).clone()).unwrap_or_default()
    }

    /// Judges what a resource would have, and gives the records that make it so.
    fn altered(&self, resource: ConfigResource, name: &str, after: Layer) -> Result<Altered, Refused> {
        let before = self.stored(resource, name);
        after
            .iter()
            .filter(|(key, value)| before.get(*key) != Some(value))
            .try_for_each(|(_, value)| fits(value))?;
        match resource {
            ConfigResource::Topic => {
                if name.is_empty() {
                    return Err(invalid_request("Default topic resources are not allowed."));
                }
                check_name(name)?;
                topic_keys::check(self.values, &after).map_err(invalid_config)?;
                if self.image.topic(name).is_none() {
                    let why = format!("The topic '{name}' does not exist.");
                    return Err(Refused::new(ErrorCode::UnknownTopicOrPartition, why));
                }
            }
            ConfigResource::Broker => {
                check_broker(&after, &before, !name.is_empty())?;
                check_together(self.values, &after)?;
            }
            ConfigResource::Group => {
                if name.is_empty() {
                    return Err(invalid_request("Default group resources are not allowed."));
                }
                group_keys::check(self.values, &after).map_err(invalid_config)?;
            }
            ConfigResource::ClientMetrics => {
                if name.is_empty() {
                    return Err(invalid_request("Subscription name can't be empty"));
                }
                metrics_keys::check(&after).map_err(|(code, why)| Refused::new(code, why))?;
            }
        }
        let record = |key: &String, value: Option<&String>| MetadataRecord::ConfigSet {
            resource,
            name: name.to_string(),
            key: key.clone(),
            value: value.cloned(),
        };
        let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| record(key, None));
        let set = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
        Ok(Altered::Stored(gone.chain(set.map(|(key, value)| record(key, Some(value)))).collect()))
    }
}

fn refuse_repeated(resource_repeated: bool, alteration: &Alteration) -> Result<(), Refused> {
    if resource_repeated {
        return Err(invalid_request("Each resource must appear at most once."));
    }
    let names: BTreeSet<&str> = alteration.keys.iter().map(|key| key.name.as_str()).collect();
    if names.len() != alteration.keys.len() {
        return Err(invalid_request("Error due to duplicate config keys"));
    }
    Ok(())
}

/// The places of resources that are there more than once.
fn repeated(alterations: &[Alteration]) -> BTreeSet<usize> {
    let mut places: HashMap<(i8, &str), Vec<usize>> = HashMap::new();
    for (at, alteration) in alterations.iter().enumerate() {
        places.entry((alteration.resource, &alteration.name)).or_default().push(at);
    }
    places.into_values().filter(|places| places.len() > 1).flatten().collect()
}

fn refuse_nulls<'a>(nulls: impl Iterator<Item = &'a KeyChange>) -> Result<(), Refused> {
    let names: Vec<&str> = nulls.map(|key| key.name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(invalid_request(format!("Null value not supported for : {}", names.join(", "))))
}

fn apply(
    resource: ConfigResource,
    values: &mut Layer,
    key: &KeyChange,
    operation: Operation,
) -> Result<(), Refused> {
    let given = key.value.as_deref().unwrap_or_default().trim();
    match operation {
        Operation::Set => {
            values.insert(key.name.clone(), given.to_string());
        }
        Operation::Delete => {
            values.remove(&key.name);
        }
        Operation::Append | Operation::Subtract => {
            let def = list_key(resource, &key.name, operation)?;
            let old = values.get(&key.name).map(String::as_str).or(def.default).unwrap_or_default();
            let mut words = split(old);
            for word in split(given) {
                match operation {
                    Operation::Append if !words.contains(&word) => words.push(word),
                    Operation::Append => {}
                    _ => words.retain(|old| *old != word),
                }
            }
            let words = words.join(",");
            values.insert(key.name.clone(), words);
        }
    }
    Ok(())
}

/// The row of a key that is a list, so that something may be added to it.
fn list_key(
    resource: ConfigResource,
    name: &str,
    operation: Operation,
) -> Result<&'static ConfigDef, Refused> {
    if resource == ConfigResource::Broker {
        let base = keys::of_listener(name).map_or(name, |(_, key)| key);
        let def = keys::find(base).ok_or_else(|| invalid_config(format!("Unknown config name: {name}")))?;
        let verb = if operation == Operation::Append { "append" } else { "subtract" };
        let why = || invalid_config(format!("Config value {verb} is not allowed for config key: {name}"));
        return Some(def).filter(|def| def.kind == Kind::List).ok_or_else(why);
    }
    // Kafka's schema knows the lists of topics only.
    let def =
        topic_keys::find(name).filter(|def| resource == ConfigResource::Topic && def.kind == Kind::List);
    def.ok_or_else(|| {
        invalid_config(format!("Can't {} to key {name} because its type is not LIST.", operation.name()))
    })
}

/// `DynamicBrokerConfig.validateConfigs`. What was stored before and is not touched is not judged again.
fn check_broker(after: &Layer, before: &Layer, of_one_broker: bool) -> Result<(), Refused> {
    let changed: Layer = after
        .iter()
        .filter(|(k, v)| before.get(*k) != Some(v))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let scope = |name: &str| keys::find(name).map(|def| def.scope);
    let refuse = |why: &str, wrong: &dyn Fn(&str) -> bool| {
        let names: Vec<&str> = changed.keys().map(String::as_str).filter(|name| wrong(name)).collect();
        if names.is_empty() { Ok(()) } else { Err(invalid_request(format!("{why}: [{}]", names.join(", ")))) }
    };
    refuse("Cannot update these configs dynamically", &|name| scope(name) == Some(Scope::ReadOnly))?;
    refuse(
        "These security configs can be dynamically updated only per-listener using the listener prefix",
        &|name| scope(name) == Some(Scope::PerListener),
    )?;
    for (name, value) in &changed {
        let base = keys::of_listener(name).map_or(name.as_str(), |(_, key)| key);
        if let Some(def) = keys::find(base) {
            def.check(value).map_err(|e| invalid_request(e.to_string()))?;
        }
        if base == "max.connections.per.ip.overrides" && per_ip_overrides(value).is_none() {
            return Err(invalid_request(format!(
                "Error parsing configuration property '{base}': {value} is not a list of ADDRESS:NUMBER"
            )));
        }
        if let Some(reason) = asks_for_protection(base, value) {
            return Err(invalid_request(format!("Invalid value {value} for configuration {name}: {reason}")));
        }
    }
    if of_one_broker {
        return Ok(());
    }
    refuse("Cannot update these configs at default cluster level, broker id must be specified", &|name| {
        match keys::of_listener(name) {
            // Connections are counted over all listeners too, so a limit of one may be everywhere the same.
            Some((_, key)) => {
                !matches!(key, "max.connections" | "max.connection.creation.rate" | "num.network.threads")
            }
            None => matches!(scope(name), Some(Scope::PerBroker)),
        }
    })
}

/// What the values of a broker must be together and beyond their types (`KafkaConfig.validateValues`,
/// `SocketServer.ListenerConnectionQuota`). Most of it keeps administrators from locking everybody out, themselves included.
fn check_together(values: &Values, after: &Layer) -> Result<(), Refused> {
    let number = |name: &str| -> Option<i64> { after.get(name)?.trim().parse().ok() };
    let text = |name: &str| after.get(name).map_or(values.string(name), String::as_str).trim();
    let required = |why: &str| Err(invalid_request(format!("requirement failed: {why}")));
    if number("log.roll.ms").is_some_and(|ms| ms < 1) {
        return required("log.roll.ms must be greater than or equal to 1");
    }
    if number("log.roll.jitter.ms").is_some_and(|ms| ms < 0) {
        return required("log.roll.jitter.ms must be greater than or equal to 0");
    }
    if number("log.retention.ms") == Some(0) {
        return required("log.retention.ms must be unlimited (-1) or, greater than or equal to 1");
    }
    let cleaners = ["log.cleaner.dedupe.buffer.size", "log.cleaner.threads"];
    let [bytes, threads]: [i64; 2] = cleaners.map(|name| text(name).parse().unwrap_or_default());
    let of_each = bytes.checked_div(threads).unwrap_or_default();
    if cleaners.iter().any(|name| after.contains_key(*name)) && of_each <= 1 << 20 {
        return required("log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.");
    }
    if number("max.connections.per.ip") == Some(0) && text("max.connections.per.ip.overrides").is_empty() {
        return required(
            "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
        );
    }
    for (name, value) in after.iter().filter(|(_, value)| value.trim() == "0") {
        let key = keys::of_listener(name).map_or(name.as_str(), |(_, key)| key);
        if matches!(key, "max.connections" | "max.connection.creation.rate") {
            return Err(invalid_request(format!(
                "Invalid value org.apache.kafka.common.config.ConfigException: Invalid {key} {value} for configuration Invalid \
                 dynamic configuration"
            )));
        }
    }
    Ok(())
}

/// Is a value short enough to be kept? Nothing else is looked at in one that is not.
pub(super) fn fits(value: &str) -> Result<(), Refused> {
    if value.len() <= VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(invalid_config(format!(
        "The configuration value cannot be added because it exceeds the maximum value size of {VALUE_BYTES_MAX} bytes."
    )))
}

fn invalid_request(why: impl Into<String>) -> Refused {
    Refused::new(ErrorCode::InvalidRequest, why)
}

fn invalid_config(why: impl Into<String>) -> Refused {
    Refused::new(ErrorCode::InvalidConfig, why)
}

/// The resources of these types that ListConfigResources names, by type and name (KIP-1142): every topic, every live broker
/// (and its loggers), and the subscriptions and groups that have a configuration.
pub fn list_resources(image: &MetadataImage, types: &[i8]) -> Result<BTreeMap<i8, Vec<String>>, Refused> {
    let mut listed = BTreeMap::new();
    for code in types {
        let names = match (ConfigResource::from_code(*code), *code) {
            (Some(ConfigResource::Topic), _) => image.topics().map(|t| t.name.to_string()).collect(),
            (Some(ConfigResource::Broker), _) | (None, BROKER_LOGGER) => {
                let mut ids: Vec<i32> = image.live_brokers().map(|(_, b)| b.node_id).collect();
                ids.sort_unstable();
                ids.into_iter().map(|id| id.to_string()).collect()
            }
            (Some(stored), _) => image.configured(stored).map(|name| name.to_string()).collect(),
            (None, _) => {
                return Err(Refused::new(
                    ErrorCode::UnsupportedVersion,
                    format!("Unsupported config resource type: {code}"),
                ));
            }
        };
        listed.insert(*code, names);
    }
    Ok(listed)
}

#[cfg(test)]
#[path = "configs_tests.rs"]
mod tests;

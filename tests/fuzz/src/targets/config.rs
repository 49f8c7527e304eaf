//! What an operator or a client gives as text: properties files and `--set`, values of keys, storage URLs.

use broker::cli::settings::resolve_text;
use broker::config::live::per_ip_overrides;
use broker::config::topic::TopicConfig;
use broker::config::topic_keys::{TOPIC_KEYS, effective};
use broker::config::{BrokerConfig, ConfigDef, Kind, keys};
use s3stream::store::url::{Place, parse};

use super::{halves, joined};

/// A properties file, then `--set` texts, a line each. What resolves has legal values: every key can be read by its type.
pub(super) fn settings(data: &[u8]) {
    let (file, set) = halves(data);
    let set: Vec<String> = String::from_utf8_lossy(set).lines().map(str::to_string).collect();
    match resolve_text("server.properties", file, &set) {
        Ok(resolved) => {
            read_all(&resolved.config);
            assert!(!resolved.config.listeners.is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Every key by its type, as the broker does.
fn read_all(config: &BrokerConfig) {
    for def in keys::all() {
        if config.values.get(def.name).is_some() {
            match def.kind {
                Kind::Int | Kind::Short => drop(config.values.int(def.name)),
                Kind::Long => drop(config.values.long(def.name)),
                Kind::Boolean => drop(config.values.boolean(def.name)),
                _ => drop(config.values.list(def.name)),
            }
        }
    }
    TopicConfig::read(&effective(&config.values, std::iter::empty()));
}

pub(super) fn settings_seeds() -> Vec<Vec<u8>> {
    let shipped = "process.roles=broker,controller\nnode.id=1\ncontroller.listener.names=CONTROLLER\n\
                   listeners=PLAINTEXT://:9092,CONTROLLER://:9093\nadvertised.listeners=PLAINTEXT://localhost:9092\n\
                   log.dirs=/tmp/logs\nlog.retention.hours=168\nlog.segment.bytes=1073741824\n";
    let mut defaults = String::new();
    for def in keys::all() {
        defaults += &format!("{} : {}\n", def.name, def.default.unwrap_or_default());
    }
    [
        (shipped, "log.retention.ms=5\nlog.retention.minutes=-1"),
        ("# a comment\n! another\nkey\\ with\\ space = \\u00e9 \\\n  goes on\n", "num.partition=3"),
        (&defaults, "listeners=PLAINTEXT://[::1]:0"),
        ("sasl.enabled.mechanisms=PLAIN\n", "no equals sign"),
    ]
    .map(|(file, set)| joined(file.as_bytes(), set.as_bytes()))
    .into()
}

/// First two bytes: which key; then a value. What its check lets through can be read by its type.
pub(super) fn value(data: &[u8]) {
    let Some((which, text)) = data.split_first_chunk::<2>() else { return };
    let text = String::from_utf8_lossy(text);
    let _ = per_ip_overrides(&text);
    let mut all = keys::all().chain(TOPIC_KEYS);
    let which = usize::from(u16::from_be_bytes(*which)) % all.by_ref().count();
    match keys::all().nth(which) {
        Some(def) => {
            if def.check(&text).is_ok()
                && let Ok(config) = BrokerConfig::read([(def.name, &*text)].into_iter())
            {
                read_all(&config);
            }
        }
        None => of_a_topic(&TOPIC_KEYS[which - keys::all().count()], &text),
    }
}

/// As the broker's default, and as a topic's own.
fn of_a_topic(def: &ConfigDef, text: &str) {
    if def.check(text).is_err() {
        return;
    }
    let broker = BrokerConfig::default();
    TopicConfig::read(&effective(&broker.values, [(def.name, text)].into_iter()));
    if let Some(key) = def.synonym
        && let Ok(config) = BrokerConfig::read([(key, text)].into_iter())
    {
        read_all(&config);
    }
}

pub(super) fn value_seeds() -> Vec<Vec<u8>> {
    let all = keys::all().chain(TOPIC_KEYS).enumerate();
    all.map(|(n, def)| [&(n as u16).to_be_bytes(), def.default.unwrap_or("1").as_bytes()].concat()).collect()
}

/// A storage URL: what is a place has a path or a bucket, and shows no credentials; a message never does.
pub(super) fn storage_url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match parse(&text) {
        Ok(Place::Directory(path)) => assert!(!path.as_os_str().is_empty()),
        Ok(Place::Memory) => {}
        Ok(Place::S3(bucket) | Place::Gcs(bucket) | Place::Azure(bucket)) => {
            assert!(!bucket.name.is_empty());
            assert!(!bucket.url.contains('@'), "{}", bucket.url);
            assert!(!bucket.root.starts_with('/') && !bucket.root.ends_with('/'));
            assert!(bucket.root.split('/').all(|part| part != "." && part != ".."), "{}", bucket.root);
        }
        Err(error) => {
            let message = error.to_string();
            // Credentials end with an @: a message without one shows none that is whole.
            assert!(!message.contains('@'), "{message}");
            if let Some((scheme, _)) = text.split_once(SECRET)
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric())
            {
                assert!(!message.contains(":hunter2"), "{message}");
            }
        }
    }
}

/// After the scheme: a user and a password, whatever follows.
const SECRET: &str = "://user:hunter2";

pub(super) fn storage_url_seeds() -> Vec<Vec<u8>> {
    [
        "./aquifer-data",
        "file:///var/lib/aquifer",
        "memory://",
        "s3://bucket/a/root/?endpoint=http://127.0.0.1:9000/&region=eu-central-1",
        "gs://bucket/root",
        "az://container/root",
        "s3://user:hunter2@bucket/root",
        "s3://bucket?endpoint=http://user:hunter2@host:9000",
        "s3://bucket/%2e%2e/x",
        "s3://user:hun/ter2@bucket/root",
        "s3://user:hun?ter2@bucket/root",
        "s3://user:hunter2@bu/user:\u{fffd}er:hun\nter2@er:e,/ter1@s3://user:(unter6@-bucke/rtr",
    ]
    .map(|url| url.as_bytes().to_vec())
    .into()
}

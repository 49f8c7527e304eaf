//! The levels of loggers, changed while the process runs (KIP-412): a filter that is made anew from what the process was
//! started with and what was set since. Not stored: a restart forgets it, as Kafka's does.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use parking_lot::Mutex;
use protocol::error::ErrorCode;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::controller::Refused;
use crate::controller::configs::Operation;

/// Kafka's name of the logger above all others.
const ROOT: &str = "root";
/// Our own loggers, by crate; a module of one is `broker::fetch`.
const CRATES: &[&str] = &["aquifer", "broker", "protocol", "s3stream"];
/// `LogLevelConfig.VALID_LOG_LEVELS`. FATAL is the highest of ours: ERROR.
const LEVELS: &[&str] = &["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];

static LOGGERS: OnceLock<LogLevels> = OnceLock::new();

/// The loggers of this process.
pub struct LogLevels {
    filter: reload::Handle<EnvFilter, Registry>,
    levels: Mutex<Levels>,
}

/// Who logs what: levels by target, as `RUST_LOG` has them. Pure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Levels {
    started_with: BTreeMap<String, String>,
    /// Directives that name more than a target and a level: kept as they are.
    others: Vec<String>,
    set: BTreeMap<String, String>,
}

/// Logs to stderr what `RUST_LOG` says, or else `default`. Once per process; only then can levels be changed.
pub fn log_to_stderr(default: &str, colours: bool) {
    let text = std::env::var("RUST_LOG").ok().filter(|text| EnvFilter::try_new(text).is_ok());
    let levels = Levels::started_with(text.as_deref().unwrap_or(default));
    let (filter, handle) = reload::Layer::new(levels.filter());
    let lines = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter.and_then(lines)).init();
    let _ = LOGGERS.set(LogLevels { filter: handle, levels: Mutex::new(levels) });
}

/// The loggers, where this process logs.
pub fn loggers() -> Option<&'static LogLevels> {
    LOGGERS.get()
}

impl LogLevels {
    /// Every logger and its level, by name.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.levels.lock().all()
    }

    /// Changes levels, all or none.
    pub fn change(
        &self,
        changes: &[(String, Operation, Option<String>)],
        validate_only: bool,
    ) -> Result<(), Refused> {
        let mut levels = self.levels.lock();
        let changed = levels.changed(changes)?;
        if !validate_only {
            let failed = |e: reload::Error| Refused::new(ErrorCode::UnknownServerError, e.to_string());
            self.filter.reload(changed.filter()).map_err(failed)?;
            *levels = changed;
        }
        Ok(())
    }
}

impl Levels {
    fn started_with(directives: &str) -> Levels {
        let mut levels = Levels::default();
        for directive in directives.split(',').map(str::trim).filter(|d| !d.is_empty()) {
            let (target, level) = directive.split_once('=').unwrap_or((ROOT, directive));
            if target.contains(['[', '{']) || level.parse::<tracing::level_filters::LevelFilter>().is_err() {
                levels.others.push(directive.to_string());
            } else {
                levels.started_with.insert(target.to_string(), level.to_ascii_uppercase());
            }
        }
        levels.started_with.entry(ROOT.into()).or_insert_with(|| "ERROR".into());
        levels
    }

    fn in_force(&self) -> BTreeMap<&str, &str> {
        let all = self.started_with.iter().chain(&self.set);
        all.map(|(target, level)| (target.as_str(), level.as_str())).collect()
    }

    fn level_of(&self, logger: &str) -> String {
        let in_force = self.in_force();
        let above = |target: &&str| {
            logger.strip_prefix(*target).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let nearest = in_force.keys().copied().filter(above).max_by_key(|target| target.len());
        in_force[nearest.unwrap_or(ROOT)].to_string()
    }

    fn all(&self) -> BTreeMap<String, String> {
        let named = self.in_force().into_keys().chain(CRATES.iter().copied());
        named.map(|name| (name.to_string(), self.level_of(name))).collect()
    }

    fn exists(&self, logger: &str) -> bool {
        let of_ours = |c: &&str| logger.strip_prefix(*c).is_some_and(|r| r.is_empty() || is_module(r));
        self.in_force().contains_key(logger) || CRATES.iter().any(of_ours)
    }

    /// `RuntimeLoggerManager.validateLogLevelConfigs`, and what comes of it.
    fn changed(&self, changes: &[(String, Operation, Option<String>)]) -> Result<Levels, Refused> {
        let mut changed = self.clone();
        for (logger, operation, level) in changes {
            if matches!(operation, Operation::Append | Operation::Subtract) {
                let why =
                    format!("{} operation is not allowed for the BROKER_LOGGER resource", operation.name());
                return Err(Refused::new(ErrorCode::InvalidRequest, why));
            }
            if !self.exists(logger) {
                let why = format!("Logger {logger} does not exist!");
                return Err(Refused::new(ErrorCode::InvalidConfig, why));
            }
            if *operation == Operation::Delete {
                if logger == ROOT {
                    let why = "Removing the log level of the root logger is not allowed";
                    return Err(Refused::new(ErrorCode::InvalidRequest, why));
                }
                changed.set.remove(logger);
                continue;
            }
            let level = level.as_deref().unwrap_or_default().trim();
            if !LEVELS.contains(&level) {
                let why = format!(
                    "Cannot set the log level of {logger} to {level} as it is not a supported log level. Valid log levels \
                     are {}",
                    LEVELS.join(", ")
                );
                return Err(Refused::new(ErrorCode::InvalidConfig, why));
            }
            let level = if level == "FATAL" { "ERROR" } else { level };
            changed.set.insert(logger.clone(), level.to_string());
        }
        Ok(changed)
    }

    fn filter(&self) -> EnvFilter {
        let mut directives = self.others.clone();
        for (target, level) in self.in_force() {
            directives.push(if target == ROOT { level.to_string() } else { format!("{target}={level}") });
        }
        EnvFilter::new(directives.join(","))
    }
}

/// What may follow a crate in a target: `::fetch::gather`.
fn is_module(rest: &str) -> bool {
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    rest.strip_prefix("::").is_some_and(|path| path.split("::").all(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(logger: &str, level: &str) -> (String, Operation, Option<String>) {
        (logger.into(), Operation::Set, Some(level.into()))
    }

    #[test]
    fn a_logger_has_its_own_level_or_the_one_above() {
        let levels = Levels::started_with("warn,broker=info,s3stream::wal=debug");
        let levels = levels.changed(&[set("broker::fetch", "TRACE"), set("root", "FATAL")]).unwrap();
        let of = |logger: &str| levels.level_of(logger);
        assert_eq!((of("broker::fetch::gather").as_str(), of("broker").as_str()), ("TRACE", "INFO"));
        assert_eq!((of("s3stream").as_str(), of("s3stream::wal").as_str()), ("ERROR", "DEBUG"));
        assert_eq!(levels.all()["protocol"], "ERROR");
        let filter = levels.filter().to_string();
        assert!(filter.contains("broker::fetch=trace") && filter.contains("s3stream::wal=debug"), "{filter}");
        let deleted = ("broker::fetch".to_string(), Operation::Delete, None);
        assert_eq!(levels.changed(&[deleted]).unwrap().level_of("broker::fetch"), "INFO");
    }

    #[test]
    fn what_kafka_refuses_of_loggers_is_refused_in_its_words() {
        let levels = Levels::started_with("warn");
        let say = |change| {
            let refused = levels.changed(&[change]).unwrap_err();
            (refused.code, refused.message)
        };
        let of = |logger: &str, operation| (logger.to_string(), operation, Some("DEBUG".to_string()));
        assert_eq!(
            say(set("nope", "DEBUG")),
            (ErrorCode::InvalidConfig, "Logger nope does not exist!".into())
        );
        assert_eq!(say(set("brokers", "DEBUG")).0, ErrorCode::InvalidConfig);
        assert_eq!(
            say(set("broker", "LOUD")).1,
            "Cannot set the log level of broker to LOUD as it is not a supported log level. Valid log levels are DEBUG, \
             ERROR, FATAL, INFO, TRACE, WARN"
        );
        assert_eq!(
            say(of("broker", Operation::Append)),
            (
                ErrorCode::InvalidRequest,
                "APPEND operation is not allowed for the BROKER_LOGGER resource".into()
            )
        );
        assert_eq!(say(of("root", Operation::Delete)).0, ErrorCode::InvalidRequest);
    }
}

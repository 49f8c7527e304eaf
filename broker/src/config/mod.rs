//! Configuration: one row per key ([`def`]), in two tables ([`broker`] and [`topic_keys`]). The rows yield parsing,
//! validation, `DescribeConfigs`, the command line's `--set` and the documentation: nothing about a key is said twice.
//!
//! Names, types, defaults and meaning are Kafka's where the meaning is Kafka's. A key of Kafka's that means nothing here is
//! in [`meaningless`] with the reason, so that an operator who sets it is told, not ignored.

pub mod broker;
pub mod def;
pub mod describe;
pub mod document;
pub mod meaningless;
pub mod topic;
pub mod topic_keys;

pub use broker::BrokerConfig;
pub use def::{ConfigDef, Kind, Scope, Values};

//! Configuration: one row per key ([`def`]), in tables by what they belong to: brokers ([`keys`]), topics ([`topic_keys`]),
//! groups ([`group_keys`]), subscriptions to client metrics ([`metrics_keys`]). The rows yield parsing, validation,
//! `DescribeConfigs`, `AlterConfigs`, the command line's `--set` and the documentation: nothing about a key is said twice.
//!
//! Every key that Apache Kafka 4.3 has is there with its name, type, default and rule. One that changes nothing here says so
//! in its row ([`unused`]), so that an operator who sets it is told, not ignored; [`meaningless`] has those of other
//! releases. [`live`] is what is in force in this process, dynamic configuration included.

pub mod broker;
pub mod def;
pub mod describe;
pub mod document;
pub mod group_keys;
pub mod keys;
pub mod live;
pub mod meaningless;
pub mod metrics_keys;
pub mod topic;
pub mod topic_keys;
mod unused;

pub use broker::BrokerConfig;
pub use def::{ConfigDef, Kind, Scope, Values};

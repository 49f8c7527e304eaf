//! Why a key of Kafka's changes nothing here: the reasons that rows of the tables give, once each.

pub(super) const AT_ONCE: &str = "what a coordinator writes goes into the open object at once";
pub(super) const BUDGET: &str = "what waits is bounded by memory.budget.bytes";
pub(super) const DURABLE: &str = "everything is durable in the bucket before it is acknowledged";
pub(super) const INTERNAL_TOPICS: &str = "internal topics are stored as they are written";
pub(super) const LEAVES: &str = "SIGTERM always seals the lane and leaves in order";
pub(super) const LOADED: &str = "offsets are loaded in blocks of the log";
pub(super) const NEW_GROUPS: &str = "the consumer, share and streams group protocols are not in this release";
pub(super) const NO_CLASSES: &str = "there are no Java classes to load";
pub(super) const NO_DISK: &str =
    "a broker keeps no data on disks of its own: the log is in the bucket (storage)";
pub(super) const NO_METRICS: &str = "there are no JVM metrics here";
pub(super) const NO_PURGATORY: &str = "what waits is woken by what it waits for; there is no purgatory";
pub(super) const NO_POOLS: &str = "there are no thread pools to size: the runtime has a thread per core";
pub(super) const NO_QUORUM: &str = "there is no controller quorum: the metadata log is in the bucket";
pub(super) const NO_QUOTAS: &str = "quotas are not enforced in this release";
pub(super) const NO_REPLICATION: &str = "brokers do not replicate to each other: the bucket does";
pub(super) const NO_SECURITY: &str = "only PLAINTEXT listeners are served in this release";
pub(super) const NO_TELEMETRY: &str = "clients are not asked for metrics in this release";
pub(super) const NO_TIERS: &str = "there is one tier: everything is in the bucket";
pub(super) const NO_TRANSACTIONS: &str = "there are no transactions in this release";
pub(super) const ONE_CLEANER: &str = "one partition at a time is compacted, in memory of its class";
pub(super) const ONE_BROKER: &str = "this release runs one broker over a bucket";
pub(super) const PLACED: &str = "partitions are placed by load, not by preferred leader";
pub(super) const ROLES: &str = "every process is broker and may be controller";
pub(super) const SYSTEM: &str = "the system's own setting is used";

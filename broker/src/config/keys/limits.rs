//! The keys of quotas and metrics (`QuotaConfig`, `MetricConfigs`, `ClientMetricsConfigs`).

use super::{key, unset};
use crate::config::def::ConfigDef;
use crate::config::def::Kind::{Class, Int, List, Long, String};
use crate::config::unused::{NO_CLASSES, NO_METRICS, NO_QUOTAS, NO_TELEMETRY};

/// By name.
pub static KEYS: &[ConfigDef] = &[
    unset("client.quota.callback.class", Class)
        .unused(NO_CLASSES)
        .doc("The class that decides quotas of clients."),
    key("controller.quota.window.num", Int, "11")
        .at_least(1)
        .unused(NO_QUOTAS)
        .doc("Samples over which changes of topics are measured."),
    key("controller.quota.window.size.seconds", Int, "1")
        .at_least(1)
        .unused(NO_QUOTAS)
        .doc("Length of a sample of changes of topics."),
    key("kafka.metrics.polling.interval.secs", Int, "10")
        .at_least(1)
        .unused(NO_METRICS)
        .doc("How often reporters of Yammer metrics poll."),
    key("kafka.metrics.reporters", List, "").unused(NO_METRICS).doc("Reporters of Yammer metrics."),
    key("metric.reporters", List, "org.apache.kafka.common.metrics.JmxReporter")
        .cluster_wide()
        .unused(NO_METRICS)
        .doc("Reporters of metrics."),
    key("metrics.num.samples", Int, "2").at_least(1).unused(NO_METRICS).doc("Samples that a metric keeps."),
    key("metrics.recording.level", String, "INFO")
        .unused(NO_METRICS)
        .doc("The highest level of metrics that are recorded."),
    key("metrics.sample.window.ms", Long, "30000")
        .at_least(1)
        .unused(NO_METRICS)
        .doc("Length of a metric's sample."),
    key("quota.window.num", Int, "11")
        .at_least(1)
        .unused(NO_QUOTAS)
        .doc("Samples over which clients are measured."),
    key("quota.window.size.seconds", Int, "1")
        .at_least(1)
        .unused(NO_QUOTAS)
        .doc("Length of a sample of clients."),
    key("telemetry.max.bytes", Int, "1048576")
        .at_least(1)
        .unused(NO_TELEMETRY)
        .doc("The largest push of metrics of a client."),
];

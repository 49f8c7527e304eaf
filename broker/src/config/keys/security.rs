//! The keys of access (`BrokerSecurityConfigs`, `DelegationTokenManagerConfigs`, `ServerConfigs`).

use super::{key, unset};
use crate::config::def::ConfigDef;
use crate::config::def::Kind::{Class, Int, Long, Password, String};
use crate::config::unused::{NO_CLASSES, NO_SECURITY};

/// By name.
pub static KEYS: &[ConfigDef] = &[
    key("authorizer.class.name", String, "")
        .unused(NO_SECURITY)
        .doc("The class that decides who may do what."),
    key("connection.failed.authentication.delay.ms", Int, "100")
        .at_least(0)
        .unused(NO_SECURITY)
        .doc("How long a failed log-in is answered late."),
    key("connections.max.reauth.ms", Long, "0")
        .unused(NO_SECURITY)
        .doc("How long a session lasts before the client has to log in again."),
    key("delegation.token.expiry.check.interval.ms", Long, "3600000")
        .at_least(1)
        .unused(NO_SECURITY)
        .doc("How often expired tokens are removed."),
    key("delegation.token.expiry.time.ms", Long, "86400000")
        .at_least(1)
        .unused(NO_SECURITY)
        .doc("How long a token is valid without renewal."),
    key("delegation.token.max.lifetime.ms", Long, "604800000")
        .at_least(1)
        .unused(NO_SECURITY)
        .doc("How long a token is valid at the most."),
    unset("delegation.token.secret.key", Password)
        .unused(NO_SECURITY)
        .doc("The key that tokens are made with."),
    key(
        "principal.builder.class",
        Class,
        "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder",
    )
    .per_broker()
    .unused(NO_CLASSES)
    .doc("The class that names who a client is."),
    key("security.inter.broker.protocol", String, "PLAINTEXT")
        .one_of(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])
        .unused(NO_SECURITY)
        .doc("The protocol between brokers."),
    unset("security.providers", String).unused(NO_CLASSES).doc("Classes that provide security algorithms."),
];

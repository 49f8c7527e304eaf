//! The keys of SASL (`SaslConfigs`, `BrokerSecurityConfigs`).

use super::{key, unset};
use crate::config::def::ConfigDef;
use crate::config::def::Kind::{Boolean, Class, Double, Int, List, Long, Password, Short, String};
use crate::config::unused::{NO_CLASSES, NO_QUORUM, NO_SECURITY};

/// By name.
pub static KEYS: &[ConfigDef] = &[
    unset("sasl.client.callback.handler.class", Class)
        .unused(NO_CLASSES)
        .doc("The callback handler of SASL clients."),
    key("sasl.enabled.mechanisms", List, "GSSAPI")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The SASL mechanisms that are served."),
    unset("sasl.jaas.config", Password)
        .per_broker()
        .unused(NO_SECURITY)
        .doc("Log-in modules and their options."),
    key("sasl.kerberos.kinit.cmd", String, "/usr/bin/kinit")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The kinit command."),
    key("sasl.kerberos.min.time.before.relogin", Long, "60000")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The least time between two log-ins."),
    key("sasl.kerberos.principal.to.local.rules", List, "DEFAULT")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("How Kerberos principals become short names."),
    unset("sasl.kerberos.service.name", String)
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The Kerberos principal name of brokers."),
    key("sasl.kerberos.ticket.renew.jitter", Double, "0.05")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("How much by chance is added to the renewal time."),
    key("sasl.kerberos.ticket.renew.window.factor", Double, "0.8")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The part of a ticket's life after which it is renewed."),
    unset("sasl.login.callback.handler.class", Class)
        .unused(NO_CLASSES)
        .doc("The callback handler of log-ins."),
    unset("sasl.login.class", Class).unused(NO_CLASSES).doc("The class that logs in."),
    unset("sasl.login.connect.timeout.ms", Int)
        .unused(NO_SECURITY)
        .doc("How long a connection to an identity provider may take."),
    unset("sasl.login.read.timeout.ms", Int)
        .unused(NO_SECURITY)
        .doc("How long an identity provider may take to answer."),
    key("sasl.login.refresh.buffer.seconds", Short, "300")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The least time before expiry at which a credential is refreshed."),
    key("sasl.login.refresh.min.period.seconds", Short, "60")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The least time between two refreshes."),
    key("sasl.login.refresh.window.factor", Double, "0.8")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The part of a credential's life after which it is refreshed."),
    key("sasl.login.refresh.window.jitter", Double, "0.05")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("How much by chance is added to that."),
    key("sasl.login.retry.backoff.max.ms", Long, "10000")
        .unused(NO_SECURITY)
        .doc("The longest pause before an identity provider is asked again."),
    key("sasl.login.retry.backoff.ms", Long, "100")
        .unused(NO_SECURITY)
        .doc("The first pause before an identity provider is asked again."),
    key("sasl.mechanism.controller.protocol", String, "GSSAPI")
        .unused(NO_QUORUM)
        .doc("The mechanism used with controllers."),
    key("sasl.mechanism.inter.broker.protocol", String, "GSSAPI")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The mechanism used between brokers."),
    key("sasl.oauthbearer.assertion.algorithm", String, "RS256")
        .one_of_any_case(&["ES256", "RS256"])
        .unused(NO_SECURITY)
        .doc("How assertions are signed."),
    unset("sasl.oauthbearer.assertion.claim.aud", String)
        .unused(NO_SECURITY)
        .doc("The audience of assertions."),
    key("sasl.oauthbearer.assertion.claim.exp.seconds", Int, "300")
        .between(0, 86400)
        .unused(NO_SECURITY)
        .doc("How long assertions are valid."),
    unset("sasl.oauthbearer.assertion.claim.iss", String)
        .unused(NO_SECURITY)
        .doc("The issuer of assertions."),
    key("sasl.oauthbearer.assertion.claim.jti.include", Boolean, "false")
        .unused(NO_SECURITY)
        .doc("Whether assertions get an id."),
    key("sasl.oauthbearer.assertion.claim.nbf.seconds", Int, "60")
        .between(0, 3600)
        .unused(NO_SECURITY)
        .doc("How far back assertions are valid."),
    unset("sasl.oauthbearer.assertion.claim.sub", String)
        .unused(NO_SECURITY)
        .doc("The subject of assertions."),
    unset("sasl.oauthbearer.assertion.file", String)
        .unused(NO_SECURITY)
        .doc("A file with a ready assertion."),
    unset("sasl.oauthbearer.assertion.private.key.file", String)
        .unused(NO_SECURITY)
        .doc("The key that signs assertions."),
    unset("sasl.oauthbearer.assertion.private.key.passphrase", Password)
        .unused(NO_SECURITY)
        .doc("The passphrase of that key."),
    unset("sasl.oauthbearer.assertion.template.file", String)
        .unused(NO_SECURITY)
        .doc("A file with headers and claims of assertions."),
    unset("sasl.oauthbearer.client.credentials.client.id", String)
        .unused(NO_SECURITY)
        .doc("The client id at the identity provider."),
    unset("sasl.oauthbearer.client.credentials.client.secret", Password)
        .unused(NO_SECURITY)
        .doc("The client secret at the identity provider."),
    key("sasl.oauthbearer.clock.skew.seconds", Int, "30")
        .unused(NO_SECURITY)
        .doc("How far clocks may differ."),
    key("sasl.oauthbearer.expected.audience", List, "")
        .unused(NO_SECURITY)
        .doc("The audiences of which a token must name one."),
    unset("sasl.oauthbearer.expected.issuer", String)
        .unused(NO_SECURITY)
        .doc("The issuer that a token must name."),
    key("sasl.oauthbearer.jwks.endpoint.refresh.ms", Long, "3600000")
        .unused(NO_SECURITY)
        .doc("How often keys of the identity provider are fetched."),
    key("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", Long, "10000")
        .unused(NO_SECURITY)
        .doc("The longest pause before they are fetched again."),
    key("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Long, "100")
        .unused(NO_SECURITY)
        .doc("The first pause before they are fetched again."),
    unset("sasl.oauthbearer.jwks.endpoint.url", String).unused(NO_SECURITY).doc("Where they are fetched."),
    key(
        "sasl.oauthbearer.jwt.retriever.class",
        Class,
        "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever",
    )
    .unused(NO_CLASSES)
    .doc("The class that gets tokens."),
    key(
        "sasl.oauthbearer.jwt.validator.class",
        Class,
        "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator",
    )
    .unused(NO_CLASSES)
    .doc("The class that judges tokens."),
    unset("sasl.oauthbearer.scope", String).unused(NO_SECURITY).doc("The scope that is asked for."),
    key("sasl.oauthbearer.scope.claim.name", String, "scope")
        .unused(NO_SECURITY)
        .doc("The claim that holds the scope."),
    key("sasl.oauthbearer.sub.claim.name", String, "sub")
        .unused(NO_SECURITY)
        .doc("The claim that holds the subject."),
    unset("sasl.oauthbearer.token.endpoint.url", String).unused(NO_SECURITY).doc("Where tokens are got."),
    unset("sasl.server.callback.handler.class", Class)
        .unused(NO_CLASSES)
        .doc("The callback handler of SASL servers."),
    key("sasl.server.max.receive.size", Int, "524288")
        .unused(NO_SECURITY)
        .doc("The largest message of a log-in."),
];

//! The keys of listeners, connections and requests (`SocketServerConfigs`, `ServerConfigs`).

use super::{key, unset};
use crate::config::def::ConfigDef;
use crate::config::def::Kind::{Int, List, Long, String};
use crate::config::unused::{BUDGET, NO_CLASSES, NO_POOLS, NO_PURGATORY, NO_QUORUM, NO_SECURITY, SYSTEM};

/// By name.
pub static KEYS: &[ConfigDef] = &[
    unset("advertised.listeners", List).doc("The addresses clients are told, as NAME://host:port; the listeners' own where this is not set."),
    key("background.threads", Int, "10").at_least(1).cluster_wide().unused(NO_POOLS).doc("Threads for background work."),
    key("config.providers", List, "").cluster_wide().unused(NO_CLASSES).doc("Classes that resolve variables in values."),
    key("connections.max.idle.ms", Long, "600000").at_least(1).doc("A connection that asks for nothing for so long is closed."),
    unset("early.start.listeners", List).unused(NO_QUORUM).doc("Listeners that open before the authorizer is ready."),
    key("fetch.max.bytes", Int, "57671680").at_least(1024).doc("The most bytes of one fetch answer."),
    key("fetch.purgatory.purge.interval.requests", Int, "1000").unused(NO_PURGATORY).doc("Fetches between two clearings of those that wait."),
    key("listener.security.protocol.map", String, "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT").per_broker().unused(NO_SECURITY).doc("Which protocol each listener speaks."),
    key("listeners", List, "PLAINTEXT://127.0.0.1:9092").doc("Where clients are served, as PLAINTEXT://host:port, several by commas; port 0 takes a free one."),
    key("max.connection.creation.rate", Int, "2147483647").at_least(0).cluster_wide().doc("New connections a second at the most; those above it are accepted later. listener.name.NAME.max.connection.creation.rate is of one listener."),
    key("max.connections", Int, "2147483647").at_least(0).cluster_wide().doc("Connections at the most; what comes above it waits to be accepted. listener.name.NAME.max.connections is of one listener."),
    key("max.connections.per.ip", Int, "2147483647").at_least(0).cluster_wide().doc("Connections of one address at the most; one above it is closed."),
    key("max.connections.per.ip.overrides", String, "").cluster_wide().doc("max.connections.per.ip by address, as 127.0.0.1:200,10.0.0.7:0."),
    key("max.incremental.fetch.session.cache.slots", Int, "1000").at_least(0).doc("Fetch sessions that are kept."),
    key("num.io.threads", Int, "8").at_least(1).cluster_wide().unused(NO_POOLS).doc("Threads that serve requests."),
    key("num.network.threads", Int, "3").at_least(1).cluster_wide().unused(NO_POOLS).doc("Threads that read and write sockets."),
    key("queued.max.request.bytes", Long, "-1").unused(BUDGET).doc("Bytes of requests that may wait."),
    key("queued.max.requests", Int, "500").at_least(1).unused(BUDGET).doc("Requests that may wait."),
    key("socket.listen.backlog.size", Int, "50").at_least(1).unused(SYSTEM).doc("Connections that may wait to be accepted."),
    key("socket.receive.buffer.bytes", Int, "102400").unused(SYSTEM).doc("Receive buffer of a socket."),
    key("socket.request.max.bytes", Int, "104857600").at_least(1).doc("The largest request."),
    key("socket.send.buffer.bytes", Int, "102400").unused(SYSTEM).doc("Send buffer of a socket."),
];

//! The keys of a broker among others, and of the quorum that is not here (`KRaftConfigs`, `QuorumConfig`, `ServerConfigs`,
//! `MetadataLogConfig`).

use super::{key, unset};
use crate::config::def::ConfigDef;
use crate::config::def::Kind::{Boolean, Int, List, Long, String};
use crate::config::unused::{LEAVES, NO_QUORUM, ONE_BROKER, PLACED, ROLES};

/// By name.
pub static KEYS: &[ConfigDef] = &[
    key("auto.leader.rebalance.enable", Boolean, "true")
        .unused(PLACED)
        .doc("Whether leadership returns to preferred replicas by itself."),
    key("broker.heartbeat.interval.ms", Int, "2000")
        .unused(ONE_BROKER)
        .doc("How often a broker tells the controller that it lives."),
    key("broker.id", Int, "-1").doc("As node.id, under its older name; -1 where only node.id is set."),
    unset("broker.rack", String).doc("The rack or zone of this broker."),
    key("broker.session.timeout.ms", Int, "9000")
        .unused(ONE_BROKER)
        .doc("How long a silent broker is believed alive."),
    key("controlled.shutdown.enable", Boolean, "true")
        .unused(LEAVES)
        .doc("Whether a stopping broker hands its leaderships over first."),
    unset("controller.listener.names", List).unused(NO_QUORUM).doc("The listeners of controllers."),
    key("controller.quorum.append.linger.ms", Int, "25")
        .at_least(0)
        .unused(NO_QUORUM)
        .doc("How long the quorum's leader gathers writes before it flushes."),
    key("controller.quorum.auto.join.enable", Boolean, "false")
        .unused(NO_QUORUM)
        .doc("Whether a controller joins the voters by itself."),
    key("controller.quorum.bootstrap.servers", List, "").unused(NO_QUORUM).doc("Where the quorum is found."),
    key("controller.quorum.election.backoff.max.ms", Int, "1000")
        .at_least(0)
        .unused(NO_QUORUM)
        .doc("The longest pause after a lost election."),
    key("controller.quorum.election.timeout.ms", Int, "1000")
        .at_least(0)
        .unused(NO_QUORUM)
        .doc("How long an election may take."),
    key("controller.quorum.fetch.max.bytes", Int, "1048576")
        .at_least(1)
        .unused(NO_QUORUM)
        .doc("The most bytes of one fetch of the metadata log."),
    key("controller.quorum.fetch.snapshot.max.bytes", Int, "1048576")
        .at_least(1)
        .unused(NO_QUORUM)
        .doc("The most bytes of one fetch of a metadata snapshot."),
    key("controller.quorum.fetch.timeout.ms", Int, "2000")
        .at_least(0)
        .unused(NO_QUORUM)
        .doc("How long a voter goes without its leader before it stands."),
    key("controller.quorum.request.timeout.ms", Int, "2000")
        .at_least(0)
        .unused(NO_QUORUM)
        .doc("How long a request within the quorum may take."),
    key("controller.quorum.retry.backoff.ms", Int, "20")
        .at_least(0)
        .unused(NO_QUORUM)
        .doc("The pause before a request within the quorum is repeated."),
    key("controller.quorum.voters", List, "").unused(NO_QUORUM).doc("The voters of a static quorum."),
    key("controller.socket.timeout.ms", Int, "30000")
        .unused(NO_QUORUM)
        .doc("How long a request to a controller may take."),
    key("initial.broker.registration.timeout.ms", Int, "60000")
        .unused(NO_QUORUM)
        .doc("How long a start waits for its registration."),
    unset("inter.broker.listener.name", String)
        .unused(ONE_BROKER)
        .doc("The listener that brokers use among themselves."),
    key("leader.imbalance.check.interval.seconds", Long, "300")
        .at_least(1)
        .unused(PLACED)
        .doc("How often leadership is compared with preferred replicas."),
    unset("metadata.log.dir", String).unused(NO_QUORUM).doc("Where the metadata log lies."),
    key("metadata.log.max.record.bytes.between.snapshots", Long, "20971520")
        .at_least(1)
        .unused(NO_QUORUM)
        .doc("Bytes of metadata log after which a snapshot is taken."),
    key("metadata.log.max.snapshot.interval.ms", Long, "3600000")
        .at_least(0)
        .unused(NO_QUORUM)
        .doc("Time after which a snapshot is taken."),
    key("metadata.log.segment.bytes", Int, "1073741824")
        .at_least(8388608)
        .unused(NO_QUORUM)
        .doc("Size of a segment file of the metadata log."),
    key("metadata.log.segment.ms", Long, "604800000")
        .unused(NO_QUORUM)
        .doc("Age of a segment file of the metadata log."),
    key("metadata.max.idle.interval.ms", Int, "500")
        .at_least(0)
        .unused(NO_QUORUM)
        .doc("How often an idle controller writes."),
    key("metadata.max.retention.bytes", Long, "104857600")
        .unused(NO_QUORUM)
        .doc("Bytes of metadata log and snapshots that are kept."),
    key("metadata.max.retention.ms", Long, "604800000")
        .unused(NO_QUORUM)
        .doc("How long metadata log and snapshots are kept."),
    key("node.id", Int, "0").at_least(0).doc("This broker's id in the cluster, from 0."),
    key("process.roles", List, "broker,controller")
        .list_of(&["broker", "controller"])
        .unused(ROLES)
        .doc("What the process is: broker, controller or both."),
    key("request.timeout.ms", Int, "30000")
        .unused(ONE_BROKER)
        .doc("How long a request to another broker may take."),
    key("socket.connection.setup.timeout.max.ms", Long, "30000")
        .unused(ONE_BROKER)
        .doc("The longest a connection to another broker may take to be made."),
    key("socket.connection.setup.timeout.ms", Long, "10000")
        .unused(ONE_BROKER)
        .doc("How long a first try of a connection to another broker may take."),
];

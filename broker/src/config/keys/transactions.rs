//! The keys of transactions (`TransactionLogConfig`, `TransactionStateManagerConfig`, `AddPartitionsToTxnConfig`).

use super::key;
use crate::config::def::ConfigDef;
use crate::config::def::Kind::{Boolean, Int, Short};
use crate::config::unused::NO_TRANSACTIONS;

/// By name.
pub static KEYS: &[ConfigDef] = &[
    key("add.partitions.to.txn.retry.backoff.max.ms", Int, "100")
        .at_least(0)
        .unused(NO_TRANSACTIONS)
        .doc("The longest pause before a partition is added to a transaction again."),
    key("add.partitions.to.txn.retry.backoff.ms", Int, "20")
        .at_least(1)
        .unused(NO_TRANSACTIONS)
        .doc("The first pause before a partition is added to a transaction again."),
    key("transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, "10000")
        .at_least(1)
        .unused(NO_TRANSACTIONS)
        .doc("How often transactions that took too long are aborted."),
    key("transaction.max.timeout.ms", Int, "900000")
        .at_least(1)
        .unused(NO_TRANSACTIONS)
        .doc("The longest timeout a transaction may ask for."),
    key("transaction.partition.verification.enable", Boolean, "true")
        .cluster_wide()
        .unused(NO_TRANSACTIONS)
        .doc("Whether a partition is verified to be in the transaction that writes it."),
    key("transaction.remove.expired.transaction.cleanup.interval.ms", Int, "3600000")
        .at_least(1)
        .unused(NO_TRANSACTIONS)
        .doc("How often expired transactional ids are removed."),
    key("transaction.state.log.load.buffer.size", Int, "5242880")
        .at_least(1)
        .unused(NO_TRANSACTIONS)
        .doc("Bytes read at a time when transactions are loaded."),
    key("transaction.state.log.min.isr", Int, "2")
        .at_least(1)
        .unused(NO_TRANSACTIONS)
        .doc("min.insync.replicas of __transaction_state."),
    key("transaction.state.log.num.partitions", Int, "50")
        .at_least(1)
        .doc("Partitions of __transaction_state; decided when it is created."),
    key("transaction.state.log.replication.factor", Short, "3")
        .at_least(1)
        .doc("The replication factor that __transaction_state reports."),
    key("transaction.state.log.segment.bytes", Int, "104857600")
        .at_least(1)
        .doc("The segment.bytes that __transaction_state is created with."),
    key("transaction.two.phase.commit.enable", Boolean, "false")
        .unused(NO_TRANSACTIONS)
        .doc("Whether an outside coordinator may prepare transactions."),
    key("transactional.id.expiration.ms", Int, "604800000")
        .at_least(1)
        .unused(NO_TRANSACTIONS)
        .doc("An unused transactional id is forgotten after so long."),
];

//! librdkafka over TCP: what a real client must be able to do, and get exactly.
//!
//! Every test makes its own topics on the shared broker ([`tests::server`]). The suite asks only for what Apache
//! Kafka does: `AQUIFER_TEST_BOOTSTRAP` runs it there. Waits end when a condition holds, or fail at a deadline.
//!
//! | module | what |
//! |---|---|
//! | `codecs`      | every codec, seen on the wire and by a consumer |
//! | `records`     | headers, keys, tombstones, empty values, timestamps, 10 MiB values |
//! | `idempotence` | numbered records from an idempotent producer, exactly once and in order |
//! | `positions`   | from an offset, from a time, from the ends, out of range |
//! | `groups`      | a group of two, a member that leaves, committed offsets |
//! | `group_admin` | groups listed, described, deleted; their offsets deleted |
//! | `cluster`     | leaders, epochs, log directories, producers, features: what a broker says of itself |
//! | `group_requests` | what no library sends by itself: every version, step by step, and what is refused |
//! | `quotas`      | client quotas: set, found by filter, refused |
//! | `restart`     | what of all this survives a restart; a broker of its own |
//! | `compaction`  | the last value of every key stays, and little else; brokers of their own |
//! | `admin`       | create, delete, describe, auto-create |
//! | `changes`     | configuration, more partitions, deleted records |
//! | `requests`    | what no library sends by itself: fetch sessions step by step, refusals |
//! | `survives`    | what of these is there after kill -9 and another start |
//! | `waits`       | a fetch that waits for more than there is; brokers of their own |
//! | `at_rest`     | what was uploaded, retained, deleted: the log when it has left the lane; a broker of its own |

// Real clients, real time.
#![allow(clippy::disallowed_methods)]

mod admin;
mod at_rest;
mod changes;
mod cluster;
mod codecs;
mod compaction;
mod group_admin;
mod group_requests;
mod groups;
mod idempotence;
mod positions;
mod quotas;
mod records;
mod requests;
mod restart;
mod support;
mod survives;
mod waits;
mod wire;

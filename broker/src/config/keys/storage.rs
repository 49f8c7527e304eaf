//! The keys of storage and memory: ours, not Kafka's.

use super::{key, unset};
use crate::config::def::ConfigDef;
use crate::config::def::Kind::{Int, Long, String};

/// By name.
pub static KEYS: &[ConfigDef] = &[
    key("cold.read.bytes.per.second.min", Long, "33554432").at_least(1048576).doc(
        "Reads of the store give way to producers where these would have to wait for them; so many bytes per second are read in \
         any case. Larger than what the store can give: nothing gives way.",
    ),
    key("memory.budget.bytes", Long, "0")
        .at_least(0)
        .doc("The memory this process may use for data; 0 is half of what the machine or its container has."),
    key("merge.fan.in", Int, "24").at_least(2).doc(
        "Objects are merged when the result is so many times the mean of them: fewer objects against fewer rewrites.",
    ),
    key("object.delete.delay.ms", Long, "3600000").at_least(0).doc(
        "How long an object stays after nothing refers to it, as a courtesy to slow readers; lane objects that were \
         uploaded wait for 10 s of it at most.",
    ),
    key("peer.listener", String, "127.0.0.1:0").doc(
        "Where other brokers, and a second process with this node id, reach this one; port 0 takes a free one.",
    ),
    key("storage", String, "./aquifer-data").doc(
        "The bucket, as a URL: a directory or file:///dir, s3://bucket/root, gs://bucket/root, az://container/root, \
         memory://.",
    ),
    key("storage.directory.free.min.bytes", Long, "0").at_least(0).doc(
        "Below this much free space in a directory produces are refused; 0 is the larger of 1 GiB and 2 % of the disk.",
    ),
    key("wal.adopt.bytes", Long, "4194304").at_least(0).doc(
        "Lane objects of so many bytes and more, with a sixteenth of that of each partition in them, stay where they are instead \
         of being written a second time by the upload, if wal.storage is not set.",
    ),
    unset("wal.full.bytes", Int).doc("An open object of this size is cut at once."),
    unset("wal.linger.ms", Int)
        .doc("The longest an open object waits for more while earlier ones are under way."),
    unset("wal.puts.per.second.max", Int).doc(
        "Lane objects per second at the most; small ones wait for their turn. 0 is no cap. On S3 this is the dial between \
         latency and cost.",
    ),
    unset("wal.storage", String)
        .doc("A second, faster store for lanes, as a URL; the same as storage where this is not set."),
    unset("wal.upload.bytes", Long).at_least(65536).doc(
        "The lane is uploaded at so many bytes; where not set, 64 MiB in a directory, 256 MiB elsewhere, and less with a \
         small memory.budget.bytes, of which a round takes its part. From four times as much on, produces wait.",
    ),
    key("wal.upload.interval.ms", Long, "60000")
        .at_least(1)
        .doc("The longest that what was written waits in the lane for its upload."),
];

//! Apache Kafka 4.3.1 as a peer: one combined node in KRaft mode, its defaults, 1 GiB of heap.
//!
//! The jars are those of `mvn dependency:copy-dependencies` for kafka_2.13, kafka-tools and a log4j binding, kept in
//! the cache under `kafka/libs`. Replication factors of internal topics are 1 because there is one node, and the
//! first rebalance is not delayed; nothing else differs from Kafka's defaults. JVM flags are those of its
//! `bin/kafka-run-class.sh` and `bin/kafka-server-start.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Launch, PREPARE, cache};
use crate::process::free_port;

/// Any 16 bytes in URL-safe base64 name a cluster.
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// Formats a new log directory under `dir` and returns how to start the broker on it.
pub fn launch(dir: &Path) -> Result<Launch> {
    let libs = libs()?;
    let class_path = format!("{}/*", libs.display());
    let (port, controller) = (free_port()?, free_port()?);
    let properties = dir.join("server.properties");
    std::fs::write(&properties, server_properties(port, controller, &log_dir(dir)))?;

    let format = java(&class_path, "256m")
        .args(["kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER_ID, "-c"])
        .arg(&properties)
        .output()?;
    if !format.status.success() {
        bail!(
            "kafka format: {}{}",
            String::from_utf8_lossy(&format.stdout),
            String::from_utf8_lossy(&format.stderr)
        );
    }
    Ok(Launch {
        name: "kafka".into(),
        addr: ([127, 0, 0, 1], port).into(),
        log: dir.join("kafka.out"),
        command: Box::new(move || {
            let mut command = java(&class_path, "1g");
            command.arg("kafka.Kafka").arg(&properties);
            command
        }),
    })
}

/// Where Apache Kafka's jars are; an error that says how one gets them, where they are not.
pub fn libs() -> Result<PathBuf> {
    let libs = cache()?.join("kafka/libs");
    if !libs.is_dir() {
        bail!("Apache Kafka's jars are not at {}; {PREPARE} puts them there", libs.display());
    }
    Ok(libs)
}

/// Where a broker under `dir` has its log.
pub fn log_dir(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// Until which offset the partitions of a topic are compacted, in order; 0 where none of it is. The broker may be at work:
/// it replaces the file as a whole, each time a partition is done.
pub fn compacted(log_dir: &Path, topic: &str, partitions: i32) -> Result<Vec<i64>> {
    let path = log_dir.join("cleaner-offset-checkpoint");
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.with_context(|| format!("read {}", path.display()))?,
    };
    parse_checkpoint(&text, topic, partitions)
}

/// The file's lines: a version, a count, then topic, partition and offset.
fn parse_checkpoint(text: &str, topic: &str, partitions: i32) -> Result<Vec<i64>> {
    let mut offsets = vec![0; usize::try_from(partitions)?];
    for line in text.lines().skip(2) {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, partition, offset] = words[..] else { bail!("not a line of a checkpoint: {line}") };
        if name == topic {
            let partition: usize = partition.parse().context("a partition in a checkpoint")?;
            *offsets.get_mut(partition).context("a partition that the topic has not")? = offset.parse()?;
        }
    }
    Ok(offsets)
}

fn java(class_path: &str, heap: &str) -> Command {
    let mut command = Command::new("java");
    command.arg(format!("-Xmx{heap}")).arg(format!("-Xms{heap}")).args([
        "-server",
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=20",
        "-XX:InitiatingHeapOccupancyPercent=35",
        "-XX:+ExplicitGCInvokesConcurrent",
        "-Djava.awt.headless=true",
        "-cp",
        class_path,
    ]);
    command
}

fn server_properties(port: u16, controller: u16, log: &Path) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={log}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
",
        log = log.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_tells_of_the_topic_that_is_asked_for() {
        let text = "0\n3\nother 0 7\nours 1 12\nours 0 3\n";
        assert_eq!(parse_checkpoint(text, "ours", 3).unwrap(), [3, 12, 0]);
        assert_eq!(parse_checkpoint("", "ours", 2).unwrap(), [0, 0]);
        assert!(parse_checkpoint(text, "ours", 1).is_err());
        assert!(parse_checkpoint("0\n1\nours 0\n", "ours", 1).is_err());
    }
}

//! Apache Kafka 4.3.1 as a peer: one combined node in KRaft mode, its defaults, 1 GiB of heap.
//!
//! The jars are those of `mvn dependency:copy-dependencies` for kafka_2.13, kafka-tools and a log4j binding, kept in
//! the cache under `kafka/libs`. Replication factors of internal topics are 1 because there is one node, and the
//! first rebalance is not delayed; nothing else differs from Kafka's defaults. JVM flags are those of its
//! `bin/kafka-run-class.sh` and `bin/kafka-server-start.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

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
    std::fs::write(&properties, server_properties(port, controller, &dir.join("log")))?;

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

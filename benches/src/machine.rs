//! On what and of what a run's figures are: the machine, and the versions of everything that took part.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use crate::peers::{PeerKind, aquifer, cache};

/// What a Go program says of the module it was built from.
const MINIO_MODULE: &[u8] = b"\tgithub.com/minio/minio\t";

/// One fact: its name and its words.
pub type Fact = (&'static str, String);

/// The machine, and the versions of these peers and the client. What cannot be found out is left out.
pub fn facts(peers: &[PeerKind]) -> Vec<Fact> {
    let processor =
        line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = memory_kib().map(|kib| format!(", {} GiB of memory", (kib + (1 << 19)) >> 20));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut facts = vec![
        ("machine", format!("{cores} cores of {processor}{}", memory.unwrap_or_default())),
        ("system", format!("{} {}", std::env::consts::OS, kernel.trim())),
        ("client", format!("librdkafka {}, in a process of its own on the same machine", client())),
    ];
    let has = |kinds: &[PeerKind]| peers.iter().any(|peer| kinds.contains(peer));
    if has(&[PeerKind::AquiferDirectory, PeerKind::AquiferMinio]) {
        facts.extend(
            aquifer::binary()
                .ok()
                .and_then(|p| says(&p, "--version"))
                .map(|v| ("Aquifer", v.trim_start_matches("aquifer ").to_owned())),
        );
    }
    if has(&[PeerKind::AquiferMinio, PeerKind::Tansu]) {
        facts.extend(minio().map(|v| ("MinIO", format!("{v}, one drive, on the same machine"))));
    }
    if has(&[PeerKind::Kafka]) {
        facts
            .extend(kafka().map(|v| ("Apache Kafka", format!("{v}, one node, its defaults, 1 GiB of heap"))));
        facts.extend(says(Path::new("java"), "--version").map(|v| ("Java", v)));
    }
    if has(&[PeerKind::Tansu]) {
        let version = cache().ok().and_then(|cache| says(&cache.join("bin/tansu"), "--version"));
        facts.extend(version.map(|v| ("Tansu", v.trim_start_matches("tansu ").to_owned())));
    }
    facts
}

/// MiB of memory of this machine; 0 where nothing says it.
pub fn memory_mib() -> u64 {
    memory_kib().unwrap_or_default() >> 10
}

fn memory_kib() -> Option<u64> {
    line_of("/proc/meminfo", "MemTotal")?.split_whitespace().next()?.parse().ok()
}

/// How busy the machine is, to be asked before a run: what others did shows in its times.
pub fn load() -> Option<Fact> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let waiting = text.split_whitespace().next()?;
    Some(("load", format!("{waiting} processes ran or waited for a core in the minute before the run")))
}

/// The facts as one JSON object.
pub fn json(facts: &[Fact]) -> Value {
    Value::Object(
        facts.iter().map(|(name, words)| ((*name).to_owned(), words.clone().into())).collect::<Map<_, _>>(),
    )
}

/// The command of this run, as one types it; `alias` is cargo's for this program.
pub fn command(alias: &str) -> String {
    command_of(alias, std::env::args().skip(1))
}

/// Without the options that say where files are put: these say nothing about the figures.
fn command_of(alias: &str, mut arguments: impl Iterator<Item = String>) -> String {
    const PLACES: [&str; 2] = ["--json", "--dir"];
    let mut words = vec![format!("cargo {alias}")];
    while let Some(argument) = arguments.next() {
        let (option, value) =
            argument.split_once('=').map_or((argument.as_str(), None), |(o, v)| (o, Some(v)));
        match (PLACES.contains(&option), value) {
            (false, _) => words.push(argument),
            (true, None) => drop(arguments.next()),
            (true, Some(_)) => {}
        }
    }
    words.join(" ")
}

fn client() -> String {
    rdkafka::util::get_rdkafka_version().1
}

/// The version in the name of Kafka's core jar.
fn kafka() -> Option<String> {
    std::fs::read_dir(cache().ok()?.join("kafka/libs")).ok()?.find_map(|jar| {
        let name = jar.ok()?.file_name().into_string().ok()?;
        Some(name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")?.to_owned())
    })
}

/// MinIO built from its module does not know its version; the program's build information does.
fn minio() -> Option<String> {
    let program = std::fs::read(cache().ok()?.join("bin/minio")).ok()?;
    let at =
        program.windows(MINIO_MODULE.len()).position(|bytes| bytes == MINIO_MODULE)? + MINIO_MODULE.len();
    let version = program[at..].split(|byte| byte.is_ascii_control()).next()?;
    (version.len() < 100).then(|| String::from_utf8_lossy(version).into_owned())
}

/// The first line a program prints.
fn says(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.lines().next()?.trim().to_owned())
}

/// What follows `name:` in a file of `/proc`.
fn line_of(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let (_, value) = text.lines().find(|line| line.starts_with(name))?.split_once(':')?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_no_places() {
        let typed = ["--quick", "--json", "/tmp/a", "--dir=/tmp/b", "--set", "a=b", "kafka"];
        let command = command_of("bench-e2e", typed.into_iter().map(str::to_owned));
        assert_eq!(command, "cargo bench-e2e --quick --set a=b kafka");
    }
}

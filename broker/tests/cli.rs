//! The command line as a person meets it: the binary itself, its output, its exit codes. Serving is proven elsewhere.

use std::path::Path;
use std::process::{Command, Output};

use broker::metadata::MetadataImage;
use s3stream::env::Env;
use s3stream::ids::snapshot_key;
use s3stream::journal::{Journal, JournalConfig};

fn aquifer(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aquifer"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AQUIFER_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// An empty journal in a directory: the smallest bucket there is.
fn bucket(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let env = Env::seeded(1);
        let store = s3stream::store::open(&dir.display().to_string(), &env).unwrap();
        Journal::open(store, env, JournalConfig::default(), MetadataImage::default()).await.unwrap();
    });
}

#[test]
fn help_version_and_keys_are_printed() {
    let help = aquifer(&["--help"]);
    assert!(help.status.success());
    for part in [
        "--storage <URL>",
        "--wal-storage",
        "--node-id",
        "--config",
        "--set",
        "AQUIFER_",
        "storage",
        "config",
    ] {
        assert!(stdout(&help).contains(part), "{part} in\n{}", stdout(&help));
    }
    let version = aquifer(&["--version"]);
    assert_eq!(stdout(&version), concat!("aquifer ", env!("CARGO_PKG_VERSION"), "\n"));
    let keys = stdout(&aquifer(&["config"]));
    assert!(keys.contains("\nnum.partitions\n    int, default 1, at least 1\n"), "{keys}");
    let page = aquifer(&["config", "--markdown"]);
    assert_eq!(stdout(&page), include_str!("../../docs/configuration.md"));
}

#[test]
fn what_is_wrong_is_one_line_with_the_remedy() {
    for (arguments, says) in [
        (&["--set", "num.partitions=x"][..], "--set: Invalid value x for configuration num.partitions"),
        (&["--listeners", "SSL://127.0.0.1:0"], "PLAINTEXT is"),
        (&["--config", "/no/such/file"], "--config /no/such/file: "),
        (&["storage", "verify", "--storage", "/no/such/directory"], "does not exist"),
        (&["storage", "ls", "--storage", "memory://"], "cannot be looked at"),
    ] {
        let said = aquifer(arguments);
        assert_eq!(said.status.code(), Some(1), "{arguments:?}");
        let text = stderr(&said);
        assert!(text.starts_with("aquifer: ") && text.contains(says), "{arguments:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    assert_eq!(aquifer(&["--no-such-flag"]).status.code(), Some(2));
}

#[test]
fn damage_is_an_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    bucket(dir.path());
    let storage = dir.path().display().to_string();
    let verify = || aquifer(&["storage", "verify", "--storage", &storage]);
    let well = verify();
    assert!(well.status.success(), "{}{}", stdout(&well), stderr(&well));
    assert!(stdout(&well).starts_with("checked 0 commits, 1 snapshot, 0 lanes"), "{}", stdout(&well));
    let json = aquifer(&["storage", "verify", "--json", "--storage", &storage]);
    assert!(json.status.success() && stdout(&json).starts_with("{\n"), "{}", stdout(&json));
    assert!(stdout(&json).contains("\"well\": true"), "{}", stdout(&json));

    let key = snapshot_key(0, "manifest");
    assert!(stdout(&aquifer(&["storage", "ls", "--all", "--storage", &storage])).contains(&key));
    assert!(aquifer(&["storage", "dump", &key, "--storage", &storage]).status.success());
    let path = dir.path().join(&key);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let damaged = verify();
    assert_eq!(damaged.status.code(), Some(1));
    assert!(stdout(&damaged).contains(&format!("FOUND {key}: ")), "{}", stdout(&damaged));
    assert_eq!(aquifer(&["storage", "dump", &key, "--storage", &storage]).status.code(), Some(1));
}

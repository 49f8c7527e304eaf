//! Pure modules stay pure: what decides takes time, chance and bytes as arguments (DESIGN §9). The list is the contract; a
//! module that joins it never leaves it.

use std::path::{Path, PathBuf};

/// Files and folders without IO, clock or randomness.
const PURE: &[&str] = &[
    "protocol/src",
    "s3stream/src/block_ref.rs",
    "s3stream/src/cache/read_ahead.rs",
    "s3stream/src/catalog",
    "s3stream/src/ids.rs",
    "s3stream/src/journal/commit.rs",
    "s3stream/src/journal/draft.rs",
    "s3stream/src/journal/state.rs",
    "s3stream/src/journal/wire.rs",
    "s3stream/src/merge/output.rs",
    "s3stream/src/merge/plan.rs",
    "s3stream/src/object/format.rs",
    "s3stream/src/object/reader.rs",
    "s3stream/src/store/hedge/policy.rs",
    "s3stream/src/stream.rs",
    "s3stream/src/wal/cut.rs",
    "s3stream/src/wal/open_object.rs",
    "s3stream/src/wal/recovery/fold.rs",
    "broker/src/controller",
    "broker/src/coordinator/group",
    "broker/src/coordinator/timer.rs",
    "broker/src/log_cleaner/build_map.rs",
    "broker/src/log_cleaner/filter.rs",
    "broker/src/log_cleaner/mod.rs",
    "broker/src/log_cleaner/offset_map.rs",
    "broker/src/log_cleaner/plan.rs",
    "broker/src/log_cleaner/section.rs",
    "broker/src/log_cleaner/stats.rs",
    "broker/src/log_cleaner/transactions.rs",
    "broker/src/metadata",
    "broker/src/partition/append.rs",
    "broker/src/partition/attachment.rs",
    "broker/src/partition/producer_state.rs",
    "broker/src/partition/slice.rs",
];

/// What only a shell may use.
const FORBIDDEN: &[&str] = &[
    "tokio",
    "object_store",
    "rand",
    "std::fs",
    "std::net",
    "std::thread",
    "SystemTime",
    "Instant",
    "s3stream::store",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_path_buf()];
    }
    let entries = std::fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut all: Vec<PathBuf> = entries.flatten().flat_map(|entry| sources_of(&entry.path())).collect();
    all.sort();
    all
}

fn sources_of(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    // Tests may use what they like.
    if name == "tests" || name == "tests.rs" || name.ends_with("_tests.rs") || name == "testdata" {
        return Vec::new();
    }
    if path.is_dir() || name.ends_with(".rs") { sources(path) } else { Vec::new() }
}

/// `use` lines before the first test module that name something forbidden.
fn offences(source: &str) -> Vec<&str> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let uses = code.lines().filter(|l| l.starts_with("use ") || l.starts_with("pub use "));
    let names = |line: &str, word: &str| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word)
            || (word.contains("::") && line.contains(word))
    };
    uses.filter(|line| FORBIDDEN.iter().any(|word| names(line, word))).collect()
}

#[test]
fn pure_modules_use_nothing_that_only_a_shell_may() {
    let mut found = Vec::new();
    for path in PURE {
        for file in sources(&root().join(path)) {
            let source = std::fs::read_to_string(&file).expect("a source file");
            for line in offences(&source) {
                found.push(format!("{}: {line}", file.display()));
            }
        }
    }
    assert!(found.is_empty(), "pure modules use what only a shell may:\n{}", found.join("\n"));
}

#[test]
fn an_offence_is_seen() {
    assert_eq!(offences("use tokio::sync::Mutex;\n").len(), 1);
    assert_eq!(offences("use std::time::{Duration, Instant};\n").len(), 1);
    assert_eq!(offences("use std::fs::File;\n").len(), 1);
    assert!(offences("use std::time::Duration;\nuse bytes::Bytes;\n").is_empty());
    assert!(offences("#[cfg(test)]\nmod tests {\nuse tokio::test;\n").is_empty());
}

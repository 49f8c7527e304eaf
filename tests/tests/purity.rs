//! Pure modules stay pure: what decides takes time, chance and bytes as arguments (DESIGN §9). The list is the contract; a
//! module that joins it never leaves it.

use std::path::{Path, PathBuf};

/// Files and folders without IO, clock or randomness.
const PURE: &[&str] = &[
    "protocol/src",
    "s3stream/src/block_ref.rs",
    "s3stream/src/cache/pace.rs",
    "s3stream/src/cache/read_ahead.rs",
    "s3stream/src/catalog",
    "s3stream/src/ids.rs",
    "s3stream/src/journal/commit.rs",
    "s3stream/src/journal/draft.rs",
    "s3stream/src/journal/state.rs",
    "s3stream/src/journal/wire.rs",
    "s3stream/src/merge/output.rs",
    "s3stream/src/merge/pace.rs",
    "s3stream/src/merge/plan.rs",
    "s3stream/src/object/format.rs",
    "s3stream/src/object/reader.rs",
    "s3stream/src/store/directory/filesystem.rs",
    "s3stream/src/store/hedge/policy.rs",
    "s3stream/src/stream.rs",
    "s3stream/src/upload/plan.rs",
    "s3stream/src/wal/cut.rs",
    "s3stream/src/wal/open_object.rs",
    "s3stream/src/wal/put_times.rs",
    "s3stream/src/wal/recovery/fold.rs",
    "s3stream/src/wal/shared_chunks.rs",
    "broker/src/cli/storage/data.rs",
    "broker/src/cli/storage/dump.rs",
    "broker/src/cli/storage/image.rs",
    "broker/src/cli/storage/image_json.rs",
    "broker/src/cli/storage/lane.rs",
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
    "broker/src/partition/checkpoint.rs",
    "broker/src/partition/producer_state.rs",
    "broker/src/partition/slice.rs",
    "broker/src/partition/trim.rs",
    "broker/src/retention/policy.rs",
    "tests/src/load/history.rs",
    "tests/src/sim/commits.rs",
    "tests/src/sim/history.rs",
];

/// What only a shell may use.
const FORBIDDEN: &[&str] = &[
    "tokio",
    "object_store",
    "rand",
    "std::env",
    "std::fs",
    "std::net",
    "std::thread",
    "SystemTime",
    "Instant",
    "Store",
    "s3stream::store",
    "async",
];

/// Where whoever calls itself pure is looked for.
const TREES: &[&str] = &["protocol/src", "s3stream/src", "broker/src", "tests/src"];

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

/// Lines before the first test module that name something forbidden, imported or by its path.
fn offences(source: &str) -> Vec<&str> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let within_a_word = |c: char| c.is_alphanumeric() || c == '_';
    let names = |line: &str, word: &str| {
        line.split("//").next().unwrap_or_default().match_indices(word).any(|(at, _)| {
            !line[..at].ends_with(within_a_word) && !line[at + word.len()..].starts_with(within_a_word)
        })
    };
    code.lines().filter(|line| FORBIDDEN.iter().any(|word| names(line, word))).collect()
}

/// Does its header say so? "(p)" behind the name of another file is about that one, unless a sentence ends there.
fn calls_itself_pure(source: &str) -> bool {
    let lines: Vec<&str> = source.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let first = lines.split(|line| line.is_empty()).next().unwrap_or_default().concat();
    let of_itself = |(at, word): (usize, &str)| {
        !first[..at].ends_with([']', '`']) || !first[at + word.len()..].starts_with(' ')
    };
    ["Pure.", "Pure:"].iter().any(|word| lines.concat().contains(word))
        || first.match_indices(" (p)").any(of_itself)
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
fn what_calls_itself_pure_is_listed() {
    let listed = |file: &Path| PURE.iter().any(|path| file.starts_with(root().join(path)));
    let all = TREES.iter().flat_map(|tree| sources(&root().join(tree)));
    let says_so = |file: &PathBuf| calls_itself_pure(&std::fs::read_to_string(file).expect("a source file"));
    let missing: Vec<PathBuf> = all.filter(|file| !listed(file) && says_so(file)).collect();
    assert!(missing.is_empty(), "these call themselves pure: {missing:#?}");
}

#[test]
fn a_header_that_says_pure_is_told_from_one_that_says_so_of_another() {
    for (header, says_so) in [
        ("//! When to cut. Pure: time is an argument.\n", true),
        ("//! One commit.\n//!\n//! Bytes in, bytes out. Pure.\n", true),
        ("//! What to merge (p): from an image.\n", true),
        ("//! How far a log start\n//! may move (p).\n", true),
        ("//! What goes into which object of `data/` (p).\n", true),
        ("//! [`policy`] (p) decides, [`task`] asks it.\n", false),
        ("//! `wal/cut` (p) says when.\n", false),
        ("//! Hedges GETs.\n//!\n//! [`policy`] decides when (p).\n", false),
        ("//! Opens files.\n\n// Pure.\n", false),
    ] {
        assert_eq!(calls_itself_pure(header), says_so, "{header}");
    }
}

#[test]
fn an_offence_is_seen() {
    assert_eq!(offences("use tokio::sync::Mutex;\n").len(), 1);
    assert_eq!(offences("use std::time::{Duration, Instant};\n").len(), 1);
    assert_eq!(offences("use std::fs::File;\n").len(), 1);
    assert_eq!(offences("fn read() {\n    let text = std::fs::read(path);\n}\n").len(), 1);
    assert_eq!(offences("    let operand = rand::random(); // or so\n").len(), 1);
    assert_eq!(offences("use crate::store::{Store, StoreError};\n").len(), 1);
    assert!(offences("//! Not tokio's.\nfn operand(strand: u32) {} // rand\n").is_empty());
    assert!(offences("use std::time::Duration;\nuse bytes::Bytes;\n").is_empty());
    assert!(offences("#[cfg(test)]\nmod tests {\nuse tokio::test;\n").is_empty());
}

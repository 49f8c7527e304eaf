//! The formats of version 1, pinned: commits, the image they add up to, and its snapshot, as files that stay as they are. A
//! release that reads them otherwise has forked every cluster that exists (DESIGN §3, I7).

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};

use super::toy::{Toy, ToyRecord};
use crate::ids::{Incarnation, Nonce};
use crate::journal::Record;
use crate::journal::commit::{Commit, Entry, JournalRecord, Mutation, MutationId, Times};
use crate::journal::snapshot::Manifest;
use crate::journal::state::{Folded, JournalImage};

type Toys = JournalImage<Toy>;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/journal/golden").join(name)
}

fn read(name: &str) -> Bytes {
    let path = path(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).into()
}

fn genesis() -> Toys {
    JournalImage::genesis(Toy::with_level_max(2), 1, Times::default())
}

fn user(record: ToyRecord) -> Entry {
    let mut out = BytesMut::new();
    record.encode(&mut out);
    Entry::User(out.freeze())
}

/// Every kind of record and id, a void commit, a level, a named snapshot.
fn commits() -> Vec<Vec<Mutation>> {
    let a = Incarnation { seq: 1, index: 0 };
    let of = |counter, entries| Mutation { id: MutationId::Of { incarnation: a, counter }, entries };
    let own = Entry::Journal;
    let times = Times { lease_ms: 1_000, session_granted_ms: 6_000, session_fencing_ms: 9_000 };
    vec![
        vec![Mutation {
            id: MutationId::Registration { nonce: Nonce(0x1111) },
            entries: vec![own(JournalRecord::ControllerElected), user(ToyRecord::Register(1))],
        }],
        vec![
            of(1, vec![user(ToyRecord::Add(7)), user(ToyRecord::Add(8))]),
            of(2, vec![user(ToyRecord::Remove(8))]),
            of(3, vec![]),
            Mutation {
                id: MutationId::Registration { nonce: Nonce(0x2222) },
                entries: vec![user(ToyRecord::Register(2))],
            },
        ],
        // Void: the key exists.
        vec![of(4, vec![user(ToyRecord::Add(7))])],
        vec![
            of(5, vec![own(JournalRecord::TimesSet(times))]),
            of(6, vec![own(JournalRecord::FeatureLevelSet { level: 2 })]),
        ],
        vec![of(
            7,
            vec![own(JournalRecord::SnapshotTaken { seq: 4, log_bytes: 300, manifest_crc: 0xabcd_ef01 })],
        )],
        vec![of(8, vec![own(JournalRecord::ControllerResigned)])],
    ]
}

fn replay(log: impl IntoIterator<Item = Bytes>) -> Toys {
    let mut image = genesis();
    for bytes in log {
        let (commit, chain) = Commit::decode(bytes.clone()).expect("a commit of version 1");
        assert_eq!(commit.encode(), (bytes.clone(), chain), "written as it was");
        image = image.fold(&commit, chain, bytes.len()).expect("continues").into_image();
    }
    image
}

fn build() -> Vec<Bytes> {
    let mut image = genesis();
    let mut log = Vec::new();
    for (i, mutations) in commits().into_iter().enumerate() {
        let commit = Commit {
            level: image.level,
            seq: image.seq + 1,
            writer: image.controller,
            nonce: Nonce(0x0102_0304_0506_0700 + i as u64),
            prev_chain: image.chain,
            idle_ms: 750,
            p99_ms: 63,
            mutations,
        };
        let (bytes, chain) = commit.encode();
        let folded = image.fold(&commit, chain, bytes.len()).expect("continues");
        assert_eq!(matches!(folded, Folded::Void(..)), i == 2, "commit {}", commit.seq);
        image = folded.into_image();
        log.push(bytes);
    }
    log
}

#[test]
fn commits_of_version_1_are_written_and_replayed_as_ever() {
    let log: Vec<Bytes> = (1..=commits().len()).map(|seq| read(&format!("v1-{seq}.commit"))).collect();
    assert_eq!(build(), log);
    let image = replay(log);
    assert_eq!((image.seq, image.voids, image.level, image.controller), (6, 1, 2, None));
    assert_eq!(image.encode(), read("v1.image"));
}

#[test]
fn a_snapshot_of_version_1_is_read_as_ever() {
    let image = read("v1.image");
    let (manifest, crc) = Manifest::decode(read("v1.manifest")).expect("a manifest of version 1");
    assert_eq!(manifest.encode(), (read("v1.manifest"), crc));
    assert_eq!(
        manifest,
        Manifest { level: 2, seq: 6, chunks: vec![(image.len() as u32, crc32fast::hash(&image))] }
    );
    assert_eq!(Toys::decode(image.clone()).expect("an image of version 1").encode(), image);
}

#[test]
fn every_flip_and_truncation_of_a_manifest_is_an_error() {
    let bytes = read("v1.manifest");
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Manifest::decode(damaged.into()).is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(Manifest::decode(bytes.slice(..len)).is_err(), "length {len}");
    }
}

/// Run by hand when a *new* version is added, never to make the tests above pass.
#[test]
#[ignore = "writes the files that the others check"]
fn write_golden_files() {
    let log = build();
    for (i, bytes) in log.iter().enumerate() {
        std::fs::write(path(&format!("v1-{}.commit", i + 1)), bytes).expect("written");
    }
    let image = replay(log);
    let encoded = image.encode();
    let manifest = Manifest {
        level: image.level,
        seq: image.seq,
        chunks: vec![(encoded.len() as u32, crc32fast::hash(&encoded))],
    };
    std::fs::write(path("v1.image"), encoded).expect("written");
    std::fs::write(path("v1.manifest"), manifest.encode().0).expect("written");
}

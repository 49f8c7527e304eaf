//! One commit: the bytes of `meta/log/<seq>`. Pure.
//!
//! ```text
//! magic u32 · version u16 · level u16 · seq u64 · writer · nonce u64 · previous chain u32 · idle ms u32 · p99 ms u32
//!   · mutations u32 { id · entries u32 { kind u8 · length u32 · bytes } } · CRC-32 u32 of all before it
//! ```
//! The CRC is also the *chain*: the next commit carries it, so each commit vouches for the whole log before it, and a reader
//! on a dead branch notices at the first number that both branches hold (SAFETY F1).
//!
//! Owns the format and its bounds. Does not own what a commit means: `state` folds it. The records of the users of the
//! journal are opaque bytes here.

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::{DecodeError, WireReader, put_incarnation, put_incarnation_or_none};
use crate::ids::{Incarnation, Nonce};

/// "AQJC"
const MAGIC: u32 = 0x4151_4a43;
/// The layout above. A later one is refused with the remedy, an earlier one stays readable for ever.
const VERSION: u16 = 1;
/// A commit is at most this long: every store takes it in one PUT, and a reader can hold a window of them (DESIGN §3).
pub const COMMIT_BYTES_MAX: usize = 1 << 20;
/// And holds at most this many records, so that one fold stays short.
pub const COMMIT_RECORDS_MAX: usize = 20_000;
/// Everything of a commit that is not its mutations, at most.
pub(super) const COMMIT_OVERHEAD: usize = 64;
/// What one mutation adds to its entries, at most.
pub(super) const MUTATION_OVERHEAD: usize = 1 + 20 + 4;
/// What one entry adds to its record.
pub(super) const ENTRY_OVERHEAD: usize = 1 + 4;

/// One numbered entry of the journal, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The feature level its records are of: the image's, when it was proposed.
    pub level: u16,
    /// Its number.
    pub seq: u64,
    /// Who wrote it; None only where an unregistered process elects itself.
    pub writer: Option<Incarnation>,
    /// Tells this attempt from any other at the same number.
    pub nonce: Nonce,
    /// CRC of the commit before it; 0 before the first.
    pub prev_chain: u32,
    /// The writer's next commit comes within this time, in ms: candidates wait at least so long (DESIGN §3).
    pub idle_ms: u32,
    /// 99th percentile of the writer's recent commit times, in ms: what the effective lease grows with (SAFETY L8).
    pub p99_ms: u32,
    /// What it changes, in order.
    pub mutations: Vec<Mutation>,
}

/// One unit that takes effect whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// Whose it is, and which.
    pub id: MutationId,
    /// Its records. None at all is allowed: an empty mutation makes the ids below its own too old.
    pub entries: Vec<Entry>,
}

/// Names a mutation, so that a repeat is known as one, also by the next controller (SAFETY F20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MutationId {
    /// The `counter`-th of a registered process. Counters grow; gaps are refused or abandoned mutations.
    Of {
        /// The proposer.
        incarnation: Incarnation,
        /// Its count, from 1.
        counter: u64,
    },
    /// The registration of a process that has no incarnation yet.
    Registration {
        /// The process's nonce.
        nonce: Nonce,
    },
}

/// One record of a mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The journal's own.
    Journal(JournalRecord),
    /// Of whoever uses the journal, encoded.
    User(Bytes),
}

/// What the journal says about itself. The ids are persisted: never renumber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalRecord {
    /// 1: the proposer (or the incarnation that this mutation registers) is controller from here on. Only ever the first
    /// entry of the first mutation.
    ControllerElected,
    /// 2: the controller steps down.
    ControllerResigned,
    /// 3: the snapshot of the image after commit `seq` is complete, was read back, and counts.
    SnapshotTaken {
        /// The commit whose image it is.
        seq: u64,
        /// Bytes of log up to and with that commit.
        log_bytes: u64,
        /// CRC of its manifest: this very snapshot, and none that a dead branch left under the same number.
        manifest_crc: u32,
    },
    /// 4: records, formats and messages of this feature level may be used from the next commit on.
    FeatureLevelSet {
        /// Higher than the one before.
        level: u16,
    },
    /// 5: the times that liveness and freshness rest on, in ms (DESIGN §4).
    TimesSet(Times),
}

/// Lease and session: values of the image, not of anybody's configuration (SAFETY L8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// A head that stands still this long may be elected over, in ms. At most a quarter of `session_granted_ms`.
    pub lease_ms: u32,
    /// What an answered heartbeat grants, in ms. At most `session_fencing_ms`.
    pub session_granted_ms: u32,
    /// What silence must last before a fence, in ms. Lowered only after what is granted was, and was confirmed.
    pub session_fencing_ms: u32,
}

impl Default for Times {
    /// Kafka's `broker.session.timeout.ms` (KRaftConfigs), and the largest lease that it allows.
    fn default() -> Self {
        Times { lease_ms: 2_250, session_granted_ms: 9_000, session_fencing_ms: 9_000 }
    }
}

impl Times {
    /// Are they in the order that the freshness of reads rests on (SAFETY F13)?
    pub fn ordered(&self) -> bool {
        self.lease_ms > 0
            && self.lease_ms <= self.session_granted_ms / 4
            && self.session_granted_ms <= self.session_fencing_ms
    }
}

impl Commit {
    /// The stored bytes and the chain value, which is their CRC.
    pub fn encode(&self) -> (Bytes, u32) {
        let mut out = BytesMut::with_capacity(
            COMMIT_OVERHEAD + self.mutations.iter().map(Mutation::encoded_len).sum::<usize>(),
        );
        out.put_u32(MAGIC);
        out.put_u16(VERSION);
        out.put_u16(self.level);
        out.put_u64(self.seq);
        put_incarnation_or_none(&mut out, self.writer);
        out.put_u64(self.nonce.0);
        out.put_u32(self.prev_chain);
        out.put_u32(self.idle_ms);
        out.put_u32(self.p99_ms);
        out.put_u32(self.mutations.len() as u32);
        for mutation in &self.mutations {
            mutation.encode(&mut out);
        }
        let chain = crc32fast::hash(&out);
        out.put_u32(chain);
        debug_assert!(out.len() <= COMMIT_BYTES_MAX, "a commit of {} bytes", out.len());
        (out.freeze(), chain)
    }

    /// The commit in `bytes` and its chain value. Anything damaged, longer than the bounds or left over is an error.
    pub fn decode(bytes: Bytes) -> Result<(Commit, u32), DecodeError> {
        if bytes.len() > COMMIT_BYTES_MAX {
            return Err(DecodeError::malformed(format!("a commit of {} bytes", bytes.len())));
        }
        let Some(crc_at) = bytes.len().checked_sub(4) else {
            return Err(DecodeError::malformed(format!("a commit of {} bytes", bytes.len())));
        };
        let stored = WireReader::new(bytes.slice(crc_at..)).u32("crc")?;
        let chain = crc32fast::hash(&bytes[..crc_at]);
        if stored != chain {
            return Err(DecodeError::malformed(format!("crc {stored:08x} stored, {chain:08x} computed")));
        }
        let mut r = WireReader::new(bytes.slice(..crc_at));
        if r.u32("magic")? != MAGIC {
            return Err(DecodeError::malformed("not a commit: wrong magic"));
        }
        let version = r.u16("version")?;
        if version == 0 {
            return Err(DecodeError::malformed("commit format 0 never was"));
        }
        if version > VERSION {
            return Err(DecodeError::unknown(format!("commit format {version}, known up to {VERSION}")));
        }
        let level = r.u16("level")?;
        let seq = r.u64("seq")?;
        let writer = r.incarnation_or_none("writer")?;
        let nonce = r.nonce("nonce")?;
        let prev_chain = r.u32("previous chain")?;
        let idle_ms = r.u32("idle")?;
        let p99_ms = r.u32("p99")?;
        let mut records = 0;
        let count = r.count(1 + 8 + 4, "mutations")?;
        if count > COMMIT_RECORDS_MAX {
            return Err(DecodeError::malformed(format!("{count} mutations")));
        }
        let mut mutations = Vec::with_capacity(count);
        for _ in 0..count {
            mutations.push(Mutation::decode(&mut r, &mut records)?);
        }
        r.end("commit")?;
        Ok((Commit { level, seq, writer, nonce, prev_chain, idle_ms, p99_ms, mutations }, chain))
    }
}

impl Mutation {
    /// Bytes it takes in a commit.
    pub fn encoded_len(&self) -> usize {
        MUTATION_OVERHEAD + self.entries.iter().map(Entry::encoded_len).sum::<usize>()
    }

    fn encode(&self, out: &mut BytesMut) {
        match self.id {
            MutationId::Of { incarnation, counter } => {
                out.put_u8(0);
                put_incarnation(out, incarnation);
                out.put_u64(counter);
            }
            MutationId::Registration { nonce } => {
                out.put_u8(1);
                out.put_u64(nonce.0);
            }
        }
        out.put_u32(self.entries.len() as u32);
        for entry in &self.entries {
            entry.encode(out);
        }
    }

    fn decode(r: &mut WireReader, records: &mut usize) -> Result<Mutation, DecodeError> {
        let id = match r.u8("mutation id")? {
            0 => MutationId::Of { incarnation: r.incarnation("proposer")?, counter: r.u64("counter")? },
            1 => MutationId::Registration { nonce: r.nonce("registration")? },
            kind => return Err(DecodeError::unknown(format!("mutation id of kind {kind}"))),
        };
        let count = r.count(ENTRY_OVERHEAD, "records")?;
        *records += count;
        if *records > COMMIT_RECORDS_MAX {
            return Err(DecodeError::malformed(format!("more than {COMMIT_RECORDS_MAX} records")));
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(Entry::decode(r)?);
        }
        Ok(Mutation { id, entries })
    }
}

impl Entry {
    fn encoded_len(&self) -> usize {
        ENTRY_OVERHEAD
            + match self {
                Entry::User(record) => record.len(),
                Entry::Journal(_) => JournalRecord::LEN_MAX,
            }
    }

    fn encode(&self, out: &mut BytesMut) {
        let own;
        let (kind, record): (u8, &[u8]) = match self {
            Entry::Journal(record) => {
                own = record.encode();
                (0, &own)
            }
            Entry::User(record) => (1, record),
        };
        out.put_u8(kind);
        out.put_u32(record.len() as u32);
        out.put_slice(record);
    }

    fn decode(r: &mut WireReader) -> Result<Entry, DecodeError> {
        let kind = r.u8("record kind")?;
        let len = r.u32("record length")? as usize;
        let record = r.bytes(len, "record")?;
        match kind {
            0 => Ok(Entry::Journal(JournalRecord::decode(record)?)),
            1 => Ok(Entry::User(record)),
            kind => Err(DecodeError::unknown(format!("record of kind {kind}"))),
        }
    }
}

impl JournalRecord {
    /// The longest of them.
    const LEN_MAX: usize = 2 + 8 + 8 + 4;

    fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(JournalRecord::LEN_MAX);
        match self {
            JournalRecord::ControllerElected => out.put_u16(1),
            JournalRecord::ControllerResigned => out.put_u16(2),
            JournalRecord::SnapshotTaken { seq, log_bytes, manifest_crc } => {
                out.put_u16(3);
                out.put_u64(*seq);
                out.put_u64(*log_bytes);
                out.put_u32(*manifest_crc);
            }
            JournalRecord::FeatureLevelSet { level } => {
                out.put_u16(4);
                out.put_u16(*level);
            }
            JournalRecord::TimesSet(times) => {
                out.put_u16(5);
                out.put_u32(times.lease_ms);
                out.put_u32(times.session_granted_ms);
                out.put_u32(times.session_fencing_ms);
            }
        }
        out
    }

    fn decode(bytes: Bytes) -> Result<JournalRecord, DecodeError> {
        let mut r = WireReader::new(bytes);
        let record = match r.u16("journal record")? {
            1 => JournalRecord::ControllerElected,
            2 => JournalRecord::ControllerResigned,
            3 => JournalRecord::SnapshotTaken {
                seq: r.u64("snapshot")?,
                log_bytes: r.u64("log bytes")?,
                manifest_crc: r.u32("manifest crc")?,
            },
            4 => JournalRecord::FeatureLevelSet { level: r.u16("level")? },
            5 => JournalRecord::TimesSet(Times {
                lease_ms: r.u32("lease")?,
                session_granted_ms: r.u32("session granted")?,
                session_fencing_ms: r.u32("session fencing")?,
            }),
            id => return Err(DecodeError::unknown(format!("journal record {id}"))),
        };
        r.end("journal record")?;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn sample() -> Commit {
        let writer = Incarnation { seq: 41, index: 2 };
        let mutation =
            |counter, entries| Mutation { id: MutationId::Of { incarnation: writer, counter }, entries };
        Commit {
            level: 3,
            seq: 77,
            writer: Some(writer),
            nonce: Nonce(0x0123_4567_89ab_cdef),
            prev_chain: 0xdead_beef,
            idle_ms: 750,
            p99_ms: 63,
            mutations: vec![
                mutation(9, vec![Entry::User(Bytes::from_static(b"one")), Entry::User(Bytes::new())]),
                mutation(10, vec![]),
                Mutation {
                    id: MutationId::Registration { nonce: Nonce(5) },
                    entries: vec![Entry::User(Bytes::from_static(b"me"))],
                },
                mutation(
                    12,
                    vec![
                        Entry::Journal(JournalRecord::ControllerElected),
                        Entry::Journal(JournalRecord::ControllerResigned),
                        Entry::Journal(JournalRecord::SnapshotTaken {
                            seq: 70,
                            log_bytes: 1 << 33,
                            manifest_crc: 7,
                        }),
                        Entry::Journal(JournalRecord::FeatureLevelSet { level: 4 }),
                        Entry::Journal(JournalRecord::TimesSet(Times::default())),
                    ],
                ),
            ],
        }
    }

    /// Gives bytes a valid CRC again, so that the parser behind it is reached.
    fn reseal(mut body: Vec<u8>) -> Bytes {
        let crc_at = body.len() - 4;
        let crc = crc32fast::hash(&body[..crc_at]);
        body[crc_at..].copy_from_slice(&crc.to_be_bytes());
        body.into()
    }

    #[test]
    fn a_commit_is_read_back_as_written() {
        let (bytes, chain) = sample().encode();
        assert_eq!(Commit::decode(bytes.clone()), Ok((sample(), chain)));
        assert!(
            bytes.len()
                <= COMMIT_OVERHEAD + sample().mutations.iter().map(Mutation::encoded_len).sum::<usize>()
        );
        let first = Commit { writer: None, mutations: vec![], ..sample() };
        assert_eq!(Commit::decode(first.encode().0).unwrap().0, first);
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_an_error() {
        let (bytes, _) = sample().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Commit::decode(damaged.into()).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Commit::decode(bytes.slice(..len)).is_err(), "length {len}");
        }
    }

    #[test]
    fn what_a_later_release_wrote_asks_for_an_upgrade() {
        let (bytes, _) = sample().encode();
        let mut later = bytes.to_vec();
        later[5] = 2;
        assert!(matches!(Commit::decode(reseal(later)), Err(DecodeError::Unknown(_))));
        assert!(matches!(JournalRecord::decode(Bytes::from_static(&[0, 99])), Err(DecodeError::Unknown(_))));
    }

    #[test]
    fn a_format_that_never_was_is_damage() {
        let mut never = sample().encode().0.to_vec();
        never[5] = 0;
        assert!(matches!(Commit::decode(reseal(never)), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn a_count_that_cannot_be_there_allocates_nothing() {
        let empty = Commit { mutations: vec![], ..sample() };
        let mut bytes = empty.encode().0.to_vec();
        let count_at = bytes.len() - 8;
        bytes[count_at..count_at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(Commit::decode(reseal(bytes)), Err(DecodeError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn hostile_bytes_behind_a_valid_crc_never_panic(at in 0usize..400, with in proptest::collection::vec(any::<u8>(), 0..24)) {
            let mut bytes = sample().encode().0.to_vec();
            let end = bytes.len() - 4;
            for (i, b) in with.iter().enumerate() {
                if at + i < end { bytes[at + i] = *b; }
            }
            let _ = Commit::decode(reseal(bytes));
        }

        #[test]
        fn garbage_never_panics(garbage in proptest::collection::vec(any::<u8>(), 4..256)) {
            let _ = Commit::decode(reseal(garbage));
        }
    }
}

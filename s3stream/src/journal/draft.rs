//! A commit in the making: mutations are judged one after the other on the image as the earlier ones leave it, and those
//! that are legal are packed, up to the bounds of a commit. Pure.
//!
//! Owns judging and packing. Does not own the queue, nor what becomes of the answers: a refusal computed here rests on the
//! mutations before it and is released with them (SAFETY F12).

use bytes::BytesMut;

use super::commit::{
    COMMIT_BYTES_MAX, COMMIT_OVERHEAD, COMMIT_RECORDS_MAX, Commit, Entry, JournalRecord, Mutation, MutationId,
};
use super::state::JournalImage;
use super::{Committed, Image, Record, Refusal};
use crate::ids::{Incarnation, Nonce};

/// What became of a mutation offered to a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It is in the draft, and takes effect here if the draft becomes durable.
    Packed(Committed),
    /// It took effect before: its kept result.
    Repeat(Committed),
    /// It is illegal on this image, and does not enter the log.
    Refused(Refusal),
    /// The draft is full: the next one takes it.
    Full,
    /// No commit could hold it.
    TooLarge,
}

/// See the module.
#[derive(Debug)]
pub struct Draft<I> {
    next: JournalImage<I>,
    writer: Option<Incarnation>,
    mutations: Vec<Mutation>,
    bytes: usize,
    records: usize,
}

impl<I: Image> Draft<I> {
    /// A draft of the commit after `image`.
    pub fn new(image: &JournalImage<I>, writer: Option<Incarnation>) -> Draft<I> {
        Draft { next: image.clone(), writer, mutations: Vec::new(), bytes: COMMIT_OVERHEAD, records: 0 }
    }

    /// Number that the commit will have.
    pub fn seq(&self) -> u64 {
        self.next.seq + 1
    }

    /// Nothing in it?
    pub fn is_empty(&self) -> bool {
        self.mutations.is_empty()
    }

    /// Judges one mutation, and packs it if it is legal, new and fits.
    pub fn admit(&mut self, id: MutationId, own: &[JournalRecord], records: &[I::Record]) -> Admitted {
        match self.next.known(id) {
            Ok(Some(committed)) => return Admitted::Repeat(committed),
            Err(refusal) => return Admitted::Refused(refusal),
            Ok(None) => {}
        }
        let mutation = Mutation { id, entries: encode(own, records) };
        let (len, count) = (mutation.encoded_len(), mutation.entries.len());
        if COMMIT_OVERHEAD + len > COMMIT_BYTES_MAX || count > COMMIT_RECORDS_MAX {
            return Admitted::TooLarge;
        }
        let full = self.mutations.len() == COMMIT_RECORDS_MAX;
        if full || self.bytes + len > COMMIT_BYTES_MAX || self.records + count > COMMIT_RECORDS_MAX {
            return Admitted::Full;
        }
        let at = Committed { seq: self.seq(), index: self.mutations.len() as u32 };
        let mut trial = self.next.clone();
        if let Err(refusal) = trial.apply(at.seq, at.index, at.index == 0, id, own, records) {
            return Admitted::Refused(refusal);
        }
        self.next = trial;
        self.mutations.push(mutation);
        self.bytes += len;
        self.records += count;
        Admitted::Packed(at)
    }

    /// The commit, with what its writer says of itself. `base` is the image the draft was made of.
    pub fn seal(self, base: &JournalImage<I>, nonce: Nonce, p99_ms: u32) -> Commit {
        Commit {
            level: base.level,
            seq: base.seq + 1,
            writer: self.writer,
            nonce,
            prev_chain: base.chain,
            // Of the image after it: the commit that registers a second member ends the first one's long silences.
            idle_ms: self.next.idle_promise_ms(p99_ms),
            p99_ms,
            mutations: self.mutations,
        }
    }
}

fn encode<R: Record>(own: &[JournalRecord], records: &[R]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = own.iter().cloned().map(Entry::Journal).collect();
    // One buffer for all records of the mutation, handed out in slices.
    let mut out = BytesMut::new();
    let mut ends = Vec::with_capacity(records.len());
    for record in records {
        record.encode(&mut out);
        ends.push(out.len());
    }
    let all = out.freeze();
    let mut start = 0;
    for end in ends {
        entries.push(Entry::User(all.slice(start..end)));
        start = end;
    }
    debug_assert_eq!(start, all.len());
    entries
}

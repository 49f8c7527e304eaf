//! What is kept of a partition's producers where its lanes take over: the state after everything that was uploaded
//! (DESIGN §6 "Checkpoint"; Kafka's producer snapshot files, `ProducerStateManager`). Pure: the owner of a partition and
//! the heir of its lane make the same bytes from the same attachments.
//!
//! Layout, big-endian: version u8 1 · producers u32 · (id i64 · epoch i16 · batches u8 · (first sequence
//! i32 · last sequence i32 · base offset i64 · last offset i64 · timestamp i64)), producers ascending by id.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use s3stream::ids::LaneNumber;
use s3stream::object::AttachmentEntry;

use super::attachment::ProducerAttachment;
use super::producer_state::{BATCHES_KEPT, KnownBatch, ProducerStates};

const VERSION: u8 = 1;
const PRODUCER_BYTES: usize = 8 + 2 + 1;
const BATCH_BYTES: usize = 4 + 4 + 8 + 8 + 8;

/// Why bytes are not a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointDamaged {
    /// A later release wrote it.
    #[error("checkpoint version {0}: this release reads {VERSION}; upgrade")]
    Version(u8),
    /// Cut off, or longer than it says.
    #[error("the checkpoint contradicts its length")]
    Length,
    /// No producer has so many batches.
    #[error("a producer of {0} batches")]
    Batches(u8),
}

/// The state of a checkpoint; without one, nothing is known of any producer.
///
/// # Errors
/// See [`CheckpointDamaged`].
pub fn decode(checkpoint: Option<&Bytes>) -> Result<ProducerStates, CheckpointDamaged> {
    let mut states = ProducerStates::default();
    let Some(mut bytes) = checkpoint.map(|bytes| &bytes[..]) else { return Ok(states) };
    if bytes.len() < 5 {
        return Err(CheckpointDamaged::Length);
    }
    let version = bytes.get_u8();
    if version != VERSION {
        return Err(CheckpointDamaged::Version(version));
    }
    for _ in 0..bytes.get_u32() {
        if bytes.len() < PRODUCER_BYTES {
            return Err(CheckpointDamaged::Length);
        }
        let (id, epoch, batches) = (bytes.get_i64(), bytes.get_i16(), bytes.get_u8());
        if usize::from(batches) > BATCHES_KEPT || batches == 0 {
            return Err(CheckpointDamaged::Batches(batches));
        }
        if bytes.len() < usize::from(batches) * BATCH_BYTES {
            return Err(CheckpointDamaged::Length);
        }
        for _ in 0..batches {
            let known = KnownBatch {
                first_sequence: bytes.get_i32(),
                last_sequence: bytes.get_i32(),
                base_offset: bytes.get_i64(),
                last_offset: bytes.get_i64(),
                timestamp: bytes.get_i64(),
                at: None,
            };
            states.record(id, epoch, known);
        }
    }
    if bytes.is_empty() { Ok(states) } else { Err(CheckpointDamaged::Length) }
}

/// The bytes of a state; None where no producer is known.
pub fn encode(states: &ProducerStates) -> Option<Bytes> {
    let producers = states.batches();
    if producers.is_empty() {
        return None;
    }
    let mut out =
        BytesMut::with_capacity(5 + producers.len() * (PRODUCER_BYTES + BATCHES_KEPT * BATCH_BYTES));
    out.put_u8(VERSION);
    out.put_u32(producers.len() as u32);
    for (id, epoch, batches) in producers {
        out.put_i64(id);
        out.put_i16(epoch);
        out.put_u8(batches.len() as u8);
        for batch in batches {
            out.put_i32(batch.first_sequence);
            out.put_i32(batch.last_sequence);
            out.put_i64(batch.base_offset);
            out.put_i64(batch.last_offset);
            out.put_i64(batch.timestamp);
        }
    }
    Some(out.freeze())
}

/// Forgets producers that had been silent for `expiration_ms` when another wrote last. By the time of records alone, so that
/// owner and heir agree; the broker forgets more of them by its clock.
pub fn forget_silent(states: &mut ProducerStates, expiration_ms: i64) {
    let newest = states.active().iter().map(|producer| producer.last_timestamp).max();
    if let Some(newest) = newest {
        states.expire(newest, expiration_ms, LaneNumber(0));
    }
}

/// Folds attachments in, in the order of their offsets.
pub fn replay(states: &mut ProducerStates, attachments: &[AttachmentEntry]) {
    for entry in attachments {
        let Some(a) = ProducerAttachment::decode(&entry.bytes).filter(|a| !a.control) else { continue };
        let base_offset = entry.offset as i64;
        let last_sequence = protocol::record_batch::increment_sequence(a.base_sequence, a.last_offset_delta);
        let known = KnownBatch {
            first_sequence: a.base_sequence,
            last_sequence,
            base_offset,
            last_offset: base_offset + i64::from(a.last_offset_delta),
            timestamp: a.max_timestamp,
            at: None,
        };
        states.record(a.producer_id, a.producer_epoch, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(producer: i64, epoch: i16, sequence: i32, offset: u64) -> AttachmentEntry {
        let attachment = ProducerAttachment {
            producer_id: producer,
            producer_epoch: epoch,
            base_sequence: sequence,
            last_offset_delta: 1,
            max_timestamp: 1_000 + offset as i64,
            transactional: false,
            control: false,
        };
        AttachmentEntry { offset, bytes: attachment.encode().to_vec().into() }
    }

    #[test]
    fn checkpoint_and_tail_are_the_full_replay() {
        let all: Vec<AttachmentEntry> = (0..40u64)
            .map(|n| attachment((n % 3) as i64, (n / 20) as i16, (n % 20 / 3 * 2) as i32, n * 2))
            .collect();
        let mut full = ProducerStates::default();
        replay(&mut full, &all);
        for cut in 0..=all.len() {
            let mut states = ProducerStates::default();
            replay(&mut states, &all[..cut]);
            let checkpoint = encode(&states);
            assert_eq!(checkpoint.is_none(), cut == 0);
            let mut states = decode(checkpoint.as_ref()).unwrap();
            replay(&mut states, &all[cut..]);
            assert_eq!(states, full, "cut at {cut}");
        }
    }

    #[test]
    fn who_was_silent_when_another_wrote_is_forgotten() {
        let mut states = ProducerStates::default();
        replay(&mut states, &[attachment(1, 0, 0, 0), attachment(2, 0, 0, 100)]);
        forget_silent(&mut states, 101);
        assert_eq!(states.active().len(), 2);
        forget_silent(&mut states, 100);
        let left: Vec<i64> = states.active().iter().map(|producer| producer.producer_id).collect();
        assert_eq!(left, [2]);
    }

    #[test]
    fn the_format_is_kept_for_ever() {
        let mut states = ProducerStates::default();
        replay(&mut states, &[attachment(7, 1, 3, 10)]);
        let bytes = encode(&states).unwrap();
        let expected = b"\x01\0\0\0\x01\0\0\0\0\0\0\0\x07\0\x01\x01\0\0\0\x03\0\0\0\x04\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0\x0b\0\0\0\0\0\0\x03\xf2";
        assert_eq!(&bytes[..], &expected[..]);
        for cut in 0..bytes.len() {
            assert!(decode(Some(&bytes.slice(..cut))).is_err(), "cut to {cut}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert_eq!(decode(Some(&longer.into())), Err(CheckpointDamaged::Length));
        let mut newer = bytes.to_vec();
        newer[0] = 2;
        assert_eq!(decode(Some(&newer.into())), Err(CheckpointDamaged::Version(2)));
    }
}

//! What is kept beside every idempotent batch in a lane: enough to rebuild the producer's state without reading the
//! records (DESIGN §6 "Attachment"). Opaque to storage, which trims and joins it with the offsets it belongs to. Pure.
//!
//! Layout, big-endian, 28 bytes: tag 1 · flags (bit 0 transactional, bit 1 control) · producer id i64 · producer epoch i16
//! · base sequence i32 · last offset delta i32 · largest timestamp i64. An unknown tag is skipped: it is another's.

use bytes::{Buf, BufMut};
use protocol::record_batch::BatchHeader;

const TAG_PRODUCER: u8 = 1;

/// Bytes of one.
pub const ATTACHMENT_BYTES: usize = 28;

/// What the batch said of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerAttachment {
    /// Producer id, from 0.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Sequence of the first record.
    pub base_sequence: i32,
    /// Last offset minus first.
    pub last_offset_delta: i32,
    /// The batch's largest timestamp.
    pub max_timestamp: i64,
    /// Part of a transaction.
    pub transactional: bool,
    /// A marker.
    pub control: bool,
}

impl ProducerAttachment {
    /// What to keep of this batch; None where it has no producer id.
    pub fn of(batch: &BatchHeader) -> Option<ProducerAttachment> {
        batch.has_producer_id().then(|| ProducerAttachment {
            producer_id: batch.producer_id,
            producer_epoch: batch.producer_epoch,
            base_sequence: batch.base_sequence,
            last_offset_delta: batch.last_offset_delta,
            max_timestamp: batch.max_timestamp,
            transactional: batch.is_transactional(),
            control: batch.is_control(),
        })
    }

    /// The persisted form.
    pub fn encode(&self) -> [u8; ATTACHMENT_BYTES] {
        let mut bytes = [0; ATTACHMENT_BYTES];
        let mut out = &mut bytes[..];
        out.put_u8(TAG_PRODUCER);
        out.put_u8(u8::from(self.transactional) | u8::from(self.control) << 1);
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        out.put_i32(self.base_sequence);
        out.put_i32(self.last_offset_delta);
        out.put_i64(self.max_timestamp);
        bytes
    }

    /// Reads one; None where it is not one of ours.
    pub fn decode(mut bytes: &[u8]) -> Option<ProducerAttachment> {
        if bytes.len() != ATTACHMENT_BYTES || bytes.get_u8() != TAG_PRODUCER {
            return None;
        }
        let flags = bytes.get_u8();
        Some(ProducerAttachment {
            producer_id: bytes.get_i64(),
            producer_epoch: bytes.get_i16(),
            base_sequence: bytes.get_i32(),
            last_offset_delta: bytes.get_i32(),
            max_timestamp: bytes.get_i64(),
            transactional: flags & 1 != 0,
            control: flags & 2 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_kept_for_ever() {
        let a = ProducerAttachment {
            producer_id: 0x0102,
            producer_epoch: 3,
            base_sequence: 4,
            last_offset_delta: 5,
            max_timestamp: 6,
            transactional: true,
            control: false,
        };
        let bytes = a.encode();
        assert_eq!(&bytes, b"\x01\x01\0\0\0\0\0\0\x01\x02\0\x03\0\0\0\x04\0\0\0\x05\0\0\0\0\0\0\0\x06");
        assert_eq!(ProducerAttachment::decode(&bytes), Some(a));
        assert_eq!(ProducerAttachment::decode(&bytes[..27]), None);
    }
}

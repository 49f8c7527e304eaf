//! What the journal says about stores, lanes, streams and objects, and the bytes it says it in (version 1 of each record).
//!
//! A record is `id u16 · fields`, integers big-endian, nothing optional and nothing after: so a record has one encoding,
//! and what a later release adds is a new id. Ids are persisted and never renumbered; an id this release does not know
//! stops the reader with the word "upgrade", it is never skipped (DESIGN §3 "Feature levels"). Lengths are checked before
//! anything is allocated (I11).
//!
//! Golden bytes at the end of this file hold every record still.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::objects::{NewObject, ObjectPart};
use crate::ids::{Incarnation, LaneNumber, Nonce, ObjectId, StoreId, StreamEpoch, StreamId};
use crate::journal::{DecodeError, Record};

/// Longest URL of a store.
pub const URL_BYTES_MAX: usize = 2048;

/// One change of the catalog. Legality is in [`super::Catalog::apply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageRecord {
    /// Id 1: `store` is reached by `url` (without secrets). Saying it again is legal, changing it is not.
    StoreRegistered {
        /// Which store.
        store: StoreId,
        /// Its URL.
        url: String,
    },
    /// Id 2: A process joins: the mutation's own place in the journal becomes its incarnation (SAFETY F2), with an open lane
    /// in `store`. At most one per mutation.
    LaneRegistered {
        /// Random, of the process: tells a repeat from a second registration.
        nonce: Nonce,
        /// Where its lane lies.
        store: StoreId,
    },
    /// Id 3: The lane was sealed by somebody else and ends at `length`. Proposed by who sealed it (the controller, or the
    /// successor under the same broker id).
    LaneFenced {
        /// Whose lane.
        incarnation: Incarnation,
        /// The number that holds the lowest seal: objects below it count, nothing else does.
        length: LaneNumber,
        /// Nonce of that seal object.
        seal_nonce: Nonce,
        /// Who uploads and trims the lane; None is the incarnation that this very mutation registers.
        heir: Option<Incarnation>,
    },
    /// Id 4: The owner sealed its own lane and leaves. Proposed by it.
    LaneLeft {
        /// Whose lane.
        incarnation: Incarnation,
        /// As in a fence.
        length: LaneNumber,
        /// As in a fence.
        seal_nonce: Nonce,
    },
    /// Id 5: The owner ends its lane in the journal, without a seal, because its lane's store does not answer (SAFETY L4).
    /// Proposed by it.
    LaneEnded {
        /// Whose lane.
        incarnation: Incarnation,
        /// Its durable number: objects below it count.
        length: LaneNumber,
    },
    /// Id 6: Another heir for an ended lane.
    LaneHeirNamed {
        /// Whose lane.
        incarnation: Incarnation,
        /// Who uploads and trims it from now on; None is the incarnation that this very mutation registers.
        heir: Option<Incarnation>,
    },
    /// Id 7: Nothing below `trim` holds anything that counts any more. Proposed by the owner of an open lane, the heir of an
    /// ended one.
    LaneTrimmed {
        /// Whose lane.
        incarnation: Incarnation,
        /// First number that still counts.
        trim: LaneNumber,
    },
    /// Id 8: A stream begins, at offset 0 and epoch 0. Its id was never used.
    StreamCreated {
        /// At or above the catalog's next id.
        stream: StreamId,
        /// A live incarnation.
        owner: Incarnation,
    },
    /// Id 9: A stream is gone; what lanes hold of it is void.
    StreamDeleted {
        /// Which.
        stream: StreamId,
    },
    /// Id 10: One stream of an ended lane gets a live owner, with the next epoch.
    StreamOpened {
        /// Which.
        stream: StreamId,
        /// The new owner; None is the incarnation that this very mutation registers.
        to: Option<Incarnation>,
    },
    /// Id 11: All streams of an ended lane get one live owner, each with its next epoch.
    StreamsAdopted {
        /// The incarnation whose lane has ended.
        from: Incarnation,
        /// The new owner; None is the incarnation that this very mutation registers.
        to: Option<Incarnation>,
    },
    /// Id 12: The planned move: the owner ends its epoch at `end` and another goes on there (SAFETY F4). Proposed by the
    /// owner; one record for both, so that the stream is never without.
    StreamSealed {
        /// Which.
        stream: StreamId,
        /// The epoch that ends: the stream's current one.
        epoch: StreamEpoch,
        /// Offset after the last record that counts.
        end: u64,
        /// Its records lie in lane objects below this number: a live lane is read no further.
        below: LaneNumber,
        /// A live incarnation other than the owner.
        to: Incarnation,
    },
    /// Id 13: The log start moved: records below `start` are gone. Proposed by the owner.
    StreamTrimmed {
        /// Which.
        stream: StreamId,
        /// Offset of the first record that is kept.
        start: u64,
    },
    /// Id 14: An object of an ended lane cannot be read, and its loss was accepted by name (SAFETY F19).
    LossAccepted {
        /// Whose lane.
        incarnation: Incarnation,
        /// The object.
        number: LaneNumber,
    },
    /// Id 15: What a lane holds from `from` on was written into an object of `data/`, and below `trim` nothing of it counts
    /// any more: one record, so that coverage never has a hole. Proposed by the owner of an open lane, the heir of an
    /// ended one. An upload of several objects has `trim` = `from` in all but the last.
    LaneUploaded {
        /// Whose lane.
        incarnation: Incarnation,
        /// The lane's trim before.
        from: LaneNumber,
        /// Its trim after.
        trim: LaneNumber,
        /// The object, of the proposer.
        object: NewObject,
        /// What is in it, by stream, then offset.
        parts: Vec<ObjectPart>,
    },
    /// Id 16: Objects take the place of others: every range that lies in a source is replaced by parts that cover as much.
    ObjectsMerged {
        /// What is condemned by it, ascending.
        sources: Vec<ObjectId>,
        /// What takes their place, of the proposer, each with its parts by stream, then offset.
        objects: Vec<(NewObject, Vec<ObjectPart>)>,
    },
    /// Id 17: From now on introducing an object of `incarnation` with a lower counter is illegal (SAFETY F6). Proposed by
    /// the incarnation itself, or by anybody once its lane has ended.
    ObjectsReleased {
        /// Whose objects.
        incarnation: Incarnation,
        /// The mark: never goes back.
        below: u64,
    },
    /// Id 18: Condemned objects are gone from their stores, and leave the catalog.
    ObjectsDeleted {
        /// Which, ascending.
        objects: Vec<ObjectId>,
    },
    /// Id 19: What objects hold of one stream in [`start`, `end`) was written anew, with fewer records at the same offsets.
    /// Proposed by the stream's owner, in the epoch that it was planned in: what a later owner has rewritten since is never
    /// undone.
    /// Without objects, `start` = `end`: nothing had to be, and `cleaned` alone moves.
    StreamRewritten {
        /// Which.
        stream: StreamId,
        /// The stream's epoch.
        epoch: StreamEpoch,
        /// Where its first range begins.
        start: u64,
        /// Where its last ends.
        end: u64,
        /// What is below was rewritten as far as it ever has to be: [`super::StreamState::cleaned`] from now on.
        cleaned: u64,
        /// The objects, of the proposer, each with what is in it, by offset: together as many offsets of the same epochs.
        objects: Vec<(NewObject, Vec<ObjectPart>)>,
    },
    /// Id 20: As [`StorageRecord::LaneUploaded`], of lane objects that stay where they are: from now on the catalog refers to
    /// them. The trim passes them in the same record.
    LaneAdopted {
        /// Whose lane.
        incarnation: Incarnation,
        /// The lane's trim before.
        from: LaneNumber,
        /// Its trim after.
        trim: LaneNumber,
        /// The lane's objects, ascending, each with its parts by stream, then offset, without checkpoints; last, where there
        /// are any, an object of `data/` of the proposer with the checkpoints at the end of what was adopted, in parts without
        /// records.
        objects: Vec<(NewObject, Vec<ObjectPart>)>,
    },
}

impl StorageRecord {
    /// Its persisted id.
    pub fn id(&self) -> u16 {
        match self {
            StorageRecord::StoreRegistered { .. } => 1,
            StorageRecord::LaneRegistered { .. } => 2,
            StorageRecord::LaneFenced { .. } => 3,
            StorageRecord::LaneLeft { .. } => 4,
            StorageRecord::LaneEnded { .. } => 5,
            StorageRecord::LaneHeirNamed { .. } => 6,
            StorageRecord::LaneTrimmed { .. } => 7,
            StorageRecord::StreamCreated { .. } => 8,
            StorageRecord::StreamDeleted { .. } => 9,
            StorageRecord::StreamOpened { .. } => 10,
            StorageRecord::StreamsAdopted { .. } => 11,
            StorageRecord::StreamSealed { .. } => 12,
            StorageRecord::StreamTrimmed { .. } => 13,
            StorageRecord::LossAccepted { .. } => 14,
            StorageRecord::LaneUploaded { .. } => 15,
            StorageRecord::ObjectsMerged { .. } => 16,
            StorageRecord::ObjectsReleased { .. } => 17,
            StorageRecord::ObjectsDeleted { .. } => 18,
            StorageRecord::StreamRewritten { .. } => 19,
            StorageRecord::LaneAdopted { .. } => 20,
        }
    }
}

impl Record for StorageRecord {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(self.id());
        match self {
            StorageRecord::StoreRegistered { store, url } => {
                out.put_u8(store.0);
                put_str(out, url);
            }
            StorageRecord::LaneRegistered { nonce, store } => {
                out.put_u64(nonce.0);
                out.put_u8(store.0);
            }
            StorageRecord::LaneFenced { incarnation, length, seal_nonce, heir } => {
                put_incarnation(out, *incarnation);
                out.put_u64(length.0);
                out.put_u64(seal_nonce.0);
                put_optional(out, *heir);
            }
            StorageRecord::LaneLeft { incarnation, length, seal_nonce } => {
                put_incarnation(out, *incarnation);
                out.put_u64(length.0);
                out.put_u64(seal_nonce.0);
            }
            StorageRecord::LaneEnded { incarnation, length } => {
                put_incarnation(out, *incarnation);
                out.put_u64(length.0);
            }
            StorageRecord::LaneHeirNamed { incarnation, heir } => {
                put_incarnation(out, *incarnation);
                put_optional(out, *heir);
            }
            StorageRecord::LaneTrimmed { incarnation, trim } => {
                put_incarnation(out, *incarnation);
                out.put_u64(trim.0);
            }
            StorageRecord::StreamCreated { stream, owner } => {
                out.put_u64(stream.0);
                put_incarnation(out, *owner);
            }
            StorageRecord::StreamDeleted { stream } => out.put_u64(stream.0),
            StorageRecord::StreamOpened { stream, to } => {
                out.put_u64(stream.0);
                put_optional(out, *to);
            }
            StorageRecord::StreamsAdopted { from, to } => {
                put_incarnation(out, *from);
                put_optional(out, *to);
            }
            StorageRecord::StreamSealed { stream, epoch, end, below, to } => {
                out.put_u64(stream.0);
                out.put_u32(epoch.0);
                out.put_u64(*end);
                out.put_u64(below.0);
                put_incarnation(out, *to);
            }
            StorageRecord::StreamTrimmed { stream, start } => {
                out.put_u64(stream.0);
                out.put_u64(*start);
            }
            StorageRecord::LossAccepted { incarnation, number } => {
                put_incarnation(out, *incarnation);
                out.put_u64(number.0);
            }
            StorageRecord::LaneUploaded { incarnation, from, trim, object, parts } => {
                put_incarnation(out, *incarnation);
                out.put_u64(from.0);
                out.put_u64(trim.0);
                put_new_object(out, object, parts);
            }
            StorageRecord::LaneAdopted { incarnation, from, trim, objects } => {
                put_incarnation(out, *incarnation);
                out.put_u64(from.0);
                out.put_u64(trim.0);
                put_new_objects(out, objects);
            }
            StorageRecord::ObjectsMerged { sources, objects } => {
                put_objects(out, sources);
                put_new_objects(out, objects);
            }
            StorageRecord::ObjectsReleased { incarnation, below } => {
                put_incarnation(out, *incarnation);
                out.put_u64(*below);
            }
            StorageRecord::ObjectsDeleted { objects } => put_objects(out, objects),
            StorageRecord::StreamRewritten { stream, epoch, start, end, cleaned, objects } => {
                out.put_u64(stream.0);
                out.put_u32(epoch.0);
                out.put_u64(*start);
                out.put_u64(*end);
                out.put_u64(*cleaned);
                put_new_objects(out, objects);
            }
        }
    }

    fn decode(buf: Bytes) -> Result<Self, DecodeError> {
        let mut fields = Fields(buf);
        let record = decode_fields(&mut fields)?;
        if !fields.0.is_empty() {
            return Err(malformed(format!("{} bytes after record {}", fields.0.len(), record.id())));
        }
        Ok(record)
    }
}

fn decode_fields(fields: &mut Fields) -> Result<StorageRecord, DecodeError> {
    Ok(match fields.u16()? {
        1 => StorageRecord::StoreRegistered {
            store: StoreId(fields.u8()?),
            url: fields.string(URL_BYTES_MAX)?,
        },
        2 => StorageRecord::LaneRegistered { nonce: Nonce(fields.u64()?), store: StoreId(fields.u8()?) },
        3 => StorageRecord::LaneFenced {
            incarnation: fields.incarnation()?,
            length: LaneNumber(fields.u64()?),
            seal_nonce: Nonce(fields.u64()?),
            heir: fields.optional()?,
        },
        4 => StorageRecord::LaneLeft {
            incarnation: fields.incarnation()?,
            length: LaneNumber(fields.u64()?),
            seal_nonce: Nonce(fields.u64()?),
        },
        5 => {
            StorageRecord::LaneEnded { incarnation: fields.incarnation()?, length: LaneNumber(fields.u64()?) }
        }
        6 => StorageRecord::LaneHeirNamed { incarnation: fields.incarnation()?, heir: fields.optional()? },
        7 => {
            StorageRecord::LaneTrimmed { incarnation: fields.incarnation()?, trim: LaneNumber(fields.u64()?) }
        }
        8 => StorageRecord::StreamCreated { stream: StreamId(fields.u64()?), owner: fields.incarnation()? },
        9 => StorageRecord::StreamDeleted { stream: StreamId(fields.u64()?) },
        10 => StorageRecord::StreamOpened { stream: StreamId(fields.u64()?), to: fields.optional()? },
        11 => StorageRecord::StreamsAdopted { from: fields.incarnation()?, to: fields.optional()? },
        12 => StorageRecord::StreamSealed {
            stream: StreamId(fields.u64()?),
            epoch: StreamEpoch(fields.u32()?),
            end: fields.u64()?,
            below: LaneNumber(fields.u64()?),
            to: fields.incarnation()?,
        },
        13 => StorageRecord::StreamTrimmed { stream: StreamId(fields.u64()?), start: fields.u64()? },
        14 => StorageRecord::LossAccepted {
            incarnation: fields.incarnation()?,
            number: LaneNumber(fields.u64()?),
        },
        15 => {
            let (incarnation, from, trim) =
                (fields.incarnation()?, LaneNumber(fields.u64()?), LaneNumber(fields.u64()?));
            let (object, parts) = new_object(fields)?;
            StorageRecord::LaneUploaded { incarnation, from, trim, object, parts }
        }
        16 => {
            let sources = object_ids(fields)?;
            StorageRecord::ObjectsMerged { sources, objects: new_objects(fields)? }
        }
        17 => StorageRecord::ObjectsReleased { incarnation: fields.incarnation()?, below: fields.u64()? },
        18 => StorageRecord::ObjectsDeleted { objects: object_ids(fields)? },
        19 => {
            let (stream, epoch) = (StreamId(fields.u64()?), StreamEpoch(fields.u32()?));
            let (start, end, cleaned) = (fields.u64()?, fields.u64()?, fields.u64()?);
            StorageRecord::StreamRewritten {
                stream,
                epoch,
                start,
                end,
                cleaned,
                objects: new_objects(fields)?,
            }
        }
        20 => StorageRecord::LaneAdopted {
            incarnation: fields.incarnation()?,
            from: LaneNumber(fields.u64()?),
            trim: LaneNumber(fields.u64()?),
            objects: new_objects(fields)?,
        },
        other => return Err(DecodeError::unknown(format!("storage record {other}"))),
    })
}

const OBJECT_ID_BYTES: usize = 12 + 8;
const NEW_OBJECT_BYTES_MIN: usize = OBJECT_ID_BYTES + 1 + 8 + 4;
const PART_BYTES: usize = 8 + 4 + 8 + 8 + 8 + 8 + 1;

pub(super) fn put_object_id(out: &mut BytesMut, object: ObjectId) {
    put_incarnation(out, object.incarnation);
    out.put_u64(object.counter);
}

fn put_objects(out: &mut BytesMut, objects: &[ObjectId]) {
    out.put_u32(objects.len() as u32);
    objects.iter().for_each(|object| put_object_id(out, *object));
}

fn object_ids(fields: &mut Fields) -> Result<Vec<ObjectId>, DecodeError> {
    (0..fields.count(OBJECT_ID_BYTES)?).map(|_| fields.object_id()).collect()
}

fn put_new_object(out: &mut BytesMut, object: &NewObject, parts: &[ObjectPart]) {
    put_object_id(out, object.id);
    out.put_u8(object.store.0);
    out.put_u64(object.len);
    out.put_u32(parts.len() as u32);
    for part in parts {
        out.put_u64(part.stream.0);
        out.put_u32(part.epoch.0);
        out.put_u64(part.start);
        out.put_u64(part.end);
        out.put_u64(part.bytes);
        out.put_i64(part.max_timestamp);
        out.put_u8(u8::from(part.checkpoint));
    }
}

fn put_new_objects(out: &mut BytesMut, objects: &[(NewObject, Vec<ObjectPart>)]) {
    out.put_u32(objects.len() as u32);
    objects.iter().for_each(|(object, parts)| put_new_object(out, object, parts));
}

fn new_objects(fields: &mut Fields) -> Result<Vec<(NewObject, Vec<ObjectPart>)>, DecodeError> {
    (0..fields.count(NEW_OBJECT_BYTES_MIN)?).map(|_| new_object(fields)).collect()
}

fn new_object(fields: &mut Fields) -> Result<(NewObject, Vec<ObjectPart>), DecodeError> {
    let object = NewObject { id: fields.object_id()?, store: StoreId(fields.u8()?), len: fields.u64()? };
    let part = |fields: &mut Fields| {
        Ok(ObjectPart {
            stream: StreamId(fields.u64()?),
            epoch: StreamEpoch(fields.u32()?),
            start: fields.u64()?,
            end: fields.u64()?,
            bytes: fields.u64()?,
            max_timestamp: fields.u64()? as i64,
            checkpoint: fields.bool()?,
        })
    };
    let parts = (0..fields.count(PART_BYTES)?).map(|_| part(fields)).collect::<Result<_, _>>()?;
    Ok((object, parts))
}

pub(super) fn put_incarnation(out: &mut BytesMut, incarnation: Incarnation) {
    out.put_u64(incarnation.seq);
    out.put_u32(incarnation.index);
}

pub(super) fn put_optional(out: &mut BytesMut, incarnation: Option<Incarnation>) {
    out.put_u8(u8::from(incarnation.is_some()));
    if let Some(incarnation) = incarnation {
        put_incarnation(out, incarnation);
    }
}

pub(super) fn put_str(out: &mut BytesMut, text: &str) {
    assert!(text.len() <= URL_BYTES_MAX, "a text of {} bytes was not refused before", text.len());
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}

fn malformed(what: impl Into<String>) -> DecodeError {
    DecodeError::Malformed(what.into())
}

/// Takes fields from the front of what is there, and says so when nothing is.
pub(super) struct Fields(pub Bytes);

impl Fields {
    fn need(&self, bytes: usize) -> Result<(), DecodeError> {
        if self.0.len() < bytes {
            return Err(malformed(format!("{} bytes where a field of {bytes} begins", self.0.len())));
        }
        Ok(())
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.need(2)?;
        Ok(self.0.get_u16())
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.need(4)?;
        Ok(self.0.get_u32())
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.need(8)?;
        Ok(self.0.get_u64())
    }

    pub(super) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(malformed(format!("{other} where 0 or 1 is a choice"))),
        }
    }

    pub(super) fn incarnation(&mut self) -> Result<Incarnation, DecodeError> {
        self.need(12)?;
        Ok(Incarnation { seq: self.0.get_u64(), index: self.0.get_u32() })
    }

    pub(super) fn object_id(&mut self) -> Result<ObjectId, DecodeError> {
        Ok(ObjectId { incarnation: self.incarnation()?, counter: self.u64()? })
    }

    pub(super) fn optional(&mut self) -> Result<Option<Incarnation>, DecodeError> {
        Ok(if self.bool()? { Some(self.incarnation()?) } else { None })
    }

    pub(super) fn string(&mut self, bytes_max: usize) -> Result<String, DecodeError> {
        let length = usize::from(self.u16()?);
        if length > bytes_max {
            return Err(malformed(format!("a text of {length} bytes, at most {bytes_max} are legal")));
        }
        self.need(length)?;
        String::from_utf8(self.0.split_to(length).to_vec()).map_err(|_| malformed("a text that is not UTF-8"))
    }

    /// A count of elements of at least `bytes_each`, no more than what is there can hold.
    pub(super) fn count(&mut self, bytes_each: usize) -> Result<usize, DecodeError> {
        let count = self.u32()? as usize;
        if count > self.0.len() / bytes_each {
            return Err(malformed(format!("{count} elements in {} bytes", self.0.len())));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incarnation(seq: u64, index: u32) -> Incarnation {
        Incarnation { seq, index }
    }

    /// Every record once, with the bytes that the first release wrote. A line that changes is a format that broke.
    fn golden() -> Vec<(StorageRecord, &'static str)> {
        let a = incarnation(0x11, 2);
        let b = incarnation(0x22, 3);
        let (stream, length) = (StreamId(0x33), LaneNumber(0x44));
        let object = ObjectId { incarnation: b, counter: 9 };
        let part = ObjectPart {
            stream,
            epoch: StreamEpoch(6),
            start: 0x70,
            end: 0x77,
            bytes: 0x80,
            max_timestamp: -1,
            checkpoint: true,
        };
        vec![
            (
                StorageRecord::StoreRegistered { store: StoreId(1), url: "s3://b/r".into() },
                "0001 01 0008 73333a2f2f622f72",
            ),
            (
                StorageRecord::LaneRegistered { nonce: Nonce(0x55), store: StoreId(1) },
                "0002 0000000000000055 01",
            ),
            (
                StorageRecord::LaneFenced { incarnation: a, length, seal_nonce: Nonce(0x55), heir: Some(b) },
                "0003 0000000000000011 00000002 0000000000000044 0000000000000055 01 0000000000000022 00000003",
            ),
            (
                StorageRecord::LaneFenced { incarnation: a, length, seal_nonce: Nonce(0x55), heir: None },
                "0003 0000000000000011 00000002 0000000000000044 0000000000000055 00",
            ),
            (
                StorageRecord::LaneLeft { incarnation: a, length, seal_nonce: Nonce(0x55) },
                "0004 0000000000000011 00000002 0000000000000044 0000000000000055",
            ),
            (
                StorageRecord::LaneEnded { incarnation: a, length },
                "0005 0000000000000011 00000002 0000000000000044",
            ),
            (
                StorageRecord::LaneHeirNamed { incarnation: a, heir: None },
                "0006 0000000000000011 00000002 00",
            ),
            (
                StorageRecord::LaneTrimmed { incarnation: a, trim: length },
                "0007 0000000000000011 00000002 0000000000000044",
            ),
            (
                StorageRecord::StreamCreated { stream, owner: a },
                "0008 0000000000000033 0000000000000011 00000002",
            ),
            (StorageRecord::StreamDeleted { stream }, "0009 0000000000000033"),
            (
                StorageRecord::StreamOpened { stream, to: Some(b) },
                "000a 0000000000000033 01 0000000000000022 00000003",
            ),
            (StorageRecord::StreamsAdopted { from: a, to: None }, "000b 0000000000000011 00000002 00"),
            (
                StorageRecord::StreamSealed {
                    stream,
                    epoch: StreamEpoch(6),
                    end: 0x77,
                    below: length,
                    to: b,
                },
                "000c 0000000000000033 00000006 0000000000000077 0000000000000044 0000000000000022 00000003",
            ),
            (StorageRecord::StreamTrimmed { stream, start: 0x77 }, "000d 0000000000000033 0000000000000077"),
            (
                StorageRecord::LossAccepted { incarnation: a, number: length },
                "000e 0000000000000011 00000002 0000000000000044",
            ),
            (
                StorageRecord::LaneUploaded {
                    incarnation: a,
                    from: LaneNumber(0x43),
                    trim: length,
                    object: NewObject { id: object, store: StoreId(1), len: 0x88 },
                    parts: vec![part],
                },
                "000f 0000000000000011 00000002 0000000000000043 0000000000000044 \
                 0000000000000022 00000003 0000000000000009 01 0000000000000088 00000001 \
                 0000000000000033 00000006 0000000000000070 0000000000000077 0000000000000080 ffffffffffffffff 01",
            ),
            (
                StorageRecord::ObjectsMerged {
                    sources: vec![object],
                    objects: vec![(NewObject { id: object, store: StoreId(0), len: 0x88 }, Vec::new())],
                },
                "0010 00000001 0000000000000022 00000003 0000000000000009 \
                 00000001 0000000000000022 00000003 0000000000000009 00 0000000000000088 00000000",
            ),
            (
                StorageRecord::ObjectsReleased { incarnation: a, below: 0x99 },
                "0011 0000000000000011 00000002 0000000000000099",
            ),
            (
                StorageRecord::ObjectsDeleted { objects: vec![object] },
                "0012 00000001 0000000000000022 00000003 0000000000000009",
            ),
            (
                StorageRecord::StreamRewritten {
                    stream,
                    epoch: StreamEpoch(7),
                    start: 0x70,
                    end: 0x77,
                    cleaned: 0x99,
                    objects: vec![(
                        NewObject { id: object, store: StoreId(1), len: 0x88 },
                        vec![ObjectPart { checkpoint: false, ..part }],
                    )],
                },
                "0013 0000000000000033 00000007 0000000000000070 0000000000000077 0000000000000099 \
                 00000001 0000000000000022 00000003 0000000000000009 01 0000000000000088 00000001 \
                 0000000000000033 00000006 0000000000000070 0000000000000077 0000000000000080 ffffffffffffffff 00",
            ),
            (
                StorageRecord::LaneAdopted {
                    incarnation: a,
                    from: length,
                    trim: LaneNumber(0x45),
                    objects: vec![(
                        NewObject { id: ObjectId::adopted(a, length), store: StoreId(1), len: 0x88 },
                        vec![ObjectPart { checkpoint: false, ..part }],
                    )],
                },
                "0014 0000000000000011 00000002 0000000000000044 0000000000000045 00000001 \
                 0000000000000011 00000002 8000000000000044 01 0000000000000088 00000001 \
                 0000000000000033 00000006 0000000000000070 0000000000000077 0000000000000080 ffffffffffffffff 00",
            ),
        ]
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn records_keep_their_bytes() {
        let mut ids = Vec::new();
        for (record, bytes) in golden() {
            let mut out = BytesMut::new();
            record.encode(&mut out);
            assert_eq!(out.to_vec(), hex(bytes), "{record:?}");
            assert_eq!(StorageRecord::decode(out.freeze()).unwrap(), record);
            ids.push(record.id());
        }
        ids.dedup();
        assert_eq!(ids, (1..=20).collect::<Vec<u16>>(), "every record is among the golden ones");
    }

    #[test]
    fn an_unknown_id_and_any_other_length_is_refused() {
        assert!(matches!(StorageRecord::decode(Bytes::from_static(&[0, 99])), Err(DecodeError::Unknown(_))));
        for (record, bytes) in golden() {
            let bytes = Bytes::from(hex(bytes));
            for length in 0..bytes.len() {
                let cut = StorageRecord::decode(bytes.slice(..length));
                assert!(matches!(cut, Err(DecodeError::Malformed(_))), "{record:?} cut to {length}: {cut:?}");
            }
            let longer: Bytes = [&bytes[..], &[0]].concat().into();
            assert!(matches!(StorageRecord::decode(longer), Err(DecodeError::Malformed(_))), "{record:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_refused_or_have_one_encoding(bytes in proptest::collection::vec(0u8..16, 0..64)) {
            let bytes = Bytes::from(bytes);
            if let Ok(record) = StorageRecord::decode(bytes.clone()) {
                let mut out = BytesMut::new();
                record.encode(&mut out);
                assert_eq!(out.freeze(), bytes);
            }
        }
    }
}

//! The catalog's bytes in a snapshot of the image (p). Deterministic: equal catalogs have equal bytes, and no other bytes
//! decode to them, so that snapshots of two processes can be compared (SAFETY F11). Integers are big-endian; version 1:
//!
//! ```text
//! version u16 · next stream u64
//! stores   count u32 · (id u8 · url length u16 · url)                                     ascending by id
//! lanes    count u32 · (incarnation · nonce u64 · store u8 · trim u64 · end kind u8 · [length u64 · [seal nonce u64]]
//!          · heir? · lost count u32 · (number u64))                                       ascending by incarnation
//! streams  count u32 · (id u64 · owner · epoch u32 · start u64 · base u64 · entries u32
//!          · (epoch u32 · incarnation · sealed u8 · [end u64 · below u64]))               ascending by id
//! ```
//!
//! Version 2, written as soon as there is an object of `data/` or a mark of released ones (feature level 3 of the journal):
//! ```text
//! lanes    … · released u64
//! streams  … · checkpoint u8 · [object] · ranges u32
//!          · (start u64 · end u64 · epoch u32 · object · bytes u64 · max timestamp i64)
//! objects  count u32 · (object · store u8 · length u64 · references u32)                  ascending, after the streams
//! object   incarnation · counter u64
//! ```
//!
//! Version 3, written as soon as a stream was rewritten up to some offset (feature level 4):
//! ```text
//! streams  … · cleaned u64
//! ```
//!
//! Golden bytes are in `tests.rs` and `object_tests.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::record::{Fields, URL_BYTES_MAX, put_incarnation, put_object_id, put_optional, put_str};
use super::{Catalog, EpochSeal, LaneEnd, LaneEntry, LaneState, ObjectState, StreamRange, StreamState};
use crate::ids::{Incarnation, LaneId, LaneNumber, Nonce, ObjectId, StoreId, StreamEpoch, StreamId};
use crate::journal::DecodeError;

/// The newest version.
const VERSION: u16 = 3;

const STORE_BYTES_MIN: usize = 3;
const LANE_BYTES_MIN: usize = 12 + 8 + 1 + 8 + 1 + 1 + 4;
const STREAM_BYTES_MIN: usize = 8 + 12 + 4 + 8 + 8 + 4;
const ENTRY_BYTES_MIN: usize = 4 + 12 + 1;
const RANGE_BYTES: usize = 8 + 8 + 4 + 20 + 8 + 8;
const OBJECT_BYTES: usize = 20 + 1 + 8 + 4;

impl Catalog {
    /// Appends the catalog's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        let version = self.encoding();
        out.put_u16(version);
        out.put_u64(self.next_stream.0);
        out.put_u32(self.stores.len() as u32);
        for (store, url) in &self.stores {
            out.put_u8(store.0);
            put_str(out, url);
        }
        out.put_u32(self.lanes.len() as u32);
        for lane in self.lanes.values() {
            encode_lane(lane, version, out);
        }
        out.put_u32(self.streams.len() as u32);
        for (stream, state) in &self.streams {
            out.put_u64(stream.0);
            encode_stream(state, version, out);
        }
        if version >= 2 {
            out.put_u32(self.objects.len() as u32);
            for (object, state) in &self.objects {
                put_object_id(out, *object);
                out.put_u8(state.store.0);
                out.put_u64(state.len);
                out.put_u32(state.references);
            }
        }
    }

    /// The version that has room for all there is: a catalog of an earlier release keeps its bytes.
    fn encoding(&self) -> u16 {
        let marked = || self.lanes.values().any(|lane| lane.released > 0);
        let has_history = || !self.objects.is_empty() || marked();
        match self.streams.values().any(|state| state.cleaned > 0) {
            true => 3,
            false if has_history() => 2,
            false => 1,
        }
    }

    /// Reads what [`Catalog::encode`] wrote.
    ///
    /// # Errors
    /// Any other bytes, and those of a later release.
    pub fn decode(buf: Bytes) -> Result<Catalog, DecodeError> {
        let mut fields = Fields(buf);
        let catalog = decode(&mut fields)?;
        if !fields.0.is_empty() {
            return Err(malformed(format!("{} bytes after the catalog's end", fields.0.len())));
        }
        Ok(catalog)
    }

    /// About how many bytes [`Catalog::encode`] writes. Does not walk the maps.
    pub fn size_hint(&self) -> usize {
        let stream = STREAM_BYTES_MIN + 2 * ENTRY_BYTES_MIN;
        // A range or two per stream, where there are objects at all.
        let ranges = if self.objects.is_empty() { 0 } else { self.streams.len() * 2 * RANGE_BYTES };
        64 + self.lanes.len() * (LANE_BYTES_MIN + 36)
            + self.streams.len() * stream
            + ranges
            + self.objects.len() * OBJECT_BYTES
    }
}

fn encode_lane(lane: &LaneState, version: u16, out: &mut BytesMut) {
    put_incarnation(out, lane.id.incarnation);
    out.put_u64(lane.id.nonce.0);
    out.put_u8(lane.store.0);
    out.put_u64(lane.trim.0);
    let kind = match lane.end {
        LaneEnd::Open => 0,
        LaneEnd::Fenced { .. } => 1,
        LaneEnd::Left { .. } => 2,
        LaneEnd::Ended { .. } => 3,
    };
    out.put_u8(kind);
    if let Some(length) = lane.end.length() {
        out.put_u64(length.0);
    }
    if let Some(nonce) = lane.end.seal_nonce() {
        out.put_u64(nonce.0);
    }
    put_optional(out, lane.heir);
    out.put_u32(lane.lost.len() as u32);
    for number in lane.lost.iter() {
        out.put_u64(number.0);
    }
    if version >= 2 {
        out.put_u64(lane.released);
    }
}

fn encode_stream(state: &StreamState, version: u16, out: &mut BytesMut) {
    put_incarnation(out, state.owner);
    out.put_u32(state.epoch.0);
    out.put_u64(state.start);
    out.put_u64(state.base);
    out.put_u32(state.lanes.len() as u32);
    for entry in state.lanes.iter() {
        out.put_u32(entry.epoch.0);
        put_incarnation(out, entry.incarnation);
        out.put_u8(u8::from(entry.sealed.is_some()));
        if let Some(seal) = entry.sealed {
            out.put_u64(seal.end);
            out.put_u64(seal.below.0);
        }
    }
    if version >= 2 {
        out.put_u8(u8::from(state.checkpoint.is_some()));
        if let Some(checkpoint) = state.checkpoint {
            put_object_id(out, checkpoint);
        }
        out.put_u32(state.ranges.len() as u32);
        for range in state.ranges.iter() {
            out.put_u64(range.start);
            out.put_u64(range.end);
            out.put_u32(range.epoch.0);
            put_object_id(out, range.object);
            out.put_u64(range.bytes);
            out.put_i64(range.max_timestamp);
        }
    }
    if version >= 3 {
        out.put_u64(state.cleaned);
    }
}

fn decode(fields: &mut Fields) -> Result<Catalog, DecodeError> {
    let version = fields.u16()?;
    if !(1..=VERSION).contains(&version) {
        return Err(DecodeError::unknown(format!("catalog version {version}, known up to {VERSION}")));
    }
    let mut catalog = Catalog { next_stream: StreamId(fields.u64()?), ..Catalog::default() };
    for _ in 0..fields.count(STORE_BYTES_MIN)? {
        let store = StoreId(fields.u8()?);
        ascends("store", catalog.stores.get_max().map(|(last, _)| *last), store)?;
        catalog.stores.insert(store, fields.string(URL_BYTES_MAX)?.into());
    }
    for _ in 0..fields.count(LANE_BYTES_MIN)? {
        let lane = decode_lane(fields, version)?;
        let incarnation = lane.id.incarnation;
        ascends("lane", catalog.lanes.get_max().map(|(last, _)| *last), incarnation)?;
        catalog.lanes.insert(incarnation, lane);
    }
    for _ in 0..fields.count(STREAM_BYTES_MIN)? {
        let stream = StreamId(fields.u64()?);
        ascends("stream", catalog.streams.get_max().map(|(last, _)| *last), stream)?;
        let state = decode_stream(fields, version)?;
        let known = |incarnation: Incarnation| catalog.lanes.contains_key(&incarnation);
        if stream >= catalog.next_stream
            || !known(state.owner)
            || !state.lanes.iter().all(|e| known(e.incarnation))
        {
            return Err(malformed(format!("stream {stream} names what does not exist")));
        }
        catalog.streams.insert(stream, state);
    }
    if version >= 2 {
        for _ in 0..fields.count(OBJECT_BYTES)? {
            let object = fields.object_id()?;
            ascends("object", catalog.objects.get_max().map(|(last, _)| *last), object)?;
            let state =
                ObjectState { store: StoreId(fields.u8()?), len: fields.u64()?, references: fields.u32()? };
            catalog.objects.insert(object, state);
        }
    }
    check_references(&catalog)?;
    // One encoding for one catalog.
    if catalog.encoding() != version {
        return Err(malformed(format!("a catalog of version {version} that needs {}", catalog.encoding())));
    }
    Ok(catalog)
}

fn decode_lane(fields: &mut Fields, version: u16) -> Result<LaneState, DecodeError> {
    let id = LaneId { incarnation: fields.incarnation()?, nonce: Nonce(fields.u64()?) };
    let store = StoreId(fields.u8()?);
    let trim = LaneNumber(fields.u64()?);
    let end = match fields.u8()? {
        0 => LaneEnd::Open,
        1 => LaneEnd::Fenced { length: LaneNumber(fields.u64()?), seal_nonce: Nonce(fields.u64()?) },
        2 => LaneEnd::Left { length: LaneNumber(fields.u64()?), seal_nonce: Nonce(fields.u64()?) },
        3 => LaneEnd::Ended { length: LaneNumber(fields.u64()?) },
        other => return Err(malformed(format!("lane end of kind {other}"))),
    };
    let heir = fields.optional()?;
    let count = fields.count(8)?;
    let mut lost = Vec::with_capacity(count);
    for _ in 0..count {
        let number = LaneNumber(fields.u64()?);
        ascends("lost object", lost.last().copied(), number)?;
        lost.push(number);
    }
    let released = if version >= 2 { fields.u64()? } else { 0 };
    Ok(LaneState { id, store, trim, end, heir, lost: lost.into(), released })
}

fn decode_stream(fields: &mut Fields, version: u16) -> Result<StreamState, DecodeError> {
    let owner = fields.incarnation()?;
    let epoch = StreamEpoch(fields.u32()?);
    let (start, base) = (fields.u64()?, fields.u64()?);
    let count = fields.count(ENTRY_BYTES_MIN)?;
    let mut lanes: Vec<LaneEntry> = Vec::with_capacity(count);
    for _ in 0..count {
        let (epoch, incarnation) = (StreamEpoch(fields.u32()?), fields.incarnation()?);
        let sealed = match fields.bool()? {
            true => Some(EpochSeal { end: fields.u64()?, below: LaneNumber(fields.u64()?) }),
            false => None,
        };
        ascends("epoch", lanes.last().map(|entry| entry.epoch), epoch)?;
        lanes.push(LaneEntry { epoch, incarnation, sealed });
    }
    let mut state = StreamState {
        owner,
        epoch,
        start,
        base,
        lanes: Arc::from(lanes),
        ranges: Arc::from([]),
        checkpoint: None,
        cleaned: 0,
    };
    if version >= 2 {
        state.checkpoint = if fields.bool()? { Some(fields.object_id()?) } else { None };
        state.ranges = decode_ranges(fields)?.into();
    }
    if version >= 3 {
        state.cleaned = fields.u64()?;
    }
    Ok(state)
}

fn decode_ranges(fields: &mut Fields) -> Result<Vec<StreamRange>, DecodeError> {
    let count = fields.count(RANGE_BYTES)?;
    let mut ranges: Vec<StreamRange> = Vec::with_capacity(count);
    for _ in 0..count {
        let range = StreamRange {
            start: fields.u64()?,
            end: fields.u64()?,
            epoch: StreamEpoch(fields.u32()?),
            object: fields.object_id()?,
            bytes: fields.u64()?,
            max_timestamp: fields.u64()? as i64,
        };
        let after = ranges.last().map_or(0, |last| last.end);
        if range.start < after || range.end <= range.start {
            return Err(malformed(format!("a range {}..{} after {after}", range.start, range.end)));
        }
        ranges.push(range);
    }
    Ok(ranges)
}

/// Every reference names an object, and every object counts its own.
fn check_references(catalog: &Catalog) -> Result<(), DecodeError> {
    let mut references: BTreeMap<ObjectId, u32> = BTreeMap::new();
    for state in catalog.streams.values() {
        for object in state.ranges.iter().map(|range| range.object).chain(state.checkpoint) {
            *references.entry(object).or_default() += 1;
        }
    }
    for (object, state) in &catalog.objects {
        if references.remove(object).unwrap_or(0) != state.references {
            return Err(malformed(format!("object {object} counts {} references", state.references)));
        }
    }
    match references.keys().next() {
        Some(object) => Err(malformed(format!("object {object} is referenced and not there"))),
        None => Ok(()),
    }
}

fn ascends<T: Ord + Copy + std::fmt::Debug>(what: &str, last: Option<T>, next: T) -> Result<(), DecodeError> {
    match last {
        Some(last) if last >= next => Err(malformed(format!("{what} {next:?} after {last:?}"))),
        _ => Ok(()),
    }
}

fn malformed(what: String) -> DecodeError {
    DecodeError::Malformed(what)
}

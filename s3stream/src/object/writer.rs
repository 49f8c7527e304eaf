//! Makes objects: copies parts into chunks, one block after the other, each contiguous in memory, then index and footer.
//!
//! The chunks of the result are at once the PUT payload, the tail cache and the source of uploads (PRACTICE P4). Nothing
//! is decided here but where a block must end: before it passes [`MAX_BLOCK_BYTES`], and at the end of a chunk.

use std::sync::Arc;

use bytes::Bytes;

use super::format::{
    self, ATTACHMENT_HEAD_LEN, BlockKind, HEADER_LEN, IndexEntry, MAX_BLOCK_BYTES, ObjectHeader,
};
use crate::ids::{StreamEpoch, StreamId};
use crate::store::PutPayload;
use crate::wal::chunk::{ChunkPool, ChunkWriter};

/// An object in memory, whole and immutable.
#[derive(Debug)]
pub struct Object {
    /// Who wrote it and which one it is.
    pub header: ObjectHeader,
    /// Its blocks, as the index has them.
    pub index: Vec<IndexEntry>,
    /// Its bytes, in order. No block straddles two of them.
    pub payload: Vec<Bytes>,
    /// Position of each of `payload` in the object.
    starts: Vec<u64>,
    len: u64,
    capacity: usize,
}

impl Object {
    /// Bytes of the object.
    #[allow(clippy::len_without_is_empty, reason = "an object always has a header")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of memory that it holds, unused ends of chunks included.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Its bytes as a PUT body, by reference.
    pub fn put_payload(&self) -> PutPayload {
        self.payload.iter().cloned().collect()
    }

    /// The bytes at `position`, if they lie in one chunk: a block always does.
    pub fn slice(&self, position: u64, length: u32) -> Option<Bytes> {
        let chunk = self.starts.partition_point(|&start| start <= position).checked_sub(1)?;
        let at = (position - self.starts[chunk]) as usize;
        let end = at.checked_add(length as usize)?;
        let chunk = &self.payload[chunk];
        (end <= chunk.len()).then(|| chunk.slice(at..end))
    }

    /// Blocks of one kind, in order.
    pub fn blocks(&self, kind: BlockKind) -> impl Iterator<Item = &IndexEntry> {
        self.index.iter().filter(move |e| e.kind == kind)
    }
}

/// Builds one object. Order of calls: data (by stream, epoch, offset), then attachments, then other blocks, `finish`.
#[derive(Debug)]
pub struct ObjectBuilder {
    header: ObjectHeader,
    pool: Arc<ChunkPool>,
    /// What is still to come by the caller's estimate: a piece that needs less than a chunk gets no more than that.
    expected: usize,
    index: Vec<IndexEntry>,
    payload: Vec<Bytes>,
    starts: Vec<u64>,
    capacity: usize,
    /// Bytes in `payload`.
    written: u64,
    chunk: Option<ChunkWriter>,
    /// The open block; its length and CRC are known when it is closed. It lies at the end of `chunk`.
    open: Option<IndexEntry>,
    /// Of what the open block has so far.
    crc: crc32fast::Hasher,
}

/// So many bytes are copied and checked at a time, while they are in the first level of the processor's cache.
const STEP_BYTES: usize = 16 << 10;

impl ObjectBuilder {
    /// Begins an object of about `body_len` bytes of blocks, in about `blocks` blocks: estimates that cost a little
    /// memory when they are wrong, and nothing else.
    pub fn new(header: ObjectHeader, pool: Arc<ChunkPool>, body_len: usize, blocks: usize) -> ObjectBuilder {
        let expected = HEADER_LEN + body_len + format::index_and_footer_len(blocks);
        let mut builder = ObjectBuilder {
            header,
            pool,
            expected,
            index: Vec::with_capacity(blocks),
            payload: Vec::with_capacity(expected / ChunkPool::CHUNK_BYTES + 1),
            starts: Vec::with_capacity(expected / ChunkPool::CHUNK_BYTES + 1),
            capacity: 0,
            written: 0,
            chunk: None,
            open: None,
            crc: crc32fast::Hasher::new(),
        };
        let mut encoded = Vec::with_capacity(HEADER_LEN);
        format::encode_header(&header, &mut encoded);
        builder.room(HEADER_LEN).extend(&encoded);
        builder
    }

    /// Appends `parts` as records [base, end) of a stream: to the open block if that is theirs, ends at `base` and has
    /// room, else to a new one.
    ///
    /// # Panics
    /// If the appends of one stream and epoch do not follow each other without a hole (I3), or hold no bytes.
    pub fn append(
        &mut self,
        stream: StreamId,
        epoch: StreamEpoch,
        base: u64,
        end: u64,
        max_timestamp: i64,
        parts: &[&[u8]],
    ) {
        assert!(base < end, "append of stream {stream} covers no offset: {base}..{end}");
        let length = length_of(parts);
        if let Some(last) = self.open.as_ref().or(self.index.last())
            && (last.kind, last.stream, last.epoch) == (BlockKind::Data, stream, epoch)
        {
            assert!(last.end == base, "stream {stream} has a hole or overlap: {} then {base}", last.end);
        }
        let joins = self.open.as_ref().is_some_and(|open| {
            (open.kind, open.stream, open.epoch) == (BlockKind::Data, stream, epoch)
                && open.length as usize + length <= MAX_BLOCK_BYTES
        }) && self.chunk.as_ref().is_some_and(|chunk| length <= chunk.room());
        if joins {
            self.extend(end, max_timestamp, length, parts);
        } else {
            self.block(BlockKind::Data, stream, epoch, base, end, max_timestamp, length, parts);
        }
    }

    /// Appends an attachment of the offset `offset`. Those of a stream and epoch come in offset order.
    pub fn attach(&mut self, stream: StreamId, epoch: StreamEpoch, offset: u64, bytes: &[u8]) {
        let (offset_bytes, length_bytes) = (offset.to_be_bytes(), (bytes.len() as u32).to_be_bytes());
        let parts: [&[u8]; 3] = [&offset_bytes, &length_bytes, bytes];
        let length = ATTACHMENT_HEAD_LEN + bytes.len();
        let joins = self.open.as_ref().is_some_and(|open| {
            (open.kind, open.stream, open.epoch) == (BlockKind::Attachment, stream, epoch)
                && open.length as usize + length <= MAX_BLOCK_BYTES
                && open.end <= offset + 1
        }) && self.chunk.as_ref().is_some_and(|chunk| length <= chunk.room());
        if joins {
            self.extend(offset + 1, format::NO_TIMESTAMP, length, &parts);
        } else {
            let none = format::NO_TIMESTAMP;
            self.block(BlockKind::Attachment, stream, epoch, offset, offset + 1, none, length, &parts);
        }
    }

    /// Appends opaque bytes as a block of their own: a checkpoint, valid at `at`, or a note.
    pub fn opaque(&mut self, kind: BlockKind, stream: StreamId, epoch: StreamEpoch, at: u64, bytes: &[u8]) {
        assert!(!matches!(kind, BlockKind::Data | BlockKind::Attachment), "{kind:?} blocks are not opaque");
        self.block(kind, stream, epoch, at, at, format::NO_TIMESTAMP, bytes.len(), &[bytes]);
    }

    /// Closes the object.
    pub fn finish(mut self) -> Object {
        self.close_block();
        let length = format::index_and_footer_len(self.index.len());
        let (header, index) = (self.header, std::mem::take(&mut self.index));
        let mut encoded = Vec::with_capacity(length);
        format::encode_index_and_footer(&header, &index, &mut encoded);
        self.room(length).extend(&encoded);
        self.close_chunk();
        Object {
            header,
            index,
            payload: self.payload,
            starts: self.starts,
            len: self.written,
            capacity: self.capacity,
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one index entry, field by field")]
    fn block(
        &mut self,
        kind: BlockKind,
        stream: StreamId,
        epoch: StreamEpoch,
        base: u64,
        end: u64,
        max_timestamp: i64,
        length: usize,
        parts: &[&[u8]],
    ) {
        assert!(length > 0, "an empty block of stream {stream} at {base}");
        let length = u32::try_from(length).expect("an append is bounded by a request, far below 4 GiB");
        self.close_block();
        let at = self.room(length as usize).written().len();
        self.copy(parts);
        let position = self.written + at as u64;
        self.open =
            Some(IndexEntry { kind, stream, epoch, base, end, position, length, max_timestamp, crc: 0 });
    }

    /// Extends the open block by `parts`, for which its chunk has room.
    fn extend(&mut self, end: u64, max_timestamp: i64, length: usize, parts: &[&[u8]]) {
        self.copy(parts);
        self.expected = self.expected.saturating_sub(length);
        let open = self.open.as_mut().expect("the caller looked");
        open.end = end;
        open.length += length as u32;
        open.max_timestamp = open.max_timestamp.max(max_timestamp);
    }

    /// Copies what belongs to the open block into the open chunk, which has room for it.
    fn copy(&mut self, parts: &[&[u8]]) {
        let chunk = self.chunk.as_mut().expect("an open block lies in the open chunk");
        for step in parts.iter().flat_map(|part| part.chunks(STEP_BYTES)) {
            chunk.extend(step);
            self.crc.update(step);
        }
    }

    fn close_block(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        open.crc = std::mem::take(&mut self.crc).finalize();
        let chunk = self.chunk.as_ref().expect("an open block lies in the open chunk").written();
        debug_assert_eq!(self.written + chunk.len() as u64, open.position + u64::from(open.length));
        self.index.push(open);
    }

    /// The chunk to write `length` contiguous bytes into, which count as written.
    fn room(&mut self, length: usize) -> &mut ChunkWriter {
        if self.chunk.as_ref().is_none_or(|chunk| chunk.room() < length) {
            self.close_chunk();
            let expected = self.expected.clamp(length, length.max(ChunkPool::CHUNK_BYTES));
            let chunk = self.pool.take(expected, length, self.written);
            self.chunk = Some(chunk);
        }
        self.expected = self.expected.saturating_sub(length);
        self.chunk.as_mut().expect("just made")
    }

    fn close_chunk(&mut self) {
        debug_assert!(self.open.is_none(), "a block never straddles two chunks");
        let Some(chunk) = self.chunk.take() else { return };
        self.capacity += chunk.cost();
        let bytes = chunk.freeze();
        self.starts.push(self.written);
        self.written += bytes.len() as u64;
        self.payload.push(bytes);
    }
}

fn length_of(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

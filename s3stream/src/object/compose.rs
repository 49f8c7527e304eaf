//! Makes objects out of blocks that are in memory already, without touching their bytes: large ones go into the object by
//! reference, and neighbours of one stream become one block whose CRC is combined from theirs. So an upload costs the
//! store's part and little more (PRACTICE E1, P4).
//!
//! Small blocks are copied side by side, since a PUT body of many slices costs more than the copy. What they are copied to is
//! memory as lanes have it ([`crate::wal::chunk`]): a megabyte of them, touched once, costs few page faults.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::format::{self, BlockKind, HEADER_LEN, IndexEntry, MAX_BLOCK_BYTES, NO_TIMESTAMP, ObjectHeader};
use crate::ids::{StreamEpoch, StreamId};
use crate::store::PutPayload;
use crate::wal::chunk::{ChunkPool, ChunkWriter};

/// Blocks below this are copied.
const COPIED_BELOW: usize = 16 << 10;
/// The copies of small blocks lie in pieces: the first of this size, each next one as long as the object so far, up to a chunk.
const FIRST_PIECE_BYTES: usize = 64 << 10;

/// An object that was composed: its bytes by reference, and its index.
#[derive(Debug)]
pub struct Composed {
    /// Its blocks, as the index has them.
    pub index: Vec<IndexEntry>,
    /// Its bytes, in order.
    pub payload: Vec<Bytes>,
    /// How many.
    pub len: u64,
}

impl Composed {
    /// Its bytes as a PUT body, by reference.
    pub fn put_payload(&self) -> PutPayload {
        self.payload.iter().cloned().collect()
    }
}

/// Composes one object. Data first, by (stream, epoch, base), then checkpoints by stream.
#[derive(Debug)]
pub struct Composer {
    header: ObjectHeader,
    index: Vec<IndexEntry>,
    parts: Vec<Part>,
    /// Copies of small blocks. The last has room.
    pieces: Vec<ChunkWriter>,
    /// Keeps nothing: the next object comes in seconds or minutes.
    pool: Arc<ChunkPool>,
    len: u64,
    /// The last block, its CRC so far.
    open: Option<(IndexEntry, crc32fast::Hasher)>,
}

/// Bytes of the object, in their order.
#[derive(Debug)]
enum Part {
    /// As they were given.
    Given(Bytes),
    /// A range of a piece.
    Copied(usize, Range<usize>),
}

impl Composer {
    /// An object with nothing in it.
    pub fn new(header: ObjectHeader) -> Composer {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        format::encode_header(&header, &mut bytes);
        let mut composer = Composer {
            header,
            index: Vec::new(),
            parts: Vec::new(),
            pieces: Vec::new(),
            pool: ChunkPool::new(0),
            len: 0,
            open: None,
        };
        composer.copy(&bytes);
        composer
    }

    /// Bytes so far, without index and footer.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// No block yet?
    pub fn is_empty(&self) -> bool {
        self.index.is_empty() && self.open.is_none()
    }

    /// Appends a block of data: `bytes` are what `entry` tells of, checked by the caller. Joins the block before it where
    /// that is of the same stream and epoch, ends where this begins, and has room.
    ///
    /// # Panics
    /// If blocks are not in order, or overlap (I3).
    pub fn data(&mut self, entry: &IndexEntry, bytes: Bytes) {
        debug_assert_eq!(entry.length as usize, bytes.len());
        assert!(entry.kind == BlockKind::Data, "{:?} is composed by itself", entry.kind);
        if let Some((last, _)) = &self.open {
            let before = (last.stream, last.epoch, last.end) <= (entry.stream, entry.epoch, entry.base);
            assert!(
                before,
                "stream {} at {} after {} at {}",
                entry.stream, entry.base, last.stream, last.end
            );
        }
        let joins = self.open.as_ref().is_some_and(|(last, _)| {
            (last.kind, last.stream, last.epoch, last.end)
                == (BlockKind::Data, entry.stream, entry.epoch, entry.base)
                && last.length as usize + bytes.len() <= MAX_BLOCK_BYTES
        });
        let crc = crc32fast::Hasher::new_with_initial_len(entry.crc, u64::from(entry.length));
        match &mut self.open {
            Some((last, hasher)) if joins => {
                last.end = entry.end;
                last.length += entry.length;
                last.max_timestamp = last.max_timestamp.max(entry.max_timestamp);
                hasher.combine(&crc);
            }
            _ => {
                self.close();
                self.open = Some((IndexEntry { position: self.len, ..*entry }, crc));
            }
        }
        self.put(bytes);
    }

    /// Appends a checkpoint of a stream, valid at `at`.
    pub fn checkpoint(&mut self, stream: StreamId, epoch: StreamEpoch, at: u64, bytes: Bytes) {
        assert!(!bytes.is_empty(), "an empty checkpoint of stream {stream}");
        self.close();
        self.index.push(IndexEntry {
            kind: BlockKind::Checkpoint,
            stream,
            epoch,
            base: at,
            end: at,
            position: self.len,
            length: u32::try_from(bytes.len()).expect("a checkpoint is far below 4 GiB"),
            max_timestamp: NO_TIMESTAMP,
            crc: crc32fast::hash(&bytes),
        });
        self.put(bytes);
    }

    /// Closes the object.
    pub fn finish(mut self) -> Composed {
        self.close();
        let mut end = Vec::with_capacity(format::index_and_footer_len(self.index.len()));
        format::encode_index_and_footer(&self.header, &self.index, &mut end);
        self.len += end.len() as u64;
        let pieces: Vec<Bytes> = self.pieces.into_iter().map(ChunkWriter::freeze).collect();
        let parts = self.parts.into_iter().map(|part| match part {
            Part::Given(bytes) => bytes,
            Part::Copied(piece, range) => pieces[piece].slice(range),
        });
        Composed { index: self.index, payload: parts.chain([end.into()]).collect(), len: self.len }
    }

    fn close(&mut self) {
        if let Some((entry, hasher)) = self.open.take() {
            self.index.push(IndexEntry { crc: hasher.finalize(), ..entry });
        }
    }

    fn put(&mut self, bytes: Bytes) {
        if bytes.len() < COPIED_BELOW {
            self.copy(&bytes);
        } else {
            self.len += bytes.len() as u64;
            self.parts.push(Part::Given(bytes));
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        if self.pieces.last().is_none_or(|piece| piece.room() < bytes.len()) {
            let length = (self.len as usize).next_power_of_two();
            let length = length.clamp(FIRST_PIECE_BYTES, ChunkPool::CHUNK_BYTES);
            self.pieces.push(self.pool.take(length, bytes.len(), self.len));
        }
        let at = self.pieces.len() - 1;
        let piece = &mut self.pieces[at];
        let start = piece.written().len();
        piece.extend(bytes);
        let range = start..piece.written().len();
        self.len += bytes.len() as u64;
        match self.parts.last_mut() {
            Some(Part::Copied(same, before)) if *same == at && before.end == start => before.end = range.end,
            _ => self.parts.push(Part::Copied(at, range)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Incarnation, LaneId, Nonce};
    use crate::object::{ObjectKind, parse_whole};

    fn entry(stream: u64, epoch: u32, base: u64, end: u64, bytes: &[u8]) -> IndexEntry {
        IndexEntry {
            kind: BlockKind::Data,
            stream: StreamId(stream),
            epoch: StreamEpoch(epoch),
            base,
            end,
            position: 7,
            length: bytes.len() as u32,
            max_timestamp: base as i64,
            crc: crc32fast::hash(bytes),
        }
    }

    fn composer() -> Composer {
        let owner = LaneId { incarnation: Incarnation { seq: 3, index: 1 }, nonce: Nonce(9) };
        Composer::new(ObjectHeader::new(ObjectKind::Merged, owner, 5, Nonce(6)))
    }

    fn body(composed: &Composed) -> Bytes {
        composed.payload.iter().flat_map(|part| part.iter().copied()).collect::<Vec<u8>>().into()
    }

    #[test]
    fn what_is_composed_is_an_object_of_the_one_format() {
        let large = Bytes::from(vec![1; 300 << 10]);
        let blocks: Vec<(IndexEntry, Bytes)> = [
            (1, 0, 0, 5, Bytes::from_static(b"one")),
            (1, 0, 5, 9, Bytes::from_static(b"two")),
            (1, 0, 10, 12, Bytes::from_static(b"after a hole")),
            (1, 1, 12, 13, Bytes::from_static(b"another epoch")),
            (2, 0, 0, 4, large.clone()),
            (2, 0, 4, 8, large.clone()),
            (2, 0, 8, 9, Bytes::from_static(b"joins the second")),
        ]
        .into_iter()
        .map(|(stream, epoch, base, end, bytes)| (entry(stream, epoch, base, end, &bytes), bytes))
        .collect();
        let mut composer = composer();
        assert!(composer.is_empty());
        blocks.iter().for_each(|(entry, bytes)| composer.data(entry, bytes.clone()));
        composer.checkpoint(StreamId(2), StreamEpoch(0), 9, Bytes::from_static(b"state"));
        let composed = composer.finish();
        assert!(
            composed.payload.iter().any(|part| part.as_ptr() == large.as_ptr()),
            "large blocks are not copied"
        );
        let bytes = body(&composed);
        assert_eq!(bytes.len() as u64, composed.len);
        let whole = parse_whole(bytes).unwrap();
        whole.verify_all().unwrap();
        assert_eq!(whole.footer.entries, composed.index);
        let seen: Vec<(u64, u32, u64, u64, usize)> = composed
            .index
            .iter()
            .map(|e| (e.stream.0, e.epoch.0, e.base, e.end, whole.block(e).unwrap().len()))
            .collect();
        assert_eq!(
            seen,
            [
                (1, 0, 0, 9, 6),
                (1, 0, 10, 12, 12),
                (1, 1, 12, 13, 13),
                (2, 0, 0, 4, 300 << 10),
                (2, 0, 4, 9, (300 << 10) + 16),
                (2, 0, 9, 9, 5),
            ]
        );
        assert_eq!(composed.index[0].max_timestamp, 5);
        assert_eq!(composed.index.last().unwrap().kind, BlockKind::Checkpoint);
    }

    /// Small ones between large ones fill their pieces all the same.
    #[test]
    fn copies_lie_side_by_side_whatever_is_between_them() {
        let mut composer = composer();
        let (mut wanted, mut base) = (Vec::new(), 0);
        for n in 0..1_000_u64 {
            let length = if n % 7 == 0 { COPIED_BELOW } else { 5_000 + n as usize };
            let bytes = Bytes::from(vec![n as u8; length]);
            composer.data(&entry(1, 0, base, base + 1, &bytes), bytes.clone());
            wanted.extend_from_slice(&bytes);
            base += 1;
        }
        let capacity: usize = composer.pieces.iter().map(ChunkWriter::cost).sum();
        assert!(capacity < wanted.len() + 2 * ChunkPool::CHUNK_BYTES, "{capacity} for {}", wanted.len());
        let pieces = composer.pieces.len();
        assert!(pieces < 10, "{pieces} pieces");
        let whole = parse_whole(body(&composer.finish())).unwrap();
        whole.verify_all().unwrap();
        let blocks = whole.footer.entries.iter();
        let stored: Vec<u8> = blocks.flat_map(|entry| whole.block(entry).unwrap().to_vec()).collect();
        assert_eq!(stored, wanted);
    }

    #[test]
    #[should_panic(expected = "stream 1 at 0 after 1 at 5")]
    fn blocks_come_in_order() {
        let mut composer = composer();
        composer.data(&entry(1, 0, 0, 5, b"a"), Bytes::from_static(b"a"));
        composer.data(&entry(1, 0, 0, 5, b"a"), Bytes::from_static(b"a"));
    }
}

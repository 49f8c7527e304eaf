//! The bytes of an object, version 1. Kept readable for ever (DESIGN I7): a change is a new version beside this one.
//!
//! ```text
//! header · data blocks by (stream, epoch, base) · other blocks · index · footer          integers are big-endian
//!
//! header  52  magic "AQUIFERO" · version u16 · object kind u8 · 0 u8 · owner (seq u64 · index u32 · nonce u64)
//!             · number u64 · nonce u64 · crc u32 of all before
//! entry   53  block kind u8 · stream u64 · stream epoch u32 · base u64 · end u64 · position u64 · length u32
//!             · max timestamp i64 · crc u32 of the block
//! footer  76  magic "AQUIFERE" · the header from its version to its nonce · object length u64 · index position u64
//!             · entries u32 · crc u32 of the index · crc u32 of all before
//! ```
//! Blocks lie without gaps between header and index, in the order of their entries. The footer repeats the header, so
//! that the end of an object alone tells whose it is and what is in it: recovery and the sealer read nothing else.
//! Attachments come after all data, next to the index: one GET of the last 64 KiB usually brings both.
//!
//! An attachment block is a sequence of (offset u64 · length u32 · bytes), offsets ascending (equal ones allowed).
//! The range of its entry covers these offsets, so that a clip by range may skip it unread.

use bytes::{Buf, BufMut, Bytes};

use crate::ids::{Incarnation, LaneId, Nonce, StreamEpoch, StreamId};

/// Newest version that this release writes, and the only one so far.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_LEN: usize = 52;
/// Bytes of one index entry.
pub const ENTRY_LEN: usize = 53;
/// Bytes of the footer.
pub const FOOTER_LEN: usize = 76;
/// A block is closed before it would pass this; only a single larger append makes a larger block (DESIGN §5).
pub const MAX_BLOCK_BYTES: usize = 512 << 10;
/// The max timestamp of what has none: other kinds than data, and records without timestamp (as in Kafka).
pub const NO_TIMESTAMP: i64 = -1;
/// Bytes of an attachment before its payload.
pub const ATTACHMENT_HEAD_LEN: usize = 12;

const HEADER_MAGIC: &[u8; 8] = b"AQUIFERO";
const FOOTER_MAGIC: &[u8; 8] = b"AQUIFERE";

/// What an object is. Persisted; never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ObjectKind {
    /// A numbered object of a lane, by its owner.
    Wal = 1,
    /// The end of a lane, by whoever ended it: no data blocks; a note block may say who.
    Seal = 2,
    /// Rewritten, of many streams.
    Merged = 3,
    /// Rewritten, of one stream.
    Stream = 4,
}

impl ObjectKind {
    fn from_u8(value: u8) -> Result<ObjectKind, FormatError> {
        match value {
            1 => Ok(ObjectKind::Wal),
            2 => Ok(ObjectKind::Seal),
            3 => Ok(ObjectKind::Merged),
            4 => Ok(ObjectKind::Stream),
            other => Err(FormatError::UnknownObjectKind(other)),
        }
    }
}

/// What a block holds. Persisted; never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BlockKind {
    /// Appends of one stream and epoch, in offset order.
    Data = 1,
    /// Attachments of one stream and epoch: see the file header.
    Attachment = 2,
    /// An opaque checkpoint of a stream, valid at the entry's end.
    Checkpoint = 3,
    /// Reserved for zone routing: a reference to data elsewhere.
    Pointer = 4,
    /// Opaque bytes about the object itself, of no stream: who put a seal.
    Note = 5,
}

impl BlockKind {
    fn from_u8(value: u8) -> Result<BlockKind, FormatError> {
        match value {
            1 => Ok(BlockKind::Data),
            2 => Ok(BlockKind::Attachment),
            3 => Ok(BlockKind::Checkpoint),
            4 => Ok(BlockKind::Pointer),
            5 => Ok(BlockKind::Note),
            other => Err(FormatError::UnknownBlockKind(other)),
        }
    }
}

/// Who wrote an object, and which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectHeader {
    /// Format version: [`VERSION`] for what we write.
    pub version: u16,
    /// What it is.
    pub object_kind: ObjectKind,
    /// The lane it belongs to (of a seal: the sealed lane), or whose incarnation wrote it.
    pub owner: LaneId,
    /// Its number in the lane, or the counter in its id.
    pub number: u64,
    /// Random; tells two objects apart that were made for one key (SAFETY F18: with the whole body).
    pub nonce: Nonce,
}

/// One block, as the index tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IndexEntry {
    /// What the block holds.
    pub kind: BlockKind,
    /// Whose it is (0 for notes).
    pub stream: StreamId,
    /// The epoch under which it was appended: for the clip rule (SAFETY F4).
    pub epoch: StreamEpoch,
    /// First offset.
    pub base: u64,
    /// Offset after the last; of data and attachments always above `base`.
    pub end: u64,
    /// First byte in the object.
    pub position: u64,
    /// Bytes, at least 1.
    pub length: u32,
    /// Largest record timestamp in ms, [`NO_TIMESTAMP`] if there is none.
    pub max_timestamp: i64,
    /// CRC-32 (IEEE) of the block.
    pub crc: u32,
}

/// What the end of an object tells: everything but the blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Who wrote it and which one it is.
    pub header: ObjectHeader,
    /// Bytes of the whole object.
    pub object_len: u64,
    /// First byte of the index, which is the end of the last block.
    pub index_position: u64,
    /// The blocks, in the order in which they lie.
    pub entries: Vec<IndexEntry>,
}

/// An attachment read back: opaque bytes that belong to an offset of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentEntry {
    /// The offset it belongs to.
    pub offset: u64,
    /// As it was appended.
    pub bytes: Bytes,
}

/// Why bytes are not an object. Never a panic (I11).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Fewer bytes than the part needs.
    #[error("object is too short: {have} bytes where {need} are needed")]
    TooShort {
        /// Bytes there.
        have: u64,
        /// Bytes needed.
        need: u64,
    },
    /// Not an object of ours.
    #[error("no {0} magic: not an Aquifer object, or cut off")]
    Magic(&'static str),
    /// A later release wrote it.
    #[error("object format version {0}: this release reads up to {VERSION}; upgrade")]
    UnknownVersion(u16),
    /// A later release wrote it.
    #[error("unknown object kind {0}; upgrade")]
    UnknownObjectKind(u8),
    /// A later release wrote it.
    #[error("unknown block kind {0}; upgrade")]
    UnknownBlockKind(u8),
    /// Bytes were changed.
    #[error("CRC of the {part} is {actual:08x}, stored {stored:08x}")]
    Crc {
        /// Which part.
        part: &'static str,
        /// What was stored with it.
        stored: u32,
        /// What its bytes give.
        actual: u32,
    },
    /// Numbers that contradict each other or the object's length.
    #[error("object contradicts itself: {0}")]
    Inconsistent(&'static str),
}

impl ObjectHeader {
    /// A header of the newest version.
    pub fn new(object_kind: ObjectKind, owner: LaneId, number: u64, nonce: Nonce) -> ObjectHeader {
        ObjectHeader { version: VERSION, object_kind, owner, number, nonce }
    }

    fn encode_fields(&self, out: &mut Vec<u8>) {
        out.put_u16(self.version);
        out.put_u8(self.object_kind as u8);
        out.put_u8(0);
        out.put_u64(self.owner.incarnation.seq);
        out.put_u32(self.owner.incarnation.index);
        out.put_u64(self.owner.nonce.0);
        out.put_u64(self.number);
        out.put_u64(self.nonce.0);
    }

    fn decode_fields(buf: &mut &[u8]) -> Result<ObjectHeader, FormatError> {
        let version = buf.get_u16();
        if version != VERSION {
            return Err(FormatError::UnknownVersion(version));
        }
        let object_kind = ObjectKind::from_u8(buf.get_u8())?;
        if buf.get_u8() != 0 {
            return Err(FormatError::Inconsistent("reserved byte is set"));
        }
        let incarnation = Incarnation { seq: buf.get_u64(), index: buf.get_u32() };
        let owner = LaneId { incarnation, nonce: Nonce(buf.get_u64()) };
        Ok(ObjectHeader { version, object_kind, owner, number: buf.get_u64(), nonce: Nonce(buf.get_u64()) })
    }
}

/// Writes the header: [`HEADER_LEN`] bytes.
pub fn encode_header(header: &ObjectHeader, out: &mut Vec<u8>) {
    let start = out.len();
    out.put_slice(HEADER_MAGIC);
    header.encode_fields(out);
    out.put_u32(crc32fast::hash(&out[start..]));
    debug_assert_eq!(out.len() - start, HEADER_LEN);
}

/// Reads the header from an object's first bytes.
pub fn decode_header(bytes: &[u8]) -> Result<ObjectHeader, FormatError> {
    let bytes = first(bytes, HEADER_LEN)?;
    if &bytes[..8] != HEADER_MAGIC {
        return Err(FormatError::Magic("header"));
    }
    check_trailing_crc("header", bytes)?;
    ObjectHeader::decode_fields(&mut &bytes[8..])
}

/// Writes index and footer of an object whose blocks are `entries`: they lie from the header's end without gaps.
pub fn encode_index_and_footer(header: &ObjectHeader, entries: &[IndexEntry], out: &mut Vec<u8>) {
    let index_position = entries.last().map_or(HEADER_LEN as u64, |e| e.position + u64::from(e.length));
    let start = out.len();
    for entry in entries {
        entry.encode(out);
    }
    let index_crc = crc32fast::hash(&out[start..]);
    let index_len = (out.len() - start) as u64;
    let start = out.len();
    out.put_slice(FOOTER_MAGIC);
    header.encode_fields(out);
    out.put_u64(index_position + index_len + FOOTER_LEN as u64);
    out.put_u64(index_position);
    out.put_u32(entries.len() as u32);
    out.put_u32(index_crc);
    out.put_u32(crc32fast::hash(&out[start..]));
    debug_assert_eq!(out.len() - start, FOOTER_LEN);
}

/// Bytes of index and footer for so many blocks.
pub const fn index_and_footer_len(entries: usize) -> usize {
    entries * ENTRY_LEN + FOOTER_LEN
}

/// The footer without its entries: what can be said before the index is at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct FooterHead {
    pub header: ObjectHeader,
    pub object_len: u64,
    pub index_position: u64,
    pub entries: u32,
    pub index_crc: u32,
}

/// Reads the footer from the last [`FOOTER_LEN`] bytes of an object of `object_len` bytes, and checks that its lengths
/// say what that length says: nothing is allocated or fetched by a number that was not checked.
pub(super) fn decode_footer_head(bytes: &[u8], object_len: u64) -> Result<FooterHead, FormatError> {
    if bytes.len() < FOOTER_LEN {
        return Err(FormatError::TooShort { have: bytes.len() as u64, need: FOOTER_LEN as u64 });
    }
    let bytes = &bytes[bytes.len() - FOOTER_LEN..];
    if &bytes[..8] != FOOTER_MAGIC {
        return Err(FormatError::Magic("footer"));
    }
    check_trailing_crc("footer", bytes)?;
    let buf = &mut &bytes[8..];
    let header = ObjectHeader::decode_fields(buf)?;
    let head = FooterHead {
        header,
        object_len: buf.get_u64(),
        index_position: buf.get_u64(),
        entries: buf.get_u32(),
        index_crc: buf.get_u32(),
    };
    if head.object_len != object_len {
        return Err(FormatError::Inconsistent("footer states another length than the object has"));
    }
    let after_blocks = u64::from(head.entries) * ENTRY_LEN as u64 + FOOTER_LEN as u64;
    if head.index_position < HEADER_LEN as u64
        || head.index_position.checked_add(after_blocks) != Some(object_len)
    {
        return Err(FormatError::Inconsistent("index does not end where the footer begins"));
    }
    Ok(head)
}

/// Reads the index (exactly its bytes) that belongs to a checked footer.
pub(super) fn decode_index(head: &FooterHead, bytes: &[u8]) -> Result<Footer, FormatError> {
    if bytes.len() as u64 != u64::from(head.entries) * ENTRY_LEN as u64 {
        return Err(FormatError::Inconsistent("index has another length than the footer says"));
    }
    let actual = crc32fast::hash(bytes);
    if actual != head.index_crc {
        return Err(FormatError::Crc { part: "index", stored: head.index_crc, actual });
    }
    let mut entries = Vec::with_capacity(head.entries as usize);
    let mut position = HEADER_LEN as u64;
    for bytes in bytes.chunks_exact(ENTRY_LEN) {
        let entry = IndexEntry::decode(bytes)?;
        if entry.position != position {
            return Err(FormatError::Inconsistent("blocks have a gap or overlap"));
        }
        if entry.length == 0 {
            return Err(FormatError::Inconsistent("empty block"));
        }
        if entry.base > entry.end {
            return Err(FormatError::Inconsistent("block ends before it begins"));
        }
        if entry.base == entry.end && matches!(entry.kind, BlockKind::Data | BlockKind::Attachment) {
            return Err(FormatError::Inconsistent("block covers no offset"));
        }
        position += u64::from(entry.length);
        entries.push(entry);
    }
    if position != head.index_position {
        return Err(FormatError::Inconsistent("blocks do not end where the index begins"));
    }
    Ok(Footer {
        header: head.header,
        object_len: head.object_len,
        index_position: head.index_position,
        entries,
    })
}

impl IndexEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(self.kind as u8);
        out.put_u64(self.stream.0);
        out.put_u32(self.epoch.0);
        out.put_u64(self.base);
        out.put_u64(self.end);
        out.put_u64(self.position);
        out.put_u32(self.length);
        out.put_i64(self.max_timestamp);
        out.put_u32(self.crc);
    }

    /// `bytes` are [`ENTRY_LEN`] long.
    fn decode(mut bytes: &[u8]) -> Result<IndexEntry, FormatError> {
        let buf = &mut bytes;
        Ok(IndexEntry {
            kind: BlockKind::from_u8(buf.get_u8())?,
            stream: StreamId(buf.get_u64()),
            epoch: StreamEpoch(buf.get_u32()),
            base: buf.get_u64(),
            end: buf.get_u64(),
            position: buf.get_u64(),
            length: buf.get_u32(),
            max_timestamp: buf.get_i64(),
            crc: buf.get_u32(),
        })
    }
}

/// Checks a CRC that is the last four bytes of what it covers.
fn check_trailing_crc(part: &'static str, bytes: &[u8]) -> Result<(), FormatError> {
    let (covered, mut stored) = bytes.split_at(bytes.len() - 4);
    let (stored, actual) = (stored.get_u32(), crc32fast::hash(covered));
    if stored != actual { Err(FormatError::Crc { part, stored, actual }) } else { Ok(()) }
}

fn first(bytes: &[u8], need: usize) -> Result<&[u8], FormatError> {
    bytes.get(..need).ok_or(FormatError::TooShort { have: bytes.len() as u64, need: need as u64 })
}

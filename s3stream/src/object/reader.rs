//! Takes objects apart, and believes nothing that a CRC has not covered (DESIGN I7). Decides nothing, fetches nothing:
//! callers bring bytes, and are told how many more they need.

use bytes::{Buf, Bytes};

use super::format::{
    ATTACHMENT_HEAD_LEN, AttachmentEntry, BlockKind, FOOTER_LEN, Footer, FormatError, IndexEntry,
    ObjectHeader, decode_footer_head, decode_header, decode_index,
};
use crate::store::Tail;

/// What the end of an object gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailParse {
    /// Footer and index are whole and checked.
    Index(Footer),
    /// The index is longer than these bytes: ask for the last so many (never more than the object has).
    NeedMore(u64),
}

/// Reads footer and index from the last bytes of an object.
///
/// # Errors
/// Any [`FormatError`]: the object is not ours, cut off or damaged. `NeedMore` is returned only when a larger tail of
/// the same object helps.
pub fn parse_tail(tail: &Tail) -> Result<TailParse, FormatError> {
    let have = tail.bytes.len() as u64;
    if have > tail.object_len {
        return Err(FormatError::Inconsistent("tail is longer than its object"));
    }
    if have < FOOTER_LEN as u64 && have < tail.object_len {
        return Ok(TailParse::NeedMore(tail.object_len.min(FOOTER_LEN as u64)));
    }
    let head = decode_footer_head(&tail.bytes, tail.object_len)?;
    let need = tail.object_len - head.index_position;
    if need > have {
        return Ok(TailParse::NeedMore(need));
    }
    let index_at = (have - need) as usize;
    let footer = decode_index(&head, &tail.bytes[index_at..tail.bytes.len() - FOOTER_LEN])?;
    Ok(TailParse::Index(footer))
}

/// Reads from the last bytes of an object whose it is, without its index.
///
/// # Errors
/// As [`parse_tail`]; [`FormatError::TooShort`] for less than [`FOOTER_LEN`] bytes.
pub fn parse_tail_header(tail: &Tail) -> Result<ObjectHeader, FormatError> {
    decode_footer_head(&tail.bytes, tail.object_len).map(|head| head.header)
}

impl Footer {
    /// The bytes of a block, if they lie in this tail of the same object; checked.
    pub fn block_in_tail(&self, tail: &Tail, entry: &IndexEntry) -> Option<Result<Bytes, FormatError>> {
        let tail_at = self.object_len.checked_sub(tail.bytes.len() as u64)?;
        let at = entry.position.checked_sub(tail_at)? as usize;
        let end = at.checked_add(entry.length as usize)?;
        if end > tail.bytes.len() {
            return None;
        }
        let block = tail.bytes.slice(at..end);
        Some(verify_block(entry, &block).map(|()| block))
    }

    /// Bytes from the first block of `kind` to the object's end: a tail of that length holds all blocks of it. None if
    /// there is none.
    pub fn tail_from(&self, kind: BlockKind) -> Option<u64> {
        let first = self.entries.iter().find(|e| e.kind == kind)?;
        Some(self.object_len - first.position)
    }
}

/// A whole object whose header, index and footer are checked; blocks are checked as they are taken.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Everything but the blocks.
    pub footer: Footer,
    bytes: Bytes,
}

/// Reads an object that is wholly in memory.
///
/// # Errors
/// As [`parse_tail`]; and where header and footer differ.
pub fn parse_whole(bytes: Bytes) -> Result<Whole, FormatError> {
    let header = decode_header(&bytes)?;
    let object_len = bytes.len() as u64;
    let head = decode_footer_head(&bytes, object_len)?;
    let index = head.index_position as usize..bytes.len() - FOOTER_LEN;
    let footer = decode_index(&head, &bytes[index])?;
    if footer.header != header {
        return Err(FormatError::Inconsistent("header and footer tell of different objects"));
    }
    Ok(Whole { footer, bytes })
}

impl Whole {
    /// The bytes of a block of this object, checked.
    ///
    /// # Errors
    /// [`FormatError::Crc`], or `Inconsistent` for an entry of another object.
    pub fn block(&self, entry: &IndexEntry) -> Result<Bytes, FormatError> {
        let end = entry.position.checked_add(u64::from(entry.length));
        if end.is_none_or(|end| end > self.footer.index_position) {
            return Err(FormatError::Inconsistent("entry of another object"));
        }
        let at = entry.position as usize;
        let block = self.bytes.slice(at..at + entry.length as usize);
        verify_block(entry, &block)?;
        Ok(block)
    }

    /// Checks every block.
    pub fn verify_all(&self) -> Result<(), FormatError> {
        self.footer.entries.iter().try_for_each(|e| self.block(e).map(drop))
    }
}

/// Checks that `block` is the block that the index tells of.
///
/// # Errors
/// Another length or another CRC.
pub fn verify_block(entry: &IndexEntry, block: &[u8]) -> Result<(), FormatError> {
    if block.len() as u64 != u64::from(entry.length) {
        return Err(FormatError::TooShort { have: block.len() as u64, need: u64::from(entry.length) });
    }
    let actual = crc32fast::hash(block);
    if actual != entry.crc {
        return Err(FormatError::Crc { part: "block", stored: entry.crc, actual });
    }
    Ok(())
}

/// Takes a (checked) attachment block apart: slices of it, offsets ascending and inside the entry's range.
///
/// # Errors
/// A length or an offset that does not fit.
pub fn attachments(entry: &IndexEntry, block: &Bytes) -> Result<Vec<AttachmentEntry>, FormatError> {
    let mut rest = block.clone();
    let mut entries = Vec::new();
    let mut at_least = entry.base;
    while !rest.is_empty() {
        if rest.len() < ATTACHMENT_HEAD_LEN {
            return Err(FormatError::Inconsistent("attachment is cut off"));
        }
        let offset = rest.get_u64();
        let length = rest.get_u32() as usize;
        if length > rest.len() {
            return Err(FormatError::Inconsistent("attachment is longer than its block"));
        }
        if offset < at_least || offset >= entry.end {
            return Err(FormatError::Inconsistent("attachment lies outside its range"));
        }
        at_least = offset;
        entries.push(AttachmentEntry { offset, bytes: rest.split_to(length) });
    }
    Ok(entries)
}

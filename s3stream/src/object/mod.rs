//! The one format of everything that is stored as data: WAL objects, seals, merged objects, stream objects.
//!
//! [`format`] has the bytes and the types, [`writer`] makes objects from appends, [`compose`] from blocks, [`reader`] checks and takes them apart. Nobody else
//! knows where a byte lies. A block is the unit of index, CRC and reading (PRACTICE §2 F5).

pub mod compose;
pub mod format;
pub mod reader;
pub mod writer;

pub use compose::{Composed, Composer};
pub use format::{
    AttachmentEntry, BlockKind, Footer, FormatError, IndexEntry, MAX_BLOCK_BYTES, NO_TIMESTAMP, ObjectHeader,
    ObjectKind,
};
pub use reader::{TailParse, Whole, attachments, parse_tail, parse_tail_header, parse_whole, verify_block};
pub use writer::{Object, ObjectBuilder};

#[cfg(test)]
mod tests;

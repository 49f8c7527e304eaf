//! Checksums, lengths and magics written anew, so that the damage lies behind them.

use broker::partition::attachment::ATTACHMENT_BYTES;
use s3stream::object::format::{ENTRY_LEN, FOOTER_LEN, HEADER_LEN};

/// A CRC-32 over everything before it, in the last four bytes.
pub fn trailing_crc(bytes: &mut [u8]) {
    if let Some(at) = bytes.len().checked_sub(4) {
        let crc = crc32fast::hash(&bytes[..at]);
        bytes[at..].copy_from_slice(&crc.to_be_bytes());
    }
}

/// A record batch whose length, magic and CRC are those of its bytes.
pub fn batch(bytes: &mut [u8]) {
    if bytes.len() < protocol::record_batch::HEADER_BYTES {
        return;
    }
    let length = (bytes.len() - protocol::record_batch::LENGTH_OVERHEAD) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = protocol::record_batch::MAGIC_V2 as u8;
    let crc = protocol::record_batch::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// An object whose header, index and footer are in order: magics, versions, CRCs, positions and lengths. Owners, numbers,
/// kinds, ranges and the blocks stay as they are.
pub fn object(bytes: &mut [u8]) {
    let Some(between) = bytes.len().checked_sub(HEADER_LEN + FOOTER_LEN) else { return };
    bytes[..8].copy_from_slice(b"AQUIFERO");
    trailing_crc(&mut bytes[..HEADER_LEN]);
    let footer = bytes.len() - FOOTER_LEN;
    // Where the header's fields end in the footer: object length, index position, entries, two CRCs follow.
    let fields = footer + HEADER_LEN - 4;
    bytes.copy_within(8..HEADER_LEN - 4, footer + 8);
    bytes[footer..footer + 8].copy_from_slice(b"AQUIFERE");
    // As many entries as it says, or as there is room for, each with one byte of block at the least.
    let said = u32::from_be_bytes(array(&bytes[fields + 16..fields + 20])) as usize;
    let entries = said.min(between / (ENTRY_LEN + 1));
    let index = footer - entries * ENTRY_LEN;
    let mut position = HEADER_LEN;
    for n in 0..entries {
        let entry = index + n * ENTRY_LEN;
        let left = index - position - (entries - n - 1);
        let said = u32::from_be_bytes(array(&bytes[entry + 37..entry + 41])) as usize;
        let length = if n + 1 == entries { left } else { said.clamp(1, left) };
        let crc = crc32fast::hash(&bytes[position..position + length]);
        bytes[entry + 29..entry + 37].copy_from_slice(&(position as u64).to_be_bytes());
        bytes[entry + 37..entry + 41].copy_from_slice(&(length as u32).to_be_bytes());
        bytes[entry + 49..entry + 53].copy_from_slice(&crc.to_be_bytes());
        position += length;
    }
    let index_crc = crc32fast::hash(&bytes[index..footer]);
    let object_len = bytes.len() as u64;
    bytes[fields..fields + 8].copy_from_slice(&object_len.to_be_bytes());
    bytes[fields + 8..fields + 16].copy_from_slice(&(index as u64).to_be_bytes());
    bytes[fields + 16..fields + 20].copy_from_slice(&(entries as u32).to_be_bytes());
    bytes[fields + 20..fields + 24].copy_from_slice(&index_crc.to_be_bytes());
    trailing_crc(&mut bytes[footer..]);
}

/// An attachment of a producer: its length and its tag.
pub fn attachment(bytes: &[u8]) -> [u8; ATTACHMENT_BYTES] {
    let mut whole = [0; ATTACHMENT_BYTES];
    let have = bytes.len().min(ATTACHMENT_BYTES);
    whole[..have].copy_from_slice(&bytes[..have]);
    whole[0] = 1;
    whole
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

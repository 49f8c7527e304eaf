//! Bounded reading of the journal's own bytes: every length is checked against what is left before anything is cut or
//! allocated, so that a damaged or hostile object is an error and never a panic (DESIGN I7, I11).
//!
//! Owns the reader, the error and the encodings of the few values that several journal formats share. All integers are
//! big-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::ids::{Incarnation, Nonce};

/// Why bytes of the journal cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a later release: upgrade this process (SAFETY F11).
    #[error("{0}: written by a later release; upgrade this process")]
    Unknown(String),
    /// Damaged, or not what it claims to be.
    #[error("malformed: {0}")]
    Malformed(String),
}

impl DecodeError {
    /// Shorthand for [`DecodeError::Malformed`].
    pub fn malformed(what: impl Into<String>) -> DecodeError {
        DecodeError::Malformed(what.into())
    }

    /// Shorthand for [`DecodeError::Unknown`].
    pub fn unknown(what: impl Into<String>) -> DecodeError {
        DecodeError::Unknown(what.into())
    }
}

/// A cursor over bytes that never reads past their end.
#[derive(Debug)]
pub struct WireReader {
    rest: Bytes,
}

impl WireReader {
    /// Reads `bytes` from their start.
    pub fn new(bytes: Bytes) -> WireReader {
        WireReader { rest: bytes }
    }

    fn need(&self, len: usize, what: &str) -> Result<(), DecodeError> {
        match self.rest.len() >= len {
            true => Ok(()),
            false => {
                Err(DecodeError::malformed(format!("{what}: {len} bytes wanted, {} left", self.rest.len())))
            }
        }
    }

    /// One byte.
    pub fn u8(&mut self, what: &str) -> Result<u8, DecodeError> {
        self.need(1, what)?;
        Ok(self.rest.get_u8())
    }

    /// Two bytes.
    pub fn u16(&mut self, what: &str) -> Result<u16, DecodeError> {
        self.need(2, what)?;
        Ok(self.rest.get_u16())
    }

    /// Four bytes.
    pub fn u32(&mut self, what: &str) -> Result<u32, DecodeError> {
        self.need(4, what)?;
        Ok(self.rest.get_u32())
    }

    /// Eight bytes.
    pub fn u64(&mut self, what: &str) -> Result<u64, DecodeError> {
        self.need(8, what)?;
        Ok(self.rest.get_u64())
    }

    /// The next `len` bytes, shared with the input.
    pub fn bytes(&mut self, len: usize, what: &str) -> Result<Bytes, DecodeError> {
        self.need(len, what)?;
        Ok(self.rest.split_to(len))
    }

    /// A number of things that take at least `min_len` bytes each: refused when they cannot all be there, so that a count
    /// may be trusted for an allocation.
    pub fn count(&mut self, min_len: usize, what: &str) -> Result<usize, DecodeError> {
        let count = self.u32(what)? as usize;
        if count.saturating_mul(min_len.max(1)) > self.rest.len() {
            return Err(DecodeError::malformed(format!(
                "{what}: {count} cannot fit in {} bytes",
                self.rest.len()
            )));
        }
        Ok(count)
    }

    /// An incarnation.
    pub fn incarnation(&mut self, what: &str) -> Result<Incarnation, DecodeError> {
        Ok(Incarnation { seq: self.u64(what)?, index: self.u32(what)? })
    }

    /// An incarnation, or none.
    pub fn incarnation_or_none(&mut self, what: &str) -> Result<Option<Incarnation>, DecodeError> {
        match self.u8(what)? {
            0 => Ok(None),
            1 => Ok(Some(self.incarnation(what)?)),
            flag => Err(DecodeError::malformed(format!("{what}: flag {flag}"))),
        }
    }

    /// A nonce.
    pub fn nonce(&mut self, what: &str) -> Result<Nonce, DecodeError> {
        Ok(Nonce(self.u64(what)?))
    }

    /// Everything that is left.
    pub fn rest(self) -> Bytes {
        self.rest
    }

    /// Nothing may be left: a longer body is a later format or damage.
    pub fn end(self, what: &str) -> Result<(), DecodeError> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => Err(DecodeError::malformed(format!("{what}: {} bytes too many", self.rest.len()))),
        }
    }
}

/// Writes an incarnation as [`WireReader::incarnation`] reads it.
pub fn put_incarnation(out: &mut BytesMut, incarnation: Incarnation) {
    out.put_u64(incarnation.seq);
    out.put_u32(incarnation.index);
}

/// Writes an incarnation or none as [`WireReader::incarnation_or_none`] reads it.
pub fn put_incarnation_or_none(out: &mut BytesMut, incarnation: Option<Incarnation>) {
    match incarnation {
        None => out.put_u8(0),
        Some(incarnation) => {
            out.put_u8(1);
            put_incarnation(out, incarnation);
        }
    }
}

//! The few shapes that metadata records are made of. Big-endian, length-prefixed, bounded by what is there.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end within a field.
    #[error("record ends within a field")]
    Truncated,
    /// A string is not UTF-8.
    #[error("string is not UTF-8")]
    NotUtf8,
    /// Bytes are left after the last field.
    #[error("{0} bytes after the last field")]
    Trailing(usize),
}

pub fn put_str(out: &mut BytesMut, s: &str) {
    out.put_u32(s.len() as u32);
    out.put_slice(s.as_bytes());
}

pub fn put_opt_str(out: &mut BytesMut, s: Option<&str>) {
    match s {
        Some(s) => {
            out.put_u8(1);
            put_str(out, s);
        }
        None => out.put_u8(0),
    }
}

pub fn put_opt_ids(out: &mut BytesMut, ids: Option<&[i32]>) {
    match ids {
        None => out.put_u8(0),
        Some(ids) => {
            out.put_u8(1);
            out.put_u32(ids.len() as u32);
            ids.iter().for_each(|id| out.put_i32(*id));
        }
    }
}

/// Reads fields in order; every length is checked against what is left.
pub struct Reader(pub Bytes);

impl Reader {
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.0.try_get_u8().map_err(|_| WireError::Truncated)
    }

    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.0.try_get_u16().map_err(|_| WireError::Truncated)
    }

    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.0.try_get_u32().map_err(|_| WireError::Truncated)
    }

    pub fn i32(&mut self) -> Result<i32, WireError> {
        self.0.try_get_i32().map_err(|_| WireError::Truncated)
    }

    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.0.try_get_u64().map_err(|_| WireError::Truncated)
    }

    pub fn i64(&mut self) -> Result<i64, WireError> {
        self.0.try_get_i64().map_err(|_| WireError::Truncated)
    }

    pub fn uuid(&mut self) -> Result<uuid::Uuid, WireError> {
        self.0.try_get_u128().map(uuid::Uuid::from_u128).map_err(|_| WireError::Truncated)
    }

    pub fn bytes(&mut self) -> Result<Bytes, WireError> {
        let len = self.u32()? as usize;
        if len > self.0.len() {
            return Err(WireError::Truncated);
        }
        Ok(self.0.split_to(len))
    }

    pub fn string(&mut self) -> Result<String, WireError> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| WireError::NotUtf8)
    }

    pub fn opt_string(&mut self) -> Result<Option<String>, WireError> {
        Ok(if self.u8()? == 0 { None } else { Some(self.string()?) })
    }

    pub fn opt_ids(&mut self) -> Result<Option<Vec<i32>>, WireError> {
        Ok(match self.u8()? {
            0 => None,
            _ => Some((0..self.count(4)?).map(|_| self.i32()).collect::<Result<_, _>>()?),
        })
    }

    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// A count of things of at least `min` bytes each: never more than what is left can hold.
    pub fn count(&mut self, min: usize) -> Result<usize, WireError> {
        let n = self.u32()? as usize;
        if n.saturating_mul(min.max(1)) > self.0.len() {
            return Err(WireError::Truncated);
        }
        Ok(n)
    }

    pub fn finish(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.0.len())) }
    }
}

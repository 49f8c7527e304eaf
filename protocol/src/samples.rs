//! Requests made from the schema, of every API and version: for tests of this crate and of the crates above it.
//!
//! They are only as right as the schema is; that it says what the codec means is what `guard_tests.rs` shows.

use bytes::Bytes;

use crate::api::{self, Api, ApiKey};
use crate::guard::scalar_bytes;
use crate::schema::{self, Field, Kind};

pub use crate::codec::decode_and_encode;

/// The body of a request, the same for the same seed. `full`: with every field, and no array empty.
///
/// # Panics
/// For an API without a row in the table.
pub fn request(key: ApiKey, version: i16, seed: u64, full: bool) -> Bytes {
    let api = api::find(key as i16).expect("samples are of APIs in the table");
    Generator::request(api, version, seed, full).bytes.into()
}

/// Repeatable randomness for generated bodies (xorshift).
pub(crate) struct Entropy(u64);

impl Entropy {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A body being written, and where its array lengths stand.
pub(crate) struct Generator {
    version: i16,
    flexible: bool,
    entropy: Entropy,
    /// No null and no empty array: every length of the schema is on the wire.
    full: bool,
    pub bytes: Vec<u8>,
    pub array_lengths: Vec<std::ops::Range<usize>>,
}

impl Generator {
    pub(crate) fn request(api: &Api, version: i16, seed: u64, full: bool) -> Generator {
        let mut generator = Generator {
            version,
            flexible: api.is_flexible(version),
            entropy: Entropy(seed | 1),
            full,
            bytes: Vec::new(),
            array_lengths: Vec::new(),
        };
        generator.fields(schema::request(api.key).expect("every row of the table has a schema"));
        generator
    }

    fn fields(&mut self, fields: &'static [Field]) {
        for field in fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.value(field);
            }
        }
        if self.flexible {
            self.tags(fields);
        }
    }

    fn tags(&mut self, fields: &'static [Field]) {
        let mut present: Vec<&Field> =
            fields.iter().filter(|f| f.tag.is_some() && f.is_in(self.version)).collect();
        if !self.full {
            present.retain(|_| self.entropy.below(2) == 0);
        }
        present.sort_by_key(|field| field.tag);
        let unknown = self.entropy.below(3) as u32;
        self.varint(present.len() as u32 + unknown);
        for field in present {
            // Written beside, to know its size. A field that says its default is not written by the codec.
            let outside = std::mem::take(&mut self.bytes);
            let lengths = self.array_lengths.len();
            self.value(&Field { nullable_since: None, ..*field });
            self.array_lengths.truncate(lengths);
            let value = std::mem::replace(&mut self.bytes, outside);
            self.varint(field.tag.unwrap());
            self.varint(value.len() as u32);
            self.bytes.extend(value);
        }
        for i in 0..unknown {
            self.varint(1000 + i);
            let size = self.entropy.below(5) as u32;
            self.varint(size);
            self.bytes.extend((0..size).map(|_| 0xaa));
        }
    }

    pub(crate) fn value(&mut self, field: &Field) {
        let null = !self.full && field.is_nullable(self.version) && self.entropy.below(4) == 0;
        match field.kind {
            Kind::Struct(fields) => self.fields(fields),
            Kind::OptionalStruct(fields) => {
                let present = self.full || self.entropy.below(2) == 0;
                self.bytes.push(if present { 1 } else { 0xff });
                if present {
                    self.fields(fields);
                }
            }
            Kind::Structs(fields, _) => {
                for _ in 0..self.count(null) {
                    self.fields(fields);
                }
            }
            Kind::Scalars(element, _) => {
                for _ in 0..self.count(null) {
                    self.scalar(element, false);
                }
            }
            _ => self.scalar(&field.kind, null),
        }
    }

    fn scalar(&mut self, kind: &Kind, null: bool) {
        match kind {
            Kind::String | Kind::Bytes => {
                let bytes = if null { -1 } else { self.entropy.below(6) as i32 };
                if self.flexible {
                    self.varint((bytes + 1) as u32);
                } else if matches!(kind, Kind::String) {
                    self.bytes.extend((bytes as i16).to_be_bytes());
                } else {
                    self.bytes.extend(bytes.to_be_bytes());
                }
                self.bytes.extend((0..bytes.max(0)).map(|_| b'x'));
            }
            Kind::Int8 => {
                let byte = self.entropy.below(2) as u8;
                self.bytes.push(byte);
            }
            number => {
                for _ in 0..scalar_bytes(number).unwrap() {
                    // Not zero: a tagged field at its default is not written again.
                    let byte = 1 + self.entropy.below(100) as u8;
                    self.bytes.push(byte);
                }
            }
        }
    }

    fn count(&mut self, null: bool) -> i32 {
        let count = match (null, self.full) {
            (true, _) => -1,
            (false, true) => 1 + self.entropy.below(2) as i32,
            (false, false) => self.entropy.below(3) as i32,
        };
        let start = self.bytes.len();
        if self.flexible {
            self.varint((count + 1) as u32);
        } else {
            self.bytes.extend(count.to_be_bytes());
        }
        self.array_lengths.push(start..self.bytes.len());
        count
    }

    pub(crate) fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// The body with one array length replaced.
    #[cfg(test)]
    pub(crate) fn with_length(&self, at: &std::ops::Range<usize>, count: u32) -> Vec<u8> {
        let mut lie = Generator {
            bytes: self.bytes[..at.start].to_vec(),
            array_lengths: Vec::new(),
            entropy: Entropy(1),
            ..*self
        };
        if self.flexible {
            lie.varint(count + 1);
        } else {
            lie.bytes.extend((count as i32).to_be_bytes());
        }
        lie.bytes.extend_from_slice(&self.bytes[at.end..]);
        lie.bytes
    }
}

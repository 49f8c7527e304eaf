//! The smallest image that has everything the journal asks of one: members that register and are fenced, a set whose
//! elements may be added once.

use bytes::{BufMut, Bytes, BytesMut};
use imbl::{OrdMap, OrdSet};

use crate::ids::Incarnation;
use crate::journal::wire::{WireReader, put_incarnation};
use crate::journal::{DecodeError, Illegal, Image, MutationPoint, Record};

/// What changes a [`Toy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToyRecord {
    Register(u32),
    Fence(Incarnation),
    Add(u64),
    Remove(u64),
    /// Bytes, for size alone.
    Ballast(usize),
}

impl Record for ToyRecord {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            ToyRecord::Register(name) => {
                out.put_u8(1);
                out.put_u32(*name);
            }
            ToyRecord::Fence(incarnation) => {
                out.put_u8(2);
                put_incarnation(out, *incarnation);
            }
            ToyRecord::Add(key) => {
                out.put_u8(3);
                out.put_u64(*key);
            }
            ToyRecord::Remove(key) => {
                out.put_u8(4);
                out.put_u64(*key);
            }
            ToyRecord::Ballast(len) => {
                out.put_u8(5);
                out.put_bytes(0xb5, *len);
            }
        }
    }

    fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = WireReader::new(bytes);
        let record = match r.u8("toy record")? {
            1 => ToyRecord::Register(r.u32("name")?),
            2 => ToyRecord::Fence(r.incarnation("fenced")?),
            3 => ToyRecord::Add(r.u64("key")?),
            4 => ToyRecord::Remove(r.u64("key")?),
            5 => return Ok(ToyRecord::Ballast(r.rest().len())),
            id => return Err(DecodeError::unknown(format!("toy record {id}"))),
        };
        r.end("toy record")?;
        Ok(record)
    }
}

/// See the module. `added` remembers where each key was added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toy {
    pub live: OrdMap<Incarnation, u32>,
    pub added: OrdMap<u64, Incarnation>,
    pub ever: OrdSet<u64>,
    pub level_max: u16,
}

impl Toy {
    /// Members that can do feature levels up to this.
    pub fn with_level_max(level_max: u16) -> Toy {
        Toy { level_max, ..Toy::default() }
    }
}

impl Image for Toy {
    type Record = ToyRecord;

    fn apply(&mut self, at: MutationPoint, records: &[ToyRecord]) -> Result<(), Illegal> {
        for record in records {
            match record {
                // The process of that name before it is fenced in the same mutation, as a broker's registration does.
                ToyRecord::Register(name) => {
                    let before: Vec<_> =
                        self.live.iter().filter(|(_, n)| *n == name).map(|(i, _)| *i).collect();
                    for incarnation in before {
                        self.live.remove(&incarnation);
                    }
                    self.live.insert(at.incarnation(), *name);
                }
                ToyRecord::Fence(incarnation) => {
                    if self.live.remove(incarnation).is_none() {
                        return Err(Illegal::with_code(1, format!("{incarnation} is not live")));
                    }
                }
                ToyRecord::Add(key) => {
                    if self.added.insert(*key, at.incarnation()).is_some() {
                        return Err(Illegal::with_code(2, format!("{key} exists")));
                    }
                    self.ever.insert(*key);
                }
                ToyRecord::Remove(key) => {
                    if self.added.remove(key).is_none() {
                        return Err(Illegal::with_code(3, format!("{key} does not exist")));
                    }
                }
                ToyRecord::Ballast(_) => {}
            }
        }
        Ok(())
    }

    fn is_live(&self, incarnation: Incarnation) -> bool {
        self.live.contains_key(&incarnation)
    }

    fn may_raise(&self, level: u16) -> Result<(), Illegal> {
        match level <= self.level_max {
            true => Ok(()),
            false => Err(Illegal::new(format!("a live member knows levels up to {}", self.level_max))),
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(self.level_max);
        out.put_u32(self.live.len() as u32);
        for (incarnation, name) in &self.live {
            put_incarnation(out, *incarnation);
            out.put_u32(*name);
        }
        out.put_u32(self.added.len() as u32);
        for (key, at) in &self.added {
            out.put_u64(*key);
            put_incarnation(out, *at);
        }
        out.put_u32(self.ever.len() as u32);
        for key in &self.ever {
            out.put_u64(*key);
        }
    }

    fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = WireReader::new(bytes);
        let mut toy = Toy { level_max: r.u16("level")?, ..Toy::default() };
        for _ in 0..r.count(16, "members")? {
            toy.live.insert(r.incarnation("member")?, r.u32("name")?);
        }
        for _ in 0..r.count(20, "keys")? {
            toy.added.insert(r.u64("key")?, r.incarnation("added at")?);
        }
        for _ in 0..r.count(8, "keys")? {
            toy.ever.insert(r.u64("key")?);
        }
        r.end("toy")?;
        Ok(toy)
    }

    fn size_hint(&self) -> usize {
        16 * self.live.len() + 28 * self.ever.len()
    }
}

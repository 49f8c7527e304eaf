//! Who a client quota is for: a user, a client id, both, or an address; each by name or the default of its kind
//! (`ClientQuotaEntity`).

use bytes::{BufMut, BytesMut};

use super::wire::{Reader, WireError, put_opt_str};

/// A kind of entity; numbers are persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QuotaEntityType {
    /// An authenticated principal.
    User = 1,
    /// A `client.id`.
    ClientId = 2,
    /// An address.
    Ip = 3,
}

impl QuotaEntityType {
    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            QuotaEntityType::User => "user",
            QuotaEntityType::ClientId => "client-id",
            QuotaEntityType::Ip => "ip",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<QuotaEntityType> {
        [QuotaEntityType::User, QuotaEntityType::ClientId, QuotaEntityType::Ip]
            .into_iter()
            .find(|t| t.name() == name)
    }

    fn from_code(code: u8) -> Option<QuotaEntityType> {
        match code {
            1 => Some(QuotaEntityType::User),
            2 => Some(QuotaEntityType::ClientId),
            3 => Some(QuotaEntityType::Ip),
            _ => None,
        }
    }
}

/// An entity: its parts by kind, each kind once. A part without a name is the default of its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaEntity(Vec<(QuotaEntityType, Option<String>)>);

impl QuotaEntity {
    /// Of these parts, in any order; of a kind that is named twice the last counts.
    pub fn new(parts: impl IntoIterator<Item = (QuotaEntityType, Option<String>)>) -> QuotaEntity {
        let parts: std::collections::BTreeMap<_, _> = parts.into_iter().collect();
        QuotaEntity(parts.into_iter().collect())
    }

    /// Its parts, by kind.
    pub fn parts(&self) -> impl Iterator<Item = (QuotaEntityType, Option<&str>)> {
        self.0.iter().map(|(kind, name)| (*kind, name.as_deref()))
    }

    /// The part of a kind: its name, or None within for the default.
    pub fn part(&self, kind: QuotaEntityType) -> Option<Option<&str>> {
        self.parts().find(|(k, _)| *k == kind).map(|(_, name)| name)
    }

    /// How many parts it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Has it none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u32(self.0.len() as u32);
        for (kind, name) in &self.0 {
            out.put_u8(*kind as u8);
            put_opt_str(out, name.as_deref());
        }
    }

    /// None within: a kind of a later release.
    pub(super) fn read(r: &mut Reader) -> Result<Option<QuotaEntity>, WireError> {
        let mut parts = Vec::new();
        for _ in 0..r.count(2)? {
            let Some(kind) = QuotaEntityType::from_code(r.u8()?) else { return Ok(None) };
            parts.push((kind, r.opt_string()?));
        }
        Ok(Some(QuotaEntity(parts)))
    }
}

impl std::fmt::Display for QuotaEntity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (kind, name)) in self.parts().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}", kind.name(), name.unwrap_or("<default>"))?;
        }
        Ok(())
    }
}

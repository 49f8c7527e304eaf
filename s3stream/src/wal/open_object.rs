//! What producers have pushed and no object holds yet. Pure: time is an argument.
//!
//! An open object keeps appends by reference, in the order of the pushes, with what pays for them; the cut sorts and
//! copies them ([`super::cut`]). It is closed by size here, at push, so that the number an append gets is final at once:
//! the caller needs it for its answer. When to cut one that is not full is [`super::cut`]'s.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::block_ref::BlockRef;
use crate::budget::Permit;
use crate::ids::{LaneNumber, StreamEpoch, StreamId};
use crate::object::format::ATTACHMENT_HEAD_LEN;

/// Records of one stream, to be stored whole and in order.
pub struct Append {
    /// Whose they are.
    pub stream: StreamId,
    /// The epoch under which the stream is owned now. Grows; never goes back.
    pub epoch: StreamEpoch,
    /// Offset of the first record. Within an epoch, appends follow each other without a hole (I3).
    pub base: u64,
    /// Offsets that they cover, at least 1.
    pub count: u32,
    /// Largest record timestamp in ms, or [`crate::object::NO_TIMESTAMP`].
    pub max_timestamp: i64,
    /// The first bytes of the payload, already stamped by the caller (base offset, leader epoch): the frame that `body`
    /// refers to stays untouched.
    pub prefix: Prefix,
    /// The rest of the payload, by reference until the cut.
    pub body: Bytes,
    /// Opaque, belongs to offset `base`, and is trimmed and moved with it.
    pub attachment: Option<Attachment>,
    /// Who is told when they are durable.
    pub sink: Arc<dyn StreamSink>,
    /// What the caller holds for the frame of `body`, in class ingress; given back at the cut of the last append out of it.
    /// None for internal appends, which never wait for ingress (I8).
    pub charge: Option<Arc<Permit>>,
}

impl Append {
    /// Bytes of payload.
    pub fn payload_len(&self) -> usize {
        self.prefix.as_slice().len() + self.body.len()
    }

    /// Bytes in the object, the attachment with it.
    pub fn stored_len(&self) -> usize {
        let attached = self.attachment.as_ref().map_or(0, |a| a.as_slice().len() + ATTACHMENT_HEAD_LEN);
        self.payload_len() + attached
    }
}

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stream, epoch, end) = (self.stream, self.epoch.0, self.base + u64::from(self.count));
        write!(f, "stream {stream} epoch {epoch}: {}..{end}, {} bytes", self.base, self.payload_len())
    }
}

/// Told, in lane order, what of a stream has become durable.
pub trait StreamSink: Send + Sync {
    /// `blocks` (data of this stream and one epoch, in offset order, all of lane object `number`) are in the store, and
    /// so is everything before them in the lane: they may be acknowledged and read (I1). Called once per object on the
    /// lane's task, with no lane lock held: it may take the partition's lock; it must be short.
    fn durable(&self, number: LaneNumber, blocks: &[BlockRef]);
}

/// At most `N` bytes, inline: no allocation per append.
#[derive(Clone, Copy)]
pub struct Inline<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

/// The stamped first bytes of an append: a record batch's header (61 bytes) fits.
pub type Prefix = Inline<64>;
/// An attachment: an aborted transaction (producer id, first offset, last stable offset) fits.
pub type Attachment = Inline<40>;

impl<const N: usize> Inline<N> {
    /// Nothing.
    pub const EMPTY: Inline<N> = Inline { bytes: [0; N], len: 0 };

    /// A copy of `bytes`, or None if they do not fit.
    pub fn new(bytes: &[u8]) -> Option<Inline<N>> {
        const { assert!(N <= u8::MAX as usize) };
        let mut inline = Inline::EMPTY;
        inline.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        inline.len = bytes.len() as u8;
        Some(inline)
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl<const N: usize> Default for Inline<N> {
    fn default() -> Self {
        Inline::EMPTY
    }
}

impl<const N: usize> fmt::Debug for Inline<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", self.as_slice())
    }
}

/// The appends that will be one lane object.
#[derive(Debug)]
pub struct OpenObject {
    /// The number it will have.
    pub number: LaneNumber,
    /// In the order of the pushes.
    pub appends: Vec<Append>,
    /// Sum of their [`Append::stored_len`].
    pub bytes: u64,
    /// The largest of these.
    pub largest: usize,
    /// When the first of them was pushed, as time since the lane began.
    pub first_at: Option<Duration>,
}

impl OpenObject {
    /// An empty one.
    pub fn new(number: LaneNumber) -> OpenObject {
        OpenObject { number, appends: Vec::new(), bytes: 0, largest: 0, first_at: None }
    }

    /// Nothing was pushed?
    pub fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    /// Does another append of `stored_len` bytes belong into the next object, if this one shall have at most
    /// `full_bytes`? An empty one takes anything.
    pub fn is_full_for(&self, stored_len: usize, full_bytes: u64) -> bool {
        !self.is_empty() && self.bytes + stored_len as u64 > full_bytes
    }

    /// Takes an append. `now` is asked for the first one alone.
    pub fn push(&mut self, append: Append, now: impl FnOnce() -> Duration) {
        let stored_len = append.stored_len();
        self.bytes += stored_len as u64;
        self.largest = self.largest.max(stored_len);
        if self.first_at.is_none() {
            self.first_at = Some(now());
        }
        self.appends.push(append);
    }

    /// Closes it: returns what was pushed, and is empty under the next number, with room for as many appends.
    pub fn take(&mut self) -> OpenObject {
        let mut next = OpenObject::new(self.number.next());
        next.appends.reserve(self.appends.len().min(APPENDS_RESERVED_MAX));
        std::mem::replace(self, next)
    }
}

/// An open object does not reserve more than this from the experience of the one before.
const APPENDS_RESERVED_MAX: usize = 1024;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Tells nobody.
    pub(crate) struct Deaf;

    impl StreamSink for Deaf {
        fn durable(&self, _: LaneNumber, _: &[BlockRef]) {}
    }

    pub(crate) fn append(stream: u64, base: u64, body: &'static [u8]) -> Append {
        Append {
            stream: StreamId(stream),
            epoch: StreamEpoch(0),
            base,
            count: 1,
            max_timestamp: 0,
            prefix: Prefix::EMPTY,
            body: Bytes::from_static(body),
            attachment: None,
            sink: Arc::new(Deaf),
            charge: None,
        }
    }

    #[test]
    fn what_does_not_fit_belongs_to_the_next_object_and_an_empty_one_takes_anything() {
        let mut open = OpenObject::new(LaneNumber(7));
        assert!(!open.is_full_for(1_000, 10));
        open.push(append(1, 0, b"12345678"), || Duration::from_millis(3));
        open.push(append(1, 1, b"9"), || unreachable!("asked for the first alone"));
        assert_eq!((open.bytes, open.largest, open.first_at), (9, 8, Some(Duration::from_millis(3))));
        assert!(!open.is_full_for(1, 10) && open.is_full_for(2, 10));

        let taken = open.take();
        assert_eq!((taken.number, taken.appends.len()), (LaneNumber(7), 2));
        assert_eq!((open.number, open.is_empty(), open.first_at), (LaneNumber(8), true, None));
    }

    #[test]
    fn inline_bytes_fit_or_are_refused() {
        assert_eq!(Prefix::new(&[7; 64]).expect("fits").as_slice(), [7; 64]);
        assert!(Prefix::new(&[7; 65]).is_none());
        assert_eq!(Attachment::default().as_slice(), b"");
    }
}

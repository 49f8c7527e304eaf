//! Memory that small frames are received in, used again by whichever connection is busy.
//!
//! A frame is a slice of it until its batches were copied, some milliseconds later. Of each buffer that a connection has used up
//! this keeps a handle without bytes, by which the memory is got back when nobody has a slice of it any more.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;

/// Bytes of a buffer.
pub const RECEIVE_BUFFER_BYTES: usize = 64 << 10;
/// Of these, so many are looked at for one that is free: they become so in about the order in which they came.
const LOOKED_AT_MAX: usize = 4;

/// Used-up buffers.
#[derive(Debug)]
pub struct ReceiveBuffers {
    /// Oldest first.
    used: Mutex<VecDeque<BytesMut>>,
    kept_max: usize,
}

impl ReceiveBuffers {
    /// None yet. No more than `bytes_max` will wait for use.
    pub fn new(bytes_max: usize) -> Arc<ReceiveBuffers> {
        Arc::new(ReceiveBuffers { used: Mutex::default(), kept_max: bytes_max / RECEIVE_BUFFER_BYTES })
    }

    /// An empty buffer of [`RECEIVE_BUFFER_BYTES`].
    pub fn take(&self) -> BytesMut {
        let mut used = self.used.lock();
        for _ in 0..LOOKED_AT_MAX.min(used.len()) {
            let Some(mut buffer) = used.pop_front() else { break };
            if buffer.try_reclaim(RECEIVE_BUFFER_BYTES) {
                return buffer;
            }
            used.push_back(buffer);
        }
        drop(used);
        BytesMut::with_capacity(RECEIVE_BUFFER_BYTES)
    }

    /// Takes what is left of a buffer from [`ReceiveBuffers::take`].
    pub fn give(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut used = self.used.lock();
        used.push_back(buffer);
        let oldest = if used.len() > self.kept_max { used.pop_front() } else { None };
        drop(used);
        drop(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_nobody_has_a_slice_of_it() {
        let buffers = ReceiveBuffers::new(1 << 20);
        let mut buffer = buffers.take();
        let at = buffer.as_ptr();
        buffer.resize(RECEIVE_BUFFER_BYTES, 7);
        let frame = buffer.split_to(100).freeze();
        drop(buffer.split());
        buffers.give(buffer);
        let other = buffers.take();
        assert_ne!(other.as_ptr(), at, "a frame lies in it");
        assert!(frame.iter().all(|byte| *byte == 7));
        drop(frame);
        let again = buffers.take();
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (at, 0, RECEIVE_BUFFER_BYTES));
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let buffers = ReceiveBuffers::new(5 * RECEIVE_BUFFER_BYTES);
        let all: Vec<_> = (0..10).map(|_| buffers.take()).collect();
        all.into_iter().for_each(|buffer| buffers.give(buffer));
        assert_eq!(buffers.used.lock().len(), 5);
    }
}

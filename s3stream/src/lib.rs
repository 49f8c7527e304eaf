//! Streams over object storage.

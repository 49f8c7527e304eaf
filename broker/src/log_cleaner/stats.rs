//! What a round did, in numbers (Kafka: `CleanerStats`).

/// Counts of one round, or of several added up. Bytes are those of batches, headers included, as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CleanerStats {
    /// Bytes read by pass 1.
    pub map_bytes_read: u64,
    /// Records read by pass 1.
    pub map_messages_read: u64,
    /// Bytes that pass 2 was given.
    pub bytes_read: u64,
    /// Records that pass 2 was given.
    pub messages_read: u64,
    /// Bytes that stay.
    pub bytes_written: u64,
    /// Records that stay.
    pub messages_written: u64,
    /// Bytes of batches that stay as they were, a part of `bytes_written`: they need no copy.
    pub bytes_untouched: u64,
    /// Records without a key, removed.
    pub invalid_messages_read: u64,
    /// How full the map was, from 0 to 1; of several rounds the most.
    pub buffer_utilization: f64,
}

impl CleanerStats {
    /// Bytes that went.
    pub fn bytes_dropped(&self) -> u64 {
        // A batch that is compressed again may grow.
        self.bytes_read.saturating_sub(self.bytes_written)
    }

    /// Records that went.
    pub fn messages_dropped(&self) -> u64 {
        self.messages_read.saturating_sub(self.messages_written)
    }

    /// Adds the other's counts.
    pub fn add(&mut self, other: &CleanerStats) {
        self.map_bytes_read += other.map_bytes_read;
        self.map_messages_read += other.map_messages_read;
        self.bytes_read += other.bytes_read;
        self.messages_read += other.messages_read;
        self.bytes_written += other.bytes_written;
        self.messages_written += other.messages_written;
        self.bytes_untouched += other.bytes_untouched;
        self.invalid_messages_read += other.invalid_messages_read;
        self.buffer_utilization = self.buffer_utilization.max(other.buffer_utilization);
    }
}

//! Coordinators: the leaders of `__consumer_offsets` and `__transaction_state` partitions.

pub mod group;

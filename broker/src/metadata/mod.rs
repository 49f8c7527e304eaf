//! What the cluster knows of itself: records in the journal, folded into an immutable image (DESIGN §3).
//!
//! [`record`] is what is persisted, [`image`] what it adds up to. Handlers read one image per request and never lock.
//! Storage's own part (lanes, streams) is `s3stream::catalog`, embedded in both.
//!
//! **Feature levels** of the journal (DESIGN §3). What is written is of the level in the image, never above:
//!
//! | level | adds |
//! |---|---|
//! | 1 | metadata records 1 to 8, storage records 1 to 14 |
//! | 2 | metadata records 9 to 12: replica lists that change, client quotas, broker levels, brokers unregistered |
//! | 3 | storage records 15 to 18: objects of `data/`, their merges and their end; catalog snapshots of version 2 |
//! | 4 | storage records 19 and 20: streams rewritten, lane objects adopted where they lie; catalog snapshots of version 3 |

pub mod image;
pub mod leader_hint;
pub mod placement;
pub mod quota;
pub mod record;
mod wire;

#[cfg(test)]
mod golden_tests;

/// The lowest feature level that this release can work at.
pub const LEVEL_MIN: u16 = 1;
/// The highest; new clusters begin there.
pub const LEVEL_MAX: u16 = 4;
/// The one that knows lane objects adopted where they lie.
pub const ADOPTION_LEVEL: u16 = 4;

pub use image::{BrokerRegistration, Endpoint, MetadataImage, PartitionImage, TopicChange, TopicImage};
pub use leader_hint::{LeadersTold, TopicRef};
pub use placement::{Placement, Places};
pub use quota::{QuotaEntity, QuotaEntityType};
pub use record::{ConfigResource, MetadataRecord};

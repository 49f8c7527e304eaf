//! What the cluster knows of itself: records in the journal, folded into an immutable image (DESIGN §3).
//!
//! [`record`] is what is persisted, [`image`] what it adds up to. Handlers read one image per request and never lock.
//! Storage's own part (lanes, streams) is `s3stream::catalog`, embedded in both.

pub mod image;
pub mod placement;
pub mod record;
mod wire;

pub use image::{BrokerRegistration, Endpoint, MetadataImage, PartitionImage, TopicChange, TopicImage};
pub use placement::{Placement, Places};
pub use record::{ConfigResource, MetadataRecord};

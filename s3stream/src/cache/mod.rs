//! What of the objects is in memory, and how the rest gets there.
//!
//! - [`tail`]: the objects that this process wrote, from the cut until they are evicted.
//! - [`block`]: what was read back from a store, least recently used first out. Scans of it never evict the tail.
//! - [`reader`]: asks both, then the store; checks everything; one GET however many wait.
//! - [`wanted`]: how soon, of all who wait for it.
//! - [`stores`]: where it asks; a slow GET is sent twice.
//! - [`pace`]: how fast it is read beside a producer (p). [`cold`]: has reads wait for that.
//! - [`read_ahead`]: who reads from front to back, and what to load before they ask (p). [`ahead`]: loads and holds it.

mod ahead;
pub mod block;
pub mod cold;
pub mod error;
pub mod pace;
pub mod read_ahead;
pub mod reader;
pub mod stores;
pub mod tail;
mod wanted;

#[cfg(test)]
pub(crate) mod rig;

pub use block::BlockCache;
pub use cold::{ColdRead, ColdReads};
pub use error::ReadError;
pub use read_ahead::SequentialRead;
pub use reader::{ReadStats, Reader};
pub use stores::Stores;
pub use tail::{TailCache, TailStats};

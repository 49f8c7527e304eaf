//! Retention by time and size: what of a log may go (`UnifiedLog.deleteOldSegments`). [`policy`] (p) decides, [`task`] asks
//! it and moves log starts; the objects follow when nothing refers to them.

pub mod policy;
pub mod task;

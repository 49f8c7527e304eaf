//! Memory of huge pages. One of gigabytes is touched once from end to end, and 512 page faults for each 2 MiB of it cost
//! a fifth of all that a broker does with a record. (`transparent_hugepage` is `madvise` on most systems; where it is
//! `never`, small pages do.)

use memmap2::MmapMut;

/// Bytes of one.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Memory for `bytes`, in whole huge pages that lie where such begin. What of it is never touched costs nothing. None where
/// the system gives no more mappings: the allocator may still have memory.
pub(crate) fn map(bytes: usize) -> Option<MmapMut> {
    let mapped = MmapMut::map_anon(bytes.next_multiple_of(HUGE_PAGE_BYTES)).ok()?;
    // A wish, for those that are filled. What came of it is the system's affair.
    #[cfg(target_os = "linux")]
    let _ = mapped.advise_range(memmap2::Advice::HugePage, 0, bytes - bytes % HUGE_PAGE_BYTES);
    Some(mapped)
}

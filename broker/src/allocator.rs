//! The system's allocator, told to keep fewer heaps. glibc makes up to eight per core, and whichever thread needs one takes it:
//! what the threads of blocking IO freed then stays with heaps that nobody else uses, up to half a small
//! `memory.budget.bytes` on top of it after a restart has read a lane back.

/// As many heaps as cores: as many threads run at once. To be called before there is a second thread.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "the C library offers nothing else")]
pub fn keep_few_heaps() {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let heaps = libc::c_int::try_from(cores).unwrap_or(libc::c_int::MAX);
    // SAFETY: mallopt takes two integers and has no precondition but that no other thread calls it meanwhile; there is none yet.
    // It returns 0 where it does not know the parameter: then the heaps are as many as before.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, heaps) };
}

/// Elsewhere nothing is to be told.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_few_heaps() {}

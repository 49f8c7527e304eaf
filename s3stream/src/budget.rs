//! Bounded memory (I8): one number of bytes, split into classes that never borrow from each other, so that a full one can
//! not deadlock another (PRACTICE P7).
//!
//! Who waits for what, the whole rule: *nobody who holds one class waits for an earlier one*, in the order of [`Class`].
//! A produce holds ingress while it waits for lane + tail; nothing that holds lane + tail ever waits for ingress. Internal
//! appends (markers, group records) do not touch ingress: they take [`Class::Control`] or overdraw.
//!
//! A charge is a [`Permit`]; it is given back when dropped, and it *moves* between classes rather than being taken twice.
//! Waiters are served strictly first come, first served: a large request cannot be starved by small ones. Who asks for more
//! than a class has is charged all of it, so that nothing waits for ever.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The fixed classes, in the order in which they may be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Frames of requests read and not yet in the open object.
    Ingress,
    /// Objects of the lane: open, in flight, and the tail that is kept for readers.
    LaneTail,
    /// Blocks read back from the store.
    BlockCache,
    /// Answers that wait for their sockets.
    Responses,
    /// Merge, log compaction, recovery.
    Merge,
    /// Journal, peers, heartbeats, group traffic: never behind produce or fetch (L10).
    Control,
}

impl Class {
    /// All classes, in order.
    pub const ALL: [Class; 6] =
        [Class::Ingress, Class::LaneTail, Class::BlockCache, Class::Responses, Class::Merge, Class::Control];

    /// Share of what is left after [`CONTROL_PER_MILLE`], in per cent.
    fn percent(self) -> u64 {
        match self {
            Class::Ingress => 20,
            Class::LaneTail => 35,
            Class::BlockCache => 30,
            Class::Responses => 10,
            Class::Merge => 5,
            Class::Control => 0,
        }
    }

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Class::Ingress => "ingress",
            Class::LaneTail => "lane-tail",
            Class::BlockCache => "block-cache",
            Class::Responses => "responses",
            Class::Merge => "merge",
            Class::Control => "control",
        }
    }
}

/// What is reserved for control traffic before the rest is split.
const CONTROL_PER_MILLE: u64 = 20;

/// Less than this makes no working broker: the smallest class must hold a frame.
pub const BUDGET_BYTES_MIN: u64 = 32 << 20;

/// One connection holds at most this part of ingress.
const CONNECTION_PART: u64 = 8;

/// The one number, split. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget {
    total: u64,
    classes: Arc<[ByteSemaphore; 6]>,
}

impl Budget {
    /// Splits `total` bytes (at least [`BUDGET_BYTES_MIN`], raised to it otherwise).
    pub fn new(total: u64) -> Budget {
        let total = total.max(BUDGET_BYTES_MIN);
        let control = total * CONTROL_PER_MILLE / 1000;
        let rest = total - control;
        let classes = Class::ALL.map(|class| {
            let bytes = if class == Class::Control { control } else { rest * class.percent() / 100 };
            ByteSemaphore::new(class.name(), bytes)
        });
        Budget { total, classes: Arc::new(classes) }
    }

    /// The number that was split.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// One class.
    pub fn class(&self, class: Class) -> &ByteSemaphore {
        &self.classes[class as usize]
    }

    /// What one connection may hold of ingress.
    pub fn connection(&self) -> ConnectionShare {
        let ingress = self.class(Class::Ingress).clone();
        ConnectionShare {
            own: ByteSemaphore::new("connection", ingress.capacity() / CONNECTION_PART),
            ingress,
        }
    }

    /// Used, peak and waiting of every class.
    pub fn usage(&self) -> Vec<(Class, Usage)> {
        Class::ALL.iter().map(|class| (*class, self.class(*class).usage())).collect()
    }
}

/// A connection's part of ingress: at most an eighth of it, first its own bound, then the common one.
#[derive(Clone, Debug)]
pub struct ConnectionShare {
    own: ByteSemaphore,
    ingress: ByteSemaphore,
}

impl ConnectionShare {
    /// Waits until this connection and the class have room for a frame of `bytes`. A frame above an eighth is admitted
    /// when the connection holds nothing else. Cancel-safe.
    pub async fn acquire(&self, bytes: u64) -> Permit {
        let own = self.own.acquire(bytes).await;
        let permit = self.ingress.acquire(bytes).await;
        permit.and(own)
    }

    /// The same, without waiting.
    pub fn try_acquire(&self, bytes: u64) -> Option<Permit> {
        let own = self.own.try_acquire(bytes)?;
        Some(self.ingress.try_acquire(bytes)?.and(own))
    }

    /// Bytes this connection holds.
    pub fn used(&self) -> u64 {
        self.own.usage().used
    }
}

/// How full a class is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Its size.
    pub capacity: u64,
    /// Charged now. Above `capacity` only by [`ByteSemaphore::overdraw`].
    pub used: u64,
    /// The most that was ever charged at once.
    pub peak: u64,
    /// Requests that wait.
    pub waiting: usize,
}

/// A fair counter of bytes. Cheap to clone; clones are the same counter.
#[derive(Clone)]
pub struct ByteSemaphore(Arc<Inner>);

struct Inner {
    name: &'static str,
    capacity: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: u64,
    peak: u64,
    next_waiter: u64,
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    id: u64,
    charge: u64,
    grant: oneshot::Sender<Permit>,
}

impl ByteSemaphore {
    /// A counter of `capacity` bytes.
    pub fn new(name: &'static str, capacity: u64) -> ByteSemaphore {
        ByteSemaphore(Arc::new(Inner { name, capacity, state: Mutex::new(State::default()) }))
    }

    /// Its size in bytes.
    pub fn capacity(&self) -> u64 {
        self.0.capacity
    }

    /// Waits for room, first come, first served, and charges `bytes` (at most the capacity). Cancel-safe: a dropped call
    /// charges nothing.
    pub async fn acquire(&self, bytes: u64) -> Permit {
        let charge = bytes.min(self.0.capacity);
        let (id, granted) = {
            let mut state = self.0.state.lock();
            if state.waiters.is_empty() && self.0.fits(&state, charge) {
                return self.charge(&mut state, charge);
            }
            let (grant, granted) = oneshot::channel();
            let id = state.next_waiter;
            state.next_waiter += 1;
            state.waiters.push_back(Waiter { id, charge, grant });
            (id, granted)
        };
        let _leave = LeaveQueue { semaphore: self, id };
        // The sender is dropped only when granted or when this future is: waiters leave in no other way.
        match granted.await {
            Ok(permit) => permit,
            Err(_) => self.overdraw(bytes),
        }
    }

    /// Charges `bytes` if there is room and nobody waits.
    pub fn try_acquire(&self, bytes: u64) -> Option<Permit> {
        let charge = bytes.min(self.0.capacity);
        let mut state = self.0.state.lock();
        let free = state.waiters.is_empty() && self.0.fits(&state, charge);
        free.then(|| self.charge(&mut state, charge))
    }

    /// Charges `bytes` without asking, past the capacity if need be: for what must never wait (internal appends). Others
    /// wait until it is given back.
    pub fn overdraw(&self, bytes: u64) -> Permit {
        let mut state = self.0.state.lock();
        self.charge(&mut state, bytes)
    }

    /// How full it is.
    pub fn usage(&self) -> Usage {
        let state = self.0.state.lock();
        Usage { capacity: self.0.capacity, used: state.used, peak: state.peak, waiting: state.waiters.len() }
    }

    fn charge(&self, state: &mut State, charge: u64) -> Permit {
        state.used += charge;
        state.peak = state.peak.max(state.used);
        Permit { charge: Charge { semaphore: self.clone(), bytes: charge }, also: None }
    }

    fn release(&self, charge: u64) {
        let mut state = self.0.state.lock();
        assert!(state.used >= charge, "{}: {charge} bytes given back of {}", self.0.name, state.used);
        state.used -= charge;
        self.grant(state);
    }

    /// Serves waiters in order while they fit.
    fn grant(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        let mut unclaimed = Vec::new();
        while let Some(front) = state.waiters.front() {
            if !self.0.fits(&state, front.charge) {
                break;
            }
            let Some(waiter) = state.waiters.pop_front() else { break };
            let permit = self.charge(&mut state, waiter.charge);
            unclaimed.extend(waiter.grant.send(permit).err());
        }
        drop(state);
        // Their waiters are gone: dropping gives the bytes back, which serves the next. Not under the lock.
        drop(unclaimed);
    }
}

impl Inner {
    fn fits(&self, state: &State, charge: u64) -> bool {
        state.used.saturating_add(charge) <= self.capacity
    }
}

impl fmt::Debug for ByteSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.0.name, self.usage())
    }
}

/// Takes a waiter that gave up out of the queue, so that it does not hold up those behind it.
struct LeaveQueue<'a> {
    semaphore: &'a ByteSemaphore,
    id: u64,
}

impl Drop for LeaveQueue<'_> {
    fn drop(&mut self) {
        let mut state = self.semaphore.0.state.lock();
        // Ids grow along the queue.
        if let Ok(at) = state.waiters.binary_search_by_key(&self.id, |waiter| waiter.id) {
            state.waiters.remove(at);
            self.semaphore.grant(state);
        }
    }
}

/// A charge. Given back when dropped.
pub struct Permit {
    charge: Charge,
    /// A connection's own bound, given back with the charge or when that moves on.
    also: Option<Charge>,
}

/// Bytes of one semaphore.
struct Charge {
    semaphore: ByteSemaphore,
    bytes: u64,
}

impl Permit {
    /// What is charged, in bytes: what was asked for, at most the capacity of the class.
    pub fn bytes(&self) -> u64 {
        self.charge.bytes
    }

    fn and(self, also: Permit) -> Permit {
        Permit { also: Some(also.charge), ..self }
    }

    /// Moves the charge to a *later* class: waits there, then leaves the earlier one. Cancel-safe: a dropped call gives
    /// the charge back.
    pub async fn move_to(self, class: &ByteSemaphore) -> Permit {
        class.acquire(self.bytes()).await
    }

    /// Moves the charge to another class if that has room now; gives it back unmoved otherwise.
    pub fn try_move_to(self, class: &ByteSemaphore) -> Result<Permit, Permit> {
        class.try_acquire(self.bytes()).ok_or(self)
    }

    /// Takes `bytes` (at most all) out of this permit into one of its own.
    fn split(&mut self, bytes: u64) -> Permit {
        let charge = self.charge.split(bytes);
        let also = self.also.as_mut().map(|also| also.split(charge.bytes));
        Permit { charge, also }
    }

    /// Gives back all but `bytes`: what was reserved turned out larger than what is held.
    pub fn shrink_to(&mut self, bytes: u64) {
        let excess = self.bytes().saturating_sub(bytes);
        drop(self.split(excess));
    }
}

impl Charge {
    fn split(&mut self, bytes: u64) -> Charge {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Charge { semaphore: self.semaphore.clone(), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.semaphore.release(self.bytes);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of {}", self.bytes(), self.charge.semaphore.0.name)
    }
}

/// Half of what this process may use: of the cgroup's limit (v2, then v1) or of the machine's memory.
pub fn default_budget_bytes() -> u64 {
    (memory_limit(Path::new("/")) / 2).max(BUDGET_BYTES_MIN)
}

/// Assumed where nothing can be read (not Linux): a small machine.
const MEMORY_UNKNOWN: u64 = 2 << 30;

/// The least of the cgroup limits above this process and the machine's memory, read below `root`.
fn memory_limit(root: &Path) -> u64 {
    let machine = read(&root.join("proc/meminfo")).and_then(|text| parse_meminfo(&text));
    let cgroups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = limit_files(&cgroups)
        .into_iter()
        .filter_map(|file| read(&root.join(file)))
        .filter_map(|text| parse_limit(&text));
    limits.chain(machine).min().unwrap_or(MEMORY_UNKNOWN)
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The files that may hold a limit, given /proc/self/cgroup: the process's group and every group above it. Within a
/// container the path is often the host's and does not exist below the mount, where the root then stands for it.
fn limit_files(cgroups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (mount, name) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|c| c == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mut group = PathBuf::from(path.trim_start_matches('/'));
        loop {
            files.push(Path::new(mount).join(&group).join(name));
            if !group.pop() {
                break;
            }
        }
    }
    files
}

fn parse_limit(text: &str) -> Option<u64> {
    // "max" is no limit; v1 says so with a number near 2^63.
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn classes_share_the_one_number_and_control_has_its_own() {
        let budget = Budget::new(1000 * MIB);
        let sizes: Vec<u64> = Class::ALL.iter().map(|c| budget.class(*c).capacity() / MIB).collect();
        assert_eq!(sizes, [196, 343, 294, 98, 49, 20]);
        assert!(Class::ALL.iter().map(|c| budget.class(*c).capacity()).sum::<u64>() <= budget.total());
        assert_eq!(Budget::new(0).total(), BUDGET_BYTES_MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_are_served_in_order_and_small_ones_do_not_overtake() {
        let semaphore = ByteSemaphore::new("test", 100);
        let held = semaphore.acquire(90).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut joins = Vec::new();
        for (name, bytes) in [("large", 60), ("small", 5), ("medium", 40)] {
            let (semaphore, order) = (semaphore.clone(), order.clone());
            joins.push(tokio::spawn(async move {
                let permit = semaphore.acquire(bytes).await;
                order.lock().push(name);
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(permit);
            }));
            tokio::task::yield_now().await;
        }
        assert!(semaphore.try_acquire(5).is_none(), "room for 5, but others wait");
        assert_eq!(semaphore.usage().waiting, 3);
        drop(held);
        for join in joins {
            join.await.expect("served");
        }
        assert_eq!(*order.lock(), ["large", "small", "medium"]);
        assert_eq!(semaphore.usage(), Usage { capacity: 100, used: 0, peak: 90, waiting: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_gives_up_neither_keeps_bytes_nor_the_queue() {
        let semaphore = ByteSemaphore::new("test", 100);
        let held = semaphore.acquire(60).await;
        let large = {
            let semaphore = semaphore.clone();
            tokio::spawn(async move { timeout(Duration::from_secs(1), semaphore.acquire(80)).await.is_err() })
        };
        tokio::task::yield_now().await;
        let small = {
            let semaphore = semaphore.clone();
            tokio::spawn(async move { semaphore.acquire(30).await.bytes() })
        };
        assert!(large.await.expect("joined"), "no room within its second");
        assert_eq!(small.await.expect("joined"), 30);
        drop(held);
        assert_eq!(semaphore.usage().used, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_there_is_takes_all_there_is_and_never_waits_for_ever() {
        let semaphore = ByteSemaphore::new("test", 100);
        let all = semaphore.acquire(1000).await;
        assert_eq!(all.bytes(), 100);
        assert!(semaphore.try_acquire(1).is_none());
        drop(all);
        assert!(semaphore.try_acquire(1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_charge_moves_splits_shrinks_and_overdraws() {
        let (ingress, lane) = (ByteSemaphore::new("ingress", 100), ByteSemaphore::new("lane", 70));
        let mut permit = ingress.acquire(80).await;
        let part = permit.split(30);
        assert_eq!((permit.bytes(), part.bytes(), ingress.usage().used), (50, 30, 80));
        let moved = permit.move_to(&lane).await;
        assert_eq!((ingress.usage().used, lane.usage().used), (30, 50));
        let mut back = part.try_move_to(&lane).expect_err("no room in lane");
        assert_eq!(ingress.usage().used, 30, "a refused move keeps the charge");
        back.shrink_to(10);
        assert_eq!(ingress.usage().used, 10);
        let over = lane.overdraw(100);
        assert_eq!(lane.usage().used, 150);
        drop(moved);
        assert!(lane.try_acquire(1).is_none(), "100 of 70 are still in use");
        drop(over);
        assert!(lane.try_acquire(70).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_connection_holds_at_most_an_eighth_of_ingress() {
        let budget = Budget::new(1000 * MIB);
        let eighth = budget.class(Class::Ingress).capacity() / 8;
        let (greedy, other) = (budget.connection(), budget.connection());
        let first = greedy.acquire(eighth).await;
        assert!(greedy.try_acquire(1).is_none());
        assert!(other.try_acquire(eighth).is_some());
        // At the cut the charge goes on to the lane, and the connection may read again.
        let moved = first.move_to(budget.class(Class::LaneTail)).await;
        assert_eq!((greedy.used(), budget.class(Class::Ingress).usage().used), (0, 0));
        assert!(greedy.try_acquire(2 * eighth).is_some(), "a frame above an eighth, alone");
        drop(moved);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_connection_gives_back_early_it_may_take_again() {
        let budget = Budget::new(1000 * MIB);
        let eighth = budget.class(Class::Ingress).capacity() / 8;
        let connection = budget.connection();
        let mut frame = connection.acquire(eighth).await;
        frame.shrink_to(MIB);
        assert_eq!((connection.used(), budget.class(Class::Ingress).usage().used), (MIB, MIB));
        let rest = connection.try_acquire(eighth - MIB).expect("room");
        assert!(connection.try_acquire(1).is_none());
        drop((frame, rest));
        assert_eq!((connection.used(), budget.class(Class::Ingress).usage().used), (0, 0));
    }

    #[test]
    fn the_limit_is_the_least_of_all_groups_above_and_the_machine() {
        let root = tempfile::tempdir().expect("tempdir");
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            std::fs::write(path, text).expect("write");
        };
        assert_eq!(memory_limit(root.path()), MEMORY_UNKNOWN);
        put("proc/meminfo", "MemTotal:        8000000 kB\nMemFree: 1 kB\n");
        assert_eq!(memory_limit(root.path()), 8_000_000 * 1024);
        put("proc/self/cgroup", "0::/system.slice/aquifer.service\n");
        put("sys/fs/cgroup/system.slice/aquifer.service/memory.max", "max\n");
        assert_eq!(memory_limit(root.path()), 8_000_000 * 1024);
        put("sys/fs/cgroup/system.slice/memory.max", "1073741824\n");
        assert_eq!(memory_limit(root.path()), 1 << 30);
        put("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n");
        put("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
        assert_eq!(memory_limit(root.path()), 1 << 29);
        put("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(memory_limit(root.path()), 1 << 29);
    }
}

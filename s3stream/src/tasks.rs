//! Every task of one process, behind one gate: so that the simulation can kill a process (all its futures dropped at once,
//! between two polls, as `kill -9` would) or stop it (`SIGSTOP`: nothing is polled, timers fire unheard), and so that a
//! task that must not die quietly can end the whole process by name.
//!
//! Does not own time, nor the order in which tasks run: that is tokio's. Futures started with `tokio::spawn` directly
//! escape the gate; everything in this workspace starts through [`Tasks::spawn`].

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The tasks of one process. Clones are the same process.
#[derive(Clone)]
pub struct Tasks {
    gate: Arc<Gate>,
    /// Where to spawn; None means the caller's runtime.
    runtime: Option<tokio::runtime::Handle>,
}

struct Gate {
    killed: AtomicBool,
    paused: AtomicBool,
    next: AtomicU64,
    /// In order of spawning, so that a kill drops futures in the same order in every run.
    running: Mutex<BTreeMap<u64, Arc<Slot>>>,
    fatal: watch::Sender<Option<String>>,
}

/// One task's future. Its lock is held while it is polled; nobody waits for it (`kill` only tries).
struct Slot {
    name: &'static str,
    vital: bool,
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    waker: Mutex<Option<Waker>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Tasks::new()
    }
}

impl Tasks {
    /// An empty process.
    pub fn new() -> Tasks {
        let gate = Gate {
            killed: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            next: AtomicU64::new(0),
            running: Mutex::new(BTreeMap::new()),
            fatal: watch::Sender::new(None),
        };
        Tasks { gate: Arc::new(gate), runtime: None }
    }

    /// The same process, spawning on another runtime (DESIGN §4: journal, peers and heartbeats have their own).
    pub fn on(&self, runtime: tokio::runtime::Handle) -> Tasks {
        Tasks { gate: self.gate.clone(), runtime: Some(runtime) }
    }

    /// Starts `future`. The handle resolves when it ends, whether by itself or killed. A panic is logged with the name and
    /// ends this task alone.
    pub fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        self.start(name, false, Box::pin(future))
    }

    /// Starts a future without which the process cannot go on (a lane, the journal's reader): a panic in it is
    /// [`Tasks::fatal`].
    pub fn spawn_vital(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        self.start(name, true, Box::pin(future))
    }

    fn start(
        &self,
        name: &'static str,
        vital: bool,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> JoinHandle<()> {
        let id = self.gate.next.fetch_add(1, Ordering::Relaxed);
        let slot = Arc::new(Slot { name, vital, future: Mutex::new(Some(future)), waker: Mutex::new(None) });
        self.gate.running.lock().insert(id, slot.clone());
        let gated = Gated { gate: self.gate.clone(), slot, id };
        match &self.runtime {
            Some(runtime) => runtime.spawn(gated),
            None => tokio::spawn(gated),
        }
    }

    /// Drops every future of this process now, and whatever it starts later at its first poll. A future that is being
    /// polled (that of the caller, if it belongs to this process) is dropped when that poll returns.
    pub fn kill(&self) {
        self.gate.killed.store(true, Ordering::SeqCst);
        // Taken out first: dropping a future may spawn, wake or kill again.
        let slots: Vec<Arc<Slot>> = std::mem::take(&mut *self.gate.running.lock()).into_values().collect();
        for slot in slots {
            // Busy: its poller looks at `killed` after it has let go of the lock.
            let dropped = slot.future.try_lock().and_then(|mut future| future.take());
            drop(dropped);
            slot.wake();
        }
    }

    /// Stops polling. Wake-ups are kept for [`Tasks::resume`].
    pub fn pause(&self) {
        self.gate.paused.store(true, Ordering::SeqCst);
    }

    /// Polls everything again.
    pub fn resume(&self) {
        self.gate.paused.store(false, Ordering::SeqCst);
        let slots: Vec<Arc<Slot>> = self.gate.running.lock().values().cloned().collect();
        for slot in slots {
            slot.wake();
        }
    }

    /// Was this process killed?
    pub fn is_killed(&self) -> bool {
        self.gate.killed.load(Ordering::SeqCst)
    }

    /// How many tasks there are, by name: for tests and `dump`.
    pub fn running(&self) -> Vec<&'static str> {
        self.gate.running.lock().values().map(|slot| slot.name).collect()
    }

    /// Says that this process must end and why (a failed fsync, a successor under its broker id: I10). The first reason
    /// stays. Whoever owns the process waits for it with [`Tasks::fatal_reason`].
    pub fn fatal(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.gate.fatal.send_if_modified(|first| {
            tracing::error!(%reason, "this process must end");
            let is_first = first.is_none();
            if is_first {
                *first = Some(reason);
            }
            is_first
        });
    }

    /// Waits until [`Tasks::fatal`] was called and gives its first reason. Cancel-safe.
    pub async fn fatal_reason(&self) -> String {
        let mut seen = self.gate.fatal.subscribe();
        loop {
            if let Some(reason) = &*seen.borrow_and_update() {
                return reason.clone();
            }
            // The sender lives in the gate, which `self` holds: this cannot fail.
            let _ = seen.changed().await;
        }
    }

    /// The first fatal reason, if there is one already.
    pub fn is_fatal(&self) -> Option<String> {
        self.gate.fatal.borrow().clone()
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("running", &self.gate.running.lock().len())
            .field("killed", &self.is_killed())
            .finish()
    }
}

impl Slot {
    fn wake(&self) {
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// What tokio polls.
struct Gated {
    gate: Arc<Gate>,
    slot: Arc<Slot>,
    id: u64,
}

impl Future for Gated {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        {
            let mut waker = this.slot.waker.lock();
            match &mut *waker {
                Some(known) => known.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        if this.gate.killed.load(Ordering::SeqCst) {
            return this.end();
        }
        if this.gate.paused.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        let polled = {
            let mut future = this.slot.future.lock();
            match &mut *future {
                // Killed between the look above and here.
                None => return Poll::Ready(()),
                Some(running) => {
                    let panic_report = PanicReport { gate: &this.gate, slot: &this.slot };
                    let polled = running.as_mut().poll(cx);
                    drop(panic_report);
                    polled
                }
            }
        };
        if polled.is_ready() || this.gate.killed.load(Ordering::SeqCst) {
            return this.end();
        }
        Poll::Pending
    }
}

impl Gated {
    fn end(&mut self) -> Poll<()> {
        let future = self.slot.future.lock().take();
        drop(future);
        Poll::Ready(())
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        // Aborted by its handle, or its runtime shuts down: the slot's Arc may outlive this in a `kill` that is under way.
        let future = self.slot.future.try_lock().and_then(|mut future| future.take());
        drop(future);
        self.gate.running.lock().remove(&self.id);
    }
}

/// Alive during a poll: dropped by an unwinding one it tells who it was.
struct PanicReport<'a> {
    gate: &'a Arc<Gate>,
    slot: &'a Slot,
}

impl Drop for PanicReport<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if self.slot.vital {
            let tasks = Tasks { gate: self.gate.clone(), runtime: None };
            tasks.fatal(format!("task {} panicked", self.slot.name));
        } else {
            tracing::error!(task = self.slot.name, "task panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Counts drops of what a future holds.
    struct Dropped(Arc<AtomicU64>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_kill_drops_every_future_before_it_returns() {
        let tasks = Tasks::new();
        let drops = Arc::new(AtomicU64::new(0));
        for _ in 0..10 {
            let held = Dropped(drops.clone());
            tasks.spawn("sleeper", async move {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                drop(held);
            });
        }
        // Never polled yet: dropped all the same.
        tasks.kill();
        assert_eq!(drops.load(Ordering::SeqCst), 10);
        assert!(tasks.is_killed() && tasks.running().is_empty());

        let late = tasks.spawn("late", async { panic!("polled in a dead process") });
        late.await.expect("ends without being polled");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_kills_its_own_process_goes_no_further() {
        let tasks = Tasks::new();
        let steps = Arc::new(AtomicU64::new(0));
        let (own, counted) = (tasks.clone(), steps.clone());
        let handle = tasks.spawn("suicide", async move {
            own.kill();
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            counted.fetch_add(1, Ordering::SeqCst);
        });
        handle.await.expect("ends");
        assert_eq!(steps.load(Ordering::SeqCst), 1, "the poll it was in ends, the next never comes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_process_does_not_run_and_catches_up_when_resumed() {
        let tasks = Tasks::new();
        let ticks = Arc::new(AtomicU64::new(0));
        let counted = ticks.clone();
        tasks.spawn("ticker", async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(ticks.load(Ordering::SeqCst), 2);
        tasks.pause();
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(ticks.load(Ordering::SeqCst), 2);
        tasks.resume();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(ticks.load(Ordering::SeqCst), 4, "the missed timer fires once, then time goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_fatal_reason_stays() {
        let tasks = Tasks::new();
        let waiting = tokio::spawn({
            let tasks = tasks.clone();
            async move { tasks.fatal_reason().await }
        });
        tokio::task::yield_now().await;
        assert_eq!(tasks.is_fatal(), None);
        tasks.fatal("fsync failed");
        tasks.fatal("superseded");
        assert_eq!(waiting.await.expect("joined"), "fsync failed");
        assert_eq!(tasks.fatal_reason().await, "fsync failed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_ends_one_task_unless_it_is_vital() {
        let tasks = Tasks::new();
        let ends = tasks.spawn("connection", async { panic!("on purpose") });
        assert!(ends.await.is_err());
        assert_eq!(tasks.is_fatal(), None);
        let vital = tasks.spawn_vital("lane", async { panic!("on purpose") });
        assert!(vital.await.is_err());
        assert_eq!(tasks.is_fatal().as_deref(), Some("task lane panicked"));
        assert!(tasks.running().is_empty());
    }
}

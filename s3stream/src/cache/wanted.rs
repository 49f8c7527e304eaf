//! How soon what is being loaded is wanted: in its turn, until somebody comes who cannot wait (L10). Loads are shared, so that
//! may be later than it began.

use std::sync::Arc;

use tokio::sync::watch;

/// How soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// When its turn comes ([`super::ColdReads`]).
    InTurn,
    /// Now.
    AtOnce,
}

/// How soon all who wait for one load want it. Clones are of the same load.
#[derive(Clone, Debug)]
pub(super) struct Wants(Arc<watch::Sender<Wanted>>);

impl Wants {
    pub fn new(wanted: Wanted) -> Wants {
        Wants(Arc::new(watch::Sender::new(wanted)))
    }

    /// One more wants it. It is never less urgent than before.
    pub fn join(&self, wanted: Wanted) {
        if wanted == Wanted::AtOnce {
            self.0.send_replace(wanted);
        }
    }

    /// Waits until somebody wants it at once.
    pub async fn at_once(&self) {
        let known = self.0.subscribe().wait_for(|wanted| *wanted == Wanted::AtOnce).await.is_ok();
        debug_assert!(known, "this is a sender");
    }
}

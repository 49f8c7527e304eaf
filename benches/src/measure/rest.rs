//! Rest: what a broker, and its store, do after a load without being asked. Merging on our side, page writeback is the system's.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{CpuMeter, CpuUsed};
use crate::peers::Peer;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// A JVM without any client takes a twentieth of a core.
const CORE_SHARE_MAX: f64 = 0.1;
/// Looks in a row that find no more than that.
const LOOKS: u32 = 3;
/// What is not at rest by then is measured as it is, and named.
const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until the peer does nothing any more; what it took until then.
pub fn wait(peer: &mut Peer) -> Result<CpuUsed> {
    let whole = CpuMeter::start(peer)?;
    let begun = Instant::now();
    let mut quiet = 0;
    while quiet < LOOKS {
        if begun.elapsed() > PATIENCE {
            eprintln!("[{}] not at rest after {PATIENCE:?}: measured all the same", peer.name);
            break;
        }
        let (meter, since) = (CpuMeter::start(peer)?, Instant::now());
        sleep(LOOK);
        let used = meter.stop(peer)?;
        let cpu = [used.broker, used.store].into_iter().flatten().sum::<Duration>();
        quiet =
            if cpu.as_secs_f64() < CORE_SHARE_MAX * since.elapsed().as_secs_f64() { quiet + 1 } else { 0 };
        peer.check()?;
    }
    eprintln!("[{}] at rest after {:.0?}", peer.name, begun.elapsed());
    whole.stop(peer)
}

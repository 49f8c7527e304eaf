//! Resident memory after all loads.

use anyhow::Result;

use super::{MIB, Run};
use crate::report::{Figure, figure};

/// Reads what the broker holds now, and the most it ever held.
pub fn run(run: &mut Run<'_>) -> Result<Vec<Figure>> {
    let Some(memory) = run.peer.resident()? else { return Ok(vec![]) };
    Ok(vec![
        figure("memory.after", "resident after all loads", "MiB", memory.now as f64 / MIB as f64),
        figure("memory.peak", "resident, peak", "MiB", memory.peak as f64 / MIB as f64),
    ])
}

//! Load that is checked: an idempotent producer of numbered records, a tail, a reader of the log, and the verdict on what
//! the three of them saw. The programs that kill, stop and soak brokers share it.

// Real processes, real time.
#![allow(clippy::disallowed_methods)]

pub mod clients;
pub mod history;

use std::time::Duration;

use anyhow::Result;

use self::clients::{Job, Work, read_log};
use self::history::{Verdict, check};

/// Ends the work: no more records, a report for each, the log read whole, the tail at its end. Each may take `patience`.
pub fn finish(work: Work, job: &Job, patience: Duration) -> Result<Verdict> {
    work.stop_sending();
    let produced = work.finish_producing(patience)?;
    let log = read_log(job, patience)?;
    let tail = work.finish_tailing(&log, patience)?;
    Ok(check(&produced, &tail, &log))
}

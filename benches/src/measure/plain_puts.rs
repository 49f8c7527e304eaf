//! What one PUT to the store takes: small new objects at the rate of [`super::latency`], one after another, by a plain client.
//! An acknowledgement can be no earlier than its PUT.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};

use super::{Run, latency};
use crate::client::RECORD_BYTES;
use crate::peers::{BUCKET, minio};

/// Puts for some seconds; microseconds of each. None for a peer without a store of its own.
pub fn run(run: &Run<'_>, per_second: u64, seconds: u64) -> Result<Option<Histogram<u64>>> {
    let Some(store) = run.peer.store() else { return Ok(None) };
    run.say(&format!("{per_second} PUTs/s without a broker for {seconds} s"));
    let client = minio::client(store.addr, BUCKET)?;
    let body = PutPayload::from(vec![7; RECORD_BYTES]);
    let mut micros = latency::histogram();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begun = Instant::now();
        for number in 0..per_second * seconds {
            let due = Duration::from_micros(1_000_000 * number / per_second);
            tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
            let path = Path::from(format!("plain-puts/{number}"));
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let since = Instant::now();
            client.put_opts(&path, body.clone(), options).await.context("a plain PUT")?;
            micros.saturating_record(since.elapsed().as_micros() as u64);
        }
        anyhow::Ok(())
    })?;
    Ok(Some(micros))
}

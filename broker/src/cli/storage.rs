//! `aquifer storage`: kafka-dump-log's counterpart, and more. Offline and read-only: it opens the bucket itself, needs no
//! broker, writes nothing (PRACTICE O2). Output is plain lines, for people and for tests; with `--json` it is one JSON
//! object, for programs.
//!
//! [`bucket`] reads, [`dump`] (pure) decodes one object, [`journal`] folds the log to an image, [`image`] and
//! [`image_json`] (pure) print one, [`ls`] lists, [`verify`] checks everything; [`lane`] and [`data`] (pure) are what it
//! knows of a lane's object and of one of `data/`.

pub mod bucket;
pub mod data;
pub mod dump;
pub mod image;
pub mod image_json;
pub mod journal;
pub mod lane;
pub mod ls;
pub mod verify;

#[cfg(test)]
#[path = "storage/tests.rs"]
mod bucket_tests;
#[cfg(test)]
mod data_tests;
#[cfg(test)]
mod rig;

use std::io::Write;

use anyhow::{Context, bail};

use self::bucket::Bucket;
use super::args::StorageCommand;
use crate::config::BrokerConfig;

/// Carries out `command` on the bucket that `config` names. Says whether all is well: false is what [`verify`] found, or a
/// damaged object that was dumped.
///
/// # Errors
/// The bucket cannot be opened or read, or is none; the command asks for what is not there.
pub async fn run(
    config: &BrokerConfig,
    command: &StorageCommand,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let bucket = Bucket::open(config.values.string("storage"), config.values.get("wal.storage"))?;
    match command {
        StorageCommand::Ls { all, prefix, json } => {
            let listed = ls::list(&bucket, prefix, *all).await?;
            if *json {
                writeln!(out, "{:#}", listed.json())?;
            } else {
                out.write_all(listed.text().as_bytes())?;
            }
            Ok(true)
        }
        StorageCommand::Dump { key } => {
            let Some(bytes) = bucket.get(key).await? else {
                bail!("there is no object {key} in {bucket}; `aquifer storage ls --all` prints the keys");
            };
            let dumped = dump::dump(key, bytes).with_context(|| format!("{key} is damaged"))?;
            out.write_all(dumped.text.as_bytes())?;
            Ok(dumped.whole)
        }
        StorageCommand::Image { at, json } => {
            let image = journal::image_at(&bucket, *at).await?;
            if *json {
                writeln!(out, "{:#}", image_json::json(&image))?;
            } else {
                out.write_all(image::text(&image).as_bytes())?;
            }
            Ok(true)
        }
        StorageCommand::Verify { json } => verify::verify(&bucket, out, *json).await,
    }
}

/// 1536 -> "1.5 KiB"
fn bytes_text(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_in_the_unit_that_people_use() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (8 << 20, "8.0 MiB"), (3 << 40, "3.0 TiB")]
        {
            assert_eq!(bytes_text(bytes), text);
        }
    }
}

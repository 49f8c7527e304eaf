//! Readers that begin at the log start, read to the end they found, and begin again, one topic after the other.
//!
//! Every round must be whole: offsets without a hole, numbers ascending. Retention may overtake a reader, which then goes
//! on at the log start: a hole is believed to be that only if the log does begin behind it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tests::load::clients::{Job, consumer, is_outage, number};

use crate::PATIENCE;

/// What was read so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replayed {
    /// Topics read from start to end.
    pub rounds: u64,
    /// Records of them.
    pub records: u64,
}

/// The reader.
pub struct Replays {
    done: Arc<Mutex<Replayed>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Replays {
    /// Starts with the first of the topics.
    pub fn start(jobs: Vec<Job>) -> Replays {
        let (done, stop) = (Arc::new(Mutex::new(Replayed::default())), Arc::new(AtomicBool::new(false)));
        let (told, ended) = (done.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for job in jobs.iter().cycle() {
                let records = round(job, &ended).with_context(|| format!("a replay of {}", job.topic));
                let records = records.inspect_err(|error| eprintln!("{error:#}"))?;
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let mut done = told.lock().expect("no holder panics");
                done.rounds += 1;
                done.records += records;
            }
            Ok(())
        });
        Replays { done, stop, thread }
    }

    /// Fails if a round was not whole.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.thread.is_finished(), "a replay was not whole");
        Ok(())
    }

    /// Ends the round under way and tells what was read.
    pub fn finish(self) -> Result<Replayed> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the reader does not panic")?;
        let done = *self.done.lock().expect("no holder panics");
        Ok(done)
    }
}

/// What is known of a partition in a round: the last record's offset and number.
#[derive(Clone, Copy, Debug, Default)]
struct At {
    last: Option<(i64, u64)>,
}

fn round(job: &Job, stop: &AtomicBool) -> Result<u64> {
    let reader = consumer(job, "earliest")?;
    let Some(mut ends) = watermarks(job, &reader, stop)? else { return Ok(0) };
    let mut at = vec![At::default(); ends.len()];
    let (mut records, mut moved) = (0, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let next = |at: &At| at.last.map_or(0, |(offset, _)| offset + 1);
        if at.iter().zip(&ends).all(|(at, (_, high))| next(at) >= *high) {
            return Ok(records);
        }
        ensure!(moved.elapsed() < PATIENCE, "nothing comes: at {at:?} of {ends:?}");
        match reader.poll(Duration::from_millis(100)) {
            None => {
                // What was to be read may have gone; then the round is over, too.
                if moved.elapsed() > Duration::from_secs(5) {
                    let Some(now) = watermarks(job, &reader, stop)? else { return Ok(records) };
                    for ((low, _), (_, high)) in now.iter().zip(&mut ends) {
                        if low >= high {
                            *high = 0;
                        }
                    }
                }
            }
            Some(Ok(message)) => {
                moved = Instant::now();
                records += 1;
                let (partition, offset) = (message.partition(), message.offset());
                let number = number(&message, job.value_bytes)?;
                let (at, start) = (&mut at[partition as usize], ends[partition as usize].0);
                let expected = at.last.map_or(start, |(last, _)| last + 1);
                let ascends = at.last.is_none_or(|(_, before)| number > before);
                ensure!(ascends, "{partition}: number {number} at {offset} after {:?}", at.last);
                if offset != expected {
                    let Some(now) = watermarks(job, &reader, stop)? else { return Ok(records) };
                    let low = now[partition as usize].0;
                    ensure!(
                        offset > expected && offset <= low,
                        "{partition}: offset {offset} where {expected} was to come, and the log begins at {low}"
                    );
                }
                at.last = Some((offset, number));
            }
            Some(Err(error)) if is_outage(&error) => {}
            Some(Err(error)) => return Err(error).context("consume"),
        }
    }
    Ok(records)
}

/// Where the partitions begin and end; asked until the broker answers, for it may just have been killed. None when told to
/// stop.
fn watermarks(job: &Job, reader: &BaseConsumer, stop: &AtomicBool) -> Result<Option<Vec<(i64, i64)>>> {
    let begun = Instant::now();
    let mut found = Vec::new();
    while found.len() < job.partitions as usize {
        match reader.fetch_watermarks(&job.topic, found.len() as i32, Duration::from_secs(5)) {
            Ok(watermarks) => found.push(watermarks),
            Err(_) if stop.load(Ordering::Relaxed) => return Ok(None),
            Err(error) if begun.elapsed() > PATIENCE => bail!("no watermarks: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    Ok(Some(found))
}

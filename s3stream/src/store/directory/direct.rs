//! Writing past the page cache (O_DIRECT): what is written here is in the tail, and a copy of it in the page cache costs
//! more than all else that a broker does with it: 1.2 to 2.2 CPU·s per GiB on fresh pages, against 0.2.
//!
//! The kernel asks for aligned memory, offsets and lengths. Bodies are gathered in an aligned buffer; what is left over at
//! the end of one is written as other files are. Where a file system does not do it, nothing is lost: the caller writes
//! everything in the usual way.
//!
//! A disk does one thing at a time: behind a merge's 64 MiB a producer's 4 KiB would wait for 200 ms. So what nobody waits
//! for is written in small pieces, each of which gives way to what somebody waits for ([`Precedence`]).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::fs::OFlags;

use crate::store::PutPayload;

/// Shorter bodies go through the page cache: up to here two writes take longer than one copy.
pub(super) const DIRECT_MIN: usize = 256 << 10;
/// Memory, offset and length are multiples of this: no less than the block size of any disk.
const ALIGNMENT: usize = 4096;
/// Bytes of one write. The disk is idle between two.
const BUFFER_BYTES: usize = 4 << 20;
/// Bytes of one write that others wait behind: some milliseconds.
const YIELDING_BYTES: usize = 1 << 20;
/// The longest that one of those gives way: a busy lane leaves it a tenth of the disk.
const GIVEN_WAY_MAX: Duration = Duration::from_millis(25);
/// Buffers kept for the next writes: a lane's, an upload's or a merge's.
const IDLE_MAX: usize = 2;

/// Who writes something that others wait for.
#[derive(Default)]
pub(super) struct Precedence {
    writing: Mutex<usize>,
    none: Condvar,
}

/// A write that has precedence, while it lasts.
pub(super) struct First<'a>(&'a Precedence);

impl Precedence {
    /// Others give way until this is dropped.
    pub(super) fn first(&self) -> First<'_> {
        *self.writing.lock() += 1;
        First(self)
    }

    /// Returns when nobody has precedence, or has had it for too long.
    fn give_way(&self) {
        let mut writing = self.writing.lock();
        if *writing > 0 {
            self.none.wait_for(&mut writing, GIVEN_WAY_MAX);
        }
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        let mut writing = self.0.writing.lock();
        *writing -= 1;
        if *writing == 0 {
            self.0.none.notify_all();
        }
    }
}

/// Aligned buffers, used again.
#[derive(Default)]
pub(super) struct DirectWriter(Mutex<Vec<Aligned>>);

struct Aligned {
    memory: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new() -> Aligned {
        let memory = vec![0; BUFFER_BYTES + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Aligned { memory, start }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + BUFFER_BYTES]
    }
}

impl DirectWriter {
    /// Writes all of `body` to an empty file that was opened with O_DIRECT, which it has no more afterwards; giving way to
    /// others, or not.
    ///
    /// # Errors
    /// `InvalidInput` where the file system wants something else; part of the body may have been written.
    pub(super) fn write(
        &self,
        file: &mut File,
        body: &PutPayload,
        giving_way: Option<&Precedence>,
    ) -> io::Result<()> {
        let idle = self.0.lock().pop();
        let mut buffer = idle.unwrap_or_else(Aligned::new);
        let at_once = if giving_way.is_some() { YIELDING_BYTES } else { BUFFER_BYTES };
        let written = write_through(file, body, &mut buffer.bytes()[..at_once], giving_way);
        let mut idle = self.0.lock();
        if idle.len() < IDLE_MAX {
            idle.push(buffer);
        }
        written
    }
}

fn write_through(
    file: &mut File,
    body: &PutPayload,
    buffer: &mut [u8],
    giving_way: Option<&Precedence>,
) -> io::Result<()> {
    let mut write = |bytes: &[u8]| {
        giving_way.inspect(|precedence| precedence.give_way());
        file.write_all(bytes)
    };
    let mut filled = 0;
    for part in body.iter() {
        let mut rest = &part[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(buffer.len() - filled));
            buffer[filled..filled + now.len()].copy_from_slice(now);
            filled += now.len();
            rest = later;
            if filled == buffer.len() {
                write(buffer)?;
                filled = 0;
            }
        }
    }
    let whole = filled - filled % ALIGNMENT;
    write(&buffer[..whole])?;
    let flags = rustix::fs::fcntl_getfl(file.as_fd())?;
    rustix::fs::fcntl_setfl(file.as_fd(), flags - OFlags::DIRECT)?;
    file.write_all(&buffer[whole..filled])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_body_of_any_length_and_parts_is_what_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let writer = DirectWriter::default();
        let content: Vec<u8> = (0..BUFFER_BYTES * 2 + 12_345).map(|at| (at / 7) as u8).collect();
        let lengths = [0, 1, ALIGNMENT, ALIGNMENT + 1, BUFFER_BYTES, BUFFER_BYTES + 1, content.len()];
        for length in lengths {
            for part in [1000, ALIGNMENT, 700_001] {
                let body: PutPayload =
                    content[..length].chunks(part).map(|part| Bytes::from(part.to_vec())).collect();
                let path = directory.path().join(format!("{length}-{part}"));
                let mut options = File::options();
                options.create_new(true).write(true).custom_flags(OFlags::DIRECT.bits() as i32);
                let Ok(mut file) = options.open(&path) else {
                    // A file system without it: there the store writes as usual, which other tests show.
                    return;
                };
                let precedence = Precedence::default();
                writer.write(&mut file, &body, (part == 1000).then_some(&precedence)).unwrap();
                file.sync_data().unwrap();
                assert!(
                    std::fs::read(&path).unwrap() == content[..length],
                    "{length} bytes in parts of {part}"
                );
            }
        }
        assert_eq!(writer.0.lock().len(), 1, "one buffer served all");
    }

    #[test]
    fn who_gives_way_goes_on_when_the_last_with_precedence_is_done() {
        let precedence = Precedence::default();
        precedence.give_way();
        let (one, two) = (precedence.first(), precedence.first());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                while *precedence.writing.lock() > 0 {
                    precedence.give_way();
                }
            });
            drop(one);
            assert!(!waiting.is_finished(), "there is another");
            drop(two);
        });
        assert_eq!(*precedence.writing.lock(), 0);
    }
}

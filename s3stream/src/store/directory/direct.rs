//! Writing and reading past the page cache (O_DIRECT): what is written here is in the tail, what a merge reads is deleted
//! soon, what a replay reads passes once ([`super::seen`]), and a copy of it in the page cache costs more than all else that a
//! broker does with it: 1.2 to 2.2 CPU·s per GiB on fresh pages, against 0.2.
//!
//! The kernel asks for aligned memory, offsets and lengths. What lies in memory as it will lie in the file is written from
//! there (chunks of an object do: [`crate::wal::chunk`]); the rest, and what is between two of them, is gathered in an aligned
//! buffer. What is left over at the end of a body is written as other files are. Where a file system does not do it, nothing is lost: the caller writes
//! everything in the usual way.
//!
//! A disk does one thing at a time: behind a merge's 64 MiB a producer's 4 KiB would wait for 200 ms. So what nobody waits
//! for is written in small pieces, each of which gives way to what somebody waits for ([`Precedence`]).

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use rustix::fs::OFlags;

use super::disk::write_slices;
use crate::buffers::BufferPool;
use crate::store::PutPayload;
use crate::wal::chunk::ALIGNMENT;

/// Shorter bodies go through the page cache: up to here two writes take longer than one copy.
pub(super) const DIRECT_MIN: usize = 256 << 10;
/// Shorter than this is copied rather than written as a slice of its own.
const AS_IT_LIES_MIN: usize = 64 << 10;
/// Bytes of one write. The disk is idle between two.
const BUFFER_BYTES: usize = 4 << 20;
/// Bytes of one write that others wait behind: some milliseconds.
const YIELDING_BYTES: usize = 1 << 20;
/// The longest that one of those gives way: a busy lane leaves it a tenth of the disk.
const GIVEN_WAY_MAX: Duration = Duration::from_millis(25);
/// Buffers kept for the next writes: a lane's, an upload's or a merge's.
const IDLE_MAX: usize = 2;

/// Bytes `range` of a file that is read past the page cache ([`set_direct`]) and has them, in memory of `buffers`; giving way to
/// others, or not.
///
/// # Errors
/// `InvalidInput` where the file system wants something else.
pub(super) fn read_pages(
    file: &File,
    range: &Range<u64>,
    buffers: &Arc<BufferPool>,
    giving_way: Option<&Precedence>,
) -> io::Result<Bytes> {
    // Whole pages around it, the last of which may be shorter in the file.
    let pages = range.start - range.start % ALIGNMENT as u64..range.end.next_multiple_of(ALIGNMENT as u64);
    let (lead, length) = ((range.start - pages.start) as usize, (pages.end - pages.start) as usize);
    let needed = lead + (range.end - range.start) as usize;
    let mut buffer = buffers.take(length + ALIGNMENT);
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    let at_once = if giving_way.is_some() { YIELDING_BYTES } else { BUFFER_BYTES };
    let mut read = 0;
    while read < needed {
        giving_way.inspect(|precedence| precedence.give_way());
        // What ended within a page is read again from its beginning.
        let from = read - read % ALIGNMENT;
        let until = length.min(from + at_once);
        match file.read_at(&mut buffer[start + from..start + until], pages.start + from as u64) {
            Ok(bytes) if from + bytes <= read => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => read = from + bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(buffer.freeze().slice(start + lead..start + needed))
}

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
    let mut write = |pieces: &[Piece<'_>], buffer: &[u8]| {
        giving_way.inspect(|precedence| precedence.give_way());
        let slices = pieces.iter().map(|piece| match piece {
            Piece::AsItLies(bytes) => IoSlice::new(bytes),
            Piece::Gathered(range) => IoSlice::new(&buffer[range.clone()]),
        });
        write_slices(file, &mut slices.filter(|slice| !slice.is_empty()).collect::<Vec<_>>())
    };
    // Of one write: its pieces, its bytes, and those of them in the buffer. Every write but the last is as long as the buffer, so
    // that `bytes` has the remainder that the position in the file has.
    let (mut pieces, mut bytes, mut gathered) = (Vec::new(), 0, 0);
    for part in body.iter() {
        let mut rest = &part[..];
        while !rest.is_empty() {
            let room = buffer.len() - bytes;
            let to_page = bytes.next_multiple_of(ALIGNMENT) - bytes;
            let congruent = (rest.as_ptr() as usize).wrapping_sub(bytes).is_multiple_of(ALIGNMENT);
            let as_it_lies = congruent && rest.len() >= to_page + AS_IT_LIES_MIN;
            let length = match as_it_lies {
                true if to_page == 0 => rest.len() - rest.len() % ALIGNMENT,
                true => to_page,
                false => rest.len(),
            };
            let (now, later) = rest.split_at(length.min(room));
            if as_it_lies && to_page == 0 {
                pieces.push(Piece::AsItLies(now));
            } else {
                let range = gathered..gathered + now.len();
                buffer[range.clone()].copy_from_slice(now);
                gathered = range.end;
                match pieces.last_mut() {
                    Some(Piece::Gathered(before)) => before.end = range.end,
                    _ => pieces.push(Piece::Gathered(range)),
                }
            }
            bytes += now.len();
            rest = later;
            if bytes == buffer.len() {
                write(&pieces, buffer)?;
                pieces.clear();
                (bytes, gathered) = (0, 0);
            }
        }
    }
    // What lies as it is has whole pages: what is left over was gathered last.
    let left_over = gathered - bytes % ALIGNMENT..gathered;
    if let Some(Piece::Gathered(last)) = pieces.last_mut() {
        last.end = left_over.start;
    }
    write(&pieces, buffer)?;
    set_direct(file, false)?;
    file.write_all(&buffer[left_over])
}

/// Opens an open file's way past the page cache, or closes it.
///
/// # Errors
/// `InvalidInput` where the file system has none.
pub(super) fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(rustix::fs::fcntl_setfl(file, flags)?)
}

/// Of one write.
enum Piece<'a> {
    /// Whole pages of the body, aligned in memory as in the file.
    AsItLies(&'a [u8]),
    /// What was copied to here in the buffer.
    Gathered(Range<usize>),
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;
    use crate::wal::chunk::ChunkPool;

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
    fn any_range_of_a_file_is_what_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("object");
        let content: Vec<u8> = (0..YIELDING_BYTES * 2 + 12_345).map(|at| (at / 7) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let mut options = File::options();
        let Ok(file) = options.read(true).custom_flags(OFlags::DIRECT.bits() as i32).open(&path) else {
            return;
        };
        let (buffers, precedence) = (BufferPool::new(8 << 20), Precedence::default());
        let read = |range: Range<u64>| read_pages(&file, &range, &buffers, Some(&precedence));
        let page = ALIGNMENT as u64;
        let end = content.len() as u64;
        for start in [0, 1, page - 1, page, page + 1, YIELDING_BYTES as u64 - 1, end - 1] {
            for until in [start + 1, start + page, 2 * YIELDING_BYTES as u64, end - 1, end] {
                let range = start..until.clamp(start, end);
                let expected = &content[range.start as usize..range.end as usize];
                assert!(read(range.clone()).unwrap() == expected, "{range:?}");
            }
        }
        assert_eq!(read(0..end + 1).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(read(end + page..end + 2 * page).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert!(buffers.idle_bytes() > 0, "its memory is used again");
    }

    #[test]
    fn what_lies_in_memory_as_it_will_in_the_file_is_written_from_there() {
        let directory = tempfile::tempdir().unwrap();
        let pool = ChunkPool::new(0);
        let lengths = [
            [100_001, 5 << 20, 7],
            [4096, 70_000, 4096],
            [65_535, 65_537, 65_536],
            [1, (2 << 20) - 1, 1 << 20],
        ];
        for (n, lengths) in lengths.into_iter().enumerate() {
            let mut position = 0;
            let parts = lengths.map(|length| {
                let mut chunk = pool.take(length.max(64 << 10), length, position);
                let content: Vec<u8> = (0..length).map(|at| (at as u64 + position) as u8 % 251).collect();
                chunk.extend(&content);
                position += length as u64;
                chunk.freeze()
            });
            let content = parts.concat();
            let path = directory.path().join(n.to_string());
            let mut options = File::options();
            options.create_new(true).write(true).custom_flags(OFlags::DIRECT.bits() as i32);
            let Ok(mut file) = options.open(&path) else { return };
            // What is copied is seen in the buffer.
            let mut buffer = Aligned::new();
            write_through(&mut file, &parts.iter().cloned().collect(), buffer.bytes(), None).unwrap();
            assert!(std::fs::read(&path).unwrap() == content, "{lengths:?}");
            let copied = buffer.bytes().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            assert!(copied < 3 * (AS_IT_LIES_MIN + 2 * ALIGNMENT), "{lengths:?}: copied {copied}");
        }
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

//! Who reads a stream from front to back, and what to load before they ask for it (p).
//!
//! A reader has no name here: it is recognised by where it reads. Who goes on where a reader was is that reader, so those that
//! read in step are one, and who comes behind and finds all in memory is led by it. Who reads anywhere else is a new one,
//! and so is a reader that seeks. The first read of a reader says nothing, from the second on
//! it is sequential: then at most [`AHEAD_GETS`] GETs are ahead of what it reads, and each is twice the one before, from
//! [`GET_MIN`] to [`GET_MAX`]. So at most 16 MiB wait for one reader (PRACTICE F3), and twice that where objects come by turns.
//!
//! What follows of a stream may lie in two objects by turns, where merges took every other of its lane objects. A GET then brings
//! what lies in a row in one of them, and the next one what is between.
//!
//! Decides which GET begins when, and when what it brought has served: when its reader is past it, has gone, or has not come
//! for [`IDLE`]. Does not know blocks, memory or the store: [`super::ahead`] looks up, charges, loads and holds. Bounded:
//! [`READERS_MAX`] readers, who was not seen longest goes first.
//!
//! One GET after the other is looked up, since where the next begins is known when the one before was.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use crate::ids::StreamId;

/// Bytes of a sequential reader's first GET ahead.
pub const GET_MIN: u64 = 1 << 20;
/// Bytes of the largest.
pub const GET_MAX: u64 = 8 << 20;
/// GETs ahead of one reader: those that it has not begun to read.
pub const AHEAD_GETS: usize = 2;
/// Readers that are remembered.
pub const READERS_MAX: usize = 4096;
/// What was loaded for a reader that does not come is given up after this long.
pub const IDLE: Duration = Duration::from_secs(30);

/// One GET ahead of one reader. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GetId {
    reader: u64,
    number: u64,
}

/// What somebody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequentialRead {
    /// Of which stream.
    pub stream: StreamId,
    /// First offset.
    pub from: u64,
    /// Offset after the last block that is looked at for it.
    pub to: u64,
    /// It is not in memory: somebody has to wait for it.
    pub missed: bool,
}

/// Look up what follows, and load it as one GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// To be told what became of it: [`ReadAhead::begun`], else [`ReadAhead::nothing`] or [`ReadAhead::refused`].
    pub get: GetId,
    /// Of which stream.
    pub stream: StreamId,
    /// First offset that is not ahead yet.
    pub from: u64,
    /// Bytes that it may bring.
    pub bytes: u64,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What these brought has served.
    pub served: Vec<GetId>,
    /// What to load now.
    pub ask: Option<Ask>,
}

/// What is given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// What these brought is needed no more.
    pub gets: Vec<GetId>,
    /// Of them, how many nobody began to read.
    pub unread: usize,
}

/// All readers.
#[derive(Debug, Default)]
pub struct ReadAhead {
    /// By stream and the first offset of its last read.
    readers: BTreeMap<(StreamId, u64), Reader>,
    /// Where the reader with this number is.
    places: HashMap<u64, (StreamId, u64)>,
    /// By when they were seen last: a count, not a time.
    by_use: BTreeMap<u64, u64>,
    next_reader: u64,
    next_use: u64,
}

#[derive(Debug)]
struct Reader {
    number: u64,
    used: u64,
    seen: Duration,
    /// Where it began.
    start: u64,
    /// After the blocks of its last read.
    to: u64,
    /// Where the next GET ahead begins; at least `to`.
    frontier: u64,
    /// Size of the next one.
    bytes: u64,
    next_get: u64,
    /// Being looked up: at most one.
    asked: Option<u64>,
    /// Ahead, or being read.
    gets: VecDeque<Get>,
}

#[derive(Clone, Copy, Debug)]
struct Get {
    number: u64,
    from: u64,
    /// From there to here all is in memory or on its way.
    to: u64,
    /// The last of what it brings ends here; between is what others bring.
    until: u64,
    under_way: bool,
}

impl ReadAhead {
    /// No readers.
    pub fn new() -> ReadAhead {
        ReadAhead::default()
    }

    /// Somebody reads. `now` is since some fixed moment.
    pub fn read(&mut self, read: SequentialRead, now: Duration) -> Step {
        let mut step = Step::default();
        let place = (read.stream, read.from);
        let known = self
            .readers
            .range(..=place)
            .next_back()
            .filter(|((stream, _), reader)| *stream == read.stream && read.from <= reader.frontier);
        let Some((&at, _)) = known else {
            if !self.follows(read) {
                step.served = self.add(read, now);
            }
            return step;
        };
        let mut reader = self.readers.remove(&at).expect("just found");
        self.touch(&mut reader, now);
        self.places.insert(reader.number, place);
        step.served = reader.moved_to(read);
        // The same read again (it was waited for) is no progress.
        if at != place {
            step.ask = reader.ask(read.stream);
        }
        self.readers.insert(place, reader);
        step
    }

    /// A GET that was asked for is under way and brings `brought` bytes, or is needless because all is in memory (0): now all up
    /// to `to` is there or comes, and of what is behind some that ends at `until`. Perhaps the next can be looked up. Who finds
    /// little in one place does not ask for more there.
    pub fn begun(&mut self, ask: &Ask, to: u64, until: u64, brought: u64) -> Step {
        let Some((reader, served)) = self.answered(ask.get) else {
            return Step { served: vec![ask.get], ask: None };
        };
        if served || to <= ask.from {
            return Step { served: vec![ask.get], ask: None };
        }
        let (number, from, until) = (ask.get.number, ask.from, until.max(to));
        reader.gets.push_back(Get { number, from, to, until, under_way: brought > 0 });
        reader.frontier = reader.frontier.max(to);
        if brought >= ask.bytes / 2 {
            reader.bytes = (reader.bytes * 2).min(GET_MAX);
        }
        Step { served: Vec::new(), ask: reader.ask(ask.stream) }
    }

    /// There is nothing there to load, or it could not be looked up. The reader's next read asks again.
    pub fn nothing(&mut self, ask: &Ask) {
        self.answered(ask.get);
    }

    /// There is no room for it. The reader's next read asks for half as much.
    pub fn refused(&mut self, ask: &Ask) {
        if let Some((reader, _)) = self.answered(ask.get) {
            reader.bytes = (reader.bytes / 2).max(GET_MIN);
        }
    }

    /// A GET that was under way has ended, well or not.
    pub fn ended(&mut self, get: GetId) {
        let Some(reader) = self.reader(get) else { return };
        if let Some(get) = reader.gets.iter_mut().find(|known| known.number == get.number) {
            get.under_way = false;
        }
    }

    /// Somebody reads from `from` on what needs no loading. If that is where a reader was to go on, what was loaded for it
    /// has served. Who reads at the end beside a reader that is far behind takes nothing from it.
    pub fn passed(&mut self, stream: StreamId, from: u64) -> Vec<GetId> {
        let mut served = Vec::new();
        let nearest = self.readers.range_mut((stream, 0)..=(stream, from)).next_back();
        if let Some((_, reader)) = nearest.filter(|(_, reader)| reader.to >= from) {
            reader.pass(from, &mut served);
        }
        served
    }

    /// Forgets who did not come for [`IDLE`]; what was brought for them has served, or was for nothing.
    pub fn expire(&mut self, now: Duration) -> Expired {
        let mut expired = Expired::default();
        while let Some(number) = self.by_use.first_key_value().map(|(_, number)| *number) {
            let place = self.places[&number];
            if now.saturating_sub(self.readers[&place].seen) < IDLE {
                break;
            }
            let reader = self.readers.remove(&place).expect("a place has its reader");
            expired.unread += reader.ahead();
            expired.gets.extend(self.forget(reader));
        }
        expired
    }

    /// Readers remembered.
    pub fn len(&self) -> usize {
        self.readers.len()
    }

    /// None?
    pub fn is_empty(&self) -> bool {
        self.readers.is_empty()
    }

    /// Does somebody read what a reader before it has left in memory, or has on its way? Then that one reads ahead for it.
    fn follows(&self, read: SequentialRead) -> bool {
        let leader = self.readers.range((read.stream, read.from)..).next();
        let leader =
            leader.filter(|((stream, _), leader)| *stream == read.stream && leader.start <= read.from);
        leader.is_some_and(|(_, leader)| {
            let comes = |get: &Get| get.under_way && (get.from..get.to).contains(&read.from);
            !read.missed || leader.gets.iter().any(comes)
        })
    }

    fn add(&mut self, read: SequentialRead, now: Duration) -> Vec<GetId> {
        let number = self.next_reader;
        self.next_reader += 1;
        let mut reader = Reader {
            number,
            used: u64::MAX,
            seen: now,
            start: read.from,
            to: read.to,
            frontier: read.to.max(read.from),
            bytes: GET_MIN,
            next_get: 0,
            asked: None,
            gets: VecDeque::new(),
        };
        self.touch(&mut reader, now);
        let place = (read.stream, read.from);
        self.places.insert(number, place);
        let displaced = self.readers.insert(place, reader);
        debug_assert!(displaced.is_none(), "who reads at {place:?} is known");
        if self.readers.len() <= READERS_MAX {
            return Vec::new();
        }
        let (_, oldest) = self.by_use.first_key_value().expect("there are readers");
        let oldest = self.readers.remove(&self.places[oldest]).expect("a place has its reader");
        self.forget(oldest)
    }

    fn touch(&mut self, reader: &mut Reader, now: Duration) {
        self.by_use.remove(&reader.used);
        reader.used = self.next_use;
        reader.seen = now;
        self.next_use += 1;
        self.by_use.insert(reader.used, reader.number);
    }

    /// Of a reader that was taken out: the rest of it.
    fn forget(&mut self, reader: Reader) -> Vec<GetId> {
        self.by_use.remove(&reader.used);
        self.places.remove(&reader.number);
        reader.gets.iter().map(|get| reader.id(get.number)).collect()
    }

    fn reader(&mut self, get: GetId) -> Option<&mut Reader> {
        let place = self.places.get(&get.reader)?;
        self.readers.get_mut(place)
    }

    /// The reader of a GET that was asked for; and is it past it, or elsewhere, meanwhile?
    fn answered(&mut self, get: GetId) -> Option<(&mut Reader, bool)> {
        let reader = self.reader(get)?;
        let awaited = reader.asked == Some(get.number);
        if awaited {
            reader.asked = None;
        }
        Some((reader, !awaited))
    }
}

impl Reader {
    fn id(&self, number: u64) -> GetId {
        GetId { reader: self.number, number }
    }

    /// It reads here now; gives what has served.
    fn moved_to(&mut self, read: SequentialRead) -> Vec<GetId> {
        let mut served = Vec::new();
        self.to = self.to.max(read.to);
        let gone = |get: &Get| !get.under_way && (get.from..get.to).contains(&read.from);
        if read.missed && self.gets.iter().any(gone) {
            // What was in memory has left it, or could not be loaded. Begin anew, and smaller.
            let number = self.number;
            served.extend(self.gets.drain(..).map(|get| GetId { reader: number, number: get.number }));
            self.frontier = self.to;
            self.asked = None;
            self.bytes = GET_MIN;
        }
        self.pass(read.from, &mut served);
        if self.frontier < self.to {
            self.frontier = self.to;
            // What is looked up begins in the midst of what is read.
            self.asked = None;
        }
        served
    }

    /// It is at `from`: what ends before has served.
    fn pass(&mut self, from: u64, served: &mut Vec<GetId>) {
        let reader = self.number;
        self.gets.retain(|get| {
            let passed = get.until <= from;
            if passed {
                served.push(GetId { reader, number: get.number });
            }
            !passed
        });
    }

    fn ahead(&self) -> usize {
        self.gets.iter().filter(|get| get.from >= self.to).count()
    }

    /// The next GET, if fewer than [`AHEAD_GETS`] are ahead.
    fn ask(&mut self, stream: StreamId) -> Option<Ask> {
        if self.asked.is_some() || self.ahead() >= AHEAD_GETS {
            return None;
        }
        let number = self.next_get;
        self.next_get += 1;
        self.asked = Some(number);
        Some(Ask { get: self.id(number), stream, from: self.frontier, bytes: self.bytes })
    }
}

#[cfg(test)]
#[path = "read_ahead_tests.rs"]
mod tests;

//! One object of any kind as lines. Pure: key and bytes in, text out. What is damaged is shown as far as it can be read.

use std::fmt::Write;

use bytes::{Buf, Bytes};
use s3stream::ids::{Incarnation, parse_data_key};
use s3stream::journal::commit::{Commit, Entry, MutationId};
use s3stream::journal::snapshot::Manifest;
use s3stream::journal::{JournalConfig, Record};
use s3stream::object::{Footer, ObjectKind};

use super::data;
use super::image;
use super::journal::{ClusterImage, chunk_key};
use super::lane::{self, Block, BlockContents};
use crate::metadata::MetadataRecord;
use crate::partition::attachment::ProducerAttachment;

/// "AQJB", the first bytes of a boundary.
const BOUNDARY_MAGIC: u32 = 0x4151_4a42;
/// Bytes of something unknown that are shown.
const SHOWN_MAX: usize = 256;

/// An object as lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dumped {
    /// For people and tests.
    pub text: String,
    /// Everything in it could be read and is as it must be.
    pub whole: bool,
}

impl Dumped {
    fn whole(text: String) -> anyhow::Result<Dumped> {
        Ok(Dumped { text, whole: true })
    }
}

/// Decodes the object at `key`.
///
/// # Errors
/// It is damaged where everything else rests on it: nothing can be shown.
pub fn dump(key: &str, bytes: Bytes) -> anyhow::Result<Dumped> {
    let parts: Vec<&str> = key.split('/').collect();
    match parts[..] {
        ["meta", "log", _] => Dumped::whole(commit(bytes)?),
        ["meta", "snapshot", _, "manifest"] => Dumped::whole(manifest(bytes)?),
        ["meta", "snapshot", seq, part] => chunk(seq, part, bytes),
        ["meta", "boundary", stride] => Dumped::whole(boundary(stride, bytes)?),
        ["wal", ..] => lane_object(key, bytes),
        ["data", ..] => data_object(key, bytes),
        _ => Dumped::whole(unknown(&bytes)),
    }
}

fn commit(bytes: Bytes) -> anyhow::Result<String> {
    let len = bytes.len();
    let (c, chain) = Commit::decode(bytes)?;
    let mut out = format!("commit {}, {len} bytes, feature level {}\n", c.seq, c.level);
    let _ = writeln!(out, "writer {}, nonce {:016x}", incarnation(c.writer), c.nonce.0);
    let _ = writeln!(out, "chain {chain:08x}, continues {:08x}", c.prev_chain);
    let _ = writeln!(out, "next commit within {} ms, commit p99 {} ms", c.idle_ms, c.p99_ms);
    for (index, mutation) in c.mutations.iter().enumerate() {
        let id = match mutation.id {
            MutationId::Of { incarnation, counter } => format!("{counter} of {incarnation}"),
            MutationId::Registration { nonce } => format!("registration of {:016x}", nonce.0),
        };
        let _ = writeln!(out, "mutation {index}: {id}, {} records", mutation.entries.len());
        for entry in &mutation.entries {
            let _ = writeln!(out, "  {}", record(entry));
        }
    }
    Ok(out)
}

fn record(entry: &Entry) -> String {
    match entry {
        Entry::Journal(record) => format!("{record:?}"),
        Entry::User(bytes) => match MetadataRecord::decode(bytes.clone()) {
            Ok(MetadataRecord::Storage(record)) => format!("{record:?}"),
            Ok(record) => format!("{record:?}"),
            Err(error) => format!("{} bytes: {error}", bytes.len()),
        },
    }
}

fn incarnation(of: Option<Incarnation>) -> String {
    of.map_or_else(|| "nobody".into(), |i| i.to_string())
}

fn manifest(bytes: Bytes) -> anyhow::Result<String> {
    let (m, crc) = Manifest::decode(bytes)?;
    let mut out = format!("snapshot of the image after commit {}, feature level {}\n", m.seq, m.level);
    let _ = writeln!(out, "manifest CRC {crc:08x}");
    for (index, (len, crc)) in m.chunks.iter().enumerate() {
        let _ = writeln!(out, "{}: {len} bytes, CRC {crc:08x}", chunk_key(m.seq, index));
    }
    Ok(out)
}

/// A snapshot of one chunk is an image by itself; of several, only all of them are.
fn chunk(seq: &str, part: &str, bytes: Bytes) -> anyhow::Result<Dumped> {
    let (len, crc) = (bytes.len(), crc32fast::hash(&bytes));
    let head = format!("chunk {part} of a snapshot, {len} bytes, CRC {crc:08x}\n");
    match ClusterImage::decode(bytes) {
        Ok(decoded) => Dumped::whole(head + &image::text(&decoded)),
        Err(error) => {
            let text = format!(
                "{head}not an image by itself ({error}): `image --at {}` reads all chunks\n",
                seq.trim_start_matches('0')
            );
            Dumped::whole(text)
        }
    }
}

fn boundary(name: &str, mut bytes: Bytes) -> anyhow::Result<String> {
    let magic = bytes.try_get_u32().ok().filter(|magic| *magic == BOUNDARY_MAGIC);
    let stride = magic.and_then(|_| bytes.try_get_u64().ok());
    let Some(stride) = stride.filter(|stride| name.parse() == Ok(*stride)) else {
        anyhow::bail!("not a boundary of stride {name}");
    };
    let width = JournalConfig::default().stride;
    let (first, last) = (stride.saturating_mul(width), (stride + 1).saturating_mul(width) - 1);
    Ok(format!("boundary of stride {stride}: commits {first} to {last} may be gone\n"))
}

fn lane_object(key: &str, bytes: Bytes) -> anyhow::Result<Dumped> {
    let Some((lane, number)) = lane::parse_key(key) else {
        return Dumped::whole(unknown(&bytes));
    };
    let whole = lane::open(lane, number, bytes).map_err(anyhow::Error::msg)?;
    let what = match whole.footer.header.object_kind {
        ObjectKind::Seal => "seal",
        _ => "object",
    };
    let mut out = format!("{what} {number} of lane {lane}, {} bytes\n", whole.footer.object_len);
    push_footer(&mut out, &whole.footer);
    Ok(push_blocks(out, &lane::blocks(&whole)))
}

fn data_object(key: &str, bytes: Bytes) -> anyhow::Result<Dumped> {
    let Some(id) = parse_data_key(key) else {
        return Dumped::whole(unknown(&bytes));
    };
    let whole = data::open(id, bytes).map_err(anyhow::Error::msg)?;
    let footer = &whole.footer;
    let what = match footer.header.object_kind {
        ObjectKind::Stream => "data of one stream",
        _ => "data of streams",
    };
    let mut out = format!("{what}, object {id}, {} bytes\n", footer.object_len);
    let _ = writeln!(out, "written by {}", footer.header.owner);
    push_footer(&mut out, footer);
    for part in data::parts(&footer.entries) {
        let _ = writeln!(out, "{part}");
    }
    Ok(push_blocks(out, &data::blocks(&whole)))
}

fn push_footer(out: &mut String, footer: &Footer) {
    let _ = writeln!(out, "format {}, nonce {:016x}", footer.header.version, footer.header.nonce.0);
    let _ = writeln!(out, "{} blocks, index at {}", footer.entries.len(), footer.index_position);
}

fn push_blocks(mut out: String, blocks: &[Block]) -> Dumped {
    for block in blocks {
        push_block(&mut out, block);
    }
    Dumped { text: out, whole: blocks.iter().all(|b| b.problems.is_empty()) }
}

fn push_block(out: &mut String, block: &Block) {
    let e = &block.entry;
    let _ = writeln!(
        out,
        "{:?} stream {} epoch {} offsets {}..{} at {}, {} bytes, max timestamp {}, CRC {:08x}",
        e.kind, e.stream, e.epoch.0, e.base, e.end, e.position, e.length, e.max_timestamp, e.crc
    );
    for problem in &block.problems {
        let _ = writeln!(out, "  DAMAGED {problem}");
    }
    match &block.contents {
        BlockContents::Batches(headers) => {
            for h in headers {
                let _ = writeln!(
                    out,
                    "  batch {}..{} {} records, {} bytes, {}, timestamps {}..{}{}",
                    h.base_offset,
                    h.next_offset(),
                    h.record_count,
                    h.size(),
                    h.compression().map_or("unknown compression".into(), |c| format!("{c:?}").to_lowercase()),
                    h.base_timestamp,
                    h.max_timestamp,
                    producer(
                        h.producer_id,
                        h.producer_epoch,
                        h.base_sequence,
                        h.is_transactional(),
                        h.is_control()
                    ),
                );
            }
        }
        BlockContents::Attachments(list) => {
            for a in list {
                let said = match ProducerAttachment::decode(&a.bytes) {
                    Some(p) => format!(
                        "{} records{}",
                        i64::from(p.last_offset_delta) + 1,
                        producer(
                            p.producer_id,
                            p.producer_epoch,
                            p.base_sequence,
                            p.transactional,
                            p.control
                        )
                    ),
                    None => format!("{} bytes: {}", a.bytes.len(), shown(&a.bytes)),
                };
                let _ = writeln!(out, "  attachment of {}: {said}", a.offset);
            }
        }
        BlockContents::Producers(states) => {
            for (id, epoch, batches) in states.batches() {
                for b in batches {
                    let _ = writeln!(
                        out,
                        "  producer {id} epoch {epoch} sequences {}..={} at offsets {}..={}, timestamp {}",
                        b.first_sequence, b.last_sequence, b.base_offset, b.last_offset, b.timestamp
                    );
                }
            }
        }
        BlockContents::Opaque(bytes) if bytes.is_empty() => {}
        BlockContents::Opaque(bytes) => {
            let _ = writeln!(out, "  {}", shown(bytes));
        }
    }
}

fn producer(id: i64, epoch: i16, sequence: i32, transactional: bool, control: bool) -> String {
    let mut out = String::new();
    if id >= 0 {
        let _ = write!(out, ", producer {id} epoch {epoch} sequence {sequence}");
    }
    for (said, is) in [(", transactional", transactional), (", control", control)] {
        if is {
            out.push_str(said);
        }
    }
    out
}

fn unknown(bytes: &Bytes) -> String {
    format!("{} bytes: {}\n", bytes.len(), shown(bytes))
}

/// What can be printed of it, escaped, and how much more there is.
fn shown(bytes: &[u8]) -> String {
    let more = if bytes.len() > SHOWN_MAX {
        format!(" … and {} more", bytes.len() - SHOWN_MAX)
    } else {
        String::new()
    };
    format!("\"{}\"{more}", bytes[..bytes.len().min(SHOWN_MAX)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use s3stream::catalog::StorageRecord;
    use s3stream::ids::{Nonce, StoreId, boundary_key, commit_key};
    use s3stream::journal::commit::{JournalRecord, Mutation};

    use super::*;

    fn user(record: &MetadataRecord) -> Entry {
        let mut out = BytesMut::new();
        record.encode(&mut out);
        Entry::User(out.freeze())
    }

    #[test]
    fn a_commit_reads_as_what_it_changes() {
        let writer = Incarnation { seq: 1, index: 0 };
        let commit = Commit {
            level: 1,
            seq: 2,
            writer: Some(writer),
            nonce: Nonce(0xab),
            prev_chain: 0x1234,
            idle_ms: 60_000,
            p99_ms: 5,
            mutations: vec![
                Mutation {
                    id: MutationId::Registration { nonce: Nonce(0xcd) },
                    entries: vec![
                        Entry::Journal(JournalRecord::ControllerElected),
                        user(&MetadataRecord::Storage(StorageRecord::LaneRegistered {
                            nonce: Nonce(0xcd),
                            store: StoreId(0),
                        })),
                    ],
                },
                Mutation {
                    id: MutationId::Of { incarnation: writer, counter: 3 },
                    entries: vec![
                        user(&MetadataRecord::ProducerIdsAllocated { next: 1000 }),
                        Entry::User(Bytes::from_static(b"\x7f\xff")),
                    ],
                },
            ],
        };
        let (bytes, chain) = commit.encode();
        let dumped = dump(&commit_key(2), bytes.clone()).unwrap();
        let expected = format!(
            "commit 2, {} bytes, feature level 1\n\
             writer 1.0, nonce 00000000000000ab\n\
             chain {chain:08x}, continues 00001234\n\
             next commit within 60000 ms, commit p99 5 ms\n\
             mutation 0: registration of 00000000000000cd, 2 records\n  \
               ControllerElected\n  \
               LaneRegistered {{ nonce: Nonce(205), store: StoreId(0) }}\n\
             mutation 1: 3 of 1.0, 2 records\n  \
               ProducerIdsAllocated {{ next: 1000 }}\n  \
               2 bytes: ",
            bytes.len()
        );
        assert!(dumped.text.starts_with(&expected), "{}", dumped.text);
        assert!(dumped.text.contains("upgrade this process"), "{}", dumped.text);
        let mut damaged = bytes.to_vec();
        damaged[20] ^= 1;
        assert!(dump(&commit_key(2), damaged.into()).unwrap_err().to_string().contains("crc"));
    }

    #[test]
    fn a_boundary_says_which_commits_and_other_bytes_are_shown() {
        let bytes = Bytes::from_static(b"AQJB\0\0\0\0\0\0\0\x01");
        let text = dump(&boundary_key(1), bytes.clone()).unwrap().text;
        assert_eq!(text, "boundary of stride 1: commits 4096 to 8191 may be gone\n");
        assert!(dump(&boundary_key(2), bytes).is_err());
        assert_eq!(dump("cluster", Bytes::from_static(b"a\0")).unwrap().text, "2 bytes: \"a\\x00\"\n");
        assert!(dump("wal/odd/1", Bytes::from_static(b"x")).unwrap().whole);
    }
}

//! The table: what is fuzzed.

mod config;
mod journal;
mod object;
mod records;
mod request;

/// A parser, or a few that belong together.
#[derive(Debug)]
pub struct Target {
    /// For the command line and the corpus' folder.
    pub name: &'static str,
    /// Sends bytes through it; panics where something does not hold.
    pub run: fn(&[u8]),
    /// Inputs to begin with, the same every time.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// The most memory that an input of so many bytes may take on the way (as the Rust allocator sees it).
    pub memory_max: fn(usize) -> usize,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// All of them.
pub static TARGETS: &[Target] = &[
    Target {
        name: "request",
        run: request::request,
        seeds: request::seeds,
        // Decoded twice and encoded twice.
        memory_max: |bytes| 4 * (protocol::guard::decoded_bytes_max(bytes) + bytes),
    },
    Target {
        name: "batch",
        run: records::batch,
        seeds: records::batch_seeds,
        // Decompressed, and built anew in each codec, from records that are slices.
        memory_max: |bytes| 8 * (records::DECOMPRESSED_BYTES_MAX + bytes) + 10 * MIB,
    },
    Target {
        name: "compression",
        run: records::compression,
        seeds: records::compression_seeds,
        // Two outputs, the compressors' tables; an LZ4 frame may be of blocks of 4 MiB, read into two of them.
        memory_max: |bytes| 4 * (records::DECOMPRESSED_BYTES_MAX + bytes) + 10 * MIB,
    },
    Target {
        name: "group_record",
        run: records::group_record,
        seeds: records::group_record_seeds,
        // A member takes two bytes at the least on the wire.
        memory_max: |bytes| 512 * bytes + 256 * KIB,
    },
    Target { name: "object", run: object::object, seeds: object::object_seeds, memory_max: ordinary },
    Target { name: "seal", run: object::seal, seeds: object::seal_seeds, memory_max: ordinary },
    Target {
        name: "attachment",
        run: object::attachment,
        seeds: object::attachment_seeds,
        memory_max: ordinary,
    },
    Target { name: "commit", run: journal::commit, seeds: journal::commit_seeds, memory_max: ordinary },
    Target { name: "record", run: journal::record, seeds: journal::record_seeds, memory_max: ordinary },
    Target { name: "manifest", run: journal::manifest, seeds: journal::manifest_seeds, memory_max: ordinary },
    Target {
        name: "image",
        run: journal::image,
        seeds: journal::image_seeds,
        // Nodes of maps are larger than what they hold.
        memory_max: |bytes| 1024 * bytes + 512 * KIB,
    },
    Target { name: "cluster", run: journal::cluster, seeds: journal::cluster_seeds, memory_max: ordinary },
    Target {
        name: "settings",
        run: config::settings,
        seeds: config::settings_seeds,
        memory_max: |b| 1024 * b + MIB,
    },
    Target { name: "config_value", run: config::value, seeds: config::value_seeds, memory_max: ordinary },
    Target {
        name: "storage_url",
        run: config::storage_url,
        seeds: config::storage_url_seeds,
        memory_max: ordinary,
    },
];

/// A small multiple of what was read.
fn ordinary(bytes: usize) -> usize {
    64 * bytes + 64 * KIB
}

/// Splits an input in two: the first part's length stands in front, in two bytes.
fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return (data, &[]) };
    rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()))
}

/// What [`halves`] splits.
fn joined(first: &[u8], second: &[u8]) -> Vec<u8> {
    [&(first.len() as u16).to_be_bytes()[..], first, second].concat()
}

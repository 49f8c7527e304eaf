//! The four codecs of a record batch, with an output limit on every way in.
//!
//! Owns: [`Compression`], compress and decompress of a batch body as Java's clients frame it (gzip members,
//! xerial snappy blocks, an LZ4 frame, zstd frames). Does not own when to recompress: the broker passes
//! bodies through untouched unless a topic's `compression.type` says otherwise.
//!
//! A decompressed body never takes more than the stated limit, and nothing is allocated because a length on
//! the wire says so: output grows as it is produced. zstd's window (at most 128 MiB of address space) is
//! touched only as far as output is written into it, so it is bounded by the same limit.

use std::io::{self, Read, Write};

use bytes::Bytes;
use thiserror::Error;

/// How the records of a batch are compressed: attributes bits 0-2 (Kafka: `CompressionType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy blocks in xerial's stream framing.
    Snappy,
    /// One LZ4 frame.
    Lz4,
    /// zstd frames (KIP-110).
    Zstd,
}

impl Compression {
    /// The codec of these attribute bits, if there is one (5-7 are not assigned).
    pub fn from_id(id: i16) -> Option<Compression> {
        match id {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The attribute bits of this codec.
    pub fn id(self) -> i16 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// The codec that a topic's `compression.type` asks for; None for `producer`, and for what is no value of it
    /// (`BrokerCompressionType`).
    pub fn from_topic_config(value: &str) -> Option<Compression> {
        match value {
            "uncompressed" => Some(Compression::None),
            "gzip" => Some(Compression::Gzip),
            "snappy" => Some(Compression::Snappy),
            "lz4" => Some(Compression::Lz4),
            "zstd" => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The name in a producer's `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// Why a body could not be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CompressionError {
    /// The output would pass the limit.
    #[error("{codec} output passes {limit} bytes", codec = .codec.name())]
    TooLarge {
        /// The codec.
        codec: Compression,
        /// The limit in bytes.
        limit: usize,
    },
    /// The input is not what the codec writes.
    #[error("malformed {codec} data: {reason}", codec = .codec.name())]
    Malformed {
        /// The codec.
        codec: Compression,
        /// The codec's words.
        reason: String,
    },
}

/// First bytes of an LZ4 frame.
const LZ4_MAGIC: &[u8] = &[0x04, 0x22, 0x4d, 0x18];
/// First bytes of a xerial snappy stream (`SnappyCodec.MAGIC_HEADER`); a version and a compatible version
/// follow.
const XERIAL_MAGIC: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, version, compatible version.
const XERIAL_HEADER_BYTES: usize = 16;
/// Block size that xerial's writer uses.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// No snappy element says more output per input byte than a copy: 64 bytes out of 2.
const SNAPPY_EXPANSION_MAX: usize = 32;
/// Output reserved before the first byte is decompressed, as a multiple of the input.
const FIRST_GUESS: usize = 4;

/// Decompresses a batch body. `limit` is the most bytes of output; `None` gives the input back as it is,
/// whatever its size, since nothing is produced.
pub fn decompress(codec: Compression, input: &Bytes, limit: usize) -> Result<Bytes, CompressionError> {
    match codec {
        Compression::None => Ok(input.clone()),
        // Java's GZIPInputStream reads concatenated members as one stream, so do we.
        Compression::Gzip => {
            read_limited(codec, flate2::bufread::MultiGzDecoder::new(&input[..]), input.len(), limit)
        }
        Compression::Snappy => decompress_snappy(input, limit),
        Compression::Lz4 => {
            let frame = first_lz4_frame(input)
                .ok_or(CompressionError::Malformed { codec, reason: "no whole LZ4 frame".into() })?;
            read_limited(codec, lz4_flex::frame::FrameDecoder::new(frame), frame.len(), limit)
        }
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(&input[..])
                .map_err(|error| CompressionError::Malformed { codec, reason: error.to_string() })?;
            read_limited(codec, decoder, input.len(), limit)
        }
    }
}

/// Compresses a batch body at the codec's default level.
pub fn compress(codec: Compression, input: &[u8]) -> Vec<u8> {
    // Writing into a Vec does not fail, and no codec refuses input: an error here is a bug.
    compress_into_vec(codec, input).expect("compression into memory does not fail")
}

fn compress_into_vec(codec: Compression, input: &[u8]) -> io::Result<Vec<u8>> {
    match codec {
        Compression::None => Ok(input.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(input)?;
            encoder.finish()
        }
        Compression::Snappy => compress_snappy(input),
        Compression::Lz4 => {
            // Java's KafkaLZ4BlockInputStream reads independent blocks only, without content checksums.
            let info = lz4_flex::frame::FrameInfo::new()
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .block_mode(lz4_flex::frame::BlockMode::Independent);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(input)?;
            encoder.finish().map_err(io::Error::other)
        }
        Compression::Zstd => zstd::stream::encode_all(input, 0),
    }
}

fn read_limited(
    codec: Compression,
    mut reader: impl Read,
    input_bytes: usize,
    limit: usize,
) -> Result<Bytes, CompressionError> {
    let mut output = Vec::with_capacity(input_bytes.saturating_mul(FIRST_GUESS).min(limit));
    reader
        .by_ref()
        .take(limit as u64)
        .read_to_end(&mut output)
        .map_err(|error| CompressionError::Malformed { codec, reason: error.to_string() })?;
    if output.len() == limit {
        // Exactly full is legal only if the stream ends here; reading on also checks the trailer.
        let past_the_limit = reader
            .read(&mut [0u8; 1])
            .map_err(|error| CompressionError::Malformed { codec, reason: error.to_string() })?;
        if past_the_limit > 0 {
            return Err(CompressionError::TooLarge { codec, limit });
        }
    }
    Ok(Bytes::from(output))
}

/// The LZ4 frame at the start. What follows it is not read, as in Java (`Lz4BlockInputStream`), and the legacy format, whose
/// reader takes 16 MiB whatever it reads, is none.
fn first_lz4_frame(input: &[u8]) -> Option<&[u8]> {
    let mut rest = input.strip_prefix(LZ4_MAGIC)?;
    let flags = *rest.first()?;
    // Flags, block size, header checksum; the size of the content and the id of a dictionary where flags say so.
    let optional = if flags & 1 << 3 != 0 { 8 } else { 0 } + if flags & 1 != 0 { 4 } else { 0 };
    rest = rest.get(3 + optional..)?;
    let block_checksum = if flags & 1 << 4 != 0 { 4 } else { 0 };
    loop {
        let (size, after_size) = rest.split_first_chunk::<4>()?;
        rest = after_size;
        // The topmost bit: stored as it is.
        match u32::from_le_bytes(*size) & 0x7fff_ffff {
            0 => break,
            size => rest = rest.get(size as usize + block_checksum..)?,
        }
    }
    let content_checksum = if flags & 1 << 2 != 0 { 4 } else { 0 };
    rest = rest.get(content_checksum..)?;
    Some(&input[..input.len() - rest.len()])
}

fn decompress_snappy(input: &Bytes, limit: usize) -> Result<Bytes, CompressionError> {
    let mut output = Vec::new();
    // As xerial's SnappyInputStream: without the magic the whole input is one raw block (some clients write
    // so).
    if !input.starts_with(XERIAL_MAGIC) {
        append_snappy_block(input, &mut output, limit)?;
        return Ok(Bytes::from(output));
    }
    let mut rest = input.get(XERIAL_HEADER_BYTES..).ok_or_else(|| snappy_malformed("header is cut short"))?;
    while !rest.is_empty() {
        // Concatenated streams repeat the header where a block length would stand.
        if rest.starts_with(XERIAL_MAGIC) {
            rest = rest.get(XERIAL_HEADER_BYTES..).ok_or_else(|| snappy_malformed("header is cut short"))?;
            continue;
        }
        let (length, after_length) =
            rest.split_first_chunk::<4>().ok_or_else(|| snappy_malformed("block length is cut short"))?;
        let length = u32::from_be_bytes(*length) as usize;
        if length > after_length.len() {
            return Err(snappy_malformed("block is cut short"));
        }
        let (block, after_block) = after_length.split_at(length);
        append_snappy_block(block, &mut output, limit)?;
        rest = after_block;
    }
    Ok(Bytes::from(output))
}

/// Decompresses one raw block onto the end of `output`, which never grows past `limit`.
fn append_snappy_block(block: &[u8], output: &mut Vec<u8>, limit: usize) -> Result<(), CompressionError> {
    let length = snap::raw::decompress_len(block).map_err(snappy_malformed)?;
    // The length is the sender's word: believe it only if it fits the limit and the block can produce it.
    if length > limit - output.len() {
        return Err(CompressionError::TooLarge { codec: Compression::Snappy, limit });
    }
    if length > block.len().saturating_mul(SNAPPY_EXPANSION_MAX) {
        return Err(snappy_malformed(format!("{} bytes cannot hold {length}", block.len())));
    }
    let start = output.len();
    output.resize(start + length, 0);
    let written =
        snap::raw::Decoder::new().decompress(block, &mut output[start..]).map_err(snappy_malformed)?;
    output.truncate(start + written);
    Ok(())
}

fn snappy_malformed(reason: impl ToString) -> CompressionError {
    CompressionError::Malformed { codec: Compression::Snappy, reason: reason.to_string() }
}

fn compress_snappy(input: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = snap::raw::Encoder::new();
    let mut output = Vec::new();
    output.extend_from_slice(XERIAL_MAGIC);
    output.extend_from_slice(&1i32.to_be_bytes());
    output.extend_from_slice(&1i32.to_be_bytes());
    for chunk in input.chunks(XERIAL_BLOCK_BYTES) {
        let block = encoder.compress_vec(chunk).map_err(io::Error::other)?;
        output.extend_from_slice(&(block.len() as u32).to_be_bytes());
        output.extend_from_slice(&block);
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn text(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| b"the quick brown fox "[i % 20].wrapping_add((i / 5000) as u8)).collect()
    }

    #[test]
    fn every_codec_reads_what_it_wrote_up_to_exactly_the_limit() {
        for codec in CODECS {
            for bytes in [0, 1, 100, 32 * 1024, 200_000] {
                let plain = text(bytes);
                let packed = Bytes::from(compress(codec, &plain));
                assert_eq!(decompress(codec, &packed, bytes).unwrap(), plain, "{codec:?} {bytes}");
                if bytes > 0 && codec != Compression::None {
                    assert_eq!(
                        decompress(codec, &packed, bytes - 1),
                        Err(CompressionError::TooLarge { codec, limit: bytes - 1 }),
                        "{codec:?} {bytes}"
                    );
                }
            }
        }
    }

    #[test]
    fn input_cut_short_is_malformed() {
        let plain = text(100_000);
        for codec in &CODECS[1..] {
            let packed = Bytes::from(compress(*codec, &plain));
            let cut = packed.slice(..packed.len() / 2);
            let answer = decompress(*codec, &cut, 1 << 20);
            assert!(matches!(answer, Err(CompressionError::Malformed { .. })), "{codec:?}: {answer:?}");
        }
    }

    #[test]
    fn snappy_without_the_xerial_header_is_one_raw_block() {
        let plain = text(70_000);
        let raw = Bytes::from(snap::raw::Encoder::new().compress_vec(&plain).unwrap());
        assert_eq!(decompress(Compression::Snappy, &raw, 70_000).unwrap(), plain);
    }

    #[test]
    fn snappy_length_that_its_block_cannot_hold_is_refused_before_allocating() {
        // Varint 2^30 - 1, then two bytes of block.
        let lie = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x03, 0x00, 0x00]);
        let answer = decompress(Compression::Snappy, &lie, usize::MAX);
        assert_eq!(answer, Err(snappy_malformed("7 bytes cannot hold 1073741823")));
    }

    #[test]
    fn of_lz4_one_frame_of_the_current_format_is_read() {
        let packed = compress(Compression::Lz4, b"one");
        let read = |bytes: Vec<u8>| decompress(Compression::Lz4, &Bytes::from(bytes), 100);
        assert_eq!(read([&packed[..], &packed].concat()).unwrap(), &b"one"[..], "as Java reads it");
        // A legacy frame of a few bytes would take 16 MiB to be read.
        let legacy = vec![0x02, 0x21, 0x4c, 0x18, 2, 0, 0, 0, 0x10, b'x'];
        assert!(matches!(read(legacy.clone()), Err(CompressionError::Malformed { .. })));
        assert_eq!(read([packed, legacy].concat()).unwrap(), &b"one"[..]);
    }

    #[test]
    fn concatenated_gzip_members_and_xerial_streams_are_one_body() {
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Zstd] {
            let mut packed = compress(codec, b"one ");
            packed.extend_from_slice(&compress(codec, b"two"));
            assert_eq!(decompress(codec, &Bytes::from(packed), 100).unwrap(), &b"one two"[..], "{codec:?}");
        }
    }
}

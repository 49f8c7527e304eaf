//! Cutting what a fetch gets out of blocks: whole batches from the one that holds the fetch offset, within a byte limit.
//! Pure; nothing is copied.

use bytes::Bytes;
use protocol::record_batch::HEADER_BYTES;

/// The slices of `blocks` (contiguous, in offset order) that hold whole batches from the one with `fetch_offset` on, at
/// most `max_bytes` in all; but one batch at least if `first_whole` (KIP-74: the first non-empty partition always makes
/// progress). Each slice lies in one block.
pub fn whole_batches(blocks: &[Bytes], fetch_offset: i64, max_bytes: usize, first_whole: bool) -> Vec<Bytes> {
    let mut slices = Vec::with_capacity(blocks.len());
    let mut taken = 0;
    for block in blocks {
        let mut position = 0;
        let mut start = None;
        let mut full = false;
        while let Some((size, last_offset)) = batch_at(block, position) {
            if last_offset >= fetch_offset {
                let fits = taken + size <= max_bytes || (first_whole && taken == 0);
                if !fits {
                    full = true;
                    break;
                }
                start.get_or_insert(position);
                taken += size;
            }
            position += size;
        }
        if let Some(start) = start {
            slices.push(block.slice(start..position));
        }
        if full {
            break;
        }
    }
    slices
}

/// Size and last offset of the batch at `position`; None at the end. Blocks were checked by CRC and cut at batch
/// boundaries, so a batch that does not fit is a fault of ours.
fn batch_at(block: &Bytes, position: usize) -> Option<(usize, i64)> {
    let head = block.get(position..position + HEADER_BYTES)?;
    let base = i64::from_be_bytes(head[0..8].try_into().expect("8 bytes"));
    let length = i32::from_be_bytes(head[8..12].try_into().expect("4 bytes"));
    let delta = i32::from_be_bytes(head[23..27].try_into().expect("4 bytes"));
    let size = 12 + length as usize;
    assert!(
        length > 0 && position + size <= block.len(),
        "batch of {size} bytes at {position} of a block of {}",
        block.len()
    );
    Some((size, base + i64::from(delta)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use protocol::batch_builder::BatchBuilder;

    fn batch(base: i64, records: usize) -> Bytes {
        let b = BatchBuilder::new().base_offset(base);
        (0..records).fold(b, |b, i| b.append(i as i64, None, Some(b"0123456789"), &[])).build()
    }

    fn blocks() -> Vec<Bytes> {
        let mut first = BytesMut::new();
        first.extend_from_slice(&batch(0, 2));
        first.extend_from_slice(&batch(2, 3));
        vec![first.freeze(), batch(5, 1)]
    }

    fn offsets(slices: &[Bytes]) -> Vec<i64> {
        let mut all = vec![];
        for s in slices {
            for b in protocol::record_batch::split_batches(s.clone()) {
                all.push(b.unwrap().header().base_offset);
            }
        }
        all
    }

    #[test]
    fn the_batch_that_holds_the_offset_comes_whole() {
        for (offset, expected) in [
            (0, vec![0, 2, 5]),
            (1, vec![0, 2, 5]),
            (2, vec![2, 5]),
            (4, vec![2, 5]),
            (5, vec![5]),
            (6, vec![]),
        ] {
            assert_eq!(
                offsets(&whole_batches(&blocks(), offset, usize::MAX, true)),
                expected,
                "from {offset}"
            );
        }
    }

    #[test]
    fn a_limit_ends_at_a_batch_but_the_first_may_exceed_it() {
        let one = batch(0, 2).len();
        assert_eq!(offsets(&whole_batches(&blocks(), 0, one, false)), [0]);
        assert_eq!(offsets(&whole_batches(&blocks(), 0, one - 1, false)), [] as [i64; 0]);
        assert_eq!(offsets(&whole_batches(&blocks(), 0, 1, true)), [0]);
        assert_eq!(offsets(&whole_batches(&blocks(), 0, one + batch(2, 3).len(), true)), [0, 2]);
    }
}

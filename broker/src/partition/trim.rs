//! Deleting records up to an offset: what is asked against what there is (`Partition.deleteRecordsOnLeader`,
//! `UnifiedLog.maybeIncrementLogStartOffset`). Pure.

use super::Offsets;

/// DeleteRecords' "everything that may be read" (`DeleteRecordsRequest.HIGH_WATERMARK`).
const HIGH_WATERMARK: i64 = -1;

/// Why nothing is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrimRefused {
    /// `cleanup.policy` is `compact` alone.
    #[error("the records cannot be deleted due to the configured policy")]
    Policy,
    /// Below zero, or above the high watermark.
    #[error("offset {offset} is not in 0..={high_watermark}")]
    OutOfRange {
        /// As asked.
        offset: i64,
        /// What may be deleted at the most.
        high_watermark: i64,
    },
    /// Acknowledged records cannot be read; nothing is changed.
    #[error("the partition is closed: acknowledged records cannot be read")]
    Blocked,
    /// Its topic is gone.
    #[error("the topic was deleted")]
    Deleted,
}

/// The log start that a request comes to; never below the present one.
pub fn log_start_after(offsets: Offsets, compacted_only: bool, requested: i64) -> Result<u64, TrimRefused> {
    if compacted_only {
        return Err(TrimRefused::Policy);
    }
    let high_watermark = offsets.high_watermark;
    let offset = if requested == HIGH_WATERMARK { high_watermark } else { requested };
    if offset < 0 || offset > high_watermark {
        return Err(TrimRefused::OutOfRange { offset, high_watermark });
    }
    Ok(offset.max(offsets.log_start) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_start_moves_forward_within_what_may_be_read() {
        let offsets = Offsets { log_start: 3, high_watermark: 7, log_end: 9 };
        let out = |offset| Err(TrimRefused::OutOfRange { offset, high_watermark: 7 });
        for (requested, expected) in [
            (-1, Ok(7)),
            (7, Ok(7)),
            (5, Ok(5)),
            (3, Ok(3)),
            (0, Ok(3)),
            (8, out(8)),
            (9, out(9)),
            (-2, out(-2)),
        ] {
            assert_eq!(log_start_after(offsets, false, requested), expected, "{requested}");
        }
        assert_eq!(log_start_after(offsets, true, 5), Err(TrimRefused::Policy));
    }
}

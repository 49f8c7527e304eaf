//! The topics inside the metadata of a member of type `consumer`: the one place where the coordinator looks into what
//! members say to each other, so that offsets of topics that are still consumed neither expire nor are deleted.
//!
//! Version 0 of ConsumerProtocolSubscription prefixes all later ones, so it is all that is read
//! (`ClassicGroup.computeSubscribedTopics`).

use super::record::{Reader, RecordError};

/// Topics of a ConsumerProtocolSubscription of any version.
pub fn topics(metadata: &[u8]) -> Result<Vec<String>, RecordError> {
    let mut reader = Reader::plain(metadata);
    let version = reader.i16()?;
    if version < 0 {
        return Err(RecordError::UnknownValueVersion(version));
    }
    let count = reader.count()?;
    (0..count).map(|_| reader.string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_prefix_of_every_version_and_bounds_what_lies() {
        let v3 = b"\0\x03\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff rest of later versions";
        assert_eq!(topics(v3).unwrap(), ["a", "bc"]);
        assert_eq!(topics(b"\0\0\0\0\0\0").unwrap(), Vec::<String>::new());
        let lying = b"\0\0\x7f\xff\xff\xff";
        assert_eq!(topics(lying), Err(RecordError::Truncated { needed: 2 * 0x7fff_ffff, left: 0 }));
        assert_eq!(topics(b"\0\0\xff\xff\xff\xff"), Err(RecordError::InvalidLength(-1)));
        assert!(topics(b"").is_err());
    }
}

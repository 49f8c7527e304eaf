//! Request frames of every API and version: header, guard, decode. What decodes encodes, and what was encoded decodes to
//! the same; what the guard lets through stays within its bound.

use bytes::Bytes;
use protocol::api::{self, APIS};
use protocol::codec::decode_request_header;
use protocol::frame::{FrameHead, FrameLimits, HEAD_BYTES};
use protocol::{guard, samples};

/// A frame without its length.
pub(super) fn request(data: &[u8]) {
    head(data);
    let mut body = Bytes::copy_from_slice(data);
    let before = body.clone();
    let Ok(header) = decode_request_header(&mut body) else {
        assert_eq!(body, before, "a header that is refused takes nothing");
        return;
    };
    let api = api::find(header.api_key).expect("the header was read by its row");
    let walked = guard::decoded_size(api.key, header.api_version, &body);
    if let Ok(bytes) = walked {
        assert!(bytes <= guard::decoded_bytes_max(body.len()), "{bytes} bytes for a body of {}", body.len());
    }
    let Ok(written) = samples::decode_and_encode(api.key, header.api_version, body) else { return };
    assert!(walked.is_ok(), "decoded what the guard refuses: {walked:?}");
    let again = samples::decode_and_encode(api.key, header.api_version, written.clone());
    assert_eq!(again, Ok(written), "{} v{}", api.name, header.api_version);
}

/// The first eight bytes of a frame of this body.
fn head(data: &[u8]) {
    let mut first = [0; HEAD_BYTES];
    first[..4].copy_from_slice(&(data.len() as i32).to_be_bytes());
    let have = data.len().min(4);
    first[4..4 + have].copy_from_slice(&data[..have]);
    let limits = FrameLimits::default();
    for authenticated in [false, true] {
        if let Ok(head) = FrameHead::parse(&first, &limits, authenticated) {
            assert_eq!(head.body_bytes, data.len());
            assert!(head.body_bytes <= limits.produce_bytes_max as usize);
            assert!(head.api().is_some_and(|api| api.served));
        }
    }
}

/// A full request and a random one of every version.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for api in APIS {
        for version in api.min_usable..=api.max {
            for full in [true, false] {
                let mut frame = Vec::new();
                frame.extend((api.key as i16).to_be_bytes());
                frame.extend(version.to_be_bytes());
                frame.extend(7i32.to_be_bytes());
                frame.extend(b"\0\x02me");
                if api.is_flexible(version) {
                    // One tagged field of the header that nobody knows.
                    frame.extend(b"\x01\x05\x01x");
                }
                frame.extend(samples::request(api.key, version, 4711, full));
                seeds.push(frame);
            }
        }
    }
    seeds
}

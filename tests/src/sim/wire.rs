//! One connection of a client: real frames over a pipe in memory, served by the broker's own connection code. Requests may
//! be pipelined; answers come in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

use super::world::Life;

/// The connection is of no more use: closed, or silent for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnected;

/// A connection to one life of a broker.
pub struct Wire {
    /// Whom it reaches.
    pub life: Arc<Life>,
    /// Unique in the run.
    pub number: u64,
    stream: DuplexStream,
    next_correlation: i32,
    /// Correlation ids of the answers to come.
    expected: VecDeque<i32>,
}

impl Wire {
    /// The client's end of a pipe whose other end `life` serves.
    pub fn new(life: Arc<Life>, number: u64, stream: DuplexStream) -> Wire {
        Wire { life, number, stream, next_correlation: 0, expected: VecDeque::new() }
    }

    /// Sends a request and does not wait.
    pub async fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<(), Disconnected> {
        let correlation = self.next_correlation;
        self.next_correlation += 1;
        self.expected.push_back(correlation);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(StrBytes::from_static_str("sim")));
        let mut frame = BytesMut::from(&[0; 4][..]);
        header.encode(&mut frame, R::header_version(version)).expect("a header encodes");
        request.encode(&mut frame, version).expect("a request encodes");
        let length = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        // A process that is paused reads nothing: the pipe fills up.
        match timeout(Duration::from_secs(30), self.stream.write_all(&frame)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Disconnected),
        }
    }

    /// The next answer in order, which must be one to an `R` of that version.
    pub async fn receive<R: Request>(
        &mut self,
        version: i16,
        patience: Duration,
    ) -> Result<R::Response, Disconnected> {
        let expected = self.expected.pop_front().expect("an answer to a request");
        let mut frame = match timeout(patience, self.frame()).await {
            Ok(Ok(frame)) => frame,
            _ => return Err(Disconnected),
        };
        let header =
            ResponseHeader::decode(&mut frame, R::Response::header_version(version)).expect("a header");
        assert_eq!(header.correlation_id, expected, "answers come in order");
        let response = R::Response::decode(&mut frame, version).expect("an answer of the version asked");
        assert!(!frame.has_remaining(), "an answer has nothing after it");
        Ok(response)
    }

    /// One request and its answer.
    pub async fn ask<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        patience: Duration,
    ) -> Result<R::Response, Disconnected> {
        self.send(request, version).await?;
        self.receive::<R>(version, patience).await
    }

    async fn frame(&mut self) -> std::io::Result<Bytes> {
        let length = self.stream.read_u32().await?;
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).await?;
        Ok(frame.into())
    }
}

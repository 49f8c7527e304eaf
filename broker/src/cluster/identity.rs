//! "Who are you?": asked of the peer address of an incarnation before its place is taken (DESIGN §4 "Same id"). A process
//! that answers as that incarnation is alive, and the asker refuses to start; a refused connection, or an answer by anybody
//! else, means that it is gone.
//!
//! On the wire, big-endian: question `AQID` · version u16 = 1. Answer `AQID` · version u16 · commit u64 · index u32.

use std::time::Duration;

use s3stream::ids::Incarnation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const MAGIC: &[u8; 4] = b"AQID";
const VERSION: u16 = 1;
/// How long an address may be silent.
const PATIENCE: Duration = Duration::from_secs(1);

/// What an address said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// This incarnation answers there.
    Is(Incarnation),
    /// The connection was refused, or whoever answers does not speak this protocol.
    Nobody,
    /// Nothing for a second: it may be there, and not be reachable.
    Silent,
}

/// Asks.
pub async fn ask(address: &str) -> Identity {
    match timeout(PATIENCE, question(address)).await {
        Err(_) => Identity::Silent,
        Ok(Ok(incarnation)) => Identity::Is(incarnation),
        Ok(Err(e)) if is_silence(&e) => Identity::Silent,
        Ok(Err(_)) => Identity::Nobody,
    }
}

fn is_silence(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(e.kind(), TimedOut | HostUnreachable | NetworkUnreachable)
}

async fn question(address: &str) -> std::io::Result<Incarnation> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(MAGIC).await?;
    socket.write_u16(VERSION).await?;
    let mut magic = [0; 4];
    socket.read_exact(&mut magic).await?;
    if &magic != MAGIC {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let _version = socket.read_u16().await?;
    Ok(Incarnation { seq: socket.read_u64().await?, index: socket.read_u32().await? })
}

/// Answers until the process ends. One who does not ask properly is dropped.
pub async fn answer(listener: TcpListener, me: Incarnation) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                // One after another: an answer takes no time, a bad asker at most PATIENCE.
                let _ = timeout(PATIENCE, reply(socket, me)).await;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn reply(mut socket: TcpStream, me: Incarnation) -> std::io::Result<()> {
    let mut magic = [0; 4];
    socket.read_exact(&mut magic).await?;
    let _version = socket.read_u16().await?;
    if &magic != MAGIC {
        return Ok(());
    }
    socket.write_all(MAGIC).await?;
    socket.write_u16(VERSION).await?;
    socket.write_u64(me.seq).await?;
    socket.write_u32(me.index).await?;
    socket.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_there_says_so_and_who_is_not_is_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let me = Incarnation { seq: 7, index: 3 };
        let task = tokio::spawn(answer(listener, me));
        assert_eq!(ask(&address).await, Identity::Is(me));
        let mut rude = TcpStream::connect(&address).await.unwrap();
        rude.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(ask(&address).await, Identity::Is(me));
        task.abort();
        let _ = task.await;
        assert_eq!(ask(&address).await, Identity::Nobody);
    }
}

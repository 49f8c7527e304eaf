//! Accepting clients on one listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use super::connection::{Connection, serve};
use crate::broker::Broker;

/// Accepts until the process ends. One client's trouble is never another's: a failed accept (too many files) is waited
/// out.
pub async fn accept(broker: Arc<Broker>, name: Arc<str>, listener: TcpListener) {
    loop {
        broker.connections.room(&name, || broker.live.load_full()).await;
        match listener.accept().await {
            Ok((socket, peer)) => {
                let Some(counted) = broker.connections.count(&name, peer.ip(), &broker.live.load()) else {
                    debug!(%peer, "closed: its address has max.connections.per.ip");
                    continue;
                };
                if let Err(e) = prepare(&socket) {
                    warn!(%peer, error = %e, "socket options");
                }
                let connection = Connection::new(peer, name.clone());
                let (reader, writer) = socket.into_split();
                let serving = serve(broker.clone(), connection, reader, writer);
                broker.env.tasks.spawn("connection", async move {
                    serving.await;
                    drop(counted);
                });
            }
            Err(e) => {
                warn!(error = %e, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    // Finds peers that went away without a word; idle ones are closed by connections.max.idle.ms.
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(120)).with_interval(Duration::from_secs(30));
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// Binds a listener's address.
pub async fn bind(address: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

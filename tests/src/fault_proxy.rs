//! An HTTP/1.1 proxy before an object store that delays answers and loses some of them.
//!
//! What it does to a request, in order: forwards all of it, reads the upstream's answer, decides its fate (seeded),
//! waits the fate's delay, then either passes the answer on or closes the client's connection without it. A cut
//! answer therefore always belongs to a request *that took effect*: the case a client must not take for a failure
//! (DESIGN I4). It never harms a request on its way in.
//!
//! It finds the bounds of requests and answers itself (Content-Length, chunked, bodiless answers,
//! `Expect: 100-continue`), because on a kept-alive connection a byte stream alone does not say where an answer
//! begins. Heads are passed on untouched: S3 signatures cover them.
//!
//! [`Framing`] and [`Fates`] are plain values; [`FaultProxy`] is the shell around them.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Heads beyond this are refused; S3 clients send less than 4 KiB.
const HEAD_MAX: usize = 64 << 10;

/// How much harm to do.
#[derive(Clone, Copy, Debug)]
pub struct FaultPlan {
    /// Median delay of an answer.
    pub delay_median: Duration,
    /// 99th percentile of the delay; with the median it fixes a lognormal distribution.
    pub delay_p99: Duration,
    /// Share of answers that are cut, 0–1.
    pub cut: f64,
    /// Seed of all decisions. Requests take their fates in the order in which their answers arrive.
    pub seed: u64,
}

/// What becomes of one answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fate {
    /// How long it is held back.
    pub delay: Duration,
    /// Whether the connection is closed instead of answering.
    pub cut: bool,
}

/// The sequence of fates a seed gives.
#[derive(Debug)]
pub struct Fates {
    plan: FaultPlan,
    rng: StdRng,
}

impl Fates {
    /// Standard normal quantile of 0.99.
    const Z99: f64 = 2.326_347_874;

    /// The fates of a plan.
    pub fn new(plan: FaultPlan) -> Fates {
        Fates { plan, rng: StdRng::seed_from_u64(plan.seed) }
    }

    /// The next one.
    pub fn next_fate(&mut self) -> Fate {
        let median = self.plan.delay_median.as_secs_f64();
        let sigma = (self.plan.delay_p99.as_secs_f64() / median).ln() / Fates::Z99;
        let delay = if median > 0.0 { median * (sigma * self.normal()).exp() } else { 0.0 };
        // The far tail of a lognormal is minutes; nothing is learnt from waiting them.
        Fate { delay: Duration::from_secs_f64(delay.min(30.0)), cut: self.rng.random_bool(self.plan.cut) }
    }

    /// A standard normal number (Box and Muller).
    fn normal(&mut self) -> f64 {
        let (u, v): (f64, f64) = (1.0 - self.rng.random::<f64>(), self.rng.random());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// What the proxy did so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// Answers per method that reached the proxy.
    pub answered: BTreeMap<String, u64>,
    /// Of those, answers that were cut.
    pub cut: BTreeMap<String, u64>,
    /// Sum of delays.
    pub delayed: Duration,
    /// The longest delay.
    pub delay_max: Duration,
}

/// A running proxy; dropping it ends it and its connections.
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    fates: Mutex<Fates>,
    counts: Mutex<Counts>,
}

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `upstream`.
    pub async fn start(upstream: SocketAddr, plan: FaultPlan) -> io::Result<FaultProxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            fates: Mutex::new(Fates::new(plan)),
            counts: Mutex::new(Counts::default()),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(FaultProxy { addr, shared, accepting })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it did so far.
    pub fn counts(&self) -> Counts {
        self.shared.counts.lock().clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Owned by this task: when it is aborted, its connections go too.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                shared.counts.lock().connections += 1;
                let shared = shared.clone();
                // An error is a peer that went away, which is what connections here do.
                connections.spawn(async move { drop(serve(client, &shared).await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Requests of one client connection, one after another, over one upstream connection.
async fn serve(client: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let upstream = TcpStream::connect(shared.upstream).await?;
    upstream.set_nodelay(true)?;
    let (mut client, mut upstream) = (Wire::new(client), Wire::new(upstream));
    while let Some(request) = client.read_head().await? {
        let method = method(&request)?.to_owned();
        upstream.stream.write_all(&request).await?;
        let mut answer = None;
        if expects_continue(&request) {
            // The client holds its body back until the upstream asks for it, or answers without.
            let first = upstream.read_head().await?.ok_or(ErrorKind::UnexpectedEof)?;
            match status(&first)? {
                100 => client.stream.write_all(&first).await?,
                _ => answer = Some(first),
            }
        }
        let refused_early = answer.is_some();
        if !refused_early {
            client.pass_body(Framing::of_request(&request)?, Some(&mut upstream)).await?;
        }
        let answer = match answer {
            Some(answer) => answer,
            None => final_head(&mut client, &mut upstream).await?,
        };
        let framing = Framing::of_answer(&method, &answer)?;
        let fate = shared.fates.lock().next_fate();
        shared.count(&method, fate);
        if fate.cut {
            // All of the answer arrives here; the store holds nothing back.
            upstream.pass_body(framing, None).await?;
            tokio::time::sleep(fate.delay).await;
            return Ok(());
        }
        tokio::time::sleep(fate.delay).await;
        client.stream.write_all(&answer).await?;
        upstream.pass_body(framing, Some(&mut client)).await?;
        if refused_early || framing == Framing::UntilClose || closes(&request) || closes(&answer) {
            return client.stream.shutdown().await;
        }
    }
    Ok(())
}

/// The answer's head; interim answers (1xx) are passed on.
async fn final_head(client: &mut Wire, upstream: &mut Wire) -> io::Result<Bytes> {
    loop {
        let head = upstream.read_head().await?.ok_or(ErrorKind::UnexpectedEof)?;
        if status(&head)? >= 200 {
            return Ok(head);
        }
        client.stream.write_all(&head).await?;
    }
}

impl Shared {
    fn count(&self, method: &str, fate: Fate) {
        let mut counts = self.counts.lock();
        *counts.answered.entry(method.to_owned()).or_default() += 1;
        if fate.cut {
            *counts.cut.entry(method.to_owned()).or_default() += 1;
        }
        counts.delayed += fate.delay;
        counts.delay_max = counts.delay_max.max(fate.delay);
    }
}

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Framing {
    /// This many bytes follow the head.
    Length(u64),
    /// Chunks, the last of them empty, then trailers.
    Chunked,
    /// An answer without a length ends with its connection.
    UntilClose,
}

impl Framing {
    /// The body of a request: without a length there is none.
    pub fn of_request(head: &[u8]) -> io::Result<Framing> {
        Ok(Framing::stated(head)?.unwrap_or(Framing::Length(0)))
    }

    /// The body of an answer to `method`.
    pub fn of_answer(method: &str, head: &[u8]) -> io::Result<Framing> {
        if method == "HEAD" || matches!(status(head)?, 204 | 304) {
            return Ok(Framing::Length(0));
        }
        Ok(Framing::stated(head)?.unwrap_or(Framing::UntilClose))
    }

    fn stated(head: &[u8]) -> io::Result<Option<Framing>> {
        if header(head, "transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().ends_with("chunked")) {
            return Ok(Some(Framing::Chunked));
        }
        header(head, "content-length")
            .map(|length| length.parse().map(Framing::Length).map_err(|_| bad("content-length")))
            .transpose()
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("unreadable {what}"))
}

/// The value of a header.
fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(head).ok()?;
    text.split("\r\n").skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn method(head: &[u8]) -> io::Result<&str> {
    let end = head.iter().position(|b| *b == b' ').ok_or_else(|| bad("request line"))?;
    std::str::from_utf8(&head[..end]).map_err(|_| bad("method"))
}

/// The status of an answer: `HTTP/1.1 200 …`.
fn status(head: &[u8]) -> io::Result<u16> {
    let digits = head.get(9..12).and_then(|d| std::str::from_utf8(d).ok()).ok_or_else(|| bad("status"))?;
    digits.parse().map_err(|_| bad("status"))
}

fn expects_continue(head: &[u8]) -> bool {
    header(head, "expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue"))
}

fn closes(head: &[u8]) -> bool {
    header(head, "connection").is_some_and(|v| v.eq_ignore_ascii_case("close"))
}

/// One side of a connection, with what was read beyond the last bound.
struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Wire {
    fn new(stream: TcpStream) -> Wire {
        Wire { stream, buffer: BytesMut::with_capacity(64 << 10) }
    }

    /// Reads more into the buffer; false at the end of the stream.
    async fn fill(&mut self) -> io::Result<bool> {
        self.buffer.reserve(64 << 10);
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// A whole head with its empty line; `None` when the peer closed between messages.
    async fn read_head(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Some(self.buffer.split_to(end + 4).freeze()));
            }
            if self.buffer.len() > HEAD_MAX {
                return Err(bad("head"));
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Reads a body to its end and passes it on, unchanged, to `to`, or drops it.
    async fn pass_body(&mut self, framing: Framing, mut to: Option<&mut Wire>) -> io::Result<()> {
        match framing {
            Framing::Length(length) => self.pass(length, to).await,
            Framing::UntilClose => loop {
                let have = self.buffer.len() as u64;
                self.pass(have, to.as_deref_mut()).await?;
                if !self.fill().await? {
                    return Ok(());
                }
            },
            Framing::Chunked => {
                loop {
                    let line = self.pass_line(to.as_deref_mut()).await?;
                    let size = std::str::from_utf8(&line).ok().and_then(|l| l.split(';').next());
                    let size = size.and_then(|s| u64::from_str_radix(s.trim(), 16).ok());
                    match size.ok_or_else(|| bad("chunk size"))? {
                        0 => break,
                        size => self.pass(size + 2, to.as_deref_mut()).await?,
                    }
                }
                while !self.pass_line(to.as_deref_mut()).await?.is_empty() {}
                Ok(())
            }
        }
    }

    async fn pass(&mut self, mut bytes: u64, mut to: Option<&mut Wire>) -> io::Result<()> {
        while bytes > 0 {
            if self.buffer.is_empty() && !self.fill().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let part =
                self.buffer.split_to(self.buffer.len().min(usize::try_from(bytes).unwrap_or(usize::MAX)));
            bytes -= part.len() as u64;
            if let Some(to) = to.as_deref_mut() {
                to.stream.write_all(&part).await?;
            }
        }
        Ok(())
    }

    /// Passes one line on and returns it without its end.
    async fn pass_line(&mut self, to: Option<&mut Wire>) -> io::Result<Bytes> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(end + 2).freeze();
                if let Some(to) = to {
                    to.stream.write_all(&line).await?;
                }
                return Ok(line.slice(..end));
            }
            if self.buffer.len() > HEAD_MAX {
                return Err(bad("line"));
            }
            if !self.fill().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: FaultPlan =
        FaultPlan { delay_median: Duration::ZERO, delay_p99: Duration::ZERO, cut: 0.0, seed: 1 };

    #[test]
    fn delays_follow_the_median_and_the_99th_percentile_and_the_seed() {
        let plan = FaultPlan {
            delay_median: Duration::from_millis(20),
            delay_p99: Duration::from_millis(400),
            cut: 0.01,
            seed: 7,
        };
        let fates = |n| -> Vec<Fate> {
            let mut fates = Fates::new(plan);
            (0..n).map(|_| fates.next_fate()).collect()
        };
        let mut sample = fates(50_000);
        assert_eq!(fates(100), sample[..100]);
        let cut = sample.iter().filter(|f| f.cut).count();
        assert!((400..600).contains(&cut), "{cut}");
        sample.sort_by_key(|f| f.delay);
        let ms = |i: usize| sample[i].delay.as_secs_f64() * 1e3;
        assert!((19.0..21.0).contains(&ms(25_000)), "{}", ms(25_000));
        assert!((360.0..440.0).contains(&ms(49_500)), "{}", ms(49_500));
    }

    #[test]
    fn bodies_are_bounded_as_rfc_9112_says() {
        use Framing::{Chunked, Length, UntilClose};
        for (method, head, framing) in [
            ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", Length(12)),
            ("GET", "HTTP/1.1 200 OK\r\ncontent-length:12\r\nTransfer-Encoding: chunked\r\n\r\n", Chunked),
            ("GET", "HTTP/1.1 200 OK\r\nServer: x\r\n\r\n", UntilClose),
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", Length(0)),
            ("DELETE", "HTTP/1.1 204 No Content\r\n\r\n", Length(0)),
            ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n", Length(0)),
        ] {
            assert_eq!(Framing::of_answer(method, head.as_bytes()).unwrap(), framing, "{method} {head}");
        }
        assert_eq!(Framing::of_request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap(), Length(0));
        assert!(Framing::of_request(b"PUT / HTTP/1.1\r\nContent-Length: many\r\n\r\n").is_err());
    }

    /// A store that answers every request of one connection from `script`, and keeps what it got.
    async fn store(script: Vec<&'static str>) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let keep = got.clone();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            for answer in script {
                // A request here ends in "END" or an empty line, which is all a script needs.
                loop {
                    let n = stream.read(&mut buffer).await.unwrap();
                    keep.lock().extend(&buffer[..n]);
                    if n == 0 || buffer[..n].ends_with(b"END") || buffer[..n].ends_with(b"\r\n\r\n") {
                        break;
                    }
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (addr, got)
    }

    async fn talk(stream: &mut TcpStream, request: &str, answer: &str) {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut got = vec![0; answer.len()];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), answer);
    }

    #[tokio::test]
    async fn messages_of_a_kept_connection_pass_unchanged() {
        let put = "PUT /a HTTP/1.1\r\nContent-Length: 6\r\n\r\nbodEND";
        let chunked = "PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let head_ok = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n";
        let chunks =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n";
        let (upstream, got) = store(vec![ok, ok, head_ok, chunks]).await;
        let proxy = FaultProxy::start(upstream, NONE).await.unwrap();
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        talk(&mut client, put, ok).await;
        talk(&mut client, chunked, ok).await;
        talk(&mut client, "HEAD /a HTTP/1.1\r\n\r\n", head_ok).await;
        talk(&mut client, "GET /a HTTP/1.1\r\n\r\n", chunks).await;
        let sent = [put, chunked, "HEAD /a HTTP/1.1\r\n\r\n", "GET /a HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(String::from_utf8(got.lock().clone()).unwrap(), sent);
        let counts = proxy.counts();
        assert_eq!((counts.connections, counts.answered["PUT"], counts.cut.len()), (1, 2, 0));
    }

    #[tokio::test]
    async fn a_body_held_back_for_100_continue_gets_its_go_ahead() {
        let go = "HTTP/1.1 100 Continue\r\n\r\n";
        let created = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let refused = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n";
        let head = "PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
        let (upstream, got) = store(vec![go, created, refused]).await;
        let proxy = FaultProxy::start(upstream, NONE).await.unwrap();
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        talk(&mut client, head, go).await;
        talk(&mut client, "END", created).await;
        talk(&mut client, head, refused).await;
        assert_eq!(String::from_utf8(got.lock().clone()).unwrap(), format!("{head}END{head}"));
    }

    #[tokio::test]
    async fn a_cut_answer_belongs_to_a_request_that_took_effect() {
        let put = "PUT /a HTTP/1.1\r\nContent-Length: 6\r\n\r\nbodEND";
        let (upstream, got) = store(vec!["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]).await;
        let proxy = FaultProxy::start(upstream, FaultPlan { cut: 1.0, ..NONE }).await.unwrap();
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        client.write_all(put.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let end = client.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "{end:?}");
        assert_eq!(String::from_utf8(got.lock().clone()).unwrap(), put);
        assert_eq!(proxy.counts().cut["PUT"], 1);
    }
}

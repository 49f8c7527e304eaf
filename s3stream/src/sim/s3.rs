//! A fake S3 in this process, under the real object_store S3 client: requests are really built, signed off, sent through its
//! `HttpConnector`, and answers really parsed. Owns the bucket, the faults and the trace.
//!
//! A request travels (latency), *lands* (takes effect at one moment, and is traced), and its answer travels back. Landing is
//! the world's business: a caller that gives up, or whose process is killed, does not stop what it has sent. Faults are
//! rolled per request by the world's own dice, in the order in which requests are sent.
//!
//! | fault | the caller sees | the bucket |
//! |---|---|---|
//! | cut | connection error | nothing |
//! | lost answer | connection error, or silence | changed |
//! | zombie | silence | changed, seconds or minutes later |
//! | conflict | 409 | nothing |
//! | busy | 500 or 503 | nothing |
//! | busy after | 500 | changed |
//! | short body | an error in the middle of a GET | - |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::{ClientOptions, Result as ClientResult};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::store::cloud::{CloudStore, S3_DELETES_AT_ONCE, s3_clients, s3_settings};
use crate::store::{Store, StoreTraits};

/// The one bucket.
const BUCKET: &str = "sim";
/// Keys per page of a listing; small, so that tests meet several.
const PAGE: usize = 100;
/// What a fake answers for times; nobody reads it.
const LAST_MODIFIED: &str = "Wed, 01 Jan 2025 00:00:00 GMT";
/// Silence, as long as any caller may wait.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// How likely each fault is per request (0 to 1), and how slow the store is.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// Typical time of a request, there and back.
    pub latency: Duration,
    /// Part of requests that take ten to fifty times that.
    pub slow: f64,
    /// Bytes per second of one request's body; None is unlimited.
    pub bandwidth: Option<u64>,
    /// Lost before it lands.
    pub cut: f64,
    /// Lands, its answer does not.
    pub lost_answer: f64,
    /// PUTs that land only after up to `zombie_delay`, unheard.
    pub zombie: f64,
    /// The longest such delay.
    pub zombie_delay: Duration,
    /// 409 where nothing is there.
    pub conflict: f64,
    /// 500 or 503.
    pub busy: f64,
    /// 500 after it landed.
    pub busy_after: f64,
    /// GETs whose body ends too early.
    pub short_body: f64,
}

impl Faults {
    /// An honest, fast store.
    pub fn none() -> Faults {
        Faults {
            latency: Duration::from_millis(10),
            slow: 0.0,
            bandwidth: None,
            cut: 0.0,
            lost_answer: 0.0,
            zombie: 0.0,
            zombie_delay: Duration::from_secs(60),
            conflict: 0.0,
            busy: 0.0,
            busy_after: 0.0,
            short_body: 0.0,
        }
    }

    /// A bad day: one request in five goes wrong in some way.
    pub fn rough() -> Faults {
        Faults {
            slow: 0.02,
            cut: 0.03,
            lost_answer: 0.05,
            zombie: 0.02,
            conflict: 0.03,
            busy: 0.04,
            busy_after: 0.02,
            short_body: 0.02,
            ..Faults::none()
        }
    }
}

/// How an outage shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// The connection is refused at once.
    Refused,
    /// 503 after the usual time.
    Unavailable,
    /// Nothing, for ever.
    Silent,
}

/// One thing that happened to the bucket, or to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// Since the bucket was made, in the world's time.
    pub at: Duration,
    /// Who asked.
    pub client: String,
    /// What: `PUT`, `GET`, `HEAD`, `LIST`, `DELETE`, and `DELETES` of several.
    pub op: &'static str,
    /// The key, the prefix, or the first of several keys.
    pub key: String,
    /// Status code and fault.
    pub outcome: String,
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.at.as_micros() as f64 / 1000.0;
        write!(f, "{ms:>12.3} {:<8} {:<6} {} {}", self.client, self.op, self.key, self.outcome)
    }
}

/// The bucket and its world. Clones are the same.
#[derive(Clone)]
pub struct FakeS3(Arc<World>);

struct World {
    begun: Instant,
    state: Mutex<State>,
}

struct State {
    objects: BTreeMap<String, Bytes>,
    bucket_exists: bool,
    dice: StdRng,
    faults: Faults,
    ignore_conditions: bool,
    /// It does not know DeleteObjects.
    deletes_one_by_one: bool,
    /// These it does not delete.
    undeletable: BTreeSet<String>,
    outage: Option<Outage>,
    /// Outages of keys with a prefix: PUTs alone, or all.
    prefix_outages: BTreeMap<String, Outage>,
    cut_off: BTreeSet<String>,
    trace: Vec<TraceEntry>,
}

impl FakeS3 {
    /// An empty bucket. Same seed, same faults. Must be made within a runtime with tokio's time paused.
    pub fn new(seed: u64, faults: Faults) -> FakeS3 {
        let state = State {
            objects: BTreeMap::new(),
            bucket_exists: true,
            dice: StdRng::seed_from_u64(seed),
            faults,
            ignore_conditions: false,
            deletes_one_by_one: false,
            undeletable: BTreeSet::new(),
            outage: None,
            prefix_outages: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            trace: Vec::new(),
        };
        FakeS3(Arc::new(World { begun: Instant::now(), state: Mutex::new(state) }))
    }

    /// A store as process `name` sees it: the real client, with our settings for S3, over this bucket.
    pub fn client(&self, name: &str) -> Arc<dyn Store> {
        let connector = Connector { world: self.0.clone(), client: name.to_owned() };
        let client = s3_settings(AmazonS3Builder::new(), BUCKET)
            .with_endpoint("http://sim.invalid")
            .with_allow_http(true)
            .with_region("sim")
            .with_skip_signature(true)
            .with_http_connector(connector);
        let (client, bulk) = match s3_clients(client) {
            Ok(clients) => clients,
            Err(error) => panic!("the simulated client is set up wrongly: {error}"),
        };
        let traits = StoreTraits {
            name: format!("s3://{BUCKET}"),
            directory: false,
            puts_in_flight: 8,
            puts_per_second_max: None,
            hedge: true,
            deletes_at_once: S3_DELETES_AT_ONCE,
            free_min: None,
        };
        Arc::new(CloudStore::new(client, "", true, traits).with_bulk_deletes(bulk))
    }

    /// Faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.state.lock().faults = faults;
    }

    /// Nobody reaches the store. What has been sent may still land.
    pub fn down(&self) {
        self.0.state.lock().outage = Some(Outage::Refused);
    }

    /// The same, showing in another way.
    pub fn down_as(&self, outage: Outage) {
        self.0.state.lock().outage = Some(outage);
    }

    /// It is back.
    pub fn up(&self) {
        self.0.state.lock().outage = None;
    }

    /// PUTs of keys that start with `prefix` fail; all else goes on.
    pub fn prefix_down(&self, prefix: &str, outage: Outage) {
        self.0.state.lock().prefix_outages.insert(prefix.to_owned(), outage);
    }

    /// They work again.
    pub fn prefix_up(&self, prefix: &str) {
        self.0.state.lock().prefix_outages.remove(prefix);
    }

    /// Process `name` does not reach the store any more; others do.
    pub fn cut_off(&self, name: &str) {
        self.0.state.lock().cut_off.insert(name.to_owned());
    }

    /// It does again.
    pub fn reconnect(&self, name: &str) {
        self.0.state.lock().cut_off.remove(name);
    }

    /// A server that ignores If-None-Match: creates overwrite.
    pub fn ignore_conditions(&self, ignore: bool) {
        self.0.state.lock().ignore_conditions = ignore;
    }

    /// A server that does not know DeleteObjects.
    pub fn delete_one_by_one(&self) {
        self.0.state.lock().deletes_one_by_one = true;
    }

    /// Nobody may delete this.
    pub fn keep(&self, key: &str) {
        self.0.state.lock().undeletable.insert(key.to_owned());
    }

    /// There is no such bucket.
    pub fn remove_bucket(&self) {
        self.0.state.lock().bucket_exists = false;
    }

    /// What is in the bucket now, without asking it.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.0.state.lock().objects.clone()
    }

    /// Damages or plants an object.
    pub fn overwrite(&self, key: &str, body: Bytes) {
        self.0.state.lock().objects.insert(key.to_owned(), body);
    }

    /// Removes an object, without asking.
    pub fn remove(&self, key: &str) {
        self.0.state.lock().objects.remove(key);
    }

    /// Everything that happened, in order.
    pub fn trace(&self) -> Vec<TraceEntry> {
        self.0.state.lock().trace.clone()
    }

    /// The same, as text: for comparing runs and for reading.
    pub fn trace_text(&self) -> String {
        self.0.state.lock().trace.iter().map(|entry| format!("{entry}\n")).collect()
    }
}

impl fmt::Debug for FakeS3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeS3 with {} objects", self.0.state.lock().objects.len())
    }
}

/// Gives the real client our transport.
struct Connector {
    world: Arc<World>,
    client: String,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated transport of {}", self.client)
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> ClientResult<HttpClient> {
        Ok(HttpClient::new(Connector { world: self.world.clone(), client: self.client.clone() }))
    }
}

/// What happens to one request, rolled when it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Honest,
    Cut,
    LostAnswer { silent: bool },
    Zombie { delay: Duration },
    Conflict,
    Busy(u16),
    BusyAfter,
    ShortBody,
}

/// A request, understood.
#[derive(Clone, Debug)]
struct Asked {
    op: &'static str,
    key: String,
    if_none_match: bool,
    range: Option<String>,
    query: BTreeMap<String, String>,
    body: Bytes,
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let asked = understand(request).await?;
        let travel = self.world.send(&self.client, &asked);
        let Travel { there, back, fate } = match travel {
            Ok(travel) => travel,
            Err(Outage::Refused) => return Err(broken("connection refused")),
            Err(Outage::Silent) => {
                sleep(FOR_EVER).await;
                return Err(broken("silence"));
            }
            Err(Outage::Unavailable) => {
                sleep(Duration::from_millis(10)).await;
                return Ok(error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"));
            }
        };
        let (land, landed) = oneshot::channel();
        let (world, client) = (self.world.clone(), self.client.clone());
        // The world's task, not the caller's: a request that was sent lands, whoever waits for it.
        tokio::spawn(async move {
            sleep(there).await;
            let answer = world.land(&client, &asked, fate);
            // The caller may have gone.
            let _ = land.send(answer);
        });
        let answer = landed.await.map_err(|_| broken("the world has ended"))?;
        match fate {
            Fate::Cut | Fate::LostAnswer { silent: false } => {
                sleep(back).await;
                Err(broken("connection reset"))
            }
            Fate::LostAnswer { silent: true } | Fate::Zombie { .. } => {
                sleep(FOR_EVER).await;
                Err(broken("silence"))
            }
            _ => {
                sleep(back).await;
                Ok(answer)
            }
        }
    }
}

struct Travel {
    there: Duration,
    back: Duration,
    fate: Fate,
}

impl World {
    /// Rolls what will happen to a request, unless there is an outage.
    fn send(&self, client: &str, asked: &Asked) -> Result<Travel, Outage> {
        let state = &mut *self.state.lock();
        let by_prefix = state
            .prefix_outages
            .iter()
            .find(|(prefix, _)| asked.op == "PUT" && asked.key.starts_with(*prefix));
        let cut_off = state.cut_off.contains(client).then_some(Outage::Refused);
        if let Some(outage) = cut_off.or(state.outage).or(by_prefix.map(|(_, outage)| *outage)) {
            let outcome = format!("outage {outage:?}");
            state.trace.push(self.entry(client, asked, outcome));
            return Err(outage);
        }
        let faults = state.faults.clone();
        let dice = &mut state.dice;
        let mut roll = |p: f64| dice.random::<f64>() < p;
        // All dice are rolled for each request, so that one fault does not shift all that follows.
        let (slow, cut, lost, silent) =
            (roll(faults.slow), roll(faults.cut), roll(faults.lost_answer), roll(0.5));
        let (zombie, conflict, busy) = (roll(faults.zombie), roll(faults.conflict), roll(faults.busy));
        let (unavailable, busy_after, short) = (roll(0.5), roll(faults.busy_after), roll(faults.short_body));
        let mut unit = || dice.random::<f64>();
        let (stretch, split, delay) = (unit(), unit(), unit());
        let is_put = asked.op == "PUT";
        let changes = is_put || matches!(asked.op, "DELETE" | "DELETES");
        let fate = if cut {
            Fate::Cut
        } else if is_put && zombie {
            Fate::Zombie { delay: faults.zombie_delay.mul_f64(delay) }
        } else if changes && lost {
            Fate::LostAnswer { silent }
        } else if is_put && conflict {
            Fate::Conflict
        } else if busy {
            Fate::Busy(if unavailable { 503 } else { 500 })
        } else if changes && busy_after {
            Fate::BusyAfter
        } else if asked.op == "GET" && short {
            Fate::ShortBody
        } else {
            Fate::Honest
        };
        let factor = if slow { 10.0 + 40.0 * stretch } else { 0.5 + stretch };
        let total = faults.latency.mul_f64(factor);
        let mut there = total.mul_f64(0.2 + 0.6 * split);
        let back = total - there;
        if let Some(bandwidth) = faults.bandwidth {
            there += Duration::from_secs_f64(asked.body.len() as f64 / bandwidth as f64);
        }
        if let Fate::Zombie { delay } = fate {
            there += delay;
        }
        Ok(Travel { there, back, fate })
    }

    /// The moment a request takes effect.
    fn land(&self, client: &str, asked: &Asked, fate: Fate) -> HttpResponse {
        let state = &mut *self.state.lock();
        let answer = match fate {
            Fate::Cut => error(StatusCode::BAD_GATEWAY, "Cut"),
            Fate::Conflict if !state.objects.contains_key(&asked.key) => {
                error(StatusCode::CONFLICT, "ConditionalRequestConflict")
            }
            Fate::Busy(status) => {
                error(StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE), "SlowDown")
            }
            Fate::BusyAfter => {
                state.apply(asked, false);
                error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
            }
            _ => state.apply(asked, fate == Fate::ShortBody),
        };
        let outcome = match fate {
            Fate::Honest => answer.status().as_u16().to_string(),
            fate => format!("{} {fate:?}", answer.status().as_u16()),
        };
        state.trace.push(self.entry(client, asked, outcome));
        answer
    }

    fn entry(&self, client: &str, asked: &Asked, outcome: String) -> TraceEntry {
        let at = self.begun.elapsed();
        TraceEntry { at, client: client.to_owned(), op: asked.op, key: asked.key.clone(), outcome }
    }
}

impl State {
    /// What S3 does.
    fn apply(&mut self, asked: &Asked, short: bool) -> HttpResponse {
        if !self.bucket_exists {
            return error(StatusCode::NOT_FOUND, "NoSuchBucket");
        }
        match asked.op {
            "PUT" => {
                if asked.if_none_match && !self.ignore_conditions && self.objects.contains_key(&asked.key) {
                    return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
                }
                self.objects.insert(asked.key.clone(), asked.body.clone());
                answer(StatusCode::OK, &[(header::ETAG, etag(&asked.body))], Bytes::new())
            }
            "GET" | "HEAD" => match self.objects.get(&asked.key) {
                None => error(StatusCode::NOT_FOUND, "NoSuchKey"),
                Some(body) => read(asked, body, short),
            },
            "LIST" => self.list(asked),
            "DELETES" if self.deletes_one_by_one => error(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
            "DELETE" if self.undeletable.contains(&asked.key) => error(StatusCode::FORBIDDEN, "AccessDenied"),
            "DELETE" => {
                self.objects.remove(&asked.key);
                answer(StatusCode::NO_CONTENT, &[], Bytes::new())
            }
            "DELETES" => {
                let mut told = String::new();
                for key in keys_to_delete(&asked.body) {
                    if self.undeletable.contains(&key) {
                        let error = "<Code>AccessDenied</Code><Message>kept</Message>";
                        told.push_str(&format!("<Error><Key>{key}</Key>{error}</Error>"));
                    } else {
                        self.objects.remove(&key);
                        told.push_str(&format!("<Deleted><Key>{key}</Key></Deleted>"));
                    }
                }
                answer(StatusCode::OK, &[], format!("<DeleteResult>{told}</DeleteResult>").into())
            }
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    /// ListObjectsV2, in pages.
    fn list(&self, asked: &Asked) -> HttpResponse {
        let prefix = asked.key.as_str();
        let after = ["continuation-token", "start-after"].iter().find_map(|name| asked.query.get(*name));
        let mut found = self
            .objects
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| after.is_none_or(|after| *key > after));
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult>");
        let mut last = None;
        for (key, body) in found.by_ref().take(PAGE) {
            xml += &format!(
                "<Contents><Key>{key}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified><ETag>{}</ETag>\
                 <Size>{}</Size></Contents>",
                etag(body).replace('"', "&quot;"),
                body.len()
            );
            last = Some(key);
        }
        if let (Some(last), Some(_)) = (last, found.next()) {
            xml += &format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>"
            );
        }
        xml += "</ListBucketResult>";
        answer(StatusCode::OK, &[], xml.into())
    }
}

/// GET and HEAD, whole or in part.
fn read(asked: &Asked, body: &Bytes, short: bool) -> HttpResponse {
    let len = body.len();
    let mut headers = vec![(header::ETAG, etag(body)), (header::LAST_MODIFIED, LAST_MODIFIED.to_owned())];
    let (status, part) = match asked.range.as_deref() {
        None => (StatusCode::OK, body.clone()),
        Some(range) => match parse_range(range, len) {
            None => return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"),
            Some((from, to)) => {
                headers.push((header::CONTENT_RANGE, format!("bytes {from}-{}/{len}", to - 1)));
                (StatusCode::PARTIAL_CONTENT, body.slice(from..to))
            }
        },
    };
    headers.push((header::CONTENT_LENGTH, part.len().to_string()));
    let sent = match (asked.op, short) {
        ("HEAD", _) => Bytes::new(),
        (_, true) => part.slice(..part.len() / 2),
        _ => part,
    };
    answer(status, &headers, sent)
}

/// `bytes=a-b`, `bytes=a-` or `bytes=-n`, as [from, to) of `len`.
fn parse_range(range: &str, len: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (from.parse::<usize>(), to.parse::<usize>()) {
        (Ok(from), Ok(last)) => (from, last.saturating_add(1).min(len)),
        (Ok(from), Err(_)) => (from, len),
        (Err(_), Ok(suffix)) => (len.saturating_sub(suffix), len),
        _ => return None,
    };
    (from < to).then_some((from, to))
}

async fn understand(request: HttpRequest) -> Result<Asked, HttpError> {
    let (parts, body) = request.into_parts();
    let body = HttpResponseBody::new(body).bytes().await?;
    let path = parts.uri.path().trim_start_matches('/');
    let key = path.strip_prefix(BUCKET).unwrap_or(path).trim_start_matches('/');
    assert!(!key.contains('%'), "a key that needs escaping: {key}");
    let query: BTreeMap<String, String> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let text = |headers: &HeaderMap, name: header::HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let lists = parts.method == Method::GET && key.is_empty();
    let deletes = parts.method == Method::POST && query.contains_key("delete");
    let op = match parts.method {
        Method::GET if lists => "LIST",
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::POST if deletes => "DELETES",
        _ => "OTHER",
    };
    Ok(Asked {
        op,
        key: match op {
            "LIST" => query.get("prefix").cloned().unwrap_or_default(),
            "DELETES" => keys_to_delete(&body).next().unwrap_or_default(),
            _ => key.to_owned(),
        },
        if_none_match: parts.headers.contains_key(header::IF_NONE_MATCH),
        range: text(&parts.headers, header::RANGE),
        query,
        body,
    })
}

/// The keys of a DeleteObjects request. Ours have nothing that XML escapes.
fn keys_to_delete(body: &[u8]) -> impl Iterator<Item = String> {
    let body = String::from_utf8_lossy(body);
    let keys = body.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
    keys.map(|(key, _)| key.to_owned()).collect::<Vec<_>>().into_iter()
}

fn answer(status: StatusCode, headers: &[(header::HeaderName, String)], body: Bytes) -> HttpResponse {
    let mut response = Response::new(HttpResponseBody::from(body));
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn error(status: StatusCode, code: &str) -> HttpResponse {
    let xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code></Error>");
    answer(status, &[], xml.into())
}

fn broken(why: &str) -> HttpError {
    HttpError::new(HttpErrorKind::Interrupted, std::io::Error::other(why.to_owned()))
}

fn etag(body: &Bytes) -> String {
    format!("\"{:08x}-{}\"", crc32fast::hash(body), body.len())
}

#[cfg(test)]
mod tests;

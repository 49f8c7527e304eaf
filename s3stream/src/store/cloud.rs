//! Object stores of clouds, and servers that speak their protocols, through the object_store crate.
//!
//! Owns three things: how each client is set up, what its answers mean in our terms, and when we stop waiting. The client
//! never retries (`max_retries: 0`): a retried success would come back as a conflict. Its own time-outs are off, since they
//! cut bodies on thin links; ours are: a PUT has the deadline it is given, which grows with its body, a read must show
//! *progress*, an answer and then bytes, at least every [`STALL`].
//!
//! What an answer means: 2xx of a create is Created. 409 and 412 are Exists. 401, 403 and a missing bucket are Refused.
//! Everything else, 5xx, cut connections and silence alike, is Unknown for a create, Transient for the rest.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};
use tokio::time::timeout;

use super::{Listed, PutNew, READ_MEMORY_KEPT, Space, Store, StoreError, StoreTraits, Tail};
use crate::buffers::BufferPool;

/// The longest silence of a read: before its answer, and between two pieces of its body.
pub const STALL: Duration = Duration::from_secs(10);

/// A bucket, or a part of one.
pub struct CloudStore {
    client: Arc<dyn ObjectStore>,
    /// Deletes several objects by one request.
    bulk: Option<Bulk>,
    /// Ends in a slash unless empty.
    root: String,
    /// Can the end of an object be asked for without knowing its length? (Azure: no.)
    suffix_ranges: bool,
    /// Memory of what is read, used again.
    read_buffers: Arc<BufferPool>,
    traits: StoreTraits,
}

/// Not every server that speaks S3's protocol knows DeleteObjects: where it fails so many times in a row, while a DELETE of
/// one of the objects does not, it is not asked again.
const BULK_FAILURES_MAX: u32 = 3;

struct Bulk {
    client: Arc<dyn ObjectStore>,
    /// In a row.
    failures: AtomicU32,
}

impl CloudStore {
    /// Objects of `client` below `root`. The client must not retry.
    pub fn new(client: Arc<dyn ObjectStore>, root: &str, suffix_ranges: bool, traits: StoreTraits) -> Self {
        let root = if root.is_empty() { String::new() } else { format!("{}/", root.trim_matches('/')) };
        let read_buffers = BufferPool::new(READ_MEMORY_KEPT);
        CloudStore { client, bulk: None, root, suffix_ranges, read_buffers, traits }
    }

    /// It deletes several objects by one request of `client`.
    pub fn with_bulk_deletes(self, client: Arc<dyn ObjectStore>) -> CloudStore {
        CloudStore { bulk: Some(Bulk { client, failures: AtomicU32::new(0) }), ..self }
    }

    /// Asks for all `paths` to be deleted by one request, and gives which of them are. Where that fails for one of them its own
    /// DELETE says why; where the server does not know such requests, none is.
    ///
    /// # Errors
    /// The request failed, and so did a DELETE of one of them.
    async fn delete_at_once(&self, bulk: &Bulk, paths: Vec<Path>) -> Result<Vec<bool>, StoreError> {
        let (asked, first) = (paths.len(), paths[0].clone());
        let answers = bulk.client.delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
        let failure = match timeout(STALL, answers.collect::<Vec<_>>()).await {
            Ok(answers) if answers.len() == asked => {
                bulk.failures.store(0, Ordering::Relaxed);
                return Ok(answers.iter().map(Result::is_ok).collect());
            }
            Ok(answers) => match answers.into_iter().find_map(Result::err) {
                Some(error) => meaning(error),
                None => StoreError::Transient(format!("a delete of {asked} objects answers for fewer")),
            },
            Err(_) => silent(first.as_ref(), STALL),
        };
        let one = answered(first.as_ref(), self.client.delete(&first)).await;
        if one.and_then(|answer| answer.or_else(gone)).is_err() {
            return Err(failure);
        }
        if bulk.failures.fetch_add(1, Ordering::Relaxed) + 1 == BULK_FAILURES_MAX {
            tracing::info!(store = self.traits.name, %failure, "objects are deleted one by one from now on");
        }
        Ok(vec![false; asked])
    }

    fn path(&self, key: &str) -> Result<Path, StoreError> {
        Path::parse(format!("{}{key}", self.root))
            .map_err(|error| StoreError::Refused(format!("not a key: {key:?}: {error}")))
    }

    /// Reads what `options` ask for, whole: the bytes and the object's length.
    async fn read(&self, key: &str, options: GetOptions) -> Result<Option<Tail>, StoreError> {
        let path = self.path(key)?;
        let answer = match answered(key, self.client.get_opts(&path, options)).await? {
            Ok(answer) => answer,
            Err(error) => return absent_or(error),
        };
        let object_len = answer.meta.size;
        Ok(Some(Tail { bytes: body(key, answer, &self.read_buffers).await?, object_len }))
    }
}

#[async_trait]
impl Store for CloudStore {
    async fn put_new(&self, key: &str, body: PutPayload, deadline: Duration) -> PutNew {
        let path = match self.path(key) {
            Ok(path) => path,
            Err(error) => return PutNew::Unknown(error),
        };
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match timeout(deadline, self.client.put_opts(&path, body, options)).await {
            Ok(Ok(_)) => PutNew::Created,
            Ok(Err(Error::AlreadyExists { .. } | Error::Precondition { .. })) => PutNew::Exists,
            // A PUT finds no *bucket*.
            Ok(Err(error @ Error::NotFound { .. })) => {
                PutNew::Unknown(StoreError::Refused(error.to_string()))
            }
            Ok(Err(error)) => PutNew::Unknown(meaning(error)),
            Err(_) => PutNew::Unknown(silent(key, deadline)),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read(key, GetOptions::default()).await?.map(|read| read.bytes))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        if range.is_empty() {
            // No range header can say this.
            return Ok(self.head(key).await?.map(|_| Bytes::new()));
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let Some(read) = self.read(key, options).await? else { return Ok(None) };
        if read.bytes.len() as u64 != range.end - range.start {
            let len = read.object_len;
            return Err(StoreError::Refused(format!(
                "{key} has {len} bytes, not {}..{}",
                range.start, range.end
            )));
        }
        Ok(Some(read.bytes))
    }

    async fn get_tail(&self, key: &str, len: u64) -> Result<Option<Tail>, StoreError> {
        if self.suffix_ranges {
            let options = GetOptions { range: Some(GetRange::Suffix(len)), ..GetOptions::default() };
            match self.read(key, options).await {
                // An empty object has no suffix: servers answer 416, or 200 where 206 was asked for.
                Err(error) => match self.head(key).await {
                    Ok(Some(0)) => Ok(Some(Tail { bytes: Bytes::new(), object_len: 0 })),
                    _ => Err(error),
                },
                read => read,
            }
        } else {
            let Some(object_len) = self.head(key).await? else { return Ok(None) };
            let from = object_len.saturating_sub(len);
            Ok(self.get_range(key, from..object_len).await?.map(|bytes| Tail { bytes, object_len }))
        }
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let path = self.path(key)?;
        match answered(key, self.client.head(&path)).await? {
            Ok(meta) => Ok(Some(meta.size)),
            Err(error) => absent_or(error),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        // The client lists whole directories; a prefix may end within a name.
        let directory = prefix.rsplit_once('/').map_or("", |(directory, _)| directory);
        let below = format!("{}{directory}", self.root);
        let below = Path::parse(below.trim_end_matches('/'))
            .map_err(|error| StoreError::Refused(format!("not a prefix: {prefix:?}: {error}")))?;
        let mut entries = self.client.list(Some(&below));
        let mut found = Vec::new();
        loop {
            match timeout(STALL, entries.next()).await {
                Ok(Some(Ok(meta))) => {
                    let key = meta.location.as_ref().strip_prefix(self.root.as_str());
                    if let Some(key) = key.filter(|key| key.starts_with(prefix)) {
                        found.push(Listed { key: key.to_owned(), len: meta.size });
                    }
                }
                Ok(Some(Err(error))) => return Err(meaning(error)),
                Ok(None) => break,
                Err(_) => return Err(silent(prefix, STALL)),
            }
        }
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = self.path(key)?;
        answered(key, self.client.delete(&path)).await?.or_else(gone)
    }

    async fn delete_all(&self, keys: &[String]) -> Vec<Result<(), StoreError>> {
        let known = |bulk: &&Bulk| bulk.failures.load(Ordering::Relaxed) < BULK_FAILURES_MAX;
        let mut deleted = vec![false; keys.len()];
        if let (Some(bulk), 2..) = (self.bulk.as_ref().filter(known), keys.len())
            && let Ok(paths) = keys.iter().map(|key| self.path(key)).collect()
        {
            deleted = match self.delete_at_once(bulk, paths).await {
                Ok(deleted) => deleted,
                Err(failure) => return vec![Err(failure); keys.len()],
            };
        }
        let mut answers = Vec::with_capacity(keys.len());
        for (key, deleted) in keys.iter().zip(deleted) {
            answers.push(if deleted { Ok(()) } else { self.delete(key).await });
        }
        answers
    }

    async fn space(&self) -> Result<Option<Space>, StoreError> {
        Ok(None)
    }

    fn traits(&self) -> &StoreTraits {
        &self.traits
    }

    fn keep_read_memory(&self, bytes: usize) {
        self.read_buffers.keep(bytes);
    }
}

impl fmt::Debug for CloudStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traits.name)
    }
}

/// The answer of `call`, which must come within [`STALL`].
async fn answered<T>(key: &str, call: impl Future<Output = T>) -> Result<T, StoreError> {
    timeout(STALL, call).await.map_err(|_| silent(key, STALL))
}

fn silent(key: &str, waited: Duration) -> StoreError {
    StoreError::Transient(format!("{key}: silent for {waited:?}"))
}

/// The body of an answer, as long as pieces keep coming. Copied once, unless it came as one piece.
async fn body(key: &str, answer: GetResult, buffers: &Arc<BufferPool>) -> Result<Bytes, StoreError> {
    let expected = (answer.range.end - answer.range.start) as usize;
    let wrong = |came: usize| StoreError::Transient(format!("{key}: {came} bytes of {expected} came"));
    let mut pieces = answer.into_stream();
    let mut next = async || match timeout(STALL, pieces.next()).await {
        Ok(piece) => piece.transpose().map_err(meaning),
        Err(_) => Err(silent(key, STALL)),
    };
    let Some(first) = next().await? else {
        return if expected == 0 { Ok(Bytes::new()) } else { Err(wrong(0)) };
    };
    if first.len() == expected {
        return match next().await? {
            None => Ok(first),
            Some(more) => Err(wrong(expected + more.len())),
        };
    }
    let mut all = buffers.take(expected);
    let (mut at, mut piece) = (0, first);
    loop {
        let room = all.get_mut(at..at + piece.len()).ok_or_else(|| wrong(at + piece.len()))?;
        room.copy_from_slice(&piece);
        at += piece.len();
        match next().await? {
            Some(more) => piece = more,
            None if at == expected => return Ok(all.freeze()),
            None => return Err(wrong(at)),
        }
    }
}

/// None if the error says that there is no such object.
fn absent_or<T>(error: Error) -> Result<Option<T>, StoreError> {
    match error {
        // With its body, a 404 tells a missing object from a missing bucket, which must not read as absence (F1).
        Error::NotFound { .. } if says_no_bucket(&error.to_string()) => {
            Err(StoreError::Refused(error.to_string()))
        }
        Error::NotFound { .. } => Ok(None),
        other => Err(meaning(other)),
    }
}

/// What is not there is deleted.
fn gone(error: Error) -> Result<(), StoreError> {
    absent_or::<()>(error).map(drop)
}

/// S3 `NoSuchBucket`, Azure `ContainerNotFound`, GCS "The specified bucket does not exist".
fn says_no_bucket(message: &str) -> bool {
    ["NoSuchBucket", "ContainerNotFound", "specified bucket does not exist"]
        .iter()
        .any(|s| message.contains(s))
}

fn meaning(error: Error) -> StoreError {
    match error {
        Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::NotImplemented { .. }
        | Error::NotSupported { .. }
        | Error::InvalidPath { .. } => StoreError::Refused(error.to_string()),
        Error::NotFound { .. } if says_no_bucket(&error.to_string()) => {
            StoreError::Refused(error.to_string())
        }
        other => StoreError::Transient(other.to_string()),
    }
}

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
pub(crate) use clients::*;

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
mod clients {
    //! How each cloud's client is set up.

    use object_store::{ClientOptions, RetryConfig};

    use super::*;
    use crate::store::url::{Bucket, OpenError};

    /// PUTs of a lane in flight, at any cloud (DESIGN §5).
    const PUTS_IN_FLIGHT: usize = 8;

    fn no_retries() -> RetryConfig {
        RetryConfig { max_retries: 0, ..RetryConfig::default() }
    }

    fn client_options() -> ClientOptions {
        ClientOptions::new()
            .with_timeout_disabled()
            .with_connect_timeout(Duration::from_secs(3))
            // Connections that idled longer tend to be dead already, which would make a PUT Unknown.
            .with_pool_idle_timeout(Duration::from_secs(15))
    }

    /// A server works for some milliseconds on so many. What waits behind them waits no longer.
    #[cfg(feature = "aws")]
    pub(crate) const S3_DELETES_AT_ONCE: usize = 32;

    fn store_traits(bucket: &Bucket, hedge: bool) -> StoreTraits {
        StoreTraits {
            name: bucket.url.clone(),
            directory: false,
            puts_in_flight: PUTS_IN_FLIGHT,
            puts_per_second_max: None,
            hedge,
            deletes_at_once: 1,
            free_min: None,
        }
    }

    fn settings(bucket: &Bucket, error: object_store::Error, remedy: &'static str) -> OpenError {
        OpenError::Settings { url: bucket.url.clone(), why: error.to_string(), remedy }
    }

    /// S3, and what speaks its protocol. Everything that the URL does not say comes from `AWS_*`.
    #[cfg(feature = "aws")]
    pub(crate) fn s3(bucket: &Bucket) -> Result<CloudStore, OpenError> {
        use object_store::aws::AmazonS3ConfigKey::Endpoint;
        let mut builder = object_store::aws::AmazonS3Builder::from_env();
        let endpoint = bucket.endpoint.clone().or_else(|| builder.get_config_value(&Endpoint));
        let mut options = client_options();
        if let Some(endpoint) = &endpoint {
            // Not Amazon's: by path, since such servers rarely have a name per bucket; and as plainly as it is written.
            builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false);
            options = options.with_allow_http(endpoint.starts_with("http://"));
        }
        if endpoint.is_some() && !has_credentials(&builder) {
            // The client would ask Amazon's metadata service, which knows nothing of somebody else's server, for long.
            return Err(OpenError::Settings {
                url: bucket.url.clone(),
                why: "no credentials for the endpoint".to_owned(),
                remedy: S3_REMEDY,
            });
        }
        if let Some(region) = &bucket.region {
            builder = builder.with_region(region);
        }
        if bucket.name.ends_with("--x-s3") {
            builder = builder.with_s3_express(true);
        }
        let builder = s3_settings(plain_payload(builder), &bucket.name).with_client_options(options);
        let (client, bulk) = s3_clients(builder).map_err(|error| settings(bucket, error, S3_REMEDY))?;
        let mut traits = StoreTraits { deletes_at_once: S3_DELETES_AT_ONCE, ..store_traits(bucket, true) };
        if let (None, Some(endpoint)) = (&bucket.endpoint, &endpoint) {
            // Two servers may have buckets of the same name; the proof is recorded by name.
            traits.name = format!("{} at {}", traits.name, crate::store::url::without_secrets(endpoint));
        }
        Ok(CloudStore::new(client, &bucket.root, true, traits).with_bulk_deletes(bulk))
    }

    #[cfg(feature = "aws")]
    fn has_credentials(builder: &object_store::aws::AmazonS3Builder) -> bool {
        use object_store::aws::AmazonS3ConfigKey::{
            AccessKeyId, ContainerCredentialsFullUri, ContainerCredentialsRelativeUri, SkipSignature,
            WebIdentityTokenFile,
        };
        let sources =
            [AccessKeyId, ContainerCredentialsFullUri, ContainerCredentialsRelativeUri, WebIdentityTokenFile];
        sources.iter().any(|source| builder.get_config_value(source).is_some())
            || builder.get_config_value(&SkipSignature).as_deref() == Some("true")
    }

    /// What every S3 client of ours has, the simulated ones included.
    #[cfg(feature = "aws")]
    pub(crate) fn s3_settings(
        builder: object_store::aws::AmazonS3Builder,
        bucket: &str,
    ) -> object_store::aws::AmazonS3Builder {
        builder
            .with_bucket_name(bucket)
            .with_retry(no_retries())
            .with_conditional_put(object_store::aws::S3ConditionalPut::ETagMatch)
    }

    /// Of one builder the client for everything, which deletes one object by a DELETE, and the one that deletes several by one
    /// request: of small objects a server writes and deletes as many, and a DELETE of each costs MinIO half of its PUT (1 ms of
    /// CPU time; 0.25 ms as one of many).
    #[cfg(feature = "aws")]
    pub(crate) fn s3_clients(
        builder: object_store::aws::AmazonS3Builder,
    ) -> object_store::Result<(Arc<dyn ObjectStore>, Arc<dyn ObjectStore>)> {
        let bulk = builder.clone().with_disable_bulk_delete(false).build()?;
        let client = builder.with_disable_bulk_delete(true).build()?;
        Ok((Arc::new(client), Arc::new(bulk)))
    }

    /// A SHA-256 of the body costs 2 ms per 4 MiB, a CRC-64 0.075 ms, and both let the server check what came. A server
    /// that takes neither is told so in the environment.
    #[cfg(feature = "aws")]
    pub(crate) fn plain_payload(
        builder: object_store::aws::AmazonS3Builder,
    ) -> object_store::aws::AmazonS3Builder {
        use object_store::aws::{AmazonS3ConfigKey, Checksum};
        let is_set = |names: [&str; 2]| names.iter().any(|name| std::env::var_os(name).is_some());
        let builder = match builder.get_config_value(&AmazonS3ConfigKey::Checksum) {
            Some(_) => builder,
            None => builder.with_checksum_algorithm(Checksum::CRC64NVME),
        };
        match is_set(["AWS_UNSIGNED_PAYLOAD", "UNSIGNED_PAYLOAD"]) {
            true => builder,
            false => builder.with_unsigned_payload(true),
        }
    }

    #[cfg(feature = "aws")]
    const S3_REMEDY: &str = "give AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION in the environment, and \
                             ?endpoint=http://host:9000 for a server that is not Amazon's";

    /// Google Cloud Storage.
    #[cfg(feature = "gcp")]
    pub(crate) fn gcs(bucket: &Bucket) -> Result<CloudStore, OpenError> {
        let client = object_store::gcp::GoogleCloudStorageBuilder::from_env()
            .with_bucket_name(&bucket.name)
            .with_retry(no_retries())
            .with_client_options(client_options())
            .build()
            .map_err(|error| {
                settings(bucket, error, "give GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS")
            })?;
        // A second writer of one name counts against its limit of about one write per second.
        Ok(CloudStore::new(Arc::new(client), &bucket.root, true, store_traits(bucket, false)))
    }

    /// Azure Blob Storage.
    #[cfg(feature = "azure")]
    pub(crate) fn azure(bucket: &Bucket) -> Result<CloudStore, OpenError> {
        let mut builder = object_store::azure::MicrosoftAzureBuilder::from_env();
        let mut options = client_options();
        if let Some(endpoint) = &bucket.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
            options = options.with_allow_http(endpoint.starts_with("http://"));
        }
        let client = builder
            .with_container_name(&bucket.name)
            .with_retry(no_retries())
            .with_client_options(options)
            .build()
            .map_err(|error| {
                settings(bucket, error, "give AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY")
            })?;
        Ok(CloudStore::new(Arc::new(client), &bucket.root, false, store_traits(bucket, true)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_bucket_does_not_read_as_a_missing_object() {
        let missing = |text: &str| Error::NotFound { path: "k".into(), source: text.to_owned().into() };
        assert!(matches!(absent_or::<()>(missing("<Code>NoSuchKey</Code>")), Ok(None)));
        for text in ["<Code>NoSuchBucket</Code>", "ContainerNotFound"] {
            assert!(matches!(absent_or::<()>(missing(text)), Err(StoreError::Refused(_))));
        }
    }
}

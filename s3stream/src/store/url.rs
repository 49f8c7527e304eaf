//! `--storage`: from a URL to a store. Owns the schemes, their parameters and the errors a person meets first; each names
//! what to do. Secrets come from the environment (or the cloud's own means) and are never part of a URL or a message: a cloud's
//! URL with an `@` anywhere is refused, and a text that has one, or is no URL, is shown as its scheme alone. Where in such a
//! text a password would be cannot be told: it may hold `/`, `?`, `@` or a line break.
//!
//! | URL | store |
//! |---|---|
//! | `file:///path`, or a plain path | a directory |
//! | `s3://bucket/root?endpoint=http://host:9000&region=r` | S3; the rest from `AWS_*` |
//! | `gs://bucket/root` | Google Cloud Storage, from `GOOGLE_*` |
//! | `az://container/root` | Azure Blob, from `AZURE_*` |
//! | `memory://` | this process's memory, for tests |

use std::sync::Arc;

use url::Url;

use super::Store;
use super::directory::DirectoryStore;
use super::memory::MemoryStore;
use crate::env::Env;

const CREDENTIALS: &str =
    "credentials do not belong in a URL, nor does an at sign; give them in the environment";

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a URL we know.
    #[error(
        "storage {url:?}: {why}; use file:///path, s3://bucket/root, gs://bucket/root, az://container/root or memory://"
    )]
    BadUrl {
        /// As given, without what may be secret.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A cloud that this binary was built without.
    #[error("storage {scheme}:// is not in this build; build with --features {feature}")]
    NotBuilt {
        /// The URL's scheme.
        scheme: &'static str,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// The cloud's client does not accept its settings.
    #[error("storage {url}: {why}; {remedy}")]
    Settings {
        /// Without secrets.
        url: String,
        /// What the client says.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The directory cannot be used.
    #[error("storage directory {path}: {error}; it must be a directory that this user may create and write")]
    Directory {
        /// Where.
        path: String,
        /// What the system says.
        error: String,
    },
    /// A network file system cannot be relied on for create-if-absent.
    #[error(
        "storage directory {path} is on {kind}, a network file system, which cannot be relied on to create a file only once; use a local disk, or an object store (s3://…)"
    )]
    NetworkFileSystem {
        /// Where.
        path: String,
        /// Which.
        kind: String,
    },
}

/// Opens the store at `url`. Blocks for some milliseconds in a directory; contacts no cloud. That the store is there and
/// honours create-if-absent is [`super::proof`]'s business.
///
/// # Errors
/// [`OpenError`], each with its remedy.
pub fn open(url: &str, env: &Env) -> Result<Arc<dyn Store>, OpenError> {
    match parse(url)? {
        Place::Directory(path) => Ok(Arc::new(DirectoryStore::open(&path, env)?)),
        Place::Memory => Ok(Arc::new(MemoryStore::new())),
        Place::S3(bucket) => open_s3(bucket),
        Place::Gcs(bucket) => open_gcs(bucket),
        Place::Azure(bucket) => open_azure(bucket),
    }
}

/// A parsed storage URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A local path.
    Directory(std::path::PathBuf),
    /// This process.
    Memory,
    /// A cloud's bucket.
    S3(Bucket),
    /// A cloud's bucket.
    Gcs(Bucket),
    /// A cloud's container.
    Azure(Bucket),
}

/// A bucket and what the URL says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// For messages.
    pub url: String,
    /// Without the root.
    pub name: String,
    /// Without slashes at its ends; may be empty.
    pub root: String,
    /// Where the cloud is not the provider's own.
    pub endpoint: Option<String>,
    /// The provider's name for it.
    pub region: Option<String>,
}

/// Reads a storage URL; a text without `://` is a path.
///
/// # Errors
/// [`OpenError::BadUrl`], with the remedy and without secrets.
pub fn parse(text: &str) -> Result<Place, OpenError> {
    let bad = |why: &str| OpenError::BadUrl { url: without_secrets(text), why: why.to_owned() };
    if text.is_empty() {
        return Err(bad("empty"));
    }
    if !text.contains("://") {
        return Ok(Place::Directory(text.into()));
    }
    let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    let is_path = url.scheme() == "file";
    // A password with a slash in it makes the user a bucket and the rest a root: only the `@` tells.
    if url.password().is_some() || !url.username().is_empty() || (!is_path && text.contains('@')) {
        return Err(bad(CREDENTIALS));
    }
    match url.scheme() {
        "file" => {
            if url.query().is_some() {
                return Err(bad("a directory takes no parameters"));
            }
            // file://relative/path would make "relative" a host.
            let path = url
                .to_file_path()
                .map_err(|()| bad("a directory is file:///absolute/path or a plain path"))?;
            Ok(Place::Directory(path))
        }
        "memory" => Ok(Place::Memory),
        "s3" | "s3a" => Ok(Place::S3(bucket(&url, &bad)?)),
        "gs" => Ok(Place::Gcs(bucket(&url, &bad)?)),
        "az" | "azure" => Ok(Place::Azure(bucket(&url, &bad)?)),
        _ => Err(bad("an unknown kind of storage")),
    }
}

fn bucket(url: &Url, bad: &dyn Fn(&str) -> OpenError) -> Result<Bucket, OpenError> {
    let name = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad("no bucket"))?.to_owned();
    let root = url.path().trim_matches('/').to_owned();
    if root.split('/').any(|part| part == "." || part == "..") {
        return Err(bad("a root has no dots for parts"));
    }
    let mut bucket = Bucket { url: without_secrets(url.as_str()), name, root, endpoint: None, region: None };
    for (key, value) in url.query_pairs() {
        match &*key {
            "endpoint" => {
                if value.contains('@') {
                    return Err(bad(CREDENTIALS));
                }
                let parsed =
                    Url::parse(&value).map_err(|_| bad("endpoint is not a URL such as http://host:9000"))?;
                if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
                    return Err(bad("endpoint is not a URL such as http://host:9000"));
                }
                bucket.endpoint = Some(value.trim_end_matches('/').to_owned());
            }
            "region" => bucket.region = Some(value.into_owned()),
            other => {
                let name = harmless_key(other);
                return Err(bad(&format!("unknown parameter {name:?}; there are endpoint and region")));
            }
        }
    }
    Ok(bucket)
}

/// The URL without the values of parameters that we do not know; only its scheme where a user or password may be in it.
pub(crate) fn without_secrets(text: &str) -> String {
    let Some(mut url) = Url::parse(text).ok().filter(|_| !text.contains('@')) else {
        return scheme_alone(text);
    };
    let harmless: Vec<(String, String)> = url
        .query_pairs()
        .map(|(key, value)| {
            let shown = match &*key {
                "endpoint" => !value.contains('@') && Url::parse(&value).is_ok(),
                "region" => !value.contains('@'),
                _ => false,
            };
            (harmless_key(&key).to_owned(), if shown { value.into_owned() } else { "…".into() })
        })
        .collect();
    url.set_query(None);
    url.set_fragment(None);
    let mut shown = url.to_string();
    for (n, (key, value)) in harmless.iter().enumerate() {
        shown += if n == 0 { "?" } else { "&" };
        shown += &format!("{key}={value}");
    }
    shown
}

/// `s3://…`; `…` where the text does not begin with a scheme.
fn scheme_alone(text: &str) -> String {
    let of_a_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    match text.split_once("://") {
        Some((scheme, _)) if scheme.chars().all(of_a_scheme) => format!("{scheme}://…"),
        _ => "…".to_owned(),
    }
}

/// A parameter's name, if it looks like one: what comes after a question mark may be anything.
fn harmless_key(key: &str) -> &str {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if key.chars().all(of_a_name) { key } else { "…" }
}

#[cfg(feature = "aws")]
fn open_s3(bucket: Bucket) -> Result<Arc<dyn Store>, OpenError> {
    Ok(Arc::new(super::cloud::s3(&bucket)?))
}
#[cfg(not(feature = "aws"))]
fn open_s3(_: Bucket) -> Result<Arc<dyn Store>, OpenError> {
    Err(OpenError::NotBuilt { scheme: "s3", feature: "aws" })
}

#[cfg(feature = "gcp")]
fn open_gcs(bucket: Bucket) -> Result<Arc<dyn Store>, OpenError> {
    Ok(Arc::new(super::cloud::gcs(&bucket)?))
}
#[cfg(not(feature = "gcp"))]
fn open_gcs(_: Bucket) -> Result<Arc<dyn Store>, OpenError> {
    Err(OpenError::NotBuilt { scheme: "gs", feature: "gcp" })
}

#[cfg(feature = "azure")]
fn open_azure(bucket: Bucket) -> Result<Arc<dyn Store>, OpenError> {
    Ok(Arc::new(super::cloud::azure(&bucket)?))
}
#[cfg(not(feature = "azure"))]
fn open_azure(_: Bucket) -> Result<Arc<dyn Store>, OpenError> {
    Err(OpenError::NotBuilt { scheme: "az", feature: "azure" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_where() {
        let bucket =
            |name: &str, root: &str| Bucket { name: name.into(), root: root.into(), ..Bucket::default() };
        let strip = |place: Place| match place {
            Place::S3(b) => Place::S3(Bucket { url: String::new(), ..b }),
            Place::Gcs(b) => Place::Gcs(Bucket { url: String::new(), ..b }),
            Place::Azure(b) => Place::Azure(Bucket { url: String::new(), ..b }),
            other => other,
        };
        let table = [
            ("file:///var/lib/aquifer", Place::Directory("/var/lib/aquifer".into())),
            ("data/aquifer", Place::Directory("data/aquifer".into())),
            ("memory://", Place::Memory),
            ("s3://b", Place::S3(bucket("b", ""))),
            ("s3://b/a/root/", Place::S3(bucket("b", "a/root"))),
            (
                "s3://b/r?endpoint=http://127.0.0.1:9000/&region=eu-central-1",
                Place::S3(Bucket {
                    endpoint: Some("http://127.0.0.1:9000".into()),
                    region: Some("eu-central-1".into()),
                    ..bucket("b", "r")
                }),
            ),
            ("gs://b/r", Place::Gcs(bucket("b", "r"))),
            ("az://c/r", Place::Azure(bucket("c", "r"))),
        ];
        for (text, place) in table {
            assert_eq!(strip(parse(text).expect(text)), place, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_remedy_and_without_secrets() {
        let table = [
            ("", "empty"),
            ("http://b/r", "unknown kind"),
            ("file://relative/path", "file:///absolute/path"),
            ("file:///a?x=1", "no parameters"),
            ("s3:///root", "no bucket"),
            ("s3://b/r?endpoint=host:9000", "such as http://host:9000"),
            ("s3://b/r?secret=hunter2", "unknown parameter \"secret\""),
            ("s3://user:hunter2@b/r", "environment"),
            ("s3://b/r?endpoint=http://user:hunter2@host:9000", "environment"),
        ];
        for (text, says) in table {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
            assert!(error.contains("use file:///path"), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_not_shown_wherever_it_ends() {
        for text in [
            "s3://user:hunter2",
            "s3://user:hunter2/rest@b/r",
            "s3://user/hunter2@b/r",
            "s3://user:hunter2?rest@b/r",
            "s3://user?hunter2@b/r",
            "s3://b/r?user:hunter2",
            "s3://user:x@hunter2@b/r",
            "s3://us@er:hunter2/b",
            "s3://us\ner:hun\nter2@b",
            "user:hunter2://b/r@",
            "az://b/r?endpoint=http://user:hunter2",
            "az://b/r?endpoint=http%3A%2F%2Fuser:hunter2%40host",
            "gs://b/r?key=1#hunter2",
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(!error.contains("hun"), "{text}: {error}");
            assert!(!without_secrets(text).contains("hun"), "{text}: {}", without_secrets(text));
        }
    }

    /// Found by fuzzing: the URL's reader drops the line break, and what had been a path's middle became a password's.
    #[test]
    fn a_password_that_only_the_reader_puts_together_is_not_shown() {
        let text = "s3://user:hunter2@bu/user:\u{fffd}\u{fffd}\u{fffd}ersser:hun\nter2@er:e,/ter1@s3://user:(unter6@buser:\
                    (unter2@-bucke/rtr";
        let shown = "s3://bu/user:\u{fffd}\u{fffd}\u{fffd}ersser:hunter2@er:e,/ter1@s3://user:(unter6@buser:(unter2@-bucke/rtr";
        for text in [text, shown] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains("storage \"s3://…\": credentials"), "{error}");
            assert!(!error.contains("hunter2") && !error.contains('@'), "{error}");
        }
    }

    #[test]
    fn a_directory_may_have_an_at() {
        assert_eq!(parse("file:///a@b/c").unwrap(), Place::Directory("/a@b/c".into()));
        assert_eq!(parse("./a@b").unwrap(), Place::Directory("./a@b".into()));
    }
}

//! The broker that tests talk to.
//!
//! One broker serves all tests of a test binary, so each test makes topics of its own. Normally it is the program
//! of this build as a child process on a directory that goes with it ([`benches::peers::aquifer::binary`] finds or
//! builds it). `AQUIFER_TEST_BOOTSTRAP=host:port` names a running broker instead: so the same suite runs against
//! Apache Kafka, which is how we know that what a test asks for is what Kafka does.

use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};

use anyhow::Result;
use benches::peers::{Broker, aquifer};

/// The shared broker.
pub struct TestBroker {
    /// `host:port` for clients.
    pub bootstrap: String,
    // A static is never dropped: the process's guard ends the child, the next run removes its directory.
    _ours: Option<Broker>,
}

/// The broker of this test binary, started by whoever asks first.
pub fn shared() -> &'static TestBroker {
    static SHARED: OnceLock<TestBroker> = OnceLock::new();
    SHARED.get_or_init(|| start().unwrap_or_else(|error| panic!("no broker to test: {error:#}")))
}

/// A broker of a test's own, on a directory of its own: to be stopped and started again. Always of this build.
pub fn own(name: &str, settings: &[String]) -> Broker {
    let start = || -> Result<Broker> {
        let dir = scratch()?.join(name);
        let root = dir.join("log");
        std::fs::create_dir_all(&root)?;
        Ok(Broker::start(aquifer::launch(&format!("file://{}", root.display()), &[], &dir, settings)?)?.0)
    };
    start().unwrap_or_else(|error| panic!("no broker to test: {error:#}"))
}

fn start() -> Result<TestBroker> {
    if let Ok(bootstrap) = std::env::var("AQUIFER_TEST_BOOTSTRAP") {
        return Ok(TestBroker { bootstrap, _ours: None });
    }
    let dir = scratch()?;
    let root = dir.join("log");
    std::fs::create_dir_all(&root)?;
    let launch = aquifer::launch(&format!("file://{}", root.display()), &[], &dir, &[])?;
    let (broker, _) = Broker::start(launch)?;
    Ok(TestBroker { bootstrap: broker.addr().to_string(), _ours: Some(broker) })
}

/// A directory named after this process; those of processes that are gone are removed.
fn scratch() -> Result<PathBuf> {
    let base = std::env::temp_dir().join("aquifer-test");
    std::fs::create_dir_all(&base)?;
    for entry in std::fs::read_dir(&base)?.flatten() {
        let name = entry.file_name();
        if !Path::new("/proc").join(&name).exists() {
            // Another test binary may be removing it too.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let dir = base.join(std::process::id().to_string());
    static MADE: Once = Once::new();
    // The id may have been another run's before.
    MADE.call_once(|| _ = std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

//! One child process: started, watched, ended by its id, and measured from `/proc`.
//!
//! Owns the child, a guard that ends the child when this process dies without running destructors (a test binary
//! never drops its statics; a panic may abort), and the readings of CPU time and memory. Does not know what the
//! process is: that is [`crate::peers`].

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Clock ticks per second in `/proc/<pid>/stat`. Linux fixes USER_HZ at 100 for user space on every architecture
/// we run on (`include/asm-generic/param.h`).
const USER_HZ: u64 = 100;

/// A running child process; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    guard: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    ///
    /// Errors name the program when it cannot be started.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Process> {
        let out: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open log {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("start {name}: {:?}", command.get_program()))?;
        let guard = guard(child.id())?;
        Ok(Process { name: name.to_owned(), child, guard, log: log.to_owned() })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails, with the end of the log, if the process has exited.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("{} ended: {status}\n{}", self.name, self.log_tail())),
        }
    }

    /// The last lines of the process's output, for error messages.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// SIGKILL, and waits until the process is gone: what `kill -9` does to a broker.
    pub fn kill(mut self) -> Result<()> {
        self.end()
    }

    /// SIGTERM; SIGKILL if it has not exited within `patience`. Returns whether it went by itself.
    pub fn stop(mut self, patience: Duration) -> Result<bool> {
        let pid = Pid::from_child(&self.child);
        if self.child.try_wait()?.is_none() {
            kill_process(pid, Signal::TERM).context("SIGTERM")?;
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.end()?;
        Ok(false)
    }

    /// Sends a signal and does not wait for what it does: SIGSTOP makes a process silent without closing a connection,
    /// SIGCONT lets it go on.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("{signal:?} to {}", self.name))
    }

    fn end(&mut self) -> Result<()> {
        // The guard first: once the child is reaped its id may name somebody else.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.child.kill();
        self.child.wait().with_context(|| format!("wait for {}", self.name))?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// A shell that waits on a pipe only we hold: when we are gone, however, it kills `pid`.
fn guard(pid: u32) -> Result<Child> {
    Command::new("sh")
        .args(["-c", "read -r _; kill -9 \"$0\" 2>/dev/null", &pid.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start the guard shell")
}

/// CPU time (user + system, all threads, those that ended included) of a process since its start.
/// Resolution: 10 ms.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("pid {pid}"))?;
    Ok(Stat::parse(&stat).with_context(|| format!("unreadable stat of {pid}"))?.cpu)
}

/// CPU time of those threads of a process that have this name and have not ended. None if there is none.
pub fn cpu_time_of_threads(pid: u32, name: &str) -> Result<Option<Duration>> {
    let mut used = None;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("pid {pid}"))? {
        // One that ends meanwhile is gone.
        let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
        let stat = Stat::parse(&stat).with_context(|| format!("unreadable stat of a thread of {pid}"))?;
        if stat.name == name {
            used = Some(used.unwrap_or(Duration::ZERO) + stat.cpu);
        }
    }
    Ok(used)
}

/// What a `stat` file of `/proc` says of a process or a thread.
struct Stat<'a> {
    name: &'a str,
    cpu: Duration,
}

impl Stat<'_> {
    fn parse(stat: &str) -> Option<Stat<'_>> {
        // The name may hold spaces and brackets; fields are counted after its closing bracket.
        let (before, after) = stat.rsplit_once(')')?;
        let name = before.split_once('(')?.1;
        let mut fields = after.split_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        let cpu = Duration::from_millis((ticks()? + ticks()?) * 1000 / USER_HZ);
        Some(Stat { name, cpu })
    }
}

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    /// VmRSS: now.
    pub now: u64,
    /// VmHWM: the most it ever was, or since [`forget_peak`].
    pub peak: u64,
}

/// Reads the resident memory of a process.
pub fn resident(pid: u32) -> Result<Resident> {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("pid {pid}"))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        let kib = line.and_then(|l| l.split_whitespace().next()).with_context(|| format!("no {name}"))?;
        Ok(kib.parse::<u64>()? * 1024)
    };
    Ok(Resident { now: field("VmRSS:")?, peak: field("VmHWM:")? })
}

/// Lets the peak of a process's resident memory begin anew (`/proc/<pid>/clear_refs`).
pub fn forget_peak(pid: u32) -> Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5")
        .with_context(|| format!("forget the peak of {pid}"))
}

/// Bytes that a process has handed to file systems since its start (`write_bytes` of `/proc/<pid>/io`): counted when a
/// page is dirtied, sockets not included.
pub fn file_bytes_written(pid: u32) -> Result<u64> {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).with_context(|| format!("pid {pid}"))?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:")).context("no write_bytes")?;
    Ok(line.trim().parse()?)
}

/// Writes back and drops the page cache of the machine, so that what is read next comes from the disk.
///
/// Errors where the system does not allow it: it takes root, and a container may not have the file.
pub fn drop_page_cache() -> Result<()> {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").context("drop the page cache")
}

/// A TCP port on 127.0.0.1 that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Calls `ready` every `every` until it returns a value; fails after `patience`, naming what was awaited.
pub fn poll_until<T>(
    what: &str,
    patience: Duration,
    every: Duration,
    mut ready: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {patience:?}");
        }
        std::thread::sleep(every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_and_memory_of_this_process_are_read() {
        let mut x = 1u64;
        let before = cpu_time(std::process::id()).unwrap();
        let until = Instant::now() + Duration::from_millis(80);
        while Instant::now() < until {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(cpu_time(std::process::id()).unwrap() > before);
        let this = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
        assert!(cpu_time_of_threads(std::process::id(), this.trim_end()).unwrap() > Some(Duration::ZERO));
        assert_eq!(cpu_time_of_threads(std::process::id(), "nobody").unwrap(), None);
        let memory = resident(std::process::id()).unwrap();
        assert!(memory.now > 0 && memory.peak >= memory.now / 2);
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        let process = Process::spawn("sleep", sleep, log.path()).unwrap();
        let pid = process.pid();
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}

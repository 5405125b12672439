//! The audit log: what was done to a unit on whose order, and what became of its sessions, in a
//! file in which nothing can be removed, changed or moved without it being found.
//!
//! A line is a JSON object. Its last member is an HMAC-SHA-256 over the rest and over that of the
//! line before, under a key derived from the sealing key of the service. A file begins with a line
//! that names the last one of the file before it. Once a minute the number and the code of the last
//! line are put into NATS, so that it is found, too, when the end is missing.
//!
//! What operators order is [written](AuditLog::begin) and on the disk before it is done, and
//! refused when that cannot be. What happens to sessions is [noted](AuditLog::note) by the way: it
//! waits for nobody, and how many lines were lost is written as soon as one can be.
//!
//! Used by the services and by those of their crates that let orders in. It is no actor but a
//! thread, since it waits for the disk; what fails to be written is tried again with the next line.
//!
//! The files, from the ground up: `chain` and `verify` decide, `tail` and `writer` know the file,
//! `log_thread` has a thread write it, `head_record` tells NATS.

mod chain;
mod config;
mod entry;
mod error;
mod head_record;
mod log_thread;
mod tail;
mod verify;
mod writer;

use std::path::Path;
use std::time::Duration;

use stream_pki::{MacKey, Seal};
use stream_protocol::{Refusal, RefusalCode};
use tokio::sync::oneshot;
use tokio::time::timeout;

pub use chain::{Head, Mac};
pub use config::Config;
pub use entry::{Act, Who};
pub use error::AuditError;
pub use head_record::{publish_head, remembered_head};
pub use verify::{Finding, Report, verify};

use entry::Entry;
use log_thread::{LogThread, Order};
use writer::Writer;

/// Separates this use of the sealing key from any other.
const PURPOSE: &str = "stream audit v1, HMAC-SHA-256";

/// How long a line may take to be on the disk, until what it tells of is refused.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the key of the logs whose units share the sealing key in the file `sealing_key`.
///
/// # Errors
///
/// Names a file that cannot be used.
pub fn key(sealing_key: &Path) -> Result<MacKey, AuditError> {
    Ok(MacKey::load(sealing_key, Seal::MIN_KEY_BYTES, PURPOSE)?)
}

/// Returns the files that belong to the log at `path`: that one, and those it was renamed to.
/// Packed ones are not among them.
pub fn files_of(path: &Path) -> Vec<std::path::PathBuf> {
    const PACKED: [&str; 4] = ["bz2", "gz", "xz", "zst"];
    let is_packed = |path: &std::path::PathBuf| {
        path.extension().is_some_and(|end| PACKED.iter().any(|packed| end == *packed))
    };
    let mut files = tail::former(path);
    files.retain(|path| !is_packed(path));
    files.extend(path.exists().then(|| path.to_owned()));
    files
}

/// The log of a unit; cheap to clone. Where none is configured, all goes through it and nothing is
/// written.
#[derive(Clone, Default)]
pub struct AuditLog(Option<LogThread>);

/// An act that was written down and is not done yet.
#[must_use = "what came of it is to be written, too"]
pub struct Begun(Option<(LogThread, u64, String)>);

impl AuditLog {
    /// Opens the log that `config` names, if it names one, and goes on at its end, as `unit`. The
    /// key is derived from that in the file `sealing_key`.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or another process writes it.
    pub fn start(config: &Config, unit: &str, sealing_key: &Path) -> Result<Self, AuditError> {
        config.check()?;
        let Some(file) = &config.file else { return Ok(Self(None)) };
        let writer = Writer::open(file, key(sealing_key)?, unit, config.max_bytes())?;
        Ok(Self(Some(LogThread::start(writer)?)))
    }

    /// Writes `act` down before it is done.
    ///
    /// # Errors
    ///
    /// It cannot be written: it must not be done.
    pub async fn begin(&self, act: Act) -> Result<Begun, Refusal> {
        let Some(thread) = &self.0 else { return Ok(Begun(None)) };
        let what = act.what.clone();
        match write(thread, Entry::act(act)).await {
            Ok(head) => Ok(Begun(Some((thread.clone(), head.seq, what)))),
            Err(cause) => {
                log::error!(what = what.as_str(), cause:%; "refused: the audit log cannot be written");
                let sentence = "the audit log cannot be written: see the log of the service";
                Err(Refusal::new(RefusalCode::Unavailable, sentence))
            }
        }
    }

    /// Writes `act` down by the way, before or after it is done.
    pub fn note(&self, act: Act) {
        self.note_entry(|| Entry::act(act));
    }

    /// Writes a step in the life of a session down by the way: `what` it is, `why` in a sentence,
    /// and whether it went well.
    pub fn note_step(&self, unit: &str, session: &str, what: &str, why: &str, went_well: bool) {
        self.note_entry(|| Entry::step(unit, session, what, why, went_well));
    }

    /// Goes on in a new file if somebody has moved this one away.
    pub fn reopen(&self) {
        if let Some(thread) = &self.0
            && !thread.send(Order::Reopen)
        {
            log::error!("the audit log goes on in the file that was moved: too much is waiting");
        }
    }

    /// Returns the last line, once it is on the disk; `None` without a log, or one that hangs.
    pub async fn head(&self) -> Option<Head> {
        let (sender, answer) = oneshot::channel();
        let sent = self.0.as_ref()?.send(Order::Head(sender));
        timeout(WRITE_TIMEOUT, answer).await.ok()?.ok().filter(|_| sent)
    }

    /// Writes down that NATS remembers a `head` that this log does not reach.
    fn note_gap(&self, head: Head) {
        self.note_entry(|| Entry::gap(head));
    }

    fn note_entry(&self, entry: impl FnOnce() -> Entry) {
        if let Some(thread) = &self.0
            && !thread.send(Order::Note(Box::new(entry())))
        {
            thread.lose();
        }
    }
}

impl Begun {
    /// Writes down what came of it, on the disk as well. It is done: that this cannot be written is
    /// told by the thread alone.
    pub async fn end(self, outcome: Result<(), &str>) {
        if let Some((thread, of, what)) = self.0
            && write(&thread, Entry::outcome(of, &what, outcome)).await.is_err()
        {
            thread.lose();
        }
    }
}

async fn write(thread: &LogThread, entry: Entry) -> Result<Head, String> {
    let (sender, answer) = oneshot::channel();
    if !thread.send(Order::Write(Box::new(entry), sender)) {
        return Err("too much is waiting to be written".to_owned());
    }
    match timeout(WRITE_TIMEOUT, answer).await {
        Ok(answer) => answer.unwrap_or_else(|_| Err("its thread has ended".to_owned())),
        Err(_) => Err("the disk gives no answer in time".to_owned()),
    }
}

#[cfg(test)]
mod tests;

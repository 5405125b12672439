//! The file of a log: lines are only ever added to it, and it gives way to the next one when it has
//! its size, or when somebody else has moved it away.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use stream_pki::MacKey;

use crate::chain::{self, Head};
use crate::entry::Entry;
use crate::error::AuditError;
use crate::tail::{Tail, last_before};

/// Whoever reads it is let in by root or by the service.
const MODE: u32 = 0o600;

/// How long the process before may take to let go of the file.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The file, open at its end.
pub(crate) struct Writer {
    path: PathBuf,
    key: MacKey,
    unit: String,
    max_bytes: u64,
    file: File,
    /// The bytes of the file that are whole lines.
    size: u64,
    head: Head,
    /// A line was written in part, and could not be taken back.
    is_torn: bool,
}

impl Writer {
    /// Opens the file at `path`, or makes it, and goes on where it ends.
    ///
    /// # Errors
    ///
    /// It cannot be written, or another process writes it.
    pub(crate) fn open(
        path: &Path,
        key: MacKey,
        unit: &str,
        max_bytes: u64,
    ) -> Result<Self, AuditError> {
        let unwritable = |source| AuditError::Unwritable { path: path.to_owned(), source };
        let file = open(path).map_err(unwritable)?;
        for tried in 1.. {
            match lock(&file) {
                Ok(()) => break,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Err(unwritable(error));
                }
                Err(_) if tried == LOCK_TRIES => return Err(AuditError::InUse(path.to_owned())),
                Err(_) => thread::sleep(LOCK_PAUSE),
            }
        }
        let (path, unit) = (path.to_owned(), unit.to_owned());
        let (size, head) = (0, Head::default());
        let mut writer = Self { path, key, unit, max_bytes, file, size, head, is_torn: false };
        let path = writer.path.clone();
        writer.resume().map_err(|source| AuditError::Unwritable { path, source })?;
        Ok(writer)
    }

    /// Adds a line.
    ///
    /// # Errors
    ///
    /// It cannot be written: the file is as it was before.
    pub(crate) fn append(&mut self, entry: Entry) -> io::Result<Head> {
        if self.is_torn {
            self.resume()?;
        }
        if self.size >= self.max_bytes {
            self.rotate()?;
        }
        self.write(entry, "")
    }

    /// Returns when all lines are on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Goes on in a new file if somebody has moved this one away.
    ///
    /// # Errors
    ///
    /// There is none, or it is no new one: lines go on in the one that was moved.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => Ok(()),
            Ok(there) if there.len() > 0 => Err(io::Error::other("another file has its name")),
            _ => self.begin_file(),
        }
    }

    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// Looks at the end of the file: ends a line that was torn, begins a file that has none.
    fn resume(&mut self) -> io::Result<()> {
        let tail = Tail::read(&mut self.file)?;
        self.size = self.file.metadata()?.len();
        self.is_torn = false;
        let end = if tail.is_open { "\n" } else { "" };
        match (tail.head, tail.torn) {
            (Some(head), None) => {
                self.head = head;
                self.add(end.as_bytes())?;
            }
            (Some(head), Some(torn)) => {
                self.head = head;
                log::warn!(
                    file:% = self.path.display(), bytes = torn.bytes;
                    "the last line of the audit log was torn, the next one says so"
                );
                self.write(Entry::torn(torn), end)?;
            }
            (None, torn) => {
                self.head = last_before(&self.path).unwrap_or_default();
                let begin = Entry::begin(&self.unit, self.head.mac, torn);
                self.write(begin, end)?;
                sync_dir(&self.path)?;
            }
        }
        self.sync()
    }

    /// Moves the file aside and goes on in another one.
    fn rotate(&mut self) -> io::Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{:012}", self.head.seq));
        let aside = PathBuf::from(name);
        self.sync()?;
        std::fs::rename(&self.path, &aside)?;
        self.begin_file().inspect_err(|_| {
            // What cannot go on in a new file goes on in this one.
            let _ = std::fs::rename(&aside, &self.path);
        })
    }

    /// Goes on in a new file, which names the line that comes before its first one.
    fn begin_file(&mut self) -> io::Result<()> {
        let file = open(&self.path)?;
        lock(&file)?;
        let former = (std::mem::replace(&mut self.file, file), self.size, self.head);
        self.size = 0;
        let begun = self.write(Entry::begin(&self.unit, self.head.mac, None), "");
        if let Err(error) = begun.and_then(|_| sync_dir(&self.path)) {
            (self.file, self.size, self.head) = former;
            let _ = std::fs::remove_file(&self.path);
            return Err(error);
        }
        Ok(())
    }

    /// Writes `first`, which ends what was there before, and a line.
    fn write(&mut self, entry: Entry, first: &str) -> io::Result<Head> {
        let seq = self.head.seq + 1;
        let (line, mac) = chain::line(&self.key, self.head.mac, &entry.content(seq));
        self.add(format!("{first}{line}").as_bytes())?;
        self.head = Head { seq, mac };
        Ok(self.head)
    }

    /// Adds all of `bytes` or nothing.
    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            self.is_torn = self.file.set_len(self.size).is_err();
            return Err(error);
        }
        self.size += bytes.len() as u64;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)
}

/// Keeps other processes from writing the file, until this one has closed it.
fn lock(file: &File) -> io::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        Errno::WOULDBLOCK => io::ErrorKind::WouldBlock.into(),
        error => error.into(),
    })
}

/// Has the name of a new file on the disk as well.
fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;

//! The socket in the file system: it has one owner at a time and is closed to others.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::AdminError;

/// The bound socket; cheap to clone.
#[derive(Clone)]
pub(crate) struct AdminSocket {
    path: PathBuf,
    /// Shared by all workers: operators that connect during a restart wait in its queue.
    pub(crate) listener: Arc<UnixListener>,
    /// The user of this process, as the system recorded it on the socket.
    pub(crate) uid: u32,
}

impl AdminSocket {
    /// Binds `path`, replacing a socket that nobody answers on any more.
    ///
    /// # Errors
    ///
    /// Refuses a directory that is open to others, a file of another kind, and a socket on which
    /// somebody answers.
    pub(crate) fn bind(path: &Path) -> Result<Self, AdminError> {
        let failed = |source| AdminError::Socket { path: path.to_owned(), source };
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            stream_pki::create_private_dir(directory).map_err(failed)?;
        }
        if is_answered(path).map_err(failed)? {
            return Err(AdminError::InUse { path: path.to_owned() });
        }
        Self::listen(path).map_err(failed)
    }

    /// Removes the socket from the file system.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            let path = self.path.display();
            log::warn!(path:%, error:%; "the operator's socket is not removed");
        }
    }

    fn listen(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let uid = fs::symlink_metadata(path)?.uid();
        Ok(Self { path: path.to_owned(), listener: Arc::new(listener), uid })
    }
}

/// Returns whether somebody answers on the socket at `path`; removes one that nobody answers on.
fn is_answered(path: &Path) -> io::Result<bool> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if !kind.is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "something else has this name"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path)?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_one_owner_and_a_left_over_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/socket");
        let first = AdminSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert!(matches!(AdminSocket::bind(&path), Err(AdminError::InUse { .. })));

        // As after a kill: the file stays, nobody listens.
        drop(first);
        let second = AdminSocket::bind(&path).unwrap();
        second.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_of_another_kind_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(AdminSocket::bind(&path), Err(AdminError::Socket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}

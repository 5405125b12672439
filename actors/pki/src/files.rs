//! Files that exist whole or not at all, and directories nobody else may enter.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::random::random_text;
use crate::user_name::user_name;

/// Creates `path` with `bytes` and `mode`, whole and on disk, or not at all.
///
/// Never overwrites: refuses with `AlreadyExists` when anything has that name, a dangling symbolic
/// link included. Readers see no file or all of it.
pub fn write_new(path: impl AsRef<Path>, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = path.as_ref();
    let name = path.file_name().ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };

    let temporary = Temporary::beside(directory, name);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary.0)?;
    file.write_all(bytes)?;
    // Set on the open file: the mode given at creation passes through the umask.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;

    // Unlike a rename, a link never replaces what has the name already.
    fs::hard_link(&temporary.0, path)?;
    drop(temporary);
    File::open(directory)?.sync_all()
}

/// Creates the directory `path`, and those above it that are missing, with mode 0700.
///
/// Accepts one that is there already, but refuses with `PermissionDenied` when others may enter it,
/// or when it, or the symbolic link that leads to it, belongs to another user.
pub fn create_private_dir(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let user = geteuid().as_raw();
    // A link of another user leads wherever that one wants, now and later.
    for metadata in [fs::symlink_metadata(path)?, fs::metadata(path)?] {
        if metadata.uid() != user {
            return Err(foreign(path, metadata.uid(), user));
        }
    }
    if fs::metadata(path)?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(io::Error::new(
        ErrorKind::PermissionDenied,
        format!("the directory {path} is open to others: `chmod 0700 {path}`"),
    ))
}

fn foreign(path: &Path, owner: u32, user: u32) -> io::Error {
    let (path, owner, user) = (path.display(), user_name(owner), user_name(user));
    io::Error::new(
        ErrorKind::PermissionDenied,
        format!(
            "the directory {path} belongs to user {owner}, and this runs as user {user}: run it \
             as user {owner}, or choose another directory"
        ),
    )
}

/// A name that goes away with its owner, whatever happens.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(directory: &Path, name: &std::ffi::OsStr) -> Self {
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".");
        hidden.push(random_text(12).as_str());
        Self(directory.join(hidden))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing to do about a failure, and usually the cause is one the caller has in hand.
        let _ = fs::remove_file(&self.0);
    }
}

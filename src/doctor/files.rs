//! Whether secrets are private, and whether those are gone that are used once.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use stream_pki::{SecretError, read_secret};

use super::Finding;

/// A file with a secret, as the configuration names it.
#[derive(Clone, Debug)]
pub struct SecretFile {
    /// The key of the configuration that names it.
    pub named_by: String,
    pub path: PathBuf,
    /// The record in NATS that has the secret from the first use on; `None` for a file that stays.
    pub record: Option<String>,
}

impl SecretFile {
    pub fn kept(named_by: &str, path: &Path) -> Self {
        Self { named_by: named_by.to_owned(), path: path.to_owned(), record: None }
    }

    pub fn once(named_by: &str, path: &Path, record: &str) -> Self {
        Self { record: Some(record.to_owned()), ..Self::kept(named_by, path) }
    }
}

/// Looks at the files, and at the directory of the state.
pub(super) fn look(secrets: &[SecretFile], state: &Path) -> Vec<Finding> {
    let mut found: Vec<_> = secrets.iter().filter_map(|secret| of_secret(secret, state)).collect();
    found.extend(of_state(state));
    if found.is_empty() {
        found.push(Finding::good("files", format!("{} secrets, all private", secrets.len())));
    }
    found
}

fn of_secret(SecretFile { named_by, path, record }: &SecretFile, state: &Path) -> Option<Finding> {
    // The node remembers the generation of a record that it has seen.
    let is_stored =
        record.as_ref().is_some_and(|name| state.join(format!("{name}.generation")).exists());
    match read_secret(path, 1) {
        Ok(_) if is_stored => Some(Finding::warning(
            "files",
            format!("{} is used no more: NATS has its secret", path.display()),
            "remove it: it can only be stolen there",
        )),
        Ok(_) => None,
        Err(SecretError::Missing { .. }) if record.is_some() => None,
        Err(error) => {
            let what = format!("{named_by}: {}", stream_protocol::error_chain(&error));
            Some(Finding::error("files", what, format!("correct {}", path.display())))
        }
    }
}

fn of_state(state: &Path) -> Option<Finding> {
    let path = state.display();
    let metadata = match fs::metadata(state) {
        Ok(metadata) => metadata,
        Err(error) => {
            let what = format!("the directory of the state, {path}, cannot be read: {error}");
            return Some(Finding::error("files", what, "make it with `init`"));
        }
    };
    let (mode, owner) = (metadata.permissions().mode() & 0o7777, metadata.uid());
    let user = rustix::process::geteuid().as_raw();
    if mode & 0o077 != 0 {
        let what = format!("the directory {path} has mode {mode:04o}: others may enter it");
        return Some(Finding::error("files", what, format!("chmod 0700 {path}")));
    }
    (owner != user && user != 0).then(|| {
        let what = format!("the directory {path} belongs to another user, of number {owner}");
        Finding::error("files", what, "give it to the user of the service")
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use stream_pki::{create_private_dir, write_new};

    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn an_open_secret_a_missing_one_and_one_that_is_left_are_told_with_what_to_do() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        create_private_dir(&state).expect("made");
        let file = |name: &str| directory.path().join(name);
        for name in ["sealing.key", "root.key"] {
            write_new(file(name), b"a secret", 0o600).expect("written");
        }
        let secrets = [
            SecretFile::kept("tokens.sealing_key", &file("sealing.key")),
            SecretFile::once("tokens.first_root_key", &file("root.key"), "agent.root"),
            SecretFile::once("turn.first_secret", &file("turn.secret"), "agent.turn"),
        ];
        let told = || look(&secrets, &state);
        assert_eq!(told()[0].severity, Severity::Good);

        fs::write(state.join("agent.root.generation"), "1").expect("written");
        let left = told().remove(0);
        assert_eq!(left.severity, Severity::Warning);
        assert!(left.what.contains("root.key") && left.remedy.contains("remove it"), "{left:?}");
        fs::remove_file(file("root.key")).expect("removed");
        assert_eq!(told()[0].severity, Severity::Good);

        fs::set_permissions(file("sealing.key"), Permissions::from_mode(0o644)).expect("set");
        let open = told().remove(0);
        assert_eq!(open.severity, Severity::Error);
        assert!(open.what.contains("chmod 0640"), "{open:?}");
        fs::remove_file(file("sealing.key")).expect("removed");
        let missing = told().remove(0);
        assert!(missing.what.contains("tokens.sealing_key") && missing.what.contains("`init`"));

        fs::set_permissions(&state, Permissions::from_mode(0o755)).expect("set");
        assert!(told().iter().any(|one| one.remedy.starts_with("chmod 0700")), "{:?}", told());
    }
}

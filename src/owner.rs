//! For whom `init` makes its files: the user that the service runs as.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use anyhow::Context;
use nix::unistd::{Gid, Uid, User, setgid, setgroups, setuid};

/// A user of this system.
#[derive(Debug)]
pub struct Owner {
    pub name: String,
    user: Uid,
    group: Gid,
}

impl Owner {
    /// Returns the user called `name`. Without a name it is the one called `service`, if there is
    /// one and whoever runs this may give files away.
    ///
    /// # Errors
    ///
    /// There is no user called `name`, or the users of this system cannot be read.
    pub fn find(name: Option<&str>, service: &str) -> anyhow::Result<Option<Self>> {
        let found = match name {
            None if !Uid::effective().is_root() => return Ok(None),
            None => User::from_name(service),
            Some(name) => User::from_name(name),
        };
        let found = found.context("the users of this system cannot be read")?;
        anyhow::ensure!(
            found.is_some() || name.is_none(),
            "there is no user called {}: make it first, with useradd --system",
            name.unwrap_or_default()
        );
        Ok(found.map(|User { name, uid, gid, .. }| Self { name, user: uid, group: gid }))
    }

    /// Whether `dir` is there, and the user's own.
    pub fn owns(&self, dir: &Path) -> bool {
        // A link leads wherever its owner wants.
        dir.symlink_metadata()
            .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == self.user.as_raw())
    }

    /// Has this process be the user from here on, for good: what it makes is the user's own, and it
    /// is led nowhere where the user may not be.
    ///
    /// # Errors
    ///
    /// Only root may become somebody else.
    pub fn become_user(&self) -> anyhow::Result<()> {
        if self.user == Uid::effective() {
            return Ok(());
        }
        let done =
            setgroups(&[]).and_then(|()| setgid(self.group)).and_then(|()| setuid(self.user));
        done.with_context(|| format!("this cannot run as the user {}", self.name))
    }

    /// Gives `dir` to the user with everything in it. Links are given away, never what they lead
    /// to.
    ///
    /// # Errors
    ///
    /// Names what cannot be given: only root gives files away.
    pub fn give(&self, dir: &Path) -> anyhow::Result<()> {
        for entry in fs::read_dir(dir).with_context(|| format!("directory {}", dir.display()))? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => self.give(&entry.path())?,
                false => self.give_one(&entry.path())?,
            }
        }
        // Last: after a failure this is run once more.
        self.give_one(dir)
    }

    fn give_one(&self, path: &Path) -> anyhow::Result<()> {
        lchown(path, Some(self.user.as_raw()), Some(self.group.as_raw()))
            .with_context(|| format!("{} cannot be given to {}", path.display(), self.name))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_directory_is_given_whole_and_what_its_links_lead_to_is_not() {
        let own = User::from_uid(Uid::effective()).unwrap().unwrap();
        let other = if Uid::effective().is_root() { "nobody" } else { &own.name };
        let owner = Owner::find(Some(other), "no such service").unwrap().unwrap();
        let (given, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = given.path();
        fs::create_dir(dir.join("state")).unwrap();
        for file in [dir.join("root.key"), dir.join("state/x"), elsewhere.path().join("y")] {
            fs::write(file, "").unwrap();
        }
        symlink(elsewhere.path(), dir.join("state/link")).unwrap();
        owner.give(dir).unwrap();
        let user = |path: &Path| path.symlink_metadata().unwrap().uid();
        for path in ["", "root.key", "state", "state/x", "state/link"] {
            assert_eq!(user(&dir.join(path)), owner.user.as_raw(), "{path}");
        }
        assert_eq!(user(elsewhere.path()), own.uid.as_raw());
        assert_eq!(user(&elsewhere.path().join("y")), own.uid.as_raw());
    }

    #[test]
    fn a_user_who_is_named_must_be_there_and_the_services_own_may() {
        let error = Owner::find(Some("no-such-user"), "root").unwrap_err().to_string();
        assert!(error.contains("no-such-user") && error.contains("useradd"), "{error}");
        assert!(Owner::find(None, "no-such-user").unwrap().is_none());
        let found = Owner::find(None, "nobody").unwrap();
        assert_eq!(found.is_some(), Uid::effective().is_root());
    }
}

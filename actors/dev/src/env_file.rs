//! A file of variables, in the form of dotenv and of shells, by which a test suite finds the parts
//! of a stack.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use stream_pki::write_new;

/// The first line, by which a file is known to be ours.
const MARK: &str = "# Written by stream-dev up, which removes it when the stack ends.";

/// Tokens are in it.
const SECRET: u32 = 0o600;

/// A place for the variables of one stack: the file is there while they are true, and goes away
/// with this.
#[derive(Debug)]
pub struct EnvFile {
    path: PathBuf,
    /// What was written.
    text: Option<String>,
}

impl EnvFile {
    /// Takes the place `path`; a file that another stack has written there is removed.
    ///
    /// # Errors
    ///
    /// Refuses a place in no directory, and one where something else is.
    pub fn claim(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        let shown = path.display();
        let parent = path.parent().filter(|_| path.file_name().is_some());
        let parent = parent.with_context(|| format!("{shown} names no file"))?;
        anyhow::ensure!(
            parent.is_dir(),
            "{} is no directory: make it first, or name another place",
            parent.display()
        );
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("file {shown}")),
            Ok(metadata) => {
                let is_ours = metadata.is_file() && begins_with_mark(&path);
                anyhow::ensure!(
                    is_ours,
                    "{shown} was not written by stream-dev up: remove it, or name another file"
                );
                fs::remove_file(&path).with_context(|| format!("file {shown}"))?;
            }
        }
        Ok(Self { path, text: None })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `variables`, all of them or nothing, readable for the user alone.
    ///
    /// # Errors
    ///
    /// Refuses a value that cannot be quoted, and to write over what has come there meanwhile.
    pub fn write(&mut self, variables: &[(&str, String)]) -> anyhow::Result<()> {
        let mut text = format!("{MARK}\n");
        for (name, value) in variables {
            text += &format!("{name}={}\n", quoted(value).with_context(|| (*name).to_owned())?);
        }
        write_new(&self.path, text.as_bytes(), SECRET)
            .with_context(|| format!("file {}", self.path.display()))?;
        self.text = Some(text);
        Ok(())
    }
}

impl Drop for EnvFile {
    fn drop(&mut self) {
        // Another stack may have taken the place over.
        if let Some(text) = &self.text
            && fs::read(&self.path).is_ok_and(|now| now == text.as_bytes())
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!(file:% = self.path.display(), error:%; "a file stays behind");
        }
    }
}

fn begins_with_mark(path: &Path) -> bool {
    fs::read(path).is_ok_and(|text| text.starts_with(MARK.as_bytes()))
}

/// Returns `value` as shells, dotenv, systemd and containers read it alike. Refuses what they would
/// read differently.
fn quoted(value: &str) -> anyhow::Result<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,?".contains(c);
    if value.chars().all(is_plain) {
        return Ok(value.to_owned());
    }
    anyhow::ensure!(
        !value.contains(['\'', '\\', '\n', '\r']),
        "{value:?} cannot be written into a file of variables: choose a directory without quotes, \
         backslashes and line breaks in its name"
    );
    Ok(format!("'{value}'"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn variables() -> Vec<(&'static str, String)> {
        vec![("A_URL", "https://127.0.0.1:1".to_owned()), ("A_FILE", "/a dir/x".to_owned())]
    }

    #[test]
    fn it_is_there_for_the_user_alone_once_it_is_written_and_goes_with_its_stack() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("stack.env");
        let mut file = EnvFile::claim(&path).expect("a place");
        assert!(!path.exists(), "nothing is ready yet");
        file.write(&variables()).expect("written");
        let text = fs::read_to_string(&path).expect("a file");
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(lines, ["A_URL=https://127.0.0.1:1", "A_FILE='/a dir/x'"]);
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn the_file_of_another_stack_gives_way_and_anything_else_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("stack.env");
        let mut first = EnvFile::claim(&path).expect("a place");
        first.write(&variables()).expect("written");
        let mut second = EnvFile::claim(&path).expect("taken over");
        assert!(!path.exists());
        second.write(&[("B", "2".to_owned())]).expect("written");
        drop(first);
        assert!(path.exists(), "it belongs to the second by now");
        drop(second);

        fs::write(&path, "KEY=of somebody\n").expect("written");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        for other in [path.as_path(), link.as_path(), dir.path()] {
            let refused = EnvFile::claim(other).expect_err("refused").to_string();
            assert!(refused.ends_with("remove it, or name another file"), "{refused}");
        }
        assert_eq!(fs::read_to_string(&path).expect("a file"), "KEY=of somebody\n");
        let nowhere = EnvFile::claim(&dir.path().join("no/such")).expect_err("refused");
        assert!(nowhere.to_string().contains("no directory: make it first"), "{nowhere}");
    }

    #[test]
    fn what_has_come_in_between_is_not_written_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("stack.env");
        let mut file = EnvFile::claim(&path).expect("a place");
        fs::write(&path, "KEY=of somebody\n").expect("written");
        file.write(&variables()).expect_err("refused");
        drop(file);
        assert_eq!(fs::read_to_string(&path).expect("a file"), "KEY=of somebody\n");
    }

    #[test]
    fn a_value_that_would_be_read_differently_is_refused() {
        for value in ["it's", "a\nb", "a\\b"] {
            let dir = tempfile::tempdir().expect("a directory");
            let mut file = EnvFile::claim(&dir.path().join("env")).expect("a place");
            let refused = file.write(&[("A", value.to_owned())]).expect_err(value);
            assert!(format!("{refused:#}").starts_with("A: "), "{refused:#}");
            assert!(!file.path().exists());
        }
        assert_eq!(quoted("$(x) `y` \"z\" #").expect("quoted"), "'$(x) `y` \"z\" #'");
    }
}

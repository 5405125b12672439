//! The section `[audit]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::AuditError;

/// What is written down of what is done, and where.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file of the log, which only this unit writes. Unset, there is none.
    pub file: Option<PathBuf>,
    /// After how many MiB the file gives way to the next one; it is renamed to its name, a dot and
    /// the number of its last line. Default 64.
    pub max_mib: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { file: None, max_mib: 64 }
    }
}

impl Config {
    /// Checks that the values make sense.
    ///
    /// # Errors
    ///
    /// Names the key.
    pub fn check(&self) -> Result<(), AuditError> {
        if self.file.as_ref().is_some_and(|file| file.file_name().is_none()) {
            return Err(AuditError::NoFile);
        }
        if self.max_mib == 0 {
            return Err(AuditError::TooSmall);
        }
        Ok(())
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_mib.saturating_mul(1 << 20)
    }
}

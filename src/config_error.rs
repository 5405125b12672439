//! Why a configuration cannot be used.

use std::path::PathBuf;

/// A configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read: give the path of the configuration file with --config", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// A line of the file, or a variable of the environment, is not understood.
    #[error("{place}: {problem}")]
    Malformed { place: String, problem: String },
    /// It is understood, and cannot work.
    #[error("{place}: {problem}")]
    Refused { place: String, problem: String },
}

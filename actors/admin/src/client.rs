//! The other end of the socket, for the command line.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stream_protocol::{Empty, Refusal, Reply, Versioned};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::actor::REQUEST_TIMEOUT;
use crate::builtin::{BuiltinRequest, DrainStatus, InjectFault};
use crate::status_table::StatusReport;
use crate::wire::{MAX_ANSWER, read_line};

/// Talks to the service on this machine.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns how every actor is.
    pub async fn status(&self) -> Result<StatusReport, ClientError> {
        self.ask(&BuiltinRequest::Status).await
    }

    /// Has the service end in order, within `deadline_s` seconds or as long as it is configured to
    /// take.
    pub async fn drain(&self, deadline_s: Option<u64>) -> Result<(), ClientError> {
        let Empty {} = self.ask(&BuiltinRequest::Drain { deadline_s }).await?;
        Ok(())
    }

    /// Takes that back. Refused by a service that is not draining.
    pub async fn cancel_drain(&self) -> Result<(), ClientError> {
        let Empty {} = self.ask(&BuiltinRequest::CancelDrain).await?;
        Ok(())
    }

    /// Returns how far the service has come with it.
    pub async fn draining(&self) -> Result<DrainStatus, ClientError> {
        self.ask(&BuiltinRequest::Draining).await
    }

    /// Makes an actor fail. Refused by a service that is not configured for it, and for an actor
    /// that it has not.
    pub async fn crash(&self, crash: InjectFault) -> Result<(), ClientError> {
        let Empty {} = self.ask(&BuiltinRequest::Crash(crash)).await?;
        Ok(())
    }

    /// Asks anything; `request` carries the name of the operation as its member `op`.
    pub async fn ask<A: DeserializeOwned>(
        &self,
        request: &impl Serialize,
    ) -> Result<A, ClientError> {
        let mut line = Versioned::encode(request);
        line.push(b'\n');
        // Longer than the other side takes, so that its own sentence comes first.
        let timeout = REQUEST_TIMEOUT + Duration::from_secs(2);
        let answer = tokio::time::timeout(timeout, exchange(&self.path, line)).await;
        let answer = answer.map_err(|_| ClientError::TimedOut)?;
        let line = answer
            .map_err(|source| ClientError::Unreachable { path: self.path.clone(), source })?;
        Ok(Reply::decode(&line)?)
    }
}

/// Why the operator's request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the service does not answer on {}", path.display())]
    Unreachable { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the service gave no answer in time")]
    TimedOut,
}

async fn exchange(path: &Path, line: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(&line).await?;
    read_line(stream, MAX_ANSWER).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn without_a_service_the_client_says_where_it_looked() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(folder.path().join("socket"));
        let error = client.status().await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }));
        assert!(error.to_string().ends_with("/socket"), "{error}");
    }
}

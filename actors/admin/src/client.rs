//! The client of the socket, for the command line.

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

/// Asks the service on this machine that answers on a socket.
///
/// ```
/// use serde::Deserialize;
/// use serde_json::{Value, json};
/// use stream_admin::{Admin, Client, Config, Debug};
/// use stream_protocol::Refusal;
/// use stream_supervisor::{Drain, Supervisor};
///
/// /// What only this service is asked.
/// #[derive(Deserialize)]
/// #[serde(tag = "op", rename_all = "snake_case")]
/// enum Request {
///     Double { number: u64 },
/// }
///
/// async fn handler(Request::Double { number }: Request) -> Result<Value, Refusal> {
///     Ok(json!(2 * number))
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let socket = folder.path().join("private/socket");
/// actix::System::new().block_on(async {
///     let (supervisor, drain) = (Supervisor::default(), Drain::default());
///     let config = Config { socket: socket.clone(), drain_s: 60 };
///     Admin::start(config, Debug::default(), &supervisor, &drain, (), handler)?;
///
///     let client = Client::new(socket);
///     let doubled: u64 = client.ask(&json!({ "op": "double", "number": 21 })).await?;
///     assert_eq!(doubled, 42);
///     assert_eq!(client.status().await?.actors[0].name, "admin");
///     client.drain(None).await?;
///     assert!(drain.is_draining());
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// Makes a client of the socket at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the status of every actor.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub async fn status(&self) -> Result<StatusReport, ClientError> {
        self.ask(&BuiltinRequest::Status).await
    }

    /// Orders the service to drain and end within `deadline`, to the second, or within
    /// [`Config::drain_s`](crate::Config::drain_s).
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub async fn drain(&self, deadline: Option<Duration>) -> Result<(), ClientError> {
        let deadline_s = deadline.map(|deadline| deadline.as_secs());
        let Empty {} = self.ask(&BuiltinRequest::Drain { deadline_s }).await?;
        Ok(())
    }

    /// Withdraws the order to drain.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask); refused as a conflict if the service is not draining.
    pub async fn cancel_drain(&self) -> Result<(), ClientError> {
        let Empty {} = self.ask(&BuiltinRequest::CancelDrain).await?;
        Ok(())
    }

    /// Returns how far the service has come with its drain.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub async fn draining(&self) -> Result<DrainStatus, ClientError> {
        self.ask(&BuiltinRequest::Draining).await
    }

    /// Makes an actor fail.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask); refused if the configuration does not allow it, and if there is no
    /// such actor.
    pub async fn crash(&self, crash: InjectFault) -> Result<(), ClientError> {
        let Empty {} = self.ask(&BuiltinRequest::Crash(crash)).await?;
        Ok(())
    }

    /// Sends `request`, which names its operation in the member `op`, and returns the answer.
    ///
    /// # Errors
    ///
    /// - [`ClientError::Unreachable`] if no service answers on the socket;
    /// - [`ClientError::Refused`] if the service refuses the request;
    /// - [`ClientError::TimedOut`] if it gives no answer within 12 s.
    pub async fn ask<A: DeserializeOwned>(
        &self,
        request: &impl Serialize,
    ) -> Result<A, ClientError> {
        let mut line = Versioned::encode(request);
        line.push(b'\n');
        // Longer than the service takes, so that its own refusal comes first.
        let timeout = REQUEST_TIMEOUT + Duration::from_secs(2);
        let answer = tokio::time::timeout(timeout, exchange(&self.path, line)).await;
        let answer = answer.map_err(|_| ClientError::TimedOut)?;
        let line = answer
            .map_err(|source| ClientError::Unreachable { path: self.path.clone(), source })?;
        Ok(Reply::decode(&line)?)
    }
}

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No service answers on the socket.
    #[error("the service does not answer on {}", path.display())]
    Unreachable { path: PathBuf, source: io::Error },
    /// The service refused the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The service gave no answer within the deadline.
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

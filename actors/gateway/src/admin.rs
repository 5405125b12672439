//! The operator's UNIX socket: service accounts are made and deleted here and nowhere else.
//!
//! One connection carries one request, a line of JSON, and its answer, another line. The directory
//! of the socket is closed to others, and the peer must run as the same user or as root.
//! [`Client`] is the other end, for the command line.

mod actor;
mod listener;
mod request;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use stream_protocol::{Ask, Refusal, Reply};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

pub use request::AccountInfo;

pub(crate) use listener::Socket;
use request::{AccountList, Fresh, Request};

/// The longest line, in bytes.
const MAX_LINE: u64 = 64 * 1024;

/// A request that takes longer, its answer included, is given up.
const DEADLINE: Duration = Duration::from_secs(10);

/// Talks to the gateway on this machine.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Creates an account and returns its token, which cannot be had again. The token ends at
    /// `expires` (Unix seconds), if given. Refuses a name that is taken.
    pub async fn create_account(
        &self,
        name: &str,
        expires: Option<u64>,
    ) -> Result<String, AdminError> {
        let name = name.to_owned();
        let fresh: Fresh = self.ask(&Request::CreateAccount { name, expires_at: expires }).await?;
        Ok(fresh.token)
    }

    /// Deletes an account; its token is refused from now on. Refuses a name that nobody has.
    pub async fn delete_account(&self, name: &str) -> Result<(), AdminError> {
        let Ask {} = self.ask(&Request::DeleteAccount { name: name.to_owned() }).await?;
        Ok(())
    }

    /// Returns all accounts, by name.
    pub async fn accounts(&self) -> Result<Vec<AccountInfo>, AdminError> {
        let list: AccountList = self.ask(&Request::ListAccounts).await?;
        Ok(list.accounts)
    }

    async fn ask<A: DeserializeOwned>(&self, request: &Request) -> Result<A, AdminError> {
        let exchange = exchange(&self.path, request.line());
        // Longer than the other side takes, so that its own sentence comes first.
        let answer = tokio::time::timeout(DEADLINE + Duration::from_secs(2), exchange).await;
        let answer = answer.map_err(|_| AdminError::TimedOut)?;
        let line = answer.map_err(|source| AdminError::Away { path: self.path.clone(), source })?;
        Ok(Reply::decode(&line)?)
    }
}

/// Why the operator's request was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("the gateway does not answer on {}", path.display())]
    Away { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the gateway gave no answer in time")]
    TimedOut,
}

async fn exchange(path: &Path, line: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(&line).await?;
    read_line(stream).await
}

/// Reads one line. Refuses a longer one than [`MAX_LINE`], and none.
async fn read_line(stream: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_LINE)).read_until(b'\n', &mut line).await?;
    if line.pop() == Some(b'\n') {
        return Ok(line);
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the line has no end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_line_is_read_up_to_its_end_and_its_bound() {
        assert_eq!(read_line(&b"abc\nrest"[..]).await.unwrap(), b"abc");
        assert!(read_line(&b""[..]).await.is_err());
        assert!(read_line(&b"abc"[..]).await.is_err());
        let endless = vec![b'x'; MAX_LINE as usize + 10];
        assert!(read_line(&endless[..]).await.is_err());
    }

    #[actix_web::test]
    async fn without_a_gateway_the_client_says_where_it_looked() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(folder.path().join("socket"));
        let error = client.accounts().await.unwrap_err();
        assert!(matches!(error, AdminError::Away { .. }));
        assert!(error.to_string().ends_with("/socket"), "{error}");
    }
}

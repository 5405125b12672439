//! Lines on the socket: how they are read and how long they may be.

use std::io;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// The longest request, in bytes.
pub(crate) const MAX_REQUEST: u64 = 64 * 1024;

/// The longest answer, in bytes: some thousand sessions or accounts.
pub(crate) const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// The operation that every request names.
#[derive(Deserialize)]
pub(crate) struct OpName {
    pub(crate) op: String,
}

/// Reads one line of at most `limit` bytes, its end included.
///
/// # Errors
///
/// Refuses a longer line, and an end of the stream before the end of the line.
pub(crate) async fn read_line(stream: impl AsyncRead + Unpin, limit: u64) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(stream.take(limit)).read_until(b'\n', &mut line).await?;
    if line.pop() == Some(b'\n') {
        return Ok(line);
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the line has no end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn a_line_is_read_up_to_its_end_and_its_bound() {
        assert_eq!(read_line(&b"abc\nrest"[..], 10).await.unwrap(), b"abc");
        assert!(read_line(&b""[..], 10).await.is_err());
        assert!(read_line(&b"abc"[..], 10).await.is_err());
        assert!(read_line(&b"0123456789\n"[..], 10).await.is_err());
    }
}

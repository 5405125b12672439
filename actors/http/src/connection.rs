//! The stream of a client's connection, which a request that has taken it over can close.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::dev::Extensions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Closes the connection that a request came on. Every request finds one in the data of its
/// connection.
///
/// For whoever answers with an upgrade: the server takes what the client may still send for the
/// rest of the request, and waits for it as long as for a body that nobody reads.
#[derive(Clone, Default)]
pub struct ConnectionCloser(Rc<Cell<bool>>);

impl ConnectionCloser {
    /// Reads nothing any more: the server sends what is written, and closes the connection. To be
    /// called where the body of the answer is polled, right before its end.
    pub fn close(&self) {
        self.0.set(true);
    }
}

/// A stream that ends for its reader when its [`ConnectionCloser`] says so.
pub(crate) struct ClosableStream<S> {
    stream: S,
    closer: ConnectionCloser,
}

impl<S> ClosableStream<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, closer: ConnectionCloser::default() }
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Makes the closer known to the requests of this connection.
    pub(crate) fn add_closer(&self, data: &mut Extensions) {
        data.insert(self.closer.clone());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClosableStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.closer.0.get() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClosableStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

//! The stream of a client's connection, which a request that has taken it over can close, and which
//! notes what it does.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::dev::Extensions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::activity::Activity;

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

/// The socket below TLS, which notes whether what is sent is taken.
pub(crate) struct Socket {
    tcp: TcpStream,
    activity: Rc<Activity>,
}

impl Socket {
    pub(crate) fn new(tcp: TcpStream, activity: Rc<Activity>) -> Self {
        Self { tcp, activity }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.activity.on_write(written.is_ready());
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(cx, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// A stream that ends for its reader when its [`ConnectionCloser`] says so.
pub(crate) struct Connection<S> {
    stream: S,
    closer: ConnectionCloser,
    activity: Rc<Activity>,
    client: ClientAddress,
}

/// The address of the client, which a proxy may have told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

impl<S> Connection<S> {
    pub(crate) fn new(stream: S, activity: Rc<Activity>, client: IpAddr) -> Self {
        let closer = ConnectionCloser::default();
        Self { stream, closer, activity, client: ClientAddress(client) }
    }

    /// Makes what belongs to this connection known to its requests.
    pub(crate) fn add_data(&self, data: &mut Extensions) {
        data.insert(self.closer.clone());
        data.insert(Rc::clone(&self.activity));
        data.insert(self.client);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.closer.0.get() {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.on_read();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
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

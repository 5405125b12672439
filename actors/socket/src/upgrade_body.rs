//! The body of an upgrade: it lasts until the socket is closed at both ends, and takes the
//! connection along.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use stream_http::ConnectionCloser;
use tokio::sync::oneshot;

/// Held while the socket is open; its drop ends the connection.
pub(crate) struct OpenGuard {
    _open: oneshot::Sender<()>,
}

/// Makes `response` last until the guard is dropped, and close its connection then.
pub(crate) fn hold_open(
    response: HttpResponse,
    closer: Option<ConnectionCloser>,
) -> (HttpResponse, OpenGuard) {
    let (open, closed) = oneshot::channel();
    let response =
        response.map_body(|_, frames| UpgradeBody { frames, ended: false, closed, closer }.boxed());
    (response, OpenGuard { _open: open })
}

struct UpgradeBody {
    frames: BoxBody,
    /// Whether the last frame is out.
    ended: bool,
    /// Never sent to: only the drop of the other end counts.
    closed: oneshot::Receiver<()>,
    closer: Option<ConnectionCloser>,
}

impl MessageBody for UpgradeBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.frames.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if !self.ended {
            if let Some(frames) = ready!(Pin::new(&mut self.frames).poll_next(cx)) {
                return Poll::Ready(Some(frames));
            }
            self.ended = true;
        }
        // Until then the peer may say something: at least that it closes as well.
        let _ = ready!(Pin::new(&mut self.closed).poll(cx));
        if let Some(closer) = &self.closer {
            closer.close();
        }
        Poll::Ready(None)
    }
}

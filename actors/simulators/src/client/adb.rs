//! A bridge to the ADB of an instance: what a share's URL opens, served on a TCP port to `adb`.

mod link;
mod peer;

use std::time::Duration;

use reqwest::{Method, Url};
use serde::Deserialize;
use stream_pki::{Fingerprint, Trust};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time;

use super::socket::{self, RelayChannels};
use crate::https::{CallError, Https};
use crate::media::MediaError;
use crate::websocket::SocketError;
use peer::Peer;

const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// From the open socket to the connection with the instance.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Signals under way; more means that somebody has stopped reading.
const QUEUE_LENGTH: usize = 64;

/// Why a bridge ended. The URL of the share holds a token and is never part of the text.
#[derive(Debug, thiserror::Error)]
pub enum AdbError {
    #[error(
        "the URL is not that of an adb share: https://…/1.0/sessions/ID/connect?type=adb&token=…"
    )]
    Url,
    #[error("the gateway does not connect")]
    Call(#[from] CallError),
    #[error("the signaling socket failed")]
    Socket(#[from] SocketError),
    #[error("the instance was not reached in time")]
    Late,
    #[error("the connection to the instance ended")]
    Media(#[from] MediaError),
    /// The gateway says so, or the instance.
    #[error("{0}")]
    Refused(String),
    #[error("the gateway closed the signaling socket")]
    Closed,
    #[error("the instance ended it")]
    Ended,
}

/// Connects to the ADB that `share`, the URL of a share, opens at a gateway with one of the
/// certificates in `pins`; calls `ready` once it is, and serves on `listener` one `adb` server at a
/// time. Returns when that is over: the share was connected anew or has ended, or the session has.
///
/// # Errors
///
/// Why it did not begin, or ended.
///
/// # Cancel safety
///
/// Dropping the future closes the connections as a crash would.
pub async fn serve_adb(
    share: &str,
    pins: Vec<Fingerprint>,
    listener: TcpListener,
    ready: impl FnOnce(),
) -> Result<(), AdbError> {
    let url = connect(share, pins.clone()).await?;
    let socket = socket::open(&url, pins).await?;
    let (to_peer, inbox) = mpsc::channel(QUEUE_LENGTH);
    let (outbox, from_peer) = mpsc::channel(QUEUE_LENGTH);
    let served = async {
        let mut peer = Peer::open(inbox, outbox).await?;
        let connected = time::timeout(CONNECT_TIMEOUT, peer.connected()).await;
        let ended = match connected.unwrap_or(Err(AdbError::Late)) {
            Ok(()) => {
                ready();
                peer.serve(&listener).await
            }
            Err(error) => Err(error),
        };
        peer.close().await;
        ended
    };
    // The socket is closed when the peer, which holds the other ends of the channels, is gone.
    let signaled = socket::relay_signals(socket, RelayChannels { to_peer, from_peer });
    let (served, ()) = tokio::join!(served, signaled);
    served
}

/// Asks the gateway for a connection and returns the URL of its signaling socket.
async fn connect(share: &str, pins: Vec<Fingerprint>) -> Result<String, AdbError> {
    #[derive(Deserialize)]
    struct Connected {
        url: String,
    }
    let url = Url::parse(share).map_err(|_| AdbError::Url)?;
    let is_adb = url.query_pairs().any(|(name, value)| name == "type" && value == "adb");
    let (true, Some((base, path))) = (is_adb, share.split_once("/1.0/")) else {
        return Err(AdbError::Url);
    };
    let https = Https::without_token(base, &Trust::Pins(pins))?;
    let request = https.request(Method::GET, &format!("/1.0/{path}"));
    let Connected { url } = https.call(request, CALL_TIMEOUT).await?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_url_of_an_adb_share_is_refused_and_not_repeated() {
        for url in ["", "s3cret", "https://h/#session=x&share=s3cret", "https://h/1.0/x?type=view"]
        {
            let refused = connect(url, Vec::new()).await.expect_err("no share");
            assert!(matches!(refused, AdbError::Url) && !refused.to_string().contains("s3cret"));
        }
    }
}

//! One way there and back, whatever is in between; and WebSockets over TLS.

use std::sync::Arc;

use anyhow::Context;
use async_nats::{Client, Subscriber};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use stream_pki::{Fingerprint, Trust, client_config};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

/// A signal of ordinary size: a candidate.
pub(super) const SIGNAL: &str = concat!(
    r#"{"type":"candidate","candidate":"Y2FuZGlkYXRlOjEgMSBVRFAgMjEzMDcwNjQzMSAxOTIuMC4yLjEg"#,
    r#"NTAwMDAgdHlwIGhvc3Q=","sdpMid":"0","sdpMLineIndex":0}"#
);

pub(super) struct Socket(WebSocketStream<TlsStream<TcpStream>>);

impl Socket {
    /// Opens the socket at `url`, whose server shows the certificate of `pin`.
    pub(super) async fn open(
        url: &str,
        pin: Fingerprint,
        token: Option<&str>,
    ) -> anyhow::Result<Self> {
        let host = url.strip_prefix("wss://").context("not wss")?;
        let host = host.split('/').next().context("no host")?;
        let mut request = url.into_client_request()?;
        if let Some(token) = token {
            let authorization = format!("Macaroon root={token}").parse()?;
            request.headers_mut().insert("Authorization", authorization);
        }
        let tls = client_config(&Trust::Pins(vec![pin]), None)?;
        let tcp = TcpStream::connect(host).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let tls = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await?;
        Ok(Self(client_async(request, tls).await?.0))
    }

    pub(super) async fn send(&mut self, text: String) -> anyhow::Result<()> {
        Ok(self.0.send(Message::text(text)).await?)
    }

    /// Returns the next text; pings are answered on the way.
    pub(super) async fn recv(&mut self) -> anyhow::Result<String> {
        loop {
            match self.0.next().await.context("the socket has ended")?? {
                Message::Text(text) => return Ok(text.as_str().to_owned()),
                Message::Ping(_) | Message::Pong(_) => {}
                other => anyhow::bail!("no text: {other:?}"),
            }
        }
    }
}

pub(super) enum Path {
    /// To the instance, which says everything again, and back.
    Ours(Socket),
    Baseline {
        /// To a server that says everything again, as the client's part of the way.
        echo: Socket,
        nats: Client,
        /// Whoever hears this has it go through an echo of its own, and publishes it again.
        there: String,
        back: Subscriber,
    },
}

impl Path {
    pub(super) async fn round_trip(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Ours(socket) => {
                socket.send(SIGNAL.to_owned()).await?;
                let answer = socket.recv().await?;
                anyhow::ensure!(answer == SIGNAL, "another signal: {answer}");
            }
            Self::Baseline { echo, nats, there, back } => {
                echo.send(SIGNAL.to_owned()).await?;
                let text = echo.recv().await?;
                nats.publish(there.clone(), text.into()).await?;
                let answer = back.next().await.context("nats is gone")?;
                anyhow::ensure!(answer.payload == SIGNAL, "another message");
            }
        }
        Ok(())
    }
}

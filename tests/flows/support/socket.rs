//! The client's signaling socket, frame by frame.

use std::sync::Arc;

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use serde_json::Value;
use stream_dev::in_process::Stack;
use stream_pki::{Fingerprint, Trust, client_config};
use stream_protocol::Userdata;
use stream_simulators::client::JoinedSession;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Instance, STEP_TIMEOUT};

pub(crate) struct Socket(WebSocketStream<TlsStream<TcpStream>>);

impl Socket {
    /// Opens the socket of a session that was created or joined.
    pub(crate) async fn open(created: &JoinedSession, stack: &Stack) -> anyhow::Result<Self> {
        Self::open_url(&created.url, stack).await
    }

    pub(crate) async fn open_url(url: &str, stack: &Stack) -> anyhow::Result<Self> {
        let host = url.strip_prefix("wss://").context("wss")?.split('/').next().context("host")?;
        let tls = connect(host, stack.nodes.gateway_pin()?).await?;
        let (socket, _) = client_async(url, tls).await?;
        Ok(Self(socket))
    }

    /// Opens the socket at `url`, as whoever `tls` trusts and `token` says.
    pub(crate) async fn open_as(
        url: &str,
        tls: &Arc<ClientConfig>,
        token: Option<&str>,
    ) -> anyhow::Result<Self> {
        let host = url.strip_prefix("wss://").context("wss")?.split('/').next().context("host")?;
        let mut request = url.into_client_request()?;
        if let Some(token) = token {
            let authorization = format!("Macaroon root={token}").parse()?;
            request.headers_mut().insert("Authorization", authorization);
        }
        let tcp = TcpStream::connect(host).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?;
        Ok(Self(client_async(request, stream).await?.0))
    }

    /// Whether its handshake went on where an earlier one had ended.
    pub(crate) fn is_resumed(&self) -> bool {
        let handshake = self.0.get_ref().get_ref().1.handshake_kind();
        handshake == Some(HandshakeKind::Resumed)
    }

    /// Opens a socket of an instance at its agent.
    pub(crate) async fn open_instance(
        instance: &Instance,
        path: &str,
        stack: &Stack,
    ) -> anyhow::Result<Self> {
        Self::open_instance_below("sessions", instance, path, stack).await
    }

    /// Opens a socket of an instance at its agent, below `/1.0/sessions` or `/1.0/session`.
    pub(crate) async fn open_instance_below(
        root: &str,
        instance: &Instance,
        path: &str,
        stack: &Stack,
    ) -> anyhow::Result<Self> {
        let Userdata { agent_url, session_id, token, .. } = &instance.userdata;
        let host = agent_url.strip_prefix("https://").context("https")?;
        let url = format!("wss://{host}/1.0/{root}/{session_id}/sockets/{path}");
        let mut request = url.into_client_request()?;
        let authorization = format!("Macaroon root={token}").parse()?;
        request.headers_mut().insert("Authorization", authorization);
        let tls = connect(host, stack.nodes.agent_pin()?).await?;
        let (socket, _) = client_async(request, tls).await?;
        Ok(Self(socket))
    }

    pub(crate) async fn send(&mut self, signal: &Value) -> anyhow::Result<()> {
        self.send_text(signal.to_string()).await
    }

    /// Sends a frame whose members stay in their order.
    pub(crate) async fn send_text(&mut self, text: String) -> anyhow::Result<()> {
        Ok(self.0.send(Message::text(text)).await?)
    }

    /// Closes the socket as a browser does.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        self.0.close(None).await?;
        while !matches!(self.next_frame().await?, None | Some(Message::Close(_))) {}
        Ok(())
    }

    /// Returns the next signal; pings are answered on the way.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Value> {
        match self.next_frame().await? {
            Some(Message::Text(text)) => Ok(serde_json::from_str(&text)?),
            other => anyhow::bail!("not a signal: {other:?}"),
        }
    }

    /// Returns the next frame that is no ping or pong, `None` when the socket has ended.
    pub(crate) async fn next_frame(&mut self) -> anyhow::Result<Option<Message>> {
        loop {
            let frame = tokio::time::timeout(STEP_TIMEOUT, self.0.next()).await?;
            match frame.transpose()? {
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => return Ok(other),
            }
        }
    }
}

/// Connects to `host`, whose certificate has this fingerprint, and says nothing yet.
pub(crate) async fn connect(host: &str, pin: Fingerprint) -> anyhow::Result<TlsStream<TcpStream>> {
    let tls = client_config(&Trust::Pins(vec![pin]), None)?;
    let tcp = TcpStream::connect(host).await?;
    let name = ServerName::try_from("localhost")?;
    Ok(TlsConnector::from(Arc::new(tls)).connect(name, tcp).await?)
}

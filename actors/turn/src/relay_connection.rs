//! A socket that leads to one relay, and the questions that are asked over it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::ServerName;
use stream_pki::{TlsFailure, random_bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

use crate::error::ProbeError;
use crate::probe_target::ProbeTarget;
use crate::stun::{self, Answer, Key, Request, Response};

/// The most that is read of one answer.
const MAX_BYTES: usize = 2048;

/// From the first datagram to its repetition, as RFC 8489 has it; doubles.
const REPEAT: Duration = Duration::from_millis(500);

/// The addresses that a success carried.
pub(crate) struct Addresses {
    pub(crate) mapped: Option<SocketAddr>,
    pub(crate) relayed: Option<SocketAddr>,
}

pub(crate) enum RelayConnection {
    Datagrams(UdpSocket),
    /// TCP, or TLS over it.
    Stream(Box<dyn Stream>),
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl RelayConnection {
    /// Connects to the relay at `address`, which is one of the target's, from the address `from` if
    /// one is given. The caller sets the deadline.
    pub(crate) async fn open(
        target: &ProbeTarget,
        address: SocketAddr,
        from: Option<IpAddr>,
    ) -> Result<Self, ProbeError> {
        let url = target.url();
        if !url.tcp {
            let from = from.unwrap_or_else(|| unspecified(address));
            let socket = UdpSocket::bind((from, 0)).await?;
            // Connected, the system tells at once when nobody listens there.
            socket.connect(address).await?;
            return Ok(Self::Datagrams(socket));
        }
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(address).await?;
        let Some(tls) = target.tls() else { return Ok(Self::Stream(Box::new(stream))) };
        let name = ServerName::try_from(url.host.clone());
        let name = name.map_err(|_| ProbeError::Tls("its name cannot be certified".to_owned()))?;
        let stream = tls.connect(name, stream).await;
        let stream = stream.map_err(|error| match TlsFailure::find(&error) {
            Some(failure) => ProbeError::Tls(failure.to_string()),
            None => ProbeError::Tls(error.to_string()),
        })?;
        Ok(Self::Stream(Box::new(stream)))
    }

    /// Sends a request until it is answered, by whoever knows `key`: without it a success of
    /// anybody counts. The caller sets the deadline.
    pub(crate) async fn ask(
        &mut self,
        method: u16,
        request: impl Fn([u8; 12]) -> Request,
        key: Option<&Key>,
    ) -> Result<(Answer, Addresses), ProbeError> {
        let transaction = *random_bytes::<12>();
        let request = request(transaction);
        let mut pause = REPEAT;
        self.send(request.bytes()).await?;
        loop {
            // A stream repeats by itself, and half an answer must not be given up.
            let reply_timeout =
                if matches!(self, Self::Datagrams(_)) { pause } else { Duration::MAX };
            let Ok(bytes) = timeout(reply_timeout, self.receive()).await else {
                pause *= 2;
                self.send(request.bytes()).await?;
                continue;
            };
            let bytes = bytes?;
            let response = Response::parse(&bytes).ok_or(ProbeError::Malformed)?;
            // An answer to an earlier repetition is not worth a word.
            let Some(answer) = response.answers(method, &transaction) else { continue };
            if answer == Answer::Success && key.is_some_and(|key| !response.is_signed_with(key)) {
                return Err(ProbeError::Unsigned);
            }
            return Ok((
                answer,
                Addresses {
                    mapped: response.mapped_address(),
                    relayed: response.relayed_address(),
                },
            ));
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Datagrams(socket) => socket.send(bytes).await.map(drop),
            Self::Stream(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    async fn receive(&mut self) -> Result<Vec<u8>, ProbeError> {
        let mut bytes = vec![0; MAX_BYTES];
        match self {
            Self::Datagrams(socket) => {
                let length = socket.recv(&mut bytes).await?;
                bytes.truncate(length);
            }
            Self::Stream(stream) => {
                const HEADER: usize = 20;
                stream.read_exact(&mut bytes[..HEADER]).await?;
                let length = stun::length(&bytes[..HEADER]).filter(|length| *length <= MAX_BYTES);
                let length = length.ok_or(ProbeError::Malformed)?;
                bytes.truncate(length);
                stream.read_exact(&mut bytes[HEADER..]).await?;
            }
        }
        Ok(bytes)
    }
}

fn unspecified(address: SocketAddr) -> IpAddr {
    match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

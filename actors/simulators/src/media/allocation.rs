//! An address at a TURN relay, and the socket that leads there.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use stream_pki::random_bytes;
use stream_protocol::IceServer;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time;

use super::turn_message::{
    ALLOCATE, CREATE_PERMISSION, Credential, DATA, ERROR, Message, REFRESH, Received, SEND,
    SUCCESS, Transaction,
};

/// How long a relay may take to give an address, repetitions included.
const ALLOCATE_TIMEOUT: Duration = Duration::from_secs(3);

/// Until a request that was not answered is sent again.
const REPEAT: Duration = Duration::from_millis(500);

/// Permissions last five minutes.
const PERMISSION_RENEWAL: Duration = Duration::from_secs(240);

/// Larger than any datagram of a path that carries WebRTC.
const MAX_DATAGRAM: usize = 2000;

const UNAUTHORIZED: u16 = 401;
const STALE_NONCE: u16 = 438;

/// A relay gave no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AllocationError {
    #[error("the relay is not reached")]
    Socket(#[from] std::io::Error),
    #[error("the relay does not answer")]
    TimedOut,
    #[error("the relay refuses with code {0}")]
    Refused(u16),
    #[error("the relay answers what is no TURN")]
    Malformed,
}

/// A relayed address, for as long as [`Allocation::keep`] is called in time.
pub(crate) struct Allocation {
    socket: UdpSocket,
    local: SocketAddr,
    relayed: SocketAddr,
    credential: Credential,
    /// When each peer's permission is to be asked for again.
    permissions: HashMap<IpAddr, Instant>,
    refresh_at: Instant,
}

impl Allocation {
    /// Asks the first of `servers` that relays over UDP for an address, from a socket on `from`.
    /// Returns `None` when there is no such server.
    pub(crate) async fn open(
        servers: &[IceServer],
        from: IpAddr,
    ) -> Result<Option<Self>, AllocationError> {
        let relays = servers.iter().filter_map(|server| {
            let host = server.urls.iter().find_map(|url| udp_relay(url))?;
            Some((host, server.username.as_deref()?, server.password.as_deref()?))
        });
        let Some((host, username, password)) = relays.into_iter().next() else { return Ok(None) };
        let open = Self::open_at(host, username, password, from);
        time::timeout(ALLOCATE_TIMEOUT, open)
            .await
            .unwrap_or(Err(AllocationError::TimedOut))
            .map(Some)
    }

    async fn open_at(
        host: &str,
        username: &str,
        password: &str,
        from: IpAddr,
    ) -> Result<Self, AllocationError> {
        let socket = UdpSocket::bind((from, 0)).await?;
        let relay = lookup_host(host).await?.find(|relay| relay.is_ipv4() == from.is_ipv4());
        socket.connect(relay.ok_or(AllocationError::TimedOut)?).await?;
        let mut credential: Option<Credential> = None;
        let mut bytes = vec![0; MAX_DATAGRAM];
        loop {
            let transaction = *random_bytes::<12>();
            let request = Message::new(ALLOCATE, transaction).for_udp();
            let request = match &credential {
                Some(credential) => request.signed(credential),
                None => request,
            };
            let length = ask(&socket, &request, &transaction, &mut bytes).await?;
            let answer = Received::parse(&bytes[..length]).ok_or(AllocationError::Malformed)?;
            if answer.kind() == ALLOCATE | SUCCESS {
                let relayed = answer.relayed().ok_or(AllocationError::Malformed)?;
                let refresh_at = Instant::now() + renewal(answer.lifetime());
                return Ok(Self {
                    local: socket.local_addr()?,
                    socket,
                    relayed,
                    credential: credential.ok_or(AllocationError::Malformed)?,
                    permissions: HashMap::new(),
                    refresh_at,
                });
            }
            let code = answer.code().ok_or(AllocationError::Malformed)?;
            match (code, answer.realm(), answer.nonce()) {
                (UNAUTHORIZED, Some(realm), Some(nonce)) if credential.is_none() => {
                    credential = Some(Credential::new(username, password, realm, nonce));
                }
                (STALE_NONCE, Some(realm), Some(nonce)) => {
                    credential = Some(Credential::new(username, password, realm, nonce));
                }
                _ => return Err(AllocationError::Refused(code)),
            }
        }
    }

    /// Where the relay takes datagrams for us.
    pub(crate) fn relayed(&self) -> SocketAddr {
        self.relayed
    }

    /// Where the relay reaches us.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Has the relay send `payload` to `peer`, and let through what comes from there. A network may
    /// lose any datagram, and so does this.
    pub(crate) fn send(&mut self, peer: SocketAddr, payload: &[u8]) {
        let now = Instant::now();
        if self.permissions.get(&peer.ip()).is_none_or(|renewal| *renewal <= now) {
            let transaction = *random_bytes::<12>();
            let request = Message::new(CREATE_PERMISSION, transaction).about(peer);
            self.transmit(&request.signed(&self.credential));
            // Until it is granted, it is asked for again.
            self.permissions.insert(peer.ip(), now + REPEAT);
        }
        let transaction = *random_bytes::<12>();
        self.transmit(&Message::new(SEND, transaction).about(peer).carrying(payload));
    }

    /// When [`Allocation::keep`] is due.
    pub(crate) fn due(&self) -> Instant {
        self.refresh_at
    }

    /// Asks the relay to keep the address, if that is due.
    pub(crate) fn keep(&mut self) {
        if self.refresh_at <= Instant::now() {
            self.refresh_at = Instant::now() + REPEAT;
            let request = Message::new(REFRESH, *random_bytes::<12>());
            self.transmit(&request.signed(&self.credential));
        }
    }

    /// Waits for a datagram of a peer, and writes it into `buffer`. Loses nothing when the wait is
    /// given up.
    pub(crate) async fn receive(
        &mut self,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddr), std::io::Error> {
        let mut bytes = vec![0; MAX_DATAGRAM];
        loop {
            let length = self.socket.recv(&mut bytes).await?;
            let Some(received) = Received::parse(&bytes[..length]) else { continue };
            if received.kind() != DATA {
                self.on_answer(&received);
            } else if let (Some(peer), Some(payload)) = (received.peer(), received.payload())
                && let Some(buffer) = buffer.get_mut(..payload.len())
            {
                buffer.copy_from_slice(payload);
                return Ok((payload.len(), peer));
            }
        }
    }

    /// Gives the address back.
    pub(crate) fn release(&self) {
        let request = Message::new(REFRESH, *random_bytes::<12>()).for_seconds(0);
        self.transmit(&request.signed(&self.credential));
    }

    fn on_answer(&mut self, answer: &Received<'_>) {
        const GRANTED: u16 = CREATE_PERMISSION | SUCCESS;
        const REFRESHED: u16 = REFRESH | SUCCESS;
        let now = Instant::now();
        match answer.kind() {
            // Of whichever peer it is: those that are due are asked for again in any case.
            GRANTED => {
                let fresh = self.permissions.values_mut().filter(|due| **due <= now + REPEAT);
                fresh.for_each(|due| *due = now + PERMISSION_RENEWAL);
            }
            REFRESHED => self.refresh_at = now + renewal(answer.lifetime()),
            kind if kind & ERROR == ERROR => {
                if let (Some(STALE_NONCE), Some(nonce)) = (answer.code(), answer.nonce()) {
                    self.credential.set_nonce(nonce);
                } else {
                    log::warn!(code:? = answer.code(); "the relay refuses");
                }
            }
            _ => {}
        }
    }

    fn transmit(&self, message: &Message) {
        if let Err(error) = self.socket.try_send(message.bytes()) {
            log::debug!(error:%; "datagram to the relay lost");
        }
    }
}

/// Sends `request` until it is answered; the answer is written into `bytes`.
async fn ask(
    socket: &UdpSocket,
    request: &Message,
    transaction: &Transaction,
    bytes: &mut [u8],
) -> Result<usize, AllocationError> {
    loop {
        socket.send(request.bytes()).await?;
        let answer = async {
            loop {
                let length = socket.recv(bytes).await?;
                if Received::parse(&bytes[..length]).is_some_and(|answer| answer.is_of(transaction))
                {
                    return Ok(length);
                }
            }
        };
        if let Ok(answered) = time::timeout(REPEAT, answer).await {
            return answered;
        }
    }
}

/// After what part of its life an address is asked for anew.
fn renewal(lifetime: Option<u32>) -> Duration {
    Duration::from_secs(u64::from(lifetime.unwrap_or(600))) / 2
}

/// Returns host and port of a URL that names a relay over UDP.
fn udp_relay(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("turn:")?;
    let (host, query) = rest.split_once('?').unwrap_or((rest, "transport=udp"));
    (query == "transport=udp").then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relays_over_udp_are_asked() {
        assert_eq!(udp_relay("turn:127.0.0.1:3478?transport=udp"), Some("127.0.0.1:3478"));
        assert_eq!(udp_relay("turn:relay.example.org:3478"), Some("relay.example.org:3478"));
        for other in ["turn:x:1?transport=tcp", "turns:x:1?transport=tcp", "stun:x:1"] {
            assert_eq!(udp_relay(other), None, "{other}");
        }
    }
}

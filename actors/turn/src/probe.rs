//! Asks a relay what a client would ask it: where am I seen, and relay for me.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use stream_pki::random_bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use crate::credential::Credential;
use crate::stun::{self, ALLOCATE, Answer, BINDING, Key, REFRESH, Request, Response};
use crate::url::RelayUrl;

/// The most that is read of one answer.
const MAX_BYTES: usize = 2048;

/// From the first datagram to its repetition, as RFC 8489 has it; doubles.
const REPEAT: Duration = Duration::from_millis(500);

/// A nonce may be stale on the first use; more often it is a fault.
const CHALLENGES: usize = 3;

const UNAUTHORIZED: u16 = 401;
const MISMATCH: u16 = 437;
const STALE_NONCE: u16 = 438;

/// How a relay answered.
#[derive(Debug)]
pub struct Answered {
    /// From a STUN Binding request to its answer.
    pub binding: Result<Duration, ProbeError>,
    /// From the first request for an allocation to the allocation, the challenge between included.
    pub allocate: Result<Duration, ProbeError>,
}

/// Why a relay does not do what it should.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProbeError {
    #[error("it answers what is not STUN")]
    Malformed,
    /// It refuses the credential, or to relay.
    #[error("it refuses: {code} {reason}")]
    Refused { code: u16, reason: String },
    #[error("it does not answer in time")]
    Silent,
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// Whoever answered does not know the secret.
    #[error("its answer is not signed with the secret")]
    Unsigned,
}

impl From<io::Error> for ProbeError {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error.kind().to_string())
    }
}

/// Asks `url` for a binding, and then with `credential` for an allocation, which is given back.
/// Each has half of `within`. Refuses a URL inside TLS.
pub(crate) async fn probe(url: &RelayUrl, credential: &Credential, within: Duration) -> Answered {
    let binding = timed(within / 2, async {
        let mut path = Path::open(url).await?;
        match path.ask(BINDING, |transaction| Request::new(BINDING, transaction), None).await? {
            (Answer::Success, mapped) if mapped.maps => Ok(()),
            (Answer::Failure { code, reason, .. }, _) => Err(ProbeError::Refused { code, reason }),
            _ => Err(ProbeError::Malformed),
        }
    });
    // One after the other, as a client does it: a relay that is down is asked half as often.
    let binding = binding.await;
    let allocate = allocate(url, credential, within / 2).await;
    Answered { binding, allocate }
}

/// Does what a client does with a credential: asks the relay at `url` for an allocation, and gives
/// it back. Returns how long it took.
pub async fn try_relay(
    url: &str,
    credential: &Credential,
    within: Duration,
) -> Result<Duration, ProbeError> {
    let parsed = RelayUrl::parse(url);
    let url = parsed.ok_or_else(|| ProbeError::Unreachable("its URL is none".to_owned()))?;
    allocate(&url, credential, within).await
}

pub(crate) async fn allocate(
    url: &RelayUrl,
    credential: &Credential,
    within: Duration,
) -> Result<Duration, ProbeError> {
    let deadline = Instant::now() + within;
    let mut path = None;
    let mut signed = None;
    let time = timed(within, async {
        let first = allocated(path.insert(Path::open(url).await?), credential).await;
        signed = Some(match first {
            // Something is left there of who had our port before: RFC 8656 has us take another.
            Err(ProbeError::Refused { code: MISMATCH, .. }) => {
                allocated(path.insert(Path::open(url).await?), credential).await?
            }
            first => first?,
        });
        Ok(())
    });
    let time = time.await?;
    if let (Some(mut path), Some((key, challenge))) = (path, signed) {
        // It would run out by itself; that takes minutes.
        let release = |id| Request::release(id).signed(&credential.username, &challenge, &key);
        let _ = timeout_at(deadline, path.ask(REFRESH, release, Some(&key))).await;
    }
    Ok(time)
}

async fn allocated(
    path: &mut Path,
    credential: &Credential,
) -> Result<(Key, stun::Challenge), ProbeError> {
    let Credential { username, password } = credential;
    let mut known: Option<(Key, stun::Challenge)> = None;
    for _ in 0..CHALLENGES {
        let request = |id| match &known {
            None => Request::allocate(id),
            Some((key, challenge)) => Request::allocate(id).signed(username, challenge, key),
        };
        let key = known.as_ref().map(|(key, _)| key);
        match path.ask(ALLOCATE, request, key).await? {
            (Answer::Success, said) => {
                return known.filter(|_| said.relays).ok_or(ProbeError::Malformed);
            }
            (Answer::Failure { code, challenge: Some(challenge), .. }, _)
                if code == STALE_NONCE || (code == UNAUTHORIZED && known.is_none()) =>
            {
                known = Some((Key::new(username, &challenge.realm, password), challenge));
            }
            (Answer::Failure { code, reason, .. }, _) => {
                return Err(ProbeError::Refused { code, reason });
            }
        }
    }
    Err(ProbeError::Malformed)
}

async fn timed(
    within: Duration,
    work: impl Future<Output = Result<(), ProbeError>>,
) -> Result<Duration, ProbeError> {
    let begun = Instant::now();
    timeout(within, work).await.unwrap_or(Err(ProbeError::Silent))?;
    Ok(begun.elapsed())
}

/// What a success said.
struct Said {
    maps: bool,
    relays: bool,
}

/// A socket that leads to one relay.
enum Path {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Path {
    async fn open(url: &RelayUrl) -> Result<Self, ProbeError> {
        if url.secure {
            let why = "probes do not speak TLS: name a turn: URL of the same relay";
            return Err(ProbeError::Unreachable(why.to_owned()));
        }
        let mut addresses = lookup_host((url.host.as_str(), url.port)).await?;
        let address = addresses
            .next()
            .ok_or_else(|| ProbeError::Unreachable("its name has no address".to_owned()))?;
        if url.tcp {
            return Ok(Self::Tcp(TcpStream::connect(address).await?));
        }
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        // Connected, the system tells at once when nobody listens there.
        socket.connect(address).await?;
        Ok(Self::Udp(socket))
    }

    /// Sends a request until it is answered, by whoever knows `key`: without it a success of
    /// anybody counts. The caller sets the deadline.
    async fn ask(
        &mut self,
        method: u16,
        request: impl Fn([u8; 12]) -> Request,
        key: Option<&Key>,
    ) -> Result<(Answer, Said), ProbeError> {
        let transaction = *random_bytes::<12>();
        let request = request(transaction);
        let mut pause = REPEAT;
        self.send(request.bytes()).await?;
        loop {
            // TCP repeats by itself, and half an answer must not be given up.
            let patience = if matches!(self, Self::Udp(_)) { pause } else { Duration::MAX };
            let Ok(bytes) = timeout(patience, self.receive()).await else {
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
            return Ok((answer, Said { maps: response.maps(), relays: response.relays() }));
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(bytes).await.map(drop),
            Self::Tcp(stream) => stream.write_all(bytes).await,
        }
    }

    async fn receive(&mut self) -> Result<Vec<u8>, ProbeError> {
        let mut bytes = vec![0; MAX_BYTES];
        match self {
            Self::Udp(socket) => {
                let length = socket.recv(&mut bytes).await?;
                bytes.truncate(length);
            }
            Self::Tcp(stream) => {
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

impl Answered {
    /// Whether the relay did both, and if not, why.
    pub(crate) fn verdict(&self) -> Result<(), ProbeError> {
        self.binding.clone().and(self.allocate.clone()).map(drop)
    }
}

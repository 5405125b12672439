//! Asks a relay what a client asks it: for the address that it sees, and for an allocation.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::credential::Credential;
use crate::error::ProbeError;
use crate::probe_target::ProbeTarget;
use crate::relay_connection::RelayConnection;
use crate::stun::{ALLOCATE, Answer, BINDING, Challenge, Key, REFRESH, Request};

/// How often a probe answers a challenge: a nonce may be stale on its first use, and a relay that
/// challenges more often is at fault.
const CHALLENGES: usize = 3;

const UNAUTHORIZED: u16 = 401;
const MISMATCH: u16 = 437;
const STALE_NONCE: u16 = 438;

/// How a relay answered.
#[derive(Debug)]
pub struct ProbeTimings {
    /// From a STUN Binding request to its answer.
    pub binding: Result<Duration, ProbeError>,
    /// From the first request for an allocation to the allocation, the challenge between included.
    pub allocate: Result<Duration, ProbeError>,
}

/// Asks `target` for a binding, and then with `credential` for an allocation, which it gives back.
/// Each may take half of `within`.
pub(crate) async fn probe(
    target: &ProbeTarget,
    credential: &Credential,
    within: Duration,
) -> ProbeTimings {
    let binding = timed(within / 2, async {
        let mut connection = RelayConnection::open(target, None).await?;
        match connection
            .ask(BINDING, |transaction| Request::new(BINDING, transaction), None)
            .await?
        {
            (Answer::Success, addresses) if addresses.mapped => Ok(()),
            (Answer::Failure { code, reason, .. }, _) => Err(ProbeError::Refused { code, reason }),
            _ => Err(ProbeError::Malformed),
        }
    });
    // One after the other, as a client does it: a relay that is down is asked half as often.
    let binding = binding.await;
    let allocate = allocate(target, credential, None, within / 2).await;
    ProbeTimings { binding, allocate }
}

/// Asks the relay at `url` for an allocation, as a client does with a credential, and gives it back.
/// Returns how long the allocation took.
///
/// Clients that come one after the other want an address `from` of their own each: a relay knows an
/// address and port for some time after their allocation was given back, and would refuse whoever
/// is given the same port next.
///
/// # Errors
///
/// [`ProbeError::Unreachable`] for a URL that is none or inside TLS, [`ProbeError::TimedOut`] after
/// `within`, and what the relay refuses.
///
/// # Cancel safety
///
/// Dropping the future leaves the allocation to expire at the relay, within minutes.
pub async fn probe_relay(
    url: &str,
    credential: &Credential,
    from: IpAddr,
    within: Duration,
) -> Result<Duration, ProbeError> {
    let target = ProbeTarget::plain(url);
    let target =
        target.ok_or_else(|| ProbeError::Unreachable("its URL is no turn: URL".to_owned()))?;
    allocate(&target, credential, Some(from), within).await
}

pub(crate) async fn allocate(
    target: &ProbeTarget,
    credential: &Credential,
    from: Option<IpAddr>,
    within: Duration,
) -> Result<Duration, ProbeError> {
    let deadline = Instant::now() + within;
    let mut connection = None;
    let mut signed = None;
    let time = timed(within, async {
        let first =
            allocated(connection.insert(RelayConnection::open(target, from).await?), credential)
                .await;
        signed = Some(match first {
            // Something is left there of who had our port before: RFC 8656 has us take another.
            Err(ProbeError::Refused { code: MISMATCH, .. }) => {
                allocated(connection.insert(RelayConnection::open(target, from).await?), credential)
                    .await?
            }
            first => first?,
        });
        Ok(())
    });
    let time = time.await?;
    if let (Some(mut connection), Some((key, challenge))) = (connection, signed) {
        // It would run out by itself; that takes minutes.
        let release = |id| Request::release(id).signed(&credential.username, &challenge, &key);
        let _ = timeout_at(deadline, connection.ask(REFRESH, release, Some(&key))).await;
    }
    Ok(time)
}

async fn allocated(
    connection: &mut RelayConnection,
    credential: &Credential,
) -> Result<(Key, Challenge), ProbeError> {
    let Credential { username, password } = credential;
    let mut known: Option<(Key, Challenge)> = None;
    for _ in 0..CHALLENGES {
        let request = |id| match &known {
            None => Request::allocate(id),
            Some((key, challenge)) => Request::allocate(id).signed(username, challenge, key),
        };
        let key = known.as_ref().map(|(key, _)| key);
        match connection.ask(ALLOCATE, request, key).await? {
            (Answer::Success, addresses) => {
                return known.filter(|_| addresses.relayed).ok_or(ProbeError::Malformed);
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
    timeout(within, work).await.unwrap_or(Err(ProbeError::TimedOut))?;
    Ok(begun.elapsed())
}

impl ProbeTimings {
    /// Returns whether the relay answered both, and the first error otherwise.
    pub(crate) fn result(&self) -> Result<(), ProbeError> {
        self.binding.clone().and(self.allocate.clone()).map(drop)
    }
}

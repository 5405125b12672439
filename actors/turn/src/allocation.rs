//! Asks a relay at one address what a client would ask it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::credential::Credential;
use crate::error::ProbeError;
use crate::probe_target::ProbeTarget;
use crate::relay_connection::RelayConnection;
use crate::stun::{ALLOCATE, Answer, BINDING, Challenge, Key, REFRESH, Request};

/// A nonce may be stale on the first use; more often it is a fault.
const CHALLENGES: usize = 3;

const UNAUTHORIZED: u16 = 401;
const MISMATCH: u16 = 437;
const STALE_NONCE: u16 = 438;
const QUOTA_REACHED: u16 = 486;

/// Asks the relay at `address`, which is one of the target's, where we are seen. Returns how long
/// it took.
pub(crate) async fn bind_at(
    target: &ProbeTarget,
    address: SocketAddr,
    within: Duration,
) -> Result<Duration, ProbeError> {
    timed(within, bound(target, address)).await
}

async fn bound(target: &ProbeTarget, address: SocketAddr) -> Result<(), ProbeError> {
    let mut connection = RelayConnection::open(target, address, None).await?;
    let request = |transaction| Request::new(BINDING, transaction);
    match connection.ask(BINDING, request, None).await? {
        (Answer::Success, addresses) if addresses.mapped.is_some() => Ok(()),
        (Answer::Failure { code, reason, .. }, _) => Err(ProbeError::Refused { code, reason }),
        _ => Err(ProbeError::Malformed),
    }
}

/// Asks the relay at `address`, which is one of the target's, for an allocation, and gives it back.
/// Returns how long it took. A relay that has no more allocations for this user has accepted the
/// credential, which is what counts.
pub(crate) async fn allocate_at(
    target: &ProbeTarget,
    address: SocketAddr,
    credential: &Credential,
    from: Option<IpAddr>,
    within: Duration,
) -> Result<Duration, ProbeError> {
    let deadline = Instant::now() + within;
    let mut connection = None;
    let mut signed = None;
    let open = || RelayConnection::open(target, address, from);
    let time = timed(within, async {
        let first = allocated(connection.insert(open().await?), address, credential).await;
        let end = match first {
            // Something is left there of who had our port before: RFC 8656 has us take another.
            Err(ProbeError::Refused { code: MISMATCH, .. }) => {
                allocated(connection.insert(open().await?), address, credential).await
            }
            first => first,
        };
        match end {
            // It is said only to who has shown a good credential.
            Err(ProbeError::Refused { code: QUOTA_REACHED, .. }) => Ok(()),
            end => {
                signed = Some(end?);
                Ok(())
            }
        }
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
    relay: SocketAddr,
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
                let relayed = addresses.relayed.ok_or(ProbeError::Malformed)?;
                if !is_reachable(relayed, relay) {
                    return Err(ProbeError::Unroutable(relayed));
                }
                return known.ok_or(ProbeError::Malformed);
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

/// Whether anybody can send to what is relayed by the relay that we reach at `relay`. An address of
/// a private network may be the right one: the peers may be in it.
fn is_reachable(relayed: SocketAddr, relay: SocketAddr) -> bool {
    let (ip, relay) = (relayed.ip().to_canonical(), relay.ip().to_canonical());
    let is_link_local = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    relayed.port() != 0
        && !(ip.is_unspecified() || ip.is_multicast() || is_broadcast)
        // On one machine, or one wire, it is as good as any.
        && (!ip.is_loopback() || relay.is_loopback())
        && (!is_link_local(ip) || is_link_local(relay))
}

async fn timed(
    within: Duration,
    work: impl Future<Output = Result<(), ProbeError>>,
) -> Result<Duration, ProbeError> {
    let begun = Instant::now();
    timeout(within, work).await.unwrap_or(Err(ProbeError::TimedOut))?;
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_relayed_must_be_where_peers_can_send_to() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let abroad = address("203.0.113.9:3478");
        assert!(is_reachable(address("10.0.0.9:50000"), abroad));
        assert!(is_reachable(address("[2001:db8::9]:50000"), abroad));
        for relayed in ["127.0.0.1:50000", "[::1]:50000", "169.254.1.1:50000", "[fe80::1]:50000"] {
            assert!(!is_reachable(address(relayed), abroad), "{relayed}");
        }
        assert!(is_reachable(address("127.0.0.1:50000"), address("[::ffff:127.0.0.1]:3478")));
    }
}

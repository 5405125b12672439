//! Asks a relay what a client would ask it: where am I seen, and relay for me. Judges as a client
//! does, which tries every URL and every address of its name, and is served by any of them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::Config;
use crate::allocation::{allocate_at, bind_at};
use crate::credential::Credential;
use crate::error::{ProbeError, TurnError};
use crate::probe_target::{ProbeTarget, targets};

/// The relay sends its clients to another one.
const TRY_ALTERNATE: u16 = 300;

/// How a relay answered.
#[derive(Debug)]
pub struct ProbeTimings {
    /// From a STUN Binding request to its answer. For operators only: clients of a relay ask none,
    /// and some relays answer none.
    pub binding: Result<Duration, ProbeError>,
    /// From the first request for an allocation to the allocation, the challenge between included.
    pub allocate: Result<Duration, ProbeError>,
}

/// Asks `target` for a binding, and then with `credential` for an allocation, which is given back.
/// Each takes `within` at most.
pub(crate) async fn probe(
    target: &ProbeTarget,
    credential: &Credential,
    within: Duration,
) -> ProbeTimings {
    let bind = |address| bind_at(target, address, within);
    let binding = at_any_address(target, None, within, bind);
    // One after the other, as a client does it: a relay that is down is asked half as often.
    let binding = binding.await;
    let allocate = allocate(target, credential, None, within).await;
    ProbeTimings { binding, allocate }
}

/// Says whether a relay serves clients that come with `credential`: over some of its `targets`, and
/// without a wrong answer over any. A way that is blocked between us and the relay may be open
/// between it and its clients.
///
/// # Errors
///
/// The ways that fail.
pub(crate) async fn serves(
    targets: &[ProbeTarget],
    credential: &Credential,
    within: Duration,
) -> Result<(), Unfit> {
    let probes = targets.iter().map(async |target| {
        let end = match allocate(target, credential, None, within).await {
            // It is well, and sends its clients to another one.
            Err(ProbeError::Refused { code: TRY_ALTERNATE, .. }) => Ok(()),
            end => end.map(drop),
        };
        (target, end)
    });
    let ends = join_all(probes).await;
    let serves = ends.iter().any(|(_, end)| end.is_ok());
    let failures = ends.into_iter().filter_map(|(target, end)| Some((target, end.err()?)));
    let counted = failures.filter(|(_, why)| !serves || !why.is_about_the_way());
    let counted: Vec<_> = counted.collect();
    let told = counted.iter().map(|(target, why)| format!("over {}: {why}", target.name()));
    match counted.iter().map(|(_, why)| why.verdict()).min_by_key(|it| *it != "secret_refused") {
        None => Ok(()),
        Some(verdict) => Err(Unfit { cause: told.collect::<Vec<_>>().join("; "), verdict }),
    }
}

/// Why a relay does not serve clients.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Unfit {
    /// One sentence with the ways that fail.
    pub(crate) cause: String,
    /// What it is found to be, in one word. That it refuses our secret comes before all else:
    /// nobody but an operator can settle that.
    pub(crate) verdict: &'static str,
}

/// Asks the relays of `config` once where we are seen, which takes no credential: over each of
/// their URLs, for `within` at most. Returns their names, and how long each took.
///
/// # Errors
///
/// A URL or a file with authorities cannot be used.
pub async fn try_relays(config: &Config, within: Duration) -> Result<TriedRelays, TurnError> {
    let pools = config.all_pools();
    let targets = targets(&pools)?;
    let servers = pools.iter().zip(&targets).flat_map(|(pool, of)| pool.servers.iter().zip(of));
    let tried = servers.flat_map(|(server, of_server)| {
        of_server.iter().map(|target| async {
            let bind = |address| bind_at(target, address, within);
            let tried = at_any_address(target, None, within, bind).await;
            (format!("{} over {}", server.name(), target.name()), tried)
        })
    });
    Ok(join_all(tried).await)
}

/// What came of trying relays, by their names.
pub type TriedRelays = Vec<(String, Result<Duration, ProbeError>)>;

/// Does what a client does with a credential: asks the relay at `url` for an allocation, and gives
/// it back. Returns how long it took. Refuses a URL inside TLS.
///
/// Clients that come one after the other want an address `from` of their own each: a relay knows an
/// address and port for some time after their allocation was given back, and would refuse whoever
/// is given the same port next.
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

/// Asks for an allocation at every address of `target`, and returns how long the fastest took.
pub(crate) async fn allocate(
    target: &ProbeTarget,
    credential: &Credential,
    from: Option<IpAddr>,
    within: Duration,
) -> Result<Duration, ProbeError> {
    at_any_address(target, from, within, |address| {
        allocate_at(target, address, credential, from, within)
    })
    .await
}

/// Attempts something at all addresses of `target` beside each other; the best end counts.
async fn at_any_address<F>(
    target: &ProbeTarget,
    from: Option<IpAddr>,
    within: Duration,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<Duration, ProbeError>
where
    F: Future<Output = Result<Duration, ProbeError>>,
{
    let addresses = timeout(within, target.addresses()).await;
    let addresses = addresses.unwrap_or(Err(ProbeError::TimedOut))?;
    let fits = |address: &SocketAddr| from.is_none_or(|from| from.is_ipv4() == address.is_ipv4());
    let attempts = addresses.into_iter().filter(fits).map(attempt);
    best(join_all(attempts).await)
}

/// Returns the fastest success, or the failure that says most of the relay itself.
fn best(ends: Vec<Result<Duration, ProbeError>>) -> Result<Duration, ProbeError> {
    let (good, bad): (Vec<_>, Vec<_>) = ends.into_iter().partition(Result::is_ok);
    if let Some(fastest) = good.into_iter().flatten().min() {
        return Ok(fastest);
    }
    let worst = bad.into_iter().filter_map(Result::err).min_by_key(|error| match error {
        ProbeError::Unreachable(_) => 2,
        ProbeError::TimedOut => 1,
        _ => 0,
    });
    Err(worst.unwrap_or_else(|| ProbeError::Unreachable("no address of its family".to_owned())))
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::net::UdpSocket;

    use super::*;
    use crate::stun::{Key, Response, answers};

    const UNAUTHORIZED: u16 = 401;
    const QUOTA_REACHED: u16 = 486;
    const WITHIN: Duration = Duration::from_secs(2);

    fn run<T>(test: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().expect("a runtime").block_on(test)
    }

    fn credential() -> Credential {
        Credential { username: "1:probe".to_owned(), password: "secret".to_owned() }
    }

    fn udp(port: u16) -> ProbeTarget {
        ProbeTarget::plain(&format!("turn:127.0.0.1:{port}")).expect("a target")
    }

    /// Asks for a credential, then says `code`, or with 0 allocates `relayed`.
    async fn relay(socket: UdpSocket, code: u16, relayed: SocketAddr) {
        let key = Key::new("1:probe", "example.org", "secret");
        let mut bytes = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
            let request = Response::parse(&bytes[..length]).expect("a request");
            let method = u16::from_be_bytes([bytes[0], bytes[1]]);
            let transaction = bytes[8..20].try_into().expect("twelve");
            let answer = match (request.is_signed_with(&key), code) {
                (false, TRY_ALTERNATE) => answers::failure(method, transaction, code),
                (false, _) => answers::failure(method, transaction, UNAUTHORIZED),
                (true, 0) => answers::success(method, transaction, relayed, &key),
                (true, code) => answers::failure(method, transaction, code),
            };
            socket.send_to(&answer, from).await.expect("sent");
        }
    }

    /// What the probes of a relay over UDP make of it, and what a new secret would.
    async fn judged(code: u16, relayed: &str) -> (Result<(), Unfit>, Result<(), ProbeError>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let target = udp(socket.local_addr().expect("bound").port());
        let judge = async {
            let serves = serves(std::slice::from_ref(&target), &credential(), WITHIN).await;
            let accepts = allocate(&target, &credential(), None, WITHIN).await;
            (serves, accepts.map(drop))
        };
        tokio::select! {
            judged = judge => judged,
            () = relay(socket, code, relayed.parse().expect("an address")) => unreachable!(),
        }
    }

    #[test]
    fn what_a_healthy_relay_may_answer_is_no_failure() {
        run(async {
            let good = "127.0.0.1:50000";
            assert_eq!(judged(0, good).await, (Ok(()), Ok(())));
            assert_eq!(judged(QUOTA_REACHED, good).await, (Ok(()), Ok(())));
            let (serves, accepts) = judged(TRY_ALTERNATE, good).await;
            assert_eq!(serves, Ok(()));
            assert!(accepts.is_err(), "it has not seen the credential");
            for code in [400, 401, 403, 441, 500, 508] {
                let (serves, accepts) = judged(code, good).await;
                assert!(serves.is_err() && accepts.is_err(), "{code}");
            }
            let verdict = async |code| judged(code, good).await.0.expect_err("refused").verdict;
            assert_eq!((verdict(401).await, verdict(441).await), ("secret_refused", "refused"));
        });
    }

    #[test]
    fn an_address_that_nobody_reaches_is_no_success() {
        run(async {
            for relayed in ["0.0.0.0:50000", "[::]:50000", "224.0.0.1:50000", "127.0.0.1:0"] {
                let (serves, _) = judged(0, relayed).await;
                let why = serves.expect_err(relayed).cause;
                assert!(why.contains("nobody can reach it"), "{why}");
            }
        });
    }

    #[test]
    fn one_blocked_way_of_several_is_no_failure_and_a_wrong_answer_is() {
        run(async {
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
            let mute = UdpSocket::bind("127.0.0.1:0").await.expect("another");
            let port = |socket: &UdpSocket| socket.local_addr().expect("bound").port();
            let (good, mute_port) = (port(&socket), port(&mute));
            // Nobody listens for TCP there.
            let blocked = ProbeTarget::plain(&format!("turn:127.0.0.1:{good}?transport=tcp"));
            let blocked = blocked.expect("a target");
            let within = Duration::from_millis(300);
            let judge = async {
                let all = [blocked.clone(), udp(mute_port), udp(good)];
                assert_eq!(serves(&all, &credential(), within).await, Ok(()));
                let unfit = serves(&all[..2], &credential(), within).await;
                let why = unfit.expect_err("none left").cause;
                assert!(why.contains("over tcp: it cannot be reached"), "{why}");
                assert!(why.contains("over udp: it does not answer"), "{why}");
            };
            let refuses = UdpSocket::bind("127.0.0.1:0").await.expect("a third");
            let refusing = udp(port(&refuses));
            let address = "127.0.0.1:50000".parse().expect("an address");
            tokio::select! {
                () = judge => {}
                () = relay(socket, 0, address) => unreachable!(),
            }
            let judge = async {
                let unfit = serves(&[refusing], &credential(), WITHIN).await;
                let why = unfit.expect_err("refused").cause;
                assert!(why.contains("over udp: it refuses: 441"), "{why}");
            };
            tokio::select! {
                () = judge => {}
                () = relay(refuses, 441, address) => unreachable!(),
                () = pending() => {}
            }
        });
    }

    #[test]
    fn of_several_addresses_the_one_that_works_counts() {
        let (fast, slow) = (Duration::from_millis(1), Duration::from_millis(2));
        let unreachable = || Err(ProbeError::Unreachable("connection refused".to_owned()));
        assert_eq!(best(vec![unreachable(), Ok(slow), Ok(fast)]), Ok(fast));
        let told = best(vec![unreachable(), Err(ProbeError::Unsigned), Err(ProbeError::TimedOut)]);
        assert_eq!(told, Err(ProbeError::Unsigned));
        assert_eq!(best(vec![unreachable(), Err(ProbeError::TimedOut)]), Err(ProbeError::TimedOut));
    }
}

//! Who may connect: how many connections each address has, how many of them are in their handshake,
//! and how many full handshakes it may make.
//!
//! Whoever has sent no request yet is silent. Where there is no place left, the oldest silent
//! connection gives way, not the newcomer: silence costs its sender nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::rate_limit::RateLimiter;

/// Between two looks at whether connections are silent, at the end of a server.
const SILENCE_POLL: Duration = Duration::from_millis(5);

/// What addresses may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdmissionLimits {
    /// Connections of all addresses together.
    pub(crate) connections: usize,
    pub(crate) connections_per_address: usize,
    pub(crate) handshakes_per_address: usize,
    /// Full handshakes of one address on the average; ten times as many at once.
    pub(crate) full_handshakes_per_second: u32,
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Crowded {
    /// Its address has as many connections as it may have, and each of them is used.
    Address,
    /// So have all addresses together.
    Server,
}

/// The connections of a server; clones share it.
#[derive(Clone)]
pub(crate) struct AdmissionControl {
    limits: AdmissionLimits,
    full_handshakes: RateLimiter<IpAddr>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    open: usize,
    /// By number: the oldest first.
    silent: BTreeMap<u64, Silent>,
    hosts: HashMap<IpAddr, Host>,
    next: u64,
}

struct Silent {
    host: Option<IpAddr>,
    /// Ends the connection.
    give_way: Arc<Notify>,
}

#[derive(Default)]
struct Host {
    connections: usize,
    /// Those in their handshake, and all that are silent.
    handshakes: BTreeSet<u64>,
    silent: BTreeSet<u64>,
}

/// A connection that was admitted; it has its place until this is dropped.
pub(crate) struct Permit {
    control: AdmissionControl,
    number: u64,
    /// The address it counts for.
    host: Option<IpAddr>,
    give_way: Arc<Notify>,
}

impl AdmissionControl {
    pub(crate) fn new(limits: AdmissionLimits) -> Self {
        let full_handshakes = RateLimiter::per_second(limits.full_handshakes_per_second);
        Self { limits, full_handshakes, state: Arc::default() }
    }

    /// Takes a place among all connections.
    pub(crate) fn admit(&self) -> Result<Permit, Crowded> {
        let state = &mut *self.state.lock();
        if state.open >= self.limits.connections {
            let oldest = state.silent.keys().next().copied();
            state.end(oldest.ok_or(Crowded::Server)?);
        }
        let (number, give_way) = (state.next, Arc::<Notify>::default());
        state.next += 1;
        state.open += 1;
        state.silent.insert(number, Silent { host: None, give_way: Arc::clone(&give_way) });
        Ok(Permit { control: self.clone(), number, host: None, give_way })
    }

    /// Whether `address` has made as many full handshakes as it may for now. Those that resume cost
    /// next to nothing.
    pub(crate) fn has_exhausted_handshakes(&self, address: IpAddr, now: Instant) -> bool {
        !self.full_handshakes.has_room(&host(address), now)
    }

    /// Returns when no connection is open.
    pub(crate) async fn none_open(&self) {
        while self.state.lock().open > 0 {
            sleep(SILENCE_POLL).await;
        }
    }

    /// Returns when every connection has sent a request, or is gone, and has been so for `quiet`:
    /// one that was accepted is seen a moment later only, by the thread that serves it.
    pub(crate) async fn none_silent(&self, quiet: Duration) {
        let mut since = Instant::now();
        while since.elapsed() < quiet {
            sleep(SILENCE_POLL).await;
            if !self.state.lock().silent.is_empty() {
                since = Instant::now();
            }
        }
    }
}

impl State {
    /// Has the silent connection `number` give way.
    fn end(&mut self, number: u64) {
        let Some(Silent { host, give_way }) = self.silent.remove(&number) else { return };
        if let Some(host) = host.and_then(|host| self.hosts.get_mut(&host)) {
            host.silent.remove(&number);
            host.handshakes.remove(&number);
        }
        give_way.notify_one();
    }
}

impl Permit {
    /// Counts the connection for `address`, from which it came, and its handshake as begun.
    pub(crate) fn count_for(&mut self, address: IpAddr) -> Result<(), Crowded> {
        let limits = self.control.limits;
        let name = host(address);
        let state = &mut *self.control.state.lock();
        let of_host = state.hosts.entry(name).or_default();
        let too_many = of_host.connections >= limits.connections_per_address;
        let handshakes = of_host.handshakes.first().copied();
        let handshakes =
            handshakes.filter(|_| of_host.handshakes.len() >= limits.handshakes_per_address);
        let oldest = match (too_many, of_host.silent.first().copied()) {
            (true, None) => return Err(Crowded::Address),
            (true, oldest) => oldest,
            (false, _) => handshakes,
        };
        of_host.connections += 1;
        of_host.handshakes.insert(self.number);
        of_host.silent.insert(self.number);
        if let Some(silent) = state.silent.get_mut(&self.number) {
            silent.host = Some(name);
        }
        self.host = Some(name);
        if let Some(oldest) = oldest {
            state.end(oldest);
        }
        Ok(())
    }

    /// Notes that the handshake is over; one that was `full` counts.
    pub(crate) fn end_handshake(&self, full: bool, now: Instant) {
        let Some(name) = self.host else { return };
        if let Some(host) = self.control.state.lock().hosts.get_mut(&name) {
            host.handshakes.remove(&self.number);
        }
        if full {
            self.control.full_handshakes.charge(&name, now);
        }
    }

    /// Returns what notes that the connection has sent a request: it is silent no more.
    pub(crate) fn on_request(&self) -> impl Fn() + use<> {
        let (control, number, host) = (self.control.clone(), self.number, self.host);
        move || {
            let state = &mut *control.state.lock();
            state.silent.remove(&number);
            if let Some(host) = host.and_then(|host| state.hosts.get_mut(&host)) {
                host.silent.remove(&number);
            }
        }
    }

    /// Returns when the connection has to give way to another.
    pub(crate) async fn gives_way(&self) {
        self.give_way.notified().await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let state = &mut *self.control.state.lock();
        state.open -= 1;
        state.silent.remove(&self.number);
        let Some(name) = self.host else { return };
        if let Some(host) = state.hosts.get_mut(&name) {
            host.connections -= 1;
            host.handshakes.remove(&self.number);
            host.silent.remove(&self.number);
            if host.connections == 0 {
                state.hosts.remove(&name);
            }
        }
    }
}

/// Returns what counts as one address: of IPv6 the network, since one host has all of its 2^64.
pub(crate) fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const LIMITS: AdmissionLimits = AdmissionLimits {
        connections: 100,
        connections_per_address: 3,
        handshakes_per_address: 2,
        full_handshakes_per_second: 10,
    };

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn enter(control: &AdmissionControl, from: &str) -> Result<Permit, Crowded> {
        let mut permit = control.admit()?;
        permit.count_for(address(from))?;
        Ok(permit)
    }

    /// One that has sent a request.
    fn used(control: &AdmissionControl, from: &str) -> Permit {
        let permit = enter(control, from).expect("a place");
        permit.end_handshake(false, Instant::now());
        permit.on_request()();
        permit
    }

    fn must_go(permit: &Permit) -> bool {
        permit.gives_way().now_or_never().is_some()
    }

    #[test]
    fn an_address_has_its_number_of_connections_and_gets_places_back() {
        let control = AdmissionControl::new(LIMITS);
        let mut first = [(); 3].map(|()| Some(used(&control, "10.0.0.1")));
        assert!(matches!(enter(&control, "::ffff:10.0.0.1"), Err(Crowded::Address)));
        assert!(enter(&control, "10.0.0.2").is_ok(), "another address is not affected");
        first[0] = None;
        assert!(enter(&control, "10.0.0.1").is_ok());
        drop(first);
        let state = control.state.lock();
        assert!(state.hosts.is_empty() && state.silent.is_empty() && state.open == 0);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let limits = AdmissionLimits { connections_per_address: 1, ..LIMITS };
        let control = AdmissionControl::new(limits);
        let _first = used(&control, "2001:db8::1");
        assert!(enter(&control, "2001:db8::ffff:1").is_err());
        assert!(enter(&control, "2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn the_oldest_silent_connection_gives_way_to_a_newcomer_and_never_one_that_is_used() {
        let control = AdmissionControl::new(AdmissionLimits { connections: 3, ..LIMITS });
        let busy = used(&control, "10.0.0.1");
        let silent = enter(&control, "10.0.0.2").expect("a place");
        let younger = enter(&control, "10.0.0.3").expect("a place");
        let newcomer = enter(&control, "10.0.0.4").expect("the oldest gives way");
        assert!(must_go(&silent) && !must_go(&younger) && !must_go(&busy));
        drop(silent);
        younger.on_request()();
        newcomer.on_request()();
        assert!(matches!(enter(&control, "10.0.0.5"), Err(Crowded::Server)));
        assert!(!must_go(&busy) && !must_go(&younger));
    }

    #[test]
    fn an_address_at_its_handshakes_gives_up_its_own_oldest() {
        let control = AdmissionControl::new(LIMITS);
        let other = enter(&control, "10.0.0.9").expect("a place");
        let first = enter(&control, "10.0.0.1").expect("a place");
        let second = enter(&control, "10.0.0.1").expect("a place");
        let third = enter(&control, "10.0.0.1").expect("a place");
        assert!(must_go(&first) && !must_go(&second) && !must_go(&other));
        // It may keep more connections than handshakes.
        second.end_handshake(true, Instant::now());
        drop(first);
        let _fourth = enter(&control, "10.0.0.1").expect("a place");
        assert!(!must_go(&second) && !must_go(&third));
        let _fifth = enter(&control, "10.0.0.1").expect("a place");
        assert!(must_go(&second), "the oldest that is silent");
    }

    #[test]
    fn full_handshakes_of_an_address_are_bounded_and_those_that_resume_are_free() {
        let (control, now) = (AdmissionControl::new(LIMITS), Instant::now());
        let from = address("10.0.0.1");
        let permit = enter(&control, "10.0.0.1").expect("a place");
        for _ in 0..100 {
            assert!(!control.has_exhausted_handshakes(from, now));
            permit.end_handshake(true, now);
            permit.end_handshake(false, now);
        }
        assert!(control.has_exhausted_handshakes(from, now));
        assert!(!control.has_exhausted_handshakes(address("10.0.0.2"), now));
        drop(permit);
        assert!(control.has_exhausted_handshakes(from, now), "it has not left for good");
        assert!(!control.has_exhausted_handshakes(from, now + Duration::from_millis(101)));
    }
}

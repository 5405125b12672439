//! How many connections one address may have.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The open connections of all addresses; clones share it.
#[derive(Clone)]
pub struct ConnectionLimiter {
    limit: usize,
    trusted: Arc<[IpAddr]>,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One open connection; counted until dropped.
pub(crate) struct ConnectionPermit {
    /// Whether its address had fewer connections than it may have.
    pub(crate) allowed: bool,
    counted: Option<(ConnectionLimiter, IpAddr)>,
}

impl ConnectionLimiter {
    /// Allows each address `limit` connections, those of `trusted` any number.
    pub fn new(limit: usize, trusted: &[IpAddr]) -> Self {
        let trusted = trusted.iter().map(IpAddr::to_canonical).collect();
        Self { limit, trusted, open: Arc::default() }
    }

    /// Counts a connection from `address`, whether it is allowed or not.
    pub(crate) fn register(&self, address: IpAddr) -> ConnectionPermit {
        if self.trusted.contains(&address.to_canonical()) {
            return ConnectionPermit { allowed: true, counted: None };
        }
        let host = host(address);
        let mut open = self.open.lock();
        let count = open.entry(host).or_insert(0);
        *count += 1;
        ConnectionPermit { allowed: *count <= self.limit, counted: Some((self.clone(), host)) }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let Some((limiter, host)) = &self.counted else { return };
        let mut open = limiter.open.lock();
        if let Some(count) = open.get_mut(host) {
            *count -= 1;
            if *count == 0 {
                open.remove(host);
            }
        }
    }
}

/// Returns what counts as one address: of IPv6 the network, since one host has all of its 2^64.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_its_number_of_connections_and_gets_places_back() {
        let limiter = ConnectionLimiter::new(2, &[]);
        let (first, second) =
            (limiter.register(address("10.0.0.1")), limiter.register(address("10.0.0.1")));
        assert!(first.allowed && second.allowed);
        assert!(!limiter.register(address("10.0.0.1")).allowed);
        assert!(limiter.register(address("10.0.0.2")).allowed, "another address is not affected");
        drop(first);
        assert!(limiter.register(address("::ffff:10.0.0.1")).allowed, "however it is written");
        drop(second);
        assert!(limiter.open.lock().is_empty(), "nobody is remembered who has left");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let limiter = ConnectionLimiter::new(1, &[]);
        let _first = limiter.register(address("2001:db8::1"));
        assert!(!limiter.register(address("2001:db8::ffff:1")).allowed);
        assert!(limiter.register(address("2001:db8:0:1::1")).allowed);
    }

    #[test]
    fn a_trusted_proxy_has_as_many_as_it_likes() {
        let limiter = ConnectionLimiter::new(1, &[address("10.0.0.1")]);
        let permits: Vec<_> = (0..5).map(|_| limiter.register(address("10.0.0.1"))).collect();
        assert!(permits.iter().all(|permit| permit.allowed));
    }
}

//! How many connections one address may have.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The open connections of all addresses; clones share it.
#[derive(Clone)]
pub(crate) struct Crowd {
    limit: usize,
    trusted: Arc<[IpAddr]>,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One open connection; counted until dropped.
pub(crate) struct Place {
    /// Whether its address had fewer connections than it may have.
    pub(crate) fits: bool,
    counted: Option<(Crowd, IpAddr)>,
}

impl Crowd {
    /// Allows each address `limit` connections, those of `trusted` any number.
    pub(crate) fn new(limit: usize, trusted: &[IpAddr]) -> Self {
        let trusted = trusted.iter().map(IpAddr::to_canonical).collect();
        Self { limit, trusted, open: Arc::default() }
    }

    /// Counts a connection from `address`, whether it fits or not.
    pub(crate) fn enter(&self, address: IpAddr) -> Place {
        if self.trusted.contains(&address.to_canonical()) {
            return Place { fits: true, counted: None };
        }
        let host = host(address);
        let mut open = self.open();
        let count = open.entry(host).or_insert(0);
        *count += 1;
        Place { fits: *count <= self.limit, counted: Some((self.clone(), host)) }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((crowd, host)) = &self.counted else { return };
        let mut open = crowd.open();
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
        let crowd = Crowd::new(2, &[]);
        let (first, second) = (crowd.enter(address("10.0.0.1")), crowd.enter(address("10.0.0.1")));
        assert!(first.fits && second.fits);
        assert!(!crowd.enter(address("10.0.0.1")).fits);
        assert!(crowd.enter(address("10.0.0.2")).fits, "another address is not affected");
        drop(first);
        assert!(crowd.enter(address("::ffff:10.0.0.1")).fits, "however it is written");
        drop(second);
        assert!(crowd.open().is_empty(), "nobody is remembered who has left");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let crowd = Crowd::new(1, &[]);
        let _first = crowd.enter(address("2001:db8::1"));
        assert!(!crowd.enter(address("2001:db8::ffff:1")).fits);
        assert!(crowd.enter(address("2001:db8:0:1::1")).fits);
    }

    #[test]
    fn a_trusted_proxy_has_as_many_as_it_likes() {
        let crowd = Crowd::new(1, &[address("10.0.0.1")]);
        let places: Vec<_> = (0..5).map(|_| crowd.enter(address("10.0.0.1"))).collect();
        assert!(places.iter().all(|place| place.fits));
    }
}

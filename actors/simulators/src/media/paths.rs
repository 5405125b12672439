//! By which ways media may come and go.

use std::net::IpAddr;

use stream_protocol::IceServer;

/// Whether media goes through a TURN relay of one's own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Relaying {
    /// It goes straight to the other side, which may have a relay.
    #[default]
    Never,
    /// The other side may choose; without a relay it cannot.
    Also,
    /// In no other way.
    Only,
}

/// Where the other side may send to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    /// An address of this machine, beside the loopback.
    pub(crate) address: Option<IpAddr>,
    pub(crate) relaying: Relaying,
    /// The relays, with credentials.
    pub(crate) servers: Vec<IceServer>,
}

impl Paths {
    /// The addresses of this machine where media is taken directly.
    pub(super) fn hosts(&self, loopback: IpAddr) -> Vec<IpAddr> {
        match self.relaying {
            Relaying::Only => Vec::new(),
            Relaying::Never | Relaying::Also => {
                let other = self.address.filter(|address| *address != loopback);
                [loopback].into_iter().chain(other).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_relay_alone_leaves_no_address_of_this_machine() {
        let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
        let address: IpAddr = "192.0.2.7".parse().expect("an address");
        let paths = |relaying, address| Paths { address, relaying, servers: Vec::new() };
        assert_eq!(paths(Relaying::Never, None).hosts(loopback), [loopback]);
        assert_eq!(paths(Relaying::Never, Some(loopback)).hosts(loopback), [loopback]);
        assert_eq!(paths(Relaying::Also, Some(address)).hosts(loopback), [loopback, address]);
        assert!(paths(Relaying::Only, Some(address)).hosts(loopback).is_empty());
    }
}

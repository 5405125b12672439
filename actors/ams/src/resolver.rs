//! Looks up the addresses of AMS, and puts one first that answers.
//!
//! The client of HTTP tries the addresses of one family in line, and each that is mute costs its
//! part of the timeout. Here they are tried beside each other.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use stream_supervisor::race;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// How long all addresses have to answer. After that their order stays.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The resolver of a client that talks with one port only.
pub(crate) struct Resolver {
    pub(crate) port: u16,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let port = self.port;
        Box::pin(async move {
            let found = lookup_host((name.as_str(), port)).await?.collect();
            Ok(Box::new(answering_first(found).await.into_iter()) as Addrs)
        })
    }
}

/// Moves an address to the front that takes a connection. One alone is not tried.
async fn answering_first(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if addresses.len() < 2 {
        return addresses;
    }
    let connect = async |address| TcpStream::connect(address).await.map(|_| address);
    let first = race(addresses.clone(), connect);
    if let Ok(Ok(first)) = timeout(ANSWER_TIMEOUT, first).await {
        addresses.sort_by_key(|address| *address != first);
    }
    addresses
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_address_that_answers_comes_first_and_none_is_left_out() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let good = listener.local_addr().expect("bound");
        // Nobody listens on port 1, in either family.
        let [one, other] = ["[::1]:1", "127.0.0.1:1"].map(|text| text.parse().expect("an address"));
        assert_eq!(answering_first(vec![one, other, good]).await, [good, one, other]);
        assert_eq!(answering_first(vec![one, other]).await, [one, other], "none answers");
        assert_eq!(answering_first(vec![one]).await, [one]);
    }
}

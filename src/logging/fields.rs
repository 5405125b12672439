//! The fields of a line: its own, and the request that it is about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use log::kv::{Error, Key, Source, Value, VisitSource};
use stream_supervisor::RequestId;

use super::Addresses;

/// The field that names the request.
const REQUEST: &str = "request";

/// The field that has the address of a client.
const CLIENT: &str = "client";

/// How many bits are left of a client's address.
const V4_BITS: u32 = 24;
const V6_BITS: u32 = 48;

/// The fields of a line.
pub(super) struct Fields<'a> {
    own: &'a dyn Source,
    /// The request that the line is about, unless it says so itself.
    request: Option<RequestId>,
    /// What is written in place of the address of a client.
    client: Option<String>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(
        own: &'a dyn Source,
        request: Option<RequestId>,
        addresses: Addresses,
    ) -> Self {
        let request = request.filter(|_| own.get(Key::from_str(REQUEST)).is_none());
        let client = match addresses {
            Addresses::Full => None,
            Addresses::Network => own.get(Key::from_str(CLIENT)),
        };
        let client = client.and_then(|client| client.to_string().parse().ok()).map(network);
        Self { own, request, client }
    }
}

impl Source for Fields<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), Error> {
        self.own.visit(&mut Shorten { visitor, client: self.client.as_deref() })?;
        match &self.request {
            Some(id) => visitor.visit_pair(Key::from_str(REQUEST), Value::from(id.as_str())),
            None => Ok(()),
        }
    }
}

/// Hands on all fields, and in place of a client's address what is to be written.
struct Shorten<'a, 'kvs> {
    visitor: &'a mut dyn VisitSource<'kvs>,
    client: Option<&'kvs str>,
}

impl<'kvs> VisitSource<'kvs> for Shorten<'_, 'kvs> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        match self.client.filter(|_| key.as_str() == CLIENT) {
            Some(client) => self.visitor.visit_pair(key, Value::from(client)),
            None => self.visitor.visit_pair(key, value),
        }
    }
}

/// Returns the network that `address` belongs to.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let network = Ipv4Addr::from(u32::from(v4) & (u32::MAX << (u32::BITS - V4_BITS)));
            format!("{network}/{V4_BITS}")
        }
        IpAddr::V6(v6) => {
            let network = Ipv6Addr::from(u128::from(v6) & (u128::MAX << (u128::BITS - V6_BITS)));
            format!("{network}/{V6_BITS}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(own: &[(&str, &str)], request: Option<RequestId>, addresses: Addresses) -> String {
        struct Text(String);

        impl<'kvs> VisitSource<'kvs> for Text {
            fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
                self.0.push_str(&format!("{key}={value} "));
                Ok(())
            }
        }

        let mut text = Text(String::new());
        Fields::new(&own, request, addresses).visit(&mut text).expect("it takes all");
        text.0.trim_end().to_owned()
    }

    #[test]
    fn a_line_names_its_request_once() {
        let request = RequestId::of_sender(Some("r1"), None);
        let named = |own: &[(&str, &str)]| fields(own, request.clone(), Addresses::Network);
        assert_eq!(named(&[("session", "s")]), "session=s request=r1");
        assert_eq!(named(&[("request", "r2")]), "request=r2");
        assert_eq!(fields(&[("session", "s")], None, Addresses::Network), "session=s");
    }

    #[test]
    fn of_a_clients_address_the_network_is_written() {
        let client =
            |text: &str, addresses| fields(&[("client", text), ("a", text)], None, addresses);
        for (text, network) in [
            ("192.0.2.129", "192.0.2.0/24"),
            ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
            ("::ffff:192.0.2.129", "192.0.2.0/24"),
            ("", ""),
            ("client 7", "client 7"),
        ] {
            assert_eq!(client(text, Addresses::Network), format!("client={network} a={text}"));
            assert_eq!(client(text, Addresses::Full), format!("client={text} a={text}"));
        }
    }
}

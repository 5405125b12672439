//! The address of the client that a request came from, which a trusted proxy may tell.

use std::net::IpAddr;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::HeaderMap;
use actix_web::{HttpMessage, HttpRequest};

use crate::connection::ClientAddress;
use crate::limits::HttpConfig;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Returns the address of the client of `request`, for limits and logs.
pub fn client_address(request: &HttpRequest) -> Option<IpAddr> {
    request.extensions().get::<ClientAddress>().map(|client| client.0)
}

/// Notes the address of the client at its request, and returns it.
pub(crate) fn note(request: &ServiceRequest, http: &HttpConfig) -> Option<IpAddr> {
    let ClientAddress(peer) = *request.conn_data::<ClientAddress>()?;
    let client = forwarded(peer, request.headers(), http);
    request.extensions_mut().insert(ClientAddress(client));
    Some(client)
}

/// Returns the last address that the proxies on the way name and that is not one of them.
pub(crate) fn forwarded(peer: IpAddr, headers: &HeaderMap, http: &HttpConfig) -> IpAddr {
    if http.proxy_protocol || !http.trusts(peer) {
        return peer;
    }
    let values: Vec<_> = headers.get_all(X_FORWARDED_FOR).filter_map(|v| v.to_str().ok()).collect();
    let mut nearest = peer;
    for text in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        // Whatever stands before what is no address, nobody vouches for.
        let Ok(address) = text.trim().parse::<IpAddr>() else { return nearest };
        nearest = address.to_canonical();
        if !http.trusts(nearest) {
            return nearest;
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn client(peer: &str, forwarded_for: &[&str]) -> String {
        let http: HttpConfig = toml::from_str(r#"trusted_proxies = ["10.0.0.0/8"]"#).unwrap();
        let mut request = TestRequest::default();
        for value in forwarded_for {
            request = request.append_header((X_FORWARDED_FOR, *value));
        }
        let headers = request.to_http_request().headers().clone();
        forwarded(peer.parse().unwrap(), &headers, &http).to_string()
    }

    #[test]
    fn a_trusted_proxy_is_believed_about_its_client_and_nobody_else_is() {
        assert_eq!(client("10.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("198.51.100.1", &["192.0.2.1"]), "198.51.100.1", "it says so itself");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        // The client wrote the first of them.
        assert_eq!(client("10.0.0.1", &["203.0.113.9, 192.0.2.1, 10.0.0.2"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.9", "192.0.2.1", "10.0.0.2"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["192.0.2.1, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &["::ffff:192.0.2.1"]), "192.0.2.1");
    }
}

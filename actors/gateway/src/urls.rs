//! The URLs that answers name: those of the client's socket and of the page.

use actix_web::HttpRequest;
use actix_web::http::header::HOST;
use actix_web::http::uri::Authority;
use stream_protocol::Refusal;

use crate::error::{GatewayError, bad_request};

/// What URLs of the gateway begin with: the configured public address, or else the host that a
/// request names.
#[derive(Clone, Debug)]
pub(crate) struct Urls {
    public_socket_base: Option<String>,
}

impl Urls {
    /// Reads the configured `public_url`.
    ///
    /// # Errors
    ///
    /// Refuses a URL that is not HTTPS or has more than host, port and path.
    pub(crate) fn new(public_url: Option<&str>) -> Result<Self, GatewayError> {
        Ok(Self { public_socket_base: public_url.map(socket_base).transpose()? })
    }

    /// Returns what the socket URLs in the answer to `request` begin with.
    pub(crate) fn socket_base(&self, request: &HttpRequest) -> Result<String, Refusal> {
        match &self.public_socket_base {
            Some(base) => Ok(base.clone()),
            None => Ok(format!("wss://{}", host(request)?)),
        }
    }

    /// Returns the host of the public address, if one is configured.
    pub(crate) fn public_host(&self) -> Option<String> {
        let address = self.public_socket_base.as_deref()?.strip_prefix("wss://")?;
        let authority: Authority = address.split('/').next()?.parse().ok()?;
        Some(authority.host().trim_matches(['[', ']']).to_owned())
    }

    /// Returns what the URL of the page begins with, in the answer to `request`.
    pub(crate) fn page_base(&self, request: &HttpRequest) -> Result<String, Refusal> {
        Ok(page_base(&self.socket_base(request)?))
    }

    /// Returns what the URL of the page begins with, if a public address is configured.
    pub(crate) fn public_page_base(&self) -> Option<String> {
        self.public_socket_base.as_deref().map(page_base)
    }
}

/// Returns the host as the client wrote it. What a proxy says about it counts only when the
/// operator says so with `public_url`.
fn host(request: &HttpRequest) -> Result<Authority, Refusal> {
    let header = request.headers().get(HOST).map(|value| value.as_bytes());
    let named = match header {
        Some(bytes) => Authority::try_from(bytes).ok(),
        None => request.uri().authority().cloned(),
    };
    named
        .filter(|host| !host.as_str().contains('@'))
        .ok_or_else(|| bad_request("the request names no host"))
}

fn socket_base(public_url: &str) -> Result<String, GatewayError> {
    let address = public_url.strip_prefix("https://").or(public_url.strip_prefix("wss://"));
    match address.map(|address| address.trim_end_matches('/')) {
        Some(address) if !address.is_empty() && !address.contains(['?', '#', ' ', '@']) => {
            Ok(format!("wss://{address}"))
        }
        _ => Err(GatewayError::Config(
            "gateway: public_url is an address such as https://stream.example.com".to_owned(),
        )),
    }
}

fn page_base(socket_base: &str) -> String {
    socket_base.replacen("wss://", "https://", 1)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_public_address_becomes_a_socket_address() {
        assert_eq!(socket_base("https://a.example:4000/").unwrap(), "wss://a.example:4000");
        assert_eq!(socket_base("https://a.example/stream").unwrap(), "wss://a.example/stream");
        for wrong in ["", "a.example", "http://a.example", "https://", "https://a.example/?x=1"] {
            assert!(socket_base(wrong).is_err(), "{wrong} passed");
        }
    }

    #[test]
    fn the_public_address_names_a_host() {
        let host = |url| Urls::new(Some(url)).expect("a URL").public_host();
        assert_eq!(host("https://a.example:4000/stream").as_deref(), Some("a.example"));
        assert_eq!(host("https://[2001:db8::1]:4000").as_deref(), Some("2001:db8::1"));
        assert_eq!(Urls::new(None).expect("none").public_host(), None);
    }

    #[test]
    fn without_one_the_client_is_sent_where_it_came_from() {
        let named = |host: &'static str| {
            host_text(&TestRequest::default().insert_header((HOST, host)).to_http_request())
        };
        assert_eq!(named("localhost:4000").as_deref(), Some("localhost:4000"));
        assert_eq!(named("evil.example/path?"), None);
        assert_eq!(named("user@evil.example"), None);
        assert_eq!(named(""), None);
    }

    fn host_text(request: &HttpRequest) -> Option<String> {
        host(request).ok().map(|host| host.to_string())
    }
}

//! URLs of relays and STUN servers, as browsers take them. Pure.

/// The address of a relay: `turn:host[:port][?transport=udp|tcp]`, or `turns:`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RelayUrl {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether the transport is TCP rather than UDP.
    pub(crate) tcp: bool,
    /// Whether TLS is around it, over TCP.
    pub(crate) secure: bool,
}

impl RelayUrl {
    /// Reads a URL of RFC 7065; returns `None` for one that a browser throws at.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let (secure, rest) = match url.strip_prefix("turns:") {
            Some(rest) => (true, rest),
            None => (false, url.strip_prefix("turn:")?),
        };
        let (place, tcp) = match rest.split_once('?') {
            None => (rest, secure),
            Some((place, "transport=udp")) => (place, false),
            Some((place, "transport=tcp")) => (place, true),
            Some(_) => return None,
        };
        let (host, port) = host_and_port(place, if secure { 5349 } else { 3478 })?;
        Some(Self { host, port, tcp, secure })
    }
}

/// Returns where the relay of `url` answers STUN over UDP, as relays do without a credential
/// (RFC 8656, section 3); `None` if that is not where it relays.
pub(crate) fn stun_of(url: &str) -> Option<String> {
    let RelayUrl { tcp: false, secure: false, .. } = RelayUrl::parse(url)? else {
        return None;
    };
    let place = url.strip_prefix("turn:")?.split('?').next()?;
    Some(format!("stun:{place}"))
}

/// Returns whether `url` is `stun:host[:port]` or `stuns:host[:port]`, RFC 7064.
pub(crate) fn is_stun(url: &str) -> bool {
    let rest = url.strip_prefix("stun:").or_else(|| url.strip_prefix("stuns:"));
    rest.is_some_and(|place| host_and_port(place, 3478).is_some())
}

fn host_and_port(place: &str, default: u16) -> Option<(String, u16)> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(named) {
        return None;
    }
    let port = match rest {
        "" => default,
        rest => rest.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?,
    };
    Some((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Option<(String, u16, bool, bool)> {
        RelayUrl::parse(url).map(|url| (url.host, url.port, url.tcp, url.secure))
    }

    #[test]
    fn what_is_left_out_has_the_default_of_its_scheme() {
        assert_eq!(parsed("turn:a.b"), Some(("a.b".into(), 3478, false, false)));
        assert_eq!(parsed("turns:a"), Some(("a".into(), 5349, true, true)));
        assert_eq!(parsed("turn:a:1?transport=tcp"), Some(("a".into(), 1, true, false)));
        assert_eq!(parsed("turn:[::1]:9"), Some(("::1".into(), 9, false, false)));
    }

    #[test]
    fn a_relay_answers_stun_where_it_takes_datagrams() {
        assert_eq!(stun_of("turn:[::1]:9?transport=udp").as_deref(), Some("stun:[::1]:9"));
        assert_eq!(stun_of("turn:a").as_deref(), Some("stun:a"));
        for url in ["turns:a", "turn:a?transport=tcp", "stun:a", "turn:"] {
            assert_eq!(stun_of(url), None, "{url}");
        }
    }

    #[test]
    fn what_browsers_throw_at_is_refused() {
        for url in [
            "turn:",
            "turn::1",
            "turn:a b",
            "turn:a:0",
            "turn:a:65536",
            "turn:a?transport=sctp",
            "turn:a?transport=udp&x",
            "turn://a",
            "turn:[::1",
            "turn:[a]",
            "turn:user@a",
            "stun:a",
            "https://a",
            "",
        ] {
            assert_eq!(parsed(url), None, "{url} passed");
        }
        assert!(is_stun("stun:a:1") && is_stun("stuns:a") && is_stun("stun:[::1]"));
        assert!(!is_stun("stun:") && !is_stun("turn:a") && !is_stun("stun:a?transport=udp"));
    }
}

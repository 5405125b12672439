//! The `Authorization` header of both services: `Macaroon root=TOKEN`.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};

use crate::error::HttpError;

/// The longest token that is looked at, in bytes. No valid one is longer.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Returns the token of a request's `headers`, or `None` when there is no `Authorization` header.
///
/// # Errors
///
/// [`HttpError::Unauthorized`] when the header holds no token, and when there are two headers:
/// which one counts would be a guess, and a proxy in between may guess otherwise.
pub fn authorization(headers: &HeaderMap) -> Result<Option<&str>, HttpError> {
    let mut values = headers.get_all(AUTHORIZATION);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let token = value.to_str().ok().and_then(parse_authorization);
            token.map(Some).ok_or(HttpError::Unauthorized)
        }
        (Some(_), Some(_)) => Err(HttpError::Unauthorized),
    }
}

/// Reads `Macaroon root=TOKEN`. The scheme may be written in any case, the token quoted or bare;
/// anything else is `None`, also a token of more than [`MAX_TOKEN_BYTES`].
///
/// ```
/// use stream_http::parse_authorization;
///
/// assert_eq!(parse_authorization("Macaroon root=AgEX-_"), Some("AgEX-_"));
/// assert_eq!(parse_authorization("macaroon root=\"AgEX-_\""), Some("AgEX-_"));
/// assert_eq!(parse_authorization("Macaroon root=\"AgEX-_"), None);
/// assert_eq!(parse_authorization("Bearer AgEX-_"), None);
/// ```
pub fn parse_authorization(value: &str) -> Option<&str> {
    let (scheme, rest) = value.trim().split_once(' ')?;
    let token = rest.trim().strip_prefix("root=")?;
    let token = match token.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => token,
    };
    let has_token_length = (1..=MAX_TOKEN_BYTES).contains(&token.len());
    (scheme.eq_ignore_ascii_case("macaroon") && has_token_length).then_some(token)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_token_is_read_in_every_spelling_that_clients_use() {
        for header in [
            "Macaroon root=AgEX-_",
            "macaroon root=AgEX-_",
            "MACAROON  root=AgEX-_ ",
            "Macaroon root=\"AgEX-_\"",
        ] {
            assert_eq!(parse_authorization(header), Some("AgEX-_"), "{header}");
        }
    }

    #[test]
    fn what_holds_no_token_is_refused() {
        let long = format!("Macaroon root={}", "a".repeat(MAX_TOKEN_BYTES + 1));
        for header in [
            "",
            "abc",
            "Macaroon",
            "Macaroon root=",
            "Macaroonroot=a",
            "Macaroon root=\"\"",
            "Macaroon root=\"AgEX",
            "Macaroon AgEX",
            "Bearer root=AgEX",
            "root=AgEX",
            &long,
        ] {
            assert_eq!(parse_authorization(header), None, "{header}");
        }
    }

    #[test]
    fn two_tokens_are_none() {
        let one = ("Authorization", "Macaroon root=a");
        let read = |request: TestRequest| {
            let request = request.to_http_request();
            authorization(request.headers()).map(|token| token.map(str::to_owned))
        };
        let token = read(TestRequest::default().insert_header(one));
        assert_eq!(token.expect("a token").as_deref(), Some("a"));
        assert!(read(TestRequest::default().append_header(one).append_header(one)).is_err());
        assert!(read(TestRequest::default().insert_header(("Authorization", "Basic a"))).is_err());
        assert_eq!(read(TestRequest::default()).expect("nothing wrong"), None);
    }
}

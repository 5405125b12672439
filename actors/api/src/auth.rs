//! Who asks: the token in a request, and whether it opens what is asked for.

use std::time::Instant;

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::Data;
use stream_protocol::{Op, SessionId};
use stream_tokens::{Claims, Tokens};

use crate::error::ApiError;
use crate::rate_limit::RateLimiter;

/// Longer than any token can be, in bytes; the rest is for `tokens` to check.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Checks that the token of `request` allows `op` on the session in its path, and returns both.
/// That there may be no such session is told only to those who could see it.
pub(crate) async fn session(
    request: &HttpRequest,
    tokens: &Tokens,
    op: Op,
) -> Result<(SessionId, Claims), ApiError> {
    let id = request.match_info().get("id").and_then(|id| id.parse::<SessionId>().ok());
    let claims = authorize(request, tokens, op, id.as_ref()).await?;
    Ok((id.ok_or_else(ApiError::no_such_session)?, claims))
}

/// Checks that the token of `request` allows `op`, which belongs to no session.
pub(crate) async fn plain(
    request: &HttpRequest,
    tokens: &Tokens,
    op: Op,
) -> Result<Claims, ApiError> {
    authorize(request, tokens, op, None).await
}

/// Checks the token, and that it is not used too often: all that is derived from one counts
/// together.
async fn authorize(
    request: &HttpRequest,
    tokens: &Tokens,
    op: Op,
    session: Option<&SessionId>,
) -> Result<Claims, ApiError> {
    let claims = tokens.verify(token(request)?, op, session).await?;
    match request.app_data::<Data<RateLimiter>>() {
        Some(rate_limiter) if !rate_limiter.check(&claims.id, Instant::now()) => {
            Err(ApiError::RateLimited)
        }
        _ => Ok(claims),
    }
}

/// Returns the token of `request`. Two of them are none: which one counts would be a guess.
fn token(request: &HttpRequest) -> Result<&str, ApiError> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    match (headers.next(), headers.next()) {
        (Some(header), None) => header.to_str().ok().and_then(parse).ok_or(ApiError::Unauthorized),
        _ => Err(ApiError::Unauthorized),
    }
}

/// Reads `Macaroon root=TOKEN`: the scheme in any case, the token quoted or not.
fn parse(header: &str) -> Option<&str> {
    let (scheme, rest) = header.trim().split_once(' ')?;
    let token = rest.trim().strip_prefix("root=")?;
    let token = match token.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => token,
    };
    let fits = (1..=MAX_TOKEN_BYTES).contains(&token.len());
    (scheme.eq_ignore_ascii_case("macaroon") && fits).then_some(token)
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
            assert_eq!(parse(header), Some("AgEX-_"), "{header}");
        }
    }

    #[test]
    fn what_holds_no_token_is_refused() {
        let long = format!("Macaroon root={}", "a".repeat(MAX_TOKEN_BYTES + 1));
        for header in [
            "",
            "Macaroon",
            "Macaroon root=",
            "Macaroon root=\"\"",
            "Macaroon root=\"AgEX",
            "Macaroon AgEX",
            "Bearer root=AgEX",
            "root=AgEX",
            &long,
        ] {
            assert_eq!(parse(header), None, "{header}");
        }
    }

    #[test]
    fn two_tokens_are_none() {
        let one = ("Authorization", "Macaroon root=a");
        let request = TestRequest::default().insert_header(one).to_http_request();
        assert_eq!(token(&request).expect("a token"), "a");
        let request = TestRequest::default().append_header(one).append_header(one);
        assert!(token(&request.to_http_request()).is_err());
        assert!(token(&TestRequest::default().to_http_request()).is_err());
    }
}

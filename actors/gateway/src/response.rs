//! How the refusals of the domain become HTTP responses, and how bodies are read.

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use stream_http::read_body;
use stream_tokens::TokensError;

use crate::error::tokens_refusal;

pub(crate) use stream_http::HttpError;
pub(crate) use stream_http::response::{accepted, created, list, ok, with_status};

/// The largest body of a request, in bytes.
const MAX_BODY: usize = 64 * 1024;

pub(crate) type HandlerResult = Result<HttpResponse, HttpError>;

/// Returns the response to a request whose token was not taken, or that needed one made.
pub(crate) fn token_error(error: TokensError) -> HttpError {
    match error {
        TokensError::Invalid => HttpError::Unauthorized,
        TokensError::Forbidden => HttpError::token_forbids(),
        error => tokens_refusal(error).into(),
    }
}

/// Reads the body of a request, whatever type it claims to have.
///
/// # Errors
///
/// Those of [`read_body`].
pub(crate) async fn body(request: &HttpRequest, payload: Payload) -> Result<Vec<u8>, HttpError> {
    read_body(request, payload, MAX_BODY).await
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;
    use actix_web::http::header::RETRY_AFTER;
    use stream_supervisor::AskError;

    use super::*;

    #[test]
    fn a_bad_token_and_a_weak_one_are_told_apart() {
        let status = |error: TokensError| token_error(error).status_code().as_u16();
        assert_eq!(status(TokensError::Invalid), 401);
        assert_eq!(status(TokensError::Forbidden), 403);
        assert_eq!(status(TokensError::NotReady("no keys yet".into())), 503);
    }

    #[test]
    fn tokens_that_have_too_much_to_do_are_busy() {
        let busy = token_error(TokensError::Unavailable(AskError::Busy));
        assert_eq!(busy.to_string(), "too many requests are queued");
        let response = busy.error_response();
        assert_eq!(response.status().as_u16(), 503);
        assert_eq!(response.headers().get(RETRY_AFTER).unwrap(), "1");
    }
}

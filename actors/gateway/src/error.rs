use std::io;
use std::net::SocketAddr;

use stream_protocol::{Refusal, RefusalCode};
use stream_supervisor::AskError;
use stream_tokens::TokensError;

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("cannot listen on {address}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("{0}")]
    Config(String),
}

/// Returns a refusal of something the asker got wrong.
pub(crate) fn bad_request(text: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::Malformed, text)
}

/// Returns what to tell whoever asked for something that needed a token made or revoked.
pub(crate) fn tokens_refusal(error: TokensError) -> Refusal {
    match error {
        TokensError::Unmintable(why) => Refusal::new(RefusalCode::Conflict, why),
        TokensError::Unavailable(AskError::Busy) => {
            Refusal::new(RefusalCode::Busy, "too many requests are queued")
        }
        // The cause is for the operator: it names files and what is wrong with them.
        error => {
            log::warn!(error:%; "tokens cannot be checked");
            Refusal::new(RefusalCode::Unavailable, "tokens cannot be checked at present")
        }
    }
}

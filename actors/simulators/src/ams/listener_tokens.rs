use std::collections::VecDeque;
use std::time::{Duration, Instant};

use stream_pki::random_text;

/// A listener connects at once.
const LIFETIME: Duration = Duration::from_secs(60);

/// How many are good at a time; the oldest goes first.
const MAX_TOKENS: usize = 100;

const TOKEN_LEN: usize = 43;

/// The tokens with which browsers, that cannot show a certificate at will, listen to events.
#[derive(Default)]
pub(crate) struct ListenerTokens(VecDeque<(String, Instant)>);

impl ListenerTokens {
    /// Returns a new token. A real AMS gives a JWT, which its listeners do not read either.
    pub(crate) fn issue(&mut self, now: Instant) -> String {
        let token = random_text(TOKEN_LEN).to_string();
        self.0.push_back((token.clone(), now + LIFETIME));
        if self.0.len() > MAX_TOKENS {
            self.0.pop_front();
        }
        token
    }

    pub(crate) fn admit(&self, token: &str, now: Instant) -> bool {
        self.0.iter().any(|(issued, end)| issued == token && now < *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_a_minute() {
        let (mut tokens, now) = (ListenerTokens::default(), Instant::now());
        let token = tokens.issue(now);
        assert!(tokens.admit(&token, now) && !tokens.admit("", now));
        assert!(!tokens.admit(&token, now + LIFETIME));
    }

    #[test]
    fn the_oldest_of_too_many_tokens_goes() {
        let (mut tokens, now) = (ListenerTokens::default(), Instant::now());
        let first = tokens.issue(now);
        let others: Vec<_> = (0..MAX_TOKENS).map(|_| tokens.issue(now)).collect();
        assert!(!tokens.admit(&first, now));
        assert!(others.iter().all(|token| tokens.admit(token, now)));
    }
}

//! Narrowing a token, for which no key is needed. Pure.

use stream_macaroon::{Macaroon, MacaroonError};
use zeroize::Zeroizing;

use crate::caveats::{self, GRAMMAR};

/// Returns the token `text` narrowed by `caveats`.
///
/// # Errors
///
/// Refuses what is no token, a caveat that no verifier would understand (the token would open
/// nothing), and a result beyond the bounds of [`stream_macaroon`].
pub fn attenuate<C: AsRef<str>>(
    text: &str,
    caveats: &[C],
) -> Result<Zeroizing<String>, AttenuateError> {
    let mut macaroon = Macaroon::decode(text).map_err(AttenuateError::NoToken)?;
    for caveat in caveats {
        let caveat = caveat.as_ref();
        if !caveats::is_understood(caveat) {
            return Err(AttenuateError::NotUnderstood(caveat.to_owned()));
        }
        macaroon.add_first_party(caveat);
    }
    let narrowed = Zeroizing::new(macaroon.encode());
    Macaroon::decode(&narrowed).map_err(AttenuateError::TooMuch)?;
    Ok(narrowed)
}

/// Why a token was not narrowed.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum AttenuateError {
    #[error("this is no token")]
    NoToken(#[source] MacaroonError),
    #[error("the caveat {0:?} is not understood: there are {GRAMMAR}")]
    NotUnderstood(String),
    #[error("no verifier would take the result")]
    TooMuch(#[source] MacaroonError),
}

#[cfg(test)]
mod tests {
    use stream_macaroon::{Key, MAX_CAVEATS};

    use super::*;

    fn token() -> String {
        Macaroon::new(&Key::derive(b"root"), "l", "i").encode()
    }

    #[test]
    fn the_caveats_are_added_in_order_and_signed() {
        let caveats = ["allow signal.read", "declared role view"];
        let narrowed = Macaroon::decode(&attenuate(&token(), &caveats).unwrap()).unwrap();
        assert_eq!(narrowed.caveats(), caveats);
        assert_eq!(narrowed.verify(&Key::derive(b"root")), Ok(()));
    }

    #[test]
    fn what_would_open_nothing_is_refused() {
        let refused = |caveat: &str| attenuate(&token(), &[caveat]).unwrap_err();
        for caveat in ["", "colour blue", "allow session.raed", "time-before tomorrow"] {
            assert_eq!(refused(caveat), AttenuateError::NotUnderstood(caveat.into()));
        }
        let many = vec!["declared role view"; MAX_CAVEATS + 1];
        let refused = attenuate(&token(), &many).unwrap_err();
        assert_eq!(refused, AttenuateError::TooMuch(MacaroonError::TooManyCaveats));
        assert!(matches!(attenuate::<&str>("x", &[]), Err(AttenuateError::NoToken(_))));
    }
}

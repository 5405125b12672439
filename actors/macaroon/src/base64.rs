//! The base64 around a macaroon: written one way, read four ways, each of them strictly.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{MAX_TEXT, MacaroonError};

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Refuses mixed alphabets, wrong padding, stray bits in the last character, white space.
pub(crate) fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, MacaroonError> {
    if text.len() > MAX_TEXT {
        return Err(MacaroonError::TooLong);
    }
    let engine = match (text.contains(['+', '/']), text.ends_with('=')) {
        (false, false) => URL_SAFE_NO_PAD,
        (false, true) => URL_SAFE,
        (true, false) => STANDARD_NO_PAD,
        (true, true) => STANDARD,
    };
    engine.decode(text).map(Zeroizing::new).map_err(|_| MacaroonError::Base64)
}

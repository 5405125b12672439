//! The chain of HMACs: each caveat is signed with the signature before it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{Key, Signature};

/// Separates macaroon keys from other uses of a root key; fixed by the format.
const KEY_GENERATOR: &[u8] = b"macaroons-key-generator";

/// Returns what signs identifiers in place of the root key itself.
pub(crate) fn derive(root_key: &[u8]) -> Signature {
    hmac(KEY_GENERATOR, root_key)
}

/// Returns the signature of a macaroon that has no caveat yet.
pub(crate) fn start(key: &Key, identifier: &str) -> Signature {
    hmac(&*key.0, identifier.as_bytes())
}

/// Returns the signature that replaces `signature` once `caveat` is added.
pub(crate) fn extend(signature: &Signature, caveat: &str) -> Signature {
    hmac(&**signature, caveat.as_bytes())
}

fn hmac(key: &[u8], data: &[u8]) -> Signature {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

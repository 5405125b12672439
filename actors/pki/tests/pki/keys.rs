//! The keys the tests share.

use std::sync::LazyLock;

use stream_pki::{Authority, Fingerprint, Identity, KeyPairPem, Trust, self_signed};

pub(crate) struct Authorized {
    pub(crate) authority: Authority,
    pub(crate) server: KeyPairPem,
}

/// A server and the authority that vouches for it, by name and by address.
pub(crate) static AUTHORIZED: LazyLock<Authorized> = LazyLock::new(|| {
    let authority = Authority::generate("test authority").unwrap();
    let server = authority.issue("server", &names(&["server.test", "192.0.2.1", "2001:db8::1"]));
    Authorized { authority, server: server.unwrap() }
});

/// Somebody who vouches for themselves.
pub(crate) static ALICE: LazyLock<KeyPairPem> =
    LazyLock::new(|| self_signed("alice", &names(&["alice.test"])).unwrap());

/// Somebody else who does.
pub(crate) static BOB: LazyLock<KeyPairPem> =
    LazyLock::new(|| self_signed("bob", &names(&["bob.test"])).unwrap());

pub(crate) fn identity(pair: &KeyPairPem) -> Identity {
    Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).unwrap()
}

pub(crate) fn pinned(pairs: &[&KeyPairPem]) -> Trust {
    Trust::Pins(pairs.iter().map(|pair| fingerprint(pair)).collect())
}

pub(crate) fn fingerprint(pair: &KeyPairPem) -> Fingerprint {
    identity(pair).fingerprint()
}

/// Trust in what `pem` holds, taken from a file as a service would.
pub(crate) fn authority(pem: &str) -> Trust {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, pem).unwrap();
    Trust::from_ca_file(file.path()).unwrap()
}

pub(crate) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

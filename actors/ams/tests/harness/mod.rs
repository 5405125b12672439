//! What the tests share: identities, the files of a client, and waiting.

// Every test program uses a part of this.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stream_ams::{Ams, Config};
use stream_pki::{Fingerprint, Identity};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a test in an actix system of its own.
pub(crate) fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}

/// The file with the identity `name`, certificate and key. Making an RSA-4096 key takes seconds, so
/// each is made once and kept beside the test programs.
fn kept(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pem"));
    if !path.exists() {
        let sans = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = stream_pki::self_signed(name, &sans).expect("a new identity");
        let pem = format!("{}{}", made.certificate, *made.key);
        // Another test may have been faster: then its identity counts.
        let _ = stream_pki::write_new(&path, pem.as_bytes(), 0o600);
    }
    path
}

pub(crate) fn identity(name: &str) -> Identity {
    Identity::load(kept(name), kept(name)).expect("a kept identity")
}

/// The certificate of the identity `name` as PEM, to be trusted as an authority.
pub(crate) fn kept_certificate(name: &str) -> Vec<u8> {
    std::fs::read(kept(name)).expect("readable")
}

/// The files of a client, which a test may replace.
pub(crate) struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    /// The client certificate is `name`.
    pub(crate) fn new(name: &str) -> Self {
        let files = Self { dir: tempfile::tempdir().expect("a directory") };
        files.replace_identity(name);
        files
    }

    pub(crate) fn replace_identity(&self, name: &str) {
        self.replace("client.pem", &std::fs::read(kept(name)).expect("readable"));
    }

    pub(crate) fn replace_pins(&self, pin: Fingerprint) -> PathBuf {
        self.replace("pins", format!("# the present one\n{pin}\n").as_bytes())
    }

    /// Whole or not at all.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let (path, next) = (self.dir.path().join(name), self.dir.path().join("next"));
        stream_pki::write_new(&next, bytes, 0o600).expect("written");
        std::fs::rename(&next, &path).expect("replaced");
        path
    }

    pub(crate) fn config(&self, server: SocketAddr, fingerprints: Vec<Fingerprint>) -> Config {
        let identity = self.dir.path().join("client.pem");
        Config {
            url: format!("https://{server}"),
            certificate: identity.clone(),
            key: identity,
            fingerprints,
            pins: None,
            ca: None,
            timeout_s: 10,
            reload_s: 1,
        }
    }
}

/// Returns once AMS is reached and trusts us.
pub(crate) async fn connected(ams: &Ams) {
    eventually("connected", async || ams.status().await.connected).await;
}

/// Repeats `look` until it holds; the condition is somebody else's to bring about.
pub(crate) async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let search = async {
        while !look().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, search).await.unwrap_or_else(|_| panic!("never {what}"));
}

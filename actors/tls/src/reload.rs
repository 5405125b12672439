//! The actor `pki`: keeps the certificate that servers present in step with its files.
//!
//! It compares the files by content every few seconds, so that no way of replacing a file goes
//! unseen. Key and certificate are read together: a pair that does not match, which is what a
//! replacement looks like half way, changes nothing.

use std::path::PathBuf;
use std::time::Duration;

use actix::Message;
use serde::{Deserialize, Serialize};
use stream_pki::{Identity, PkiError, ServerIdentity, sha256};
use stream_supervisor::{
    AskError, Context, Handler, Limits, Mailbox, Mode, Reply, RestartPolicy, Supervisor, Worker,
};

/// Where the certificate of a server is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// PEM file with the certificate, and those that lead to its CA if there is one.
    pub certificate: PathBuf,
    /// PEM file with its RSA-4096 key.
    pub key: PathBuf,
    /// Seconds between two reads of the files. Defaults to 5.
    #[serde(default = "reload_s")]
    pub reload_s: u64,
}

impl Config {
    /// Reads both files once.
    ///
    /// # Errors
    ///
    /// Names the file that is missing, malformed, or does not belong to the other.
    pub fn check(&self) -> Result<(), PkiError> {
        Identity::load(&self.certificate, &self.key).map(drop)
    }
}

fn reload_s() -> u64 {
    5
}

/// The address of the actor.
#[derive(Clone)]
pub struct CertificateReloader {
    mailbox: Mailbox<Actor>,
    identity: ServerIdentity,
}

impl CertificateReloader {
    /// Reads the files and starts to follow them.
    ///
    /// # Errors
    ///
    /// Refuses a pair that cannot be served, as [`Config::check`] does.
    pub fn start(config: Config, supervisor: &Supervisor) -> Result<Self, PkiError> {
        let identity = ServerIdentity::new(Identity::load(&config.certificate, &config.key)?);
        let shared = identity.clone();
        let factory =
            move || Actor { config: config.clone(), identity: shared.clone(), seen: None };
        let mailbox = supervisor.spawn(
            "pki",
            Mode::CancelOnRestart,
            RestartPolicy::default(),
            Limits::default(),
            factory,
        );
        Ok(Self { mailbox, identity })
    }

    /// Returns what servers present; every clone of it follows the files.
    pub fn identity(&self) -> ServerIdentity {
        self.identity.clone()
    }

    /// Reads the files now and returns whether another identity is presented from here on.
    ///
    /// # Errors
    ///
    /// Fails when the actor does not answer; it may have swapped the identity all the same.
    pub async fn reload(&self) -> Result<bool, AskError> {
        self.mailbox.ask(Reload).await
    }
}

/// Reads the files; answers whether the identity was swapped.
#[derive(Clone, Message)]
#[rtype(result = "bool")]
struct Reload;

struct Actor {
    config: Config,
    identity: ServerIdentity,
    /// Digests of the files at the last read, so that a bad pair is reported once.
    seen: Option<[Option<[u8; 32]>; 2]>,
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        ctx.every(Duration::from_secs(self.config.reload_s.max(1)), Reload);
    }
}

impl Handler<Reload> for Actor {
    fn handle(&mut self, _: &Reload, _: &Context<Self>) -> Reply<bool> {
        let Config { certificate, key, .. } = &self.config;
        let files = [certificate, key].map(|path| Some(sha256(&std::fs::read(path).ok()?)));
        if self.seen.as_ref() == Some(&files) {
            return false.into();
        }
        self.seen = Some(files);
        match Identity::load(certificate, key) {
            Ok(identity) if identity.fingerprint() == self.identity.current().fingerprint() => {
                false.into()
            }
            Ok(identity) => {
                log::info!(fingerprint:% = identity.fingerprint(); "certificate replaced");
                self.identity.swap(identity);
                true.into()
            }
            Err(error) => {
                log::error!(cause:% = error; "the new certificate is not taken, the old one stays");
                false.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use actix::System;
    use stream_pki::{Authority, KeyPairPem};

    use super::*;

    #[test]
    fn a_whole_pair_is_taken_and_half_of_one_changes_nothing_even_after_a_failure() {
        System::new().block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let config = Config {
                certificate: directory.path().join("tls.pem"),
                key: directory.path().join("tls.key"),
                // Only what the test asks for reads the files.
                reload_s: 3600,
            };
            let authority = Authority::generate("test").unwrap();
            let pair = || authority.issue("agent", &["localhost".into()]).unwrap();
            let write = |pair: &KeyPairPem| {
                fs::write(&config.certificate, &pair.certificate).unwrap();
                fs::write(&config.key, pair.key.as_bytes()).unwrap();
            };
            write(&pair());
            let supervisor = Supervisor::default();
            let reloader = CertificateReloader::start(config.clone(), &supervisor).unwrap();
            let first = reloader.identity().current().fingerprint();

            let next = pair();
            fs::write(&config.certificate, &next.certificate).unwrap();
            assert!(!reloader.reload().await.unwrap(), "the key is still the old one's");
            assert_eq!(reloader.identity().current().fingerprint(), first);

            fs::write(&config.key, next.key.as_bytes()).unwrap();
            assert!(reloader.reload().await.unwrap());
            let second = reloader.identity().current().fingerprint();
            assert_ne!(second, first);

            assert!(supervisor.crash("pki"));
            assert!(!reloader.reload().await.unwrap(), "nothing is new");
            assert_eq!(reloader.identity().current().fingerprint(), second);
            supervisor.stop();
        });
    }
}

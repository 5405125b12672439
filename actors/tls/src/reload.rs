//! The actor `pki`: keeps the certificate that servers present in step with its files.
//!
//! It compares the files by content every few seconds, so that no way of replacing a file goes
//! unseen. Key and certificate are read together: a pair that does not match, which is what a
//! replacement looks like half way, changes nothing, nor does one that has expired or is not valid
//! yet; it is looked at again until it is good. The pair that will replace the present one is
//! read as well, so that those who pin the certificate hear of it before it is shown. A pair that
//! `init` has made is replaced in time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use serde::{Deserialize, Serialize};
use stream_metrics::{Collect, Exposition};
use stream_pki::{Fingerprint, Identity, PkiError, ServerIdentity, file_state, unix_now};
use stream_protocol::error_chain;
use stream_supervisor::{
    AskError, Context, Handler, Limits, Mailbox, Mode, Reply, RestartPolicy, Supervisor, Worker,
};
use tokio::sync::Notify;

use crate::renewal::{Renewer, keep_renewed};
use crate::single_pin::{SetPin, SinglePin, keep_pinned};

/// Where the certificate of a server is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// PEM file with the certificate, and those that lead to its CA if there is one.
    pub certificate: PathBuf,
    /// PEM file with its RSA-4096 key.
    pub key: PathBuf,
    /// PEM file with the certificate that will replace it, for those to know who pin it. It may be
    /// missing until it is made.
    pub next_certificate: Option<PathBuf>,
    /// PEM file with the key of the next certificate.
    pub next_key: Option<PathBuf>,
    /// Whether the service replaces a certificate that `init` has made, at two thirds of its life.
    /// Defaults to true.
    #[serde(default = "renew")]
    pub renew: bool,
    /// Seconds between two reads of the files. Defaults to 5.
    #[serde(default = "reload_s")]
    pub reload_s: u64,
}

impl Config {
    /// Reads the files once.
    ///
    /// # Errors
    ///
    /// Names the file that is missing, malformed, or does not belong to the other.
    pub fn check(&self) -> Result<(), ConfigError> {
        Identity::load(&self.certificate, &self.key)?;
        match (&self.next_certificate, &self.next_key) {
            (Some(certificate), Some(key)) => {
                load_next(certificate, key)?;
            }
            (None, None) => {}
            _ => return Err(ConfigError::HalfOfNext),
        }
        Ok(())
    }

    /// Reads the certificate that will replace the present one, if it is there.
    fn next(&self) -> Result<Option<Fingerprint>, PkiError> {
        match (&self.next_certificate, &self.next_key) {
            (Some(certificate), Some(key)) => load_next(certificate, key),
            _ => Ok(None),
        }
    }
}

/// Returns the fingerprint of a pair; none while neither file is there.
fn load_next(certificate: &Path, key: &Path) -> Result<Option<Fingerprint>, PkiError> {
    if !certificate.exists() && !key.exists() {
        return Ok(None);
    }
    Identity::load(certificate, key).map(|next| Some(next.fingerprint()))
}

/// What cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("give tls.next_certificate and tls.next_key together, or neither")]
    HalfOfNext,
    #[error(transparent)]
    Files(#[from] PkiError),
}

fn renew() -> bool {
    true
}

fn reload_s() -> u64 {
    5
}

/// The address of the actor.
#[derive(Clone)]
pub struct CertificateReloader {
    mailbox: Mailbox<Actor>,
    identity: ServerIdentity,
    pin: SinglePin,
    /// Has it looked at once whether the certificate is to be renewed.
    renewal: Arc<Notify>,
}

impl CertificateReloader {
    /// Reads the files and starts to follow them.
    ///
    /// # Errors
    ///
    /// Refuses a pair that cannot be served, as [`Config::check`] does.
    pub fn start(config: Config, supervisor: &Supervisor) -> Result<Self, PkiError> {
        let identity = ServerIdentity::new(Identity::load(&config.certificate, &config.key)?);
        identity.set_next(config.next()?);
        let (pin, renewal) = (SinglePin::default(), Arc::new(Notify::new()));
        let shared = (identity.clone(), pin.clone(), Arc::clone(&renewal));
        let factory = move || {
            let (config, (identity, pin, renewal)) = (config.clone(), shared.clone());
            Actor { config, identity, pin, renewal, seen: None }
        };
        let mailbox = supervisor.spawn(
            "pki",
            Mode::CancelOnRestart,
            RestartPolicy::default(),
            Limits::default(),
            factory,
        );
        Ok(Self { mailbox, identity, pin, renewal })
    }

    /// Names who pins one certificate of this server: `set` tells it what is about to be shown. A
    /// next certificate waits for that as long as the present one is good. To be called once.
    pub fn pin_by(&self, set: SetPin) {
        self.pin.pin_by(set);
    }

    /// Returns what servers present; every clone of it follows the files.
    pub fn identity(&self) -> ServerIdentity {
        self.identity.clone()
    }

    /// Reads the files now and returns whether another identity is presented from here on. What is
    /// to be renewed, or waits to be shown, is looked after as well, without waiting for it.
    ///
    /// # Errors
    ///
    /// Fails when the actor does not answer; it may have swapped the identity all the same.
    pub async fn reload(&self) -> Result<bool, AskError> {
        self.renewal.notify_one();
        self.mailbox.ask(Reload).await
    }
}

impl Collect for CertificateReloader {
    fn collect(&self, exposition: &mut Exposition) {
        exposition.certificate("server", self.identity.current().not_after());
        exposition.certificate_files("server", self.identity.reload_status().failure().is_some());
    }
}

/// Reads the files; answers whether the identity was swapped.
#[derive(Clone, Message)]
#[rtype(result = "bool")]
struct Reload;

type Digests = [Option<[u8; 32]>; 4];

struct Actor {
    config: Config,
    identity: ServerIdentity,
    pin: SinglePin,
    renewal: Arc<Notify>,
    /// The files at the last read, so that a bad pair is reported once.
    seen: Option<Digests>,
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        ctx.every(Duration::from_secs(self.config.reload_s.max(1)), Reload);
        let renewer = Renewer::of(&self.config.certificate).filter(|_| self.config.renew);
        if let Some(renewer) = renewer {
            let mailbox = ctx.mailbox().clone();
            let show = async move || {
                // Otherwise the next read of the files shows it.
                let _ = mailbox.ask(Reload).await;
            };
            ctx.spawn(keep_renewed(renewer, self.pin.clone(), Arc::clone(&self.renewal), show));
        }
        ctx.spawn(keep_pinned(self.pin.clone(), self.identity.clone()));
    }
}

impl Handler<Reload> for Actor {
    fn handle(&mut self, _: &Reload, _: &Context<Self>) -> Reply<bool> {
        let digests = self.digests();
        let status = self.identity.reload_status().clone();
        // What is not valid yet becomes so by itself.
        if self.seen.as_ref() == Some(&digests) && status.failure().is_none() {
            return false.into();
        }
        let is_new = self.seen.replace(digests) != Some(digests);
        let (present, next) = (self.reload_present(), self.reload_next(is_new));
        let failure =
            present.as_ref().err().or(next.as_ref().err()).map(|error| error_chain(error));
        if status.set(failure.clone()) {
            match failure {
                Some(cause) => {
                    log::error!(cause:%; "a new certificate is not taken, the old one stays");
                }
                None => log::info!("the files of the certificate are good again"),
            }
        }
        present.unwrap_or(false).into()
    }
}

impl Actor {
    fn digests(&self) -> Digests {
        let Config { certificate, key, next_certificate, next_key, .. } = &self.config;
        [Some(certificate), Some(key), next_certificate.as_ref(), next_key.as_ref()]
            .map(|path| file_state(path?))
    }

    /// Presents what the files hold; returns whether that is another identity.
    ///
    /// # Errors
    ///
    /// The files hold no identity, or another one that is not good now.
    fn reload_present(&self) -> Result<bool, PkiError> {
        let identity = Identity::load(&self.config.certificate, &self.config.key)?;
        if identity.fingerprint() == self.identity.current().fingerprint() {
            return Ok(false);
        }
        identity.check_dates(&self.config.certificate, unix_now())?;
        log::info!(fingerprint:% = identity.fingerprint(); "certificate replaced");
        self.identity.swap(identity);
        self.pin.changed();
        Ok(true)
    }

    fn reload_next(&self, is_new: bool) -> Result<(), PkiError> {
        let next = self.config.next()?;
        if let (true, None, Some(path)) = (is_new, next, &self.config.next_certificate) {
            log::warn!(
                path:% = path.display();
                "there is no next certificate yet: `init` makes one"
            );
        }
        self.identity.set_next(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use actix::System;
    use stream_pki::{Authority, write_new};

    use super::*;

    #[test]
    fn a_whole_pair_is_taken_and_half_of_one_changes_nothing_even_after_a_failure() {
        System::new().block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let config = Config {
                certificate: directory.path().join("tls.pem"),
                key: directory.path().join("tls.key"),
                next_certificate: Some(directory.path().join("next.pem")),
                next_key: Some(directory.path().join("next.key")),
                renew: true,
                // Only what the test asks for reads the files.
                reload_s: 3600,
            };
            let authority = Authority::generate("test").unwrap();
            let pair = || authority.issue("agent", &["localhost".into()]).unwrap();
            let first = pair();
            fs::write(&config.certificate, &first.certificate).unwrap();
            write_new(&config.key, first.key.as_bytes(), 0o600).unwrap();
            let supervisor = Supervisor::default();
            let reloader = CertificateReloader::start(config.clone(), &supervisor).unwrap();
            let first = reloader.identity().current().fingerprint();

            // Half of the next pair says nothing, the whole is told with the present one.
            let next = pair();
            let [next_certificate, next_key] =
                ["next.pem", "next.key"].map(|file| directory.path().join(file));
            fs::write(&next_certificate, &next.certificate).unwrap();
            assert!(!reloader.reload().await.unwrap());
            assert_eq!(reloader.identity().fingerprints(), [first]);
            write_new(&next_key, next.key.as_bytes(), 0o600).unwrap();
            assert!(!reloader.reload().await.unwrap(), "it is not shown yet");
            let [_, second] = reloader.identity().fingerprints()[..] else { panic!("two") };

            fs::write(&config.certificate, &next.certificate).unwrap();
            assert!(!reloader.reload().await.unwrap(), "the key is still the old one's");
            let refused = || {
                let mut exposition = Exposition::new("p");
                reloader.collect(&mut exposition);
                let text = exposition.text(stream_metrics::Format::Text);
                assert!(text.contains(r#"timestamp_seconds{use="server"} "#), "{text}");
                text.contains(r#"p_certificate_files_refused{use="server"} 1"#)
            };
            assert!(refused(), "it is told");
            assert_eq!(reloader.identity().current().fingerprint(), first);

            fs::write(&config.key, next.key.as_bytes()).unwrap();
            let set_mode = |mode| fs::set_permissions(&config.key, Permissions::from_mode(mode));
            set_mode(0o644).unwrap();
            assert!(!reloader.reload().await.unwrap(), "everybody may read the key");
            assert_eq!(reloader.identity().current().fingerprint(), first);
            // The text of the file is as it was.
            set_mode(0o640).unwrap();
            assert!(reloader.reload().await.unwrap());
            assert!(!refused());
            assert_eq!(reloader.identity().fingerprints(), [second]);
            assert_ne!(second, first);
            fs::remove_file(&next_certificate).unwrap();
            fs::remove_file(&next_key).unwrap();

            assert!(supervisor.crash("pki"));
            assert!(!reloader.reload().await.unwrap(), "nothing is new");
            assert_eq!(reloader.identity().current().fingerprint(), second);
            supervisor.stop();
        });
    }
}

//! Replaces the certificate of a server in time, where it and its authority are of our own making.

use std::path::{Path, PathBuf};
use std::time::Duration;

use stream_pki::{
    Authority, CertificateInfo, CertificateRequest, Fingerprint, Identity, KeyPairPem, PairSlot,
    PairStore, PkiError, RenewalStep, moment, next_step, unix_now,
};
use stream_protocol::error_chain;
use tokio::time::sleep;

/// How often it is looked at least whether something is to be done. A step that failed is tried
/// again then.
const CHECK: Duration = Duration::from_secs(3600);

/// From one step to the next, such as from a new next pair to what is to be done with it.
const NEXT_STEP: Duration = Duration::from_secs(60);

/// Of a short life those pauses are such a part at most: an hour would be all of some.
const CHECKS_IN_A_LIFE: u64 = 100;
const STEPS_IN_A_LIFE: u64 = 1000;

/// Renews one pair of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Renewer {
    store: PairStore,
    authority: PathBuf,
    authority_key: PathBuf,
}

impl Renewer {
    /// Returns what renews the pair behind the file `certificate`; `None` for a file that is not a
    /// link of `init` or `pki`, or beside which there is no authority `ca.crt` with its key.
    pub fn of(certificate: &Path) -> Option<Self> {
        let store = PairStore::behind(certificate)?;
        let file = |name| certificate.with_file_name(name);
        let (authority, authority_key) = (file("ca.crt"), file("ca.key"));
        let is_whole = authority.is_file() && authority_key.is_file();
        is_whole.then_some(Self { store, authority, authority_key })
    }

    /// Returns what is to be done at `now`, in seconds of UNIX.
    ///
    /// # Errors
    ///
    /// The present pair cannot be read.
    pub fn next_step(&self, now: i64) -> Result<RenewalStep, PkiError> {
        // A next pair that cannot be read is made anew.
        let next = self.store.load(PairSlot::Next).ok().flatten();
        let next = next.as_ref().and_then(info);
        Ok(match self.present()? {
            Some(present) => next_step(now, &present, next.as_ref()),
            None => RenewalStep::MakeNext,
        })
    }

    /// Makes another next pair, for the names of the present one. A key takes seconds.
    ///
    /// # Errors
    ///
    /// The authority cannot sign it, or it cannot be written.
    pub fn make_next(&self) -> Result<Fingerprint, PkiError> {
        let present = self.present()?;
        let (authority, key) = (&self.authority, &self.authority_key);
        let CertificateInfo { subject, names, purpose, .. } =
            present.ok_or_else(|| PkiError::NoCertificate { origin: self.origin() })?;
        let request = CertificateRequest { common_name: &subject, names: &names, purpose };
        let pair: KeyPairPem = Authority::load(authority, key)?.sign(&request)?;
        self.store.store(PairSlot::Next, &pair)?;
        let next = self.store.load(PairSlot::Next)?;
        let next = next.ok_or_else(|| PkiError::NoCertificate { origin: self.origin() })?;
        Ok(next.fingerprint())
    }

    /// Has the next pair be the present one. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// Those of [`PairStore::promote`].
    pub fn promote(&self) -> Result<bool, PkiError> {
        self.store.promote()
    }

    fn present(&self) -> Result<Option<CertificateInfo>, PkiError> {
        Ok(self.store.load(PairSlot::Present)?.as_ref().and_then(info))
    }

    fn origin(&self) -> String {
        self.store.certificate(PairSlot::Present).display().to_string()
    }

    /// Returns how often it is looked, and the pause between two steps.
    fn pauses(&self) -> [Duration; 2] {
        let present = self.present().ok().flatten();
        let life = present.map(|CertificateInfo { validity, .. }| {
            u64::try_from(validity.not_after - validity.not_before).unwrap_or(0)
        });
        let part = |longest: Duration, parts: u64| {
            let part = life.map(|life| Duration::from_secs((life / parts).max(1)));
            part.map_or(longest, |part| part.min(longest))
        };
        [part(CHECK, CHECKS_IN_A_LIFE), part(NEXT_STEP, STEPS_IN_A_LIFE)]
    }

    /// Does what is to be done now, and returns after which time to look again.
    fn step(&self) -> Result<Duration, PkiError> {
        let [check, next_step] = self.pauses();
        match self.next_step(unix_now())? {
            RenewalStep::MakeNext => {
                let fingerprint = self.make_next()?;
                log::info!(fingerprint:%; "made the next certificate, which is told from now on");
                Ok(next_step)
            }
            RenewalStep::Promote => {
                self.promote()?;
                log::info!("the next certificate takes the place of the present one");
                Ok(next_step)
            }
            RenewalStep::WaitUntil(at) => {
                log::debug!(at = moment(at); "no certificate is to be renewed");
                Ok(check)
            }
        }
    }
}

/// Renews the pair for as long as the actor lives. A blocking thread makes keys and files.
pub(crate) async fn keep_renewed(renewer: Renewer) {
    let mut told = None;
    let [check, next_step] = renewer.pauses();
    // The start of a service is no time for making keys.
    sleep(next_step).await;
    loop {
        let worker = renewer.clone();
        let done = tokio::task::spawn_blocking(move || worker.step()).await;
        let failed = match done {
            Ok(Ok(pause)) => {
                told = None;
                sleep(pause).await;
                continue;
            }
            Ok(Err(error)) => error_chain(&error),
            Err(error) => error.to_string(),
        };
        if told.as_ref() != Some(&failed) {
            log::error!(cause:% = failed; "a certificate is not renewed: see `pki status`");
        }
        told = Some(failed);
        sleep(check).await;
    }
}

fn info(identity: &Identity) -> Option<CertificateInfo> {
    identity.chain().first().and_then(CertificateInfo::of)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use stream_pki::{Purpose, write_new};

    use super::*;

    const DAY_S: i64 = 86_400;

    #[test]
    fn a_pair_is_renewed_by_one_that_is_known_before_and_at_no_time_half_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let authority = Authority::generate("test").unwrap();
        write_new(file("ca.crt"), authority.certificate_pem().as_bytes(), 0o644).unwrap();
        write_new(file("ca.key"), authority.key_pem().as_bytes(), 0o600).unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let request =
            CertificateRequest { common_name: "x", names: &names, purpose: Purpose::Server };
        let first = authority.sign(&request).unwrap();

        // Plain files are somebody else's.
        let (certificate, key) = (file("server.crt"), file("server.key"));
        fs::write(&certificate, &first.certificate).unwrap();
        write_new(&key, first.key.as_bytes(), 0o600).unwrap();
        assert!(Renewer::of(&certificate).is_none());
        let store = PairStore::at(file("state"));
        store.store(PairSlot::Present, &first).unwrap();
        store.link(PairSlot::Present, &certificate, &key).unwrap();
        let renewer = Renewer::of(&certificate).unwrap();
        let shown = || Identity::load(&certificate, &key).unwrap();
        let before = shown().fingerprint();

        let now = unix_now();
        assert_eq!(renewer.pauses(), [CHECK, NEXT_STEP]);
        assert_eq!(renewer.next_step(now).unwrap(), RenewalStep::MakeNext);
        let next = renewer.make_next().unwrap();
        assert!(matches!(renewer.next_step(now).unwrap(), RenewalStep::WaitUntil(at) if at > now));
        assert_eq!(shown().fingerprint(), before);
        // It expires while nobody looks: the next one has, too, and is made anew.
        let late = now + 900 * DAY_S;
        assert_eq!(renewer.next_step(late).unwrap(), RenewalStep::MakeNext);

        assert!(renewer.promote().unwrap());
        assert_eq!(shown().fingerprint(), next);
        let info = info(&shown()).unwrap();
        assert_eq!((info.names.as_slice(), info.purpose), (&names[..], Purpose::Server));
        assert!(!renewer.promote().unwrap(), "there is none any more");
        assert_eq!(renewer.next_step(now).unwrap(), RenewalStep::MakeNext);

        // Of a directory that was moved the links are good.
        let moved = tempfile::tempdir().unwrap();
        let to = moved.path().join("node");
        fs::rename(directory.path(), &to).unwrap();
        let moved = Identity::load(to.join("server.crt"), to.join("server.key")).unwrap();
        assert_eq!(moved.fingerprint(), next);
        assert!(Renewer::of(&to.join("server.crt")).is_some());
    }
}

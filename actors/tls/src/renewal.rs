//! Replaces the certificate of a server in time, where it and its authority are of our own making.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stream_pki::{
    Authority, CertificateInfo, CertificateRequest, Fingerprint, Identity, KeyPairPem, PairSlot,
    PairStore, PkiError, RenewalStep, moment, next_step, promoted_at_last, unix_now,
};
use stream_protocol::error_chain;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::single_pin::SinglePin;

/// How often it is looked at least whether something is to be done. A step that failed is tried
/// again then.
const CHECK: Duration = Duration::from_secs(3600);

/// From one step to the next, such as from a new next pair to what is to be done with it, and to
/// another attempt to tell who pins the present one.
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

    /// Does what is to be done now.
    async fn step(&self, pin: &SinglePin, show: &impl AsyncFn()) -> Result<Step, String> {
        match self.blocking(|renewer| renewer.next_step(unix_now())).await? {
            RenewalStep::MakeNext => {
                let fingerprint = self.blocking(Self::make_next).await?;
                log::info!(fingerprint:%; "made the next certificate, which is told from now on");
                Ok(Step::Done)
            }
            RenewalStep::Promote => self.promote_pinned(pin, show, unix_now()).await,
            RenewalStep::WaitUntil(at) => {
                log::debug!(at = moment(at); "no certificate is to be renewed");
                Ok(Step::Nothing)
            }
        }
    }

    /// Tells who pins one certificate the next one, has that be the present one, and then has
    /// `show` show it. While it cannot be told, the present one stays as long as it can.
    async fn promote_pinned(
        &self,
        pin: &SinglePin,
        show: &impl AsyncFn(),
        now: i64,
    ) -> Result<Step, String> {
        let pair = |renewer: &Self| Ok((renewer.present()?, renewer.store.load(PairSlot::Next)?));
        let (Some(present), Some(next)) = self.blocking(pair).await? else {
            return Ok(Step::Done);
        };
        let turn = pin.turn().await;
        if let Err(cause) = pin.tell(next.fingerprint()).await {
            let until = promoted_at_last(&present);
            if now < until {
                return Ok(Step::Held { cause, until });
            }
            log::warn!(
                cause:%;
                "the certificate is about to end: the next one is shown, which who pins this \
                 server refuses until it is told"
            );
        }
        let promoted = self.blocking(Self::promote).await;
        if promoted.is_ok() {
            log::info!("the next certificate takes the place of the present one");
            show().await;
        }
        drop(turn);
        // What was told, and could not be shown, is told otherwise.
        pin.changed();
        promoted.map(|_| Step::Done)
    }

    /// Has a thread of its own read and write files, and make keys.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, PkiError> + Send + 'static,
    ) -> Result<T, String> {
        let renewer = self.clone();
        match tokio::task::spawn_blocking(move || work(&renewer)).await {
            Ok(done) => done.map_err(|error| error_chain(&error)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What came of a step that did not fail.
#[derive(Debug, Eq, PartialEq)]
enum Step {
    /// The next one follows soon.
    Done,
    /// Nothing is to be done now.
    Nothing,
    /// The present certificate stays until then, in seconds of UNIX, or until who pins it can be
    /// told of the next one.
    Held { cause: String, until: i64 },
}

/// Renews the pair for as long as the actor lives, and looks whether it is to be done whenever
/// `woken`. A promoted pair is shown by `show`.
pub(crate) async fn keep_renewed(
    renewer: Renewer,
    pin: SinglePin,
    woken: Arc<Notify>,
    show: impl AsyncFn(),
) {
    let mut told = None;
    // The start of a service is no time for making keys.
    let mut follows_soon = true;
    loop {
        let pauses = renewer.blocking(|renewer| Ok(renewer.pauses())).await;
        let [check, next_step] = pauses.unwrap_or([CHECK, NEXT_STEP]);
        let pause = if follows_soon { next_step } else { check };
        let _ = timeout(pause, woken.notified()).await;
        let stepped = renewer.step(&pin, &show).await;
        let is_news = told.as_ref() != Some(&stepped);
        follows_soon = matches!(stepped, Ok(Step::Done | Step::Held { .. }));
        match &stepped {
            Ok(Step::Held { cause, until }) if is_news => log::warn!(
                cause:%, until = moment(*until);
                "the next certificate waits until who pins this server can be told of it: mend the \
                 cause, then reload this service"
            ),
            Err(cause) if is_news => {
                log::error!(cause:%; "a certificate is not renewed: see `pki status`");
            }
            _ => {}
        }
        told = Some(stepped);
    }
}

fn info(identity: &Identity) -> Option<CertificateInfo> {
    identity.chain().first().and_then(CertificateInfo::of)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use actix::System;
    use parking_lot::Mutex;
    use stream_pki::{Purpose, write_new};

    use super::*;

    const DAY_S: i64 = 86_400;

    /// A directory with an authority, and a present pair that it has signed.
    fn site(dir: &Path) -> (PathBuf, PathBuf) {
        let authority = Authority::generate("test").unwrap();
        write_new(dir.join("ca.crt"), authority.certificate_pem().as_bytes(), 0o644).unwrap();
        write_new(dir.join("ca.key"), authority.key_pem().as_bytes(), 0o600).unwrap();
        let request =
            CertificateRequest { common_name: "x", names: &names(), purpose: Purpose::Server };
        let store = PairStore::at(dir.join("state"));
        store.store(PairSlot::Present, &authority.sign(&request).unwrap()).unwrap();
        let (certificate, key) = (dir.join("server.crt"), dir.join("server.key"));
        store.link(PairSlot::Present, &certificate, &key).unwrap();
        (certificate, key)
    }

    fn names() -> [String; 2] {
        ["localhost".to_owned(), "127.0.0.1".to_owned()]
    }

    #[test]
    fn who_pins_one_certificate_is_told_the_next_before_it_is_shown_or_it_waits() {
        System::new().block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let (certificate, key) = site(directory.path());
            let renewer = Renewer::of(&certificate).unwrap();
            let present = move || Identity::load(&certificate, &key).unwrap();
            let first = present().fingerprint();
            let second = renewer.make_next().unwrap();

            let fails = Arc::new(AtomicBool::new(true));
            let told = Arc::new(Mutex::new(Vec::new()));
            let pin = SinglePin::default();
            let (failing, telling, shown) = (fails.clone(), told.clone(), present.clone());
            pin.pin_by(Arc::new(move |fingerprint| {
                telling.lock().push((fingerprint, shown().fingerprint()));
                let fails = failing.load(Relaxed);
                Box::pin(async move { if fails { Err("away".to_owned()) } else { Ok(()) } })
            }));
            let shows = Cell::new(0);
            let show = async || shows.set(shows.get() + 1);

            let now = unix_now();
            let until = promoted_at_last(&info(&present()).unwrap());
            let held = Step::Held { cause: "away".to_owned(), until };
            for early in [now, until - 1] {
                let stepped = renewer.promote_pinned(&pin, &show, early).await;
                assert_eq!(stepped.as_ref(), Ok(&held));
                assert_eq!((present().fingerprint(), shows.get()), (first, 0));
            }
            fails.store(false, Relaxed);
            let promoted = renewer.promote_pinned(&pin, &show, now).await;
            assert_eq!(promoted, Ok(Step::Done));
            assert_eq!((present().fingerprint(), shows.get()), (second, 1));
            // It was told while the one before was shown.
            assert_eq!(*told.lock(), [(second, first); 3]);

            // Before its end it is replaced, whether or not anybody knows.
            fails.store(true, Relaxed);
            let third = renewer.make_next().unwrap();
            let until = promoted_at_last(&info(&present()).unwrap());
            let promoted = renewer.promote_pinned(&pin, &show, until).await;
            assert_eq!(promoted, Ok(Step::Done));
            assert_eq!((present().fingerprint(), shows.get()), (third, 2));
        });
    }

    #[test]
    fn a_pair_is_renewed_by_one_that_is_known_before_and_at_no_time_half_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = site(directory.path());
        // Plain files are somebody else's.
        let copy = directory.path().join("copy.crt");
        fs::copy(&certificate, &copy).unwrap();
        assert!(Renewer::of(&copy).is_none());
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
        assert_eq!((info.names.as_slice(), info.purpose), (&names()[..], Purpose::Server));
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

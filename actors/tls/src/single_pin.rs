//! Somebody who knows this server by the fingerprint of one certificate, and refuses any other.
//!
//! Who can be told one fingerprint alone is told the next one in the moment in which it is shown:
//! first told, then shown, at once. In between, and no longer, it refuses this server. What broke
//! off in between is mended by telling what is shown.

use std::sync::Arc;
use std::time::Duration;

use stream_pki::{Fingerprint, ServerIdentity};
use stream_supervisor::LocalBoxFuture;
use tokio::sync::{Mutex, MutexGuard, Notify, SetOnce};
use tokio::time::timeout;

/// After which time it is tried again to tell what is shown.
const RETRY: Duration = Duration::from_secs(15);

/// Tells somebody the fingerprint of the one certificate that it may accept, or nothing, if it does
/// not know this server. The error is a sentence.
pub type SetPin =
    Arc<dyn Fn(Fingerprint) -> LocalBoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The one who pins this server, if there is such a one.
#[derive(Clone, Default)]
pub(crate) struct SinglePin {
    set: Arc<SetOnce<SetPin>>,
    telling: Arc<Mutex<()>>,
    changed: Arc<Notify>,
}

impl SinglePin {
    /// Names who pins this server, once.
    pub(crate) fn pin_by(&self, set: SetPin) {
        if self.set.set(set).is_err() {
            log::warn!("a second one who pins this server is told nothing");
        }
    }

    /// Tells the fingerprint of what is shown next.
    pub(crate) async fn tell(&self, fingerprint: Fingerprint) -> Result<(), String> {
        match self.set.get() {
            Some(set) => set(fingerprint).await,
            None => Ok(()),
        }
    }

    /// Keeps everybody else from telling something: to be held from then on until the certificate
    /// that was told is shown.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.telling.lock().await
    }

    /// Has it looked after whether what was told is what is shown.
    pub(crate) fn changed(&self) {
        self.changed.notify_one();
    }
}

/// Tells what is shown: at the start, whenever that has changed, and until it has been told.
pub(crate) async fn keep_pinned(pin: SinglePin, identity: ServerIdentity) {
    pin.set.wait().await;
    let mut reported = None;
    loop {
        let told = {
            let _turn = pin.turn().await;
            pin.tell(identity.current().fingerprint()).await
        };
        let Err(cause) = told else {
            reported = None;
            pin.changed.notified().await;
            continue;
        };
        if reported.as_ref() != Some(&cause) {
            log::warn!(cause:%; "who pins this server may know another certificate of it");
        }
        reported = Some(cause);
        let _ = timeout(RETRY, pin.changed.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use actix::System;
    use stream_pki::{Identity, self_signed};
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_shown_is_told_at_the_start_when_it_changes_and_until_it_has_been_told() {
        System::new().block_on(async {
            let identity = |name| {
                let made = self_signed(name, &["localhost".into()]).unwrap();
                Identity::from_pem(made.certificate.as_bytes(), made.key.as_bytes()).unwrap()
            };
            let [first, second] = ["first", "second"].map(identity);
            let pins = [first.fingerprint(), second.fingerprint()];
            let shown = ServerIdentity::new(first);
            let (pin, fails) = (SinglePin::default(), Arc::new(AtomicBool::new(true)));
            let (tell, mut told) = mpsc::unbounded_channel();
            let failing = Arc::clone(&fails);
            pin.pin_by(Arc::new(move |fingerprint| {
                tell.send(fingerprint).unwrap();
                let fails = failing.load(Relaxed);
                Box::pin(async move { if fails { Err("away".to_owned()) } else { Ok(()) } })
            }));
            let mut next = async || timeout(Duration::from_secs(20), told.recv()).await.unwrap();
            let steps = async {
                assert_eq!(next().await, Some(pins[0]));
                // It is told again, though nothing else has changed.
                fails.store(false, Relaxed);
                assert_eq!(next().await, Some(pins[0]));

                let turn = pin.turn().await;
                pin.changed();
                shown.swap(second);
                drop(turn);
                assert_eq!(next().await, Some(pins[1]));
            };
            tokio::select! {
                () = steps => {}
                () = keep_pinned(pin.clone(), shown.clone()) => panic!("it ended"),
            }
            assert!(told.try_recv().is_err(), "it is told once");
        });
    }
}

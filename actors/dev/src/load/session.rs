//! One session as its client lives it, from the request to the end.

use std::time::{Duration, Instant};

use stream_protocol::{Screen, error_chain};
use stream_simulators::client::{Gateway, JoinedSession, Milestone, Signaler, Viewer};
use tokio::sync::watch;

use super::options::Options;
use super::record::{Failure, Hop, Record};

/// From one signal of a client to its next.
const BETWEEN_SIGNALS: Duration = Duration::from_secs(1);

/// A boot is part of the first answer.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(180);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The clients of one run have this in common.
pub(super) struct Clients {
    pub(super) options: Options,
    pub(super) gateway: Gateway,
    pub(super) application: String,
    pub(super) record: Record,
    /// Whether all are to end at once.
    pub(super) stopped: watch::Receiver<bool>,
}

impl Clients {
    /// Has client number `nth` live its session, and notes what became of it.
    pub(super) async fn drive(&self, nth: u32) {
        self.record.session_begins();
        let ended = self.session(nth).await;
        self.record.session_ends(ended);
    }

    async fn session(&self, nth: u32) -> Result<(), Failure> {
        let asked = Instant::now();
        let created = self.gateway.create(&self.application, Screen::default()).await;
        let created = created.map_err(failure(Hop::Create))?;
        self.record.reached(Hop::Create, asked);
        let lived = match self.options.media {
            true => self.watch(&created, asked).await,
            false => self.signal(&created, asked, nth).await,
        };
        // Whatever became of it, it is not left behind.
        let deleting = Instant::now();
        let deleted = self.gateway.delete(&created.id).await.map_err(failure(Hop::Delete));
        if deleted.is_ok() {
            self.record.reached(Hop::Delete, deleting);
        }
        lived.and(deleted)
    }

    async fn signal(
        &self,
        created: &JoinedSession,
        asked: Instant,
        nth: u32,
    ) -> Result<(), Failure> {
        let opening = Instant::now();
        let pins = self.options.fingerprint.clone();
        let client = Signaler::open(&created.url, pins).await;
        let mut client = client.map_err(failure(Hop::Socket))?;
        self.record.reached(Hop::Socket, opening);
        let first = client.discover(FIRST_ANSWER_TIMEOUT).await;
        first.map_err(failure(Hop::FirstSignal))?;
        self.record.reached(Hop::FirstSignal, asked);

        let (begun, length) = (Instant::now(), self.options.length());
        if self.options.freezes(nth) {
            // The gateway cuts it off meanwhile, as it should: that is no failure.
            self.pause(length).await;
            return Ok(());
        }
        let (mut signals, mut stopped) = (0, self.stopped.clone());
        while begun.elapsed() < length && !*stopped.borrow() {
            tokio::select! {
                stayed = client.stay(BETWEEN_SIGNALS) => stayed.map_err(failure(Hop::Signal))?,
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
            let sent = Instant::now();
            client.discover(ANSWER_TIMEOUT).await.map_err(failure(Hop::Signal))?;
            self.record.reached(Hop::Signal, sent);
            signals += 1;
            let every = self.options.resume_every;
            if every > 0 && signals % every == 0 {
                let cut = Instant::now();
                client.resume().await.map_err(failure(Hop::Resume))?;
                self.record.reached(Hop::Resume, cut);
            }
        }
        client.close().await;
        Ok(())
    }

    async fn watch(&self, created: &JoinedSession, asked: Instant) -> Result<(), Failure> {
        let opening = Instant::now();
        let pins = self.options.fingerprint.clone();
        let viewer = Viewer::connect(created, pins).await.map_err(failure(Hop::Socket))?;
        self.record.reached(Hop::Socket, opening);
        for (hop, milestone, within) in [
            (Hop::FirstSignal, Milestone::OfferReceived, FIRST_ANSWER_TIMEOUT),
            (Hop::Connected, Milestone::IceConnected, ANSWER_TIMEOUT),
            (Hop::FirstPicture, Milestone::FirstFrame, ANSWER_TIMEOUT),
        ] {
            viewer.wait_event(milestone, within).await.map_err(failure(hop))?;
            self.record.reached(hop, asked);
        }
        let pictures = viewer.frames();
        self.pause(self.options.length()).await;
        let more = viewer.wait_frames(pictures + 1, ANSWER_TIMEOUT).await;
        more.map_err(failure(Hop::FirstPicture))?;
        viewer.disconnect().await;
        Ok(())
    }

    /// Returns after `time`, or when all are to end.
    async fn pause(&self, time: Duration) {
        let mut stopped = self.stopped.clone();
        // Who would stop them is gone: nobody does.
        let _ = tokio::time::timeout(time, stopped.wait_for(|stopped| *stopped)).await;
    }
}

fn failure<E: std::error::Error>(hop: Hop) -> impl FnOnce(E) -> Failure {
    move |error| (hop, error_chain(&error))
}

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use crate::media::Picture;

/// What happened to a viewer.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewerEvent {
    OfferReceived,
    AnswerSent,
    /// The connection carries media, and nothing is signaled any more.
    IceConnected,
    /// The control channel takes taps.
    ControlOpen,
    AudioPacket,
    FirstFrame,
    /// The `n`-th decoded picture; the digest differs when the picture does.
    Frame {
        n: u64,
        digest: u64,
    },
    /// The end, and why.
    Closed(String),
}

/// The kinds of [`ViewerEvent`] that can be waited for; repeated ones count the first time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Milestone {
    OfferReceived,
    AnswerSent,
    IceConnected,
    ControlOpen,
    Audio,
    FirstFrame,
    Closed,
}

impl ViewerEvent {
    fn milestone(&self) -> Option<Milestone> {
        Some(match self {
            Self::OfferReceived => Milestone::OfferReceived,
            Self::AnswerSent => Milestone::AnswerSent,
            Self::IceConnected => Milestone::IceConnected,
            Self::ControlOpen => Milestone::ControlOpen,
            Self::AudioPacket => Milestone::Audio,
            Self::FirstFrame => Milestone::FirstFrame,
            Self::Frame { .. } => return None,
            Self::Closed(_) => Milestone::Closed,
        })
    }
}

/// How far a viewer has come; what waits look at, so that nothing is missed by looking late.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    pub(super) reached: HashMap<Milestone, Instant>,
    pub(super) frames: u64,
    pub(super) picture: Option<Arc<Picture>>,
    pub(super) closed: Option<String>,
}

/// The viewer's side of its handle.
pub(super) struct Reporter {
    progress: watch::Sender<Progress>,
    events: mpsc::Sender<(Instant, ViewerEvent)>,
}

impl Reporter {
    pub(super) fn new(
        progress: watch::Sender<Progress>,
        events: mpsc::Sender<(Instant, ViewerEvent)>,
    ) -> Self {
        Self { progress, events }
    }

    pub(super) fn picture(&self, picture: Arc<Picture>) {
        let digest = picture.digest();
        let mut n = 0;
        self.progress.send_modify(|progress| {
            progress.frames += 1;
            progress.picture = Some(picture);
            n = progress.frames;
        });
        if n == 1 {
            self.report(ViewerEvent::FirstFrame);
        }
        self.report(ViewerEvent::Frame { n, digest });
    }

    pub(super) fn report(&self, event: ViewerEvent) {
        let now = Instant::now();
        if let Some(milestone) = event.milestone() {
            self.progress.send_modify(|progress| {
                progress.reached.entry(milestone).or_insert(now);
                if let ViewerEvent::Closed(reason) = &event {
                    progress.closed = Some(reason.clone());
                }
            });
        }
        // Media does not wait for a reader: one that falls behind loses the latest events.
        let _ = self.events.try_send((now, event));
    }
}

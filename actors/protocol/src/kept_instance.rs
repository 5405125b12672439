use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// An instance that is there although its session has ended. Started again, it brings the session
/// back.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeptInstance {
    /// When the session ended.
    pub since: Timestamp,
    /// Until when the instance may bring the session back; `None` is as long as it is there.
    pub restart_until: Option<Timestamp>,
    /// When it goes; `None` while whoever had AMS launch it keeps it.
    pub delete_at: Option<Timestamp>,
}

impl KeptInstance {
    /// Returns whether the instance may bring its session back at `now`.
    pub fn may_restart(&self, now: Timestamp) -> bool {
        self.restart_until.is_none_or(|until| now < until)
    }

    /// Returns whether the instance is to go at `now`.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.delete_at.is_some_and(|at| now >= at)
    }

    /// Has the instance go at `now` at the latest. It brings nothing back any more, whatever the
    /// clocks of other units say.
    pub fn condemn(&mut self, now: Timestamp) {
        self.restart_until = Some(Timestamp::EPOCH);
        self.delete_at = Some(self.delete_at.map_or(now, |at| at.min(now)));
    }

    /// Returns whether the instance was [condemned](Self::condemn).
    pub fn is_condemned(&self) -> bool {
        self.restart_until == Some(Timestamp::EPOCH)
    }
}

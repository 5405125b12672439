//! From where to where the signal log reaches. Pure.

use stream_protocol::Cursor;

use crate::BridgeError;

/// From where to where the log reaches, as the server says that leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) epoch: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Whether several servers keep the log, of which another than the one that leads may lag.
    pub(crate) is_replicated: bool,
}

impl Bounds {
    /// Refuses a cursor of another log, one that was overtaken by the trimming of old signals, and
    /// one ahead of the log (a log restored from the past).
    pub(crate) fn check(&self, after: Cursor) -> Result<(), BridgeError> {
        let overtaken = after.sequence.saturating_add(1) < self.first;
        if after.epoch == self.epoch && !overtaken && after.sequence <= self.last {
            return Ok(());
        }
        Err(BridgeError::HistoryGone { fresh: self.end() })
    }

    /// The cursor behind all that is in the log.
    pub(crate) fn end(&self) -> Cursor {
        Cursor { epoch: self.epoch, sequence: self.last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_from_just_before_the_first_kept_signal_to_the_last() {
        let log = Bounds { epoch: 7, first: 10, last: 20, is_replicated: false };
        let gone = |epoch, sequence| log.check(Cursor { epoch, sequence }).is_err();
        assert!(gone(7, 8), "signal 9 was there and is trimmed");
        assert!(!gone(7, 9));
        assert!(!gone(7, 20));
        assert!(gone(7, 21), "a log that went back in time");
        assert!(gone(6, 15), "another log");
        assert!(gone(7, u64::MAX));
    }

    #[test]
    fn an_empty_new_log_accepts_its_beginning() {
        // JetStream reports first 1, last 0 for a stream that never held anything.
        let log = Bounds { epoch: 7, first: 1, last: 0, is_replicated: false };
        assert!(log.check(Cursor { epoch: 7, sequence: 0 }).is_ok());
    }
}

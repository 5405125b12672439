//! From where to where the signal log reaches, and what of a subject it has dropped. Pure.

use stream_protocol::Cursor;

/// From where to where the log reaches, as the server says that leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) epoch: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Whether several servers keep the log, of which another than the one that leads may lag.
    pub(crate) is_replicated: bool,
}

/// What a cursor is to the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// Whatever was stored behind it is kept.
    Within,
    /// Signals behind it were dropped for their age; some of them may be those of its reader.
    Overtaken,
    /// It is of another log, or ahead of this one (a log restored from the past).
    Unknown,
}

impl Bounds {
    /// Returns what a cursor is to the log.
    pub(crate) fn place(&self, cursor: Cursor) -> Place {
        if cursor.epoch != self.epoch || cursor.sequence > self.last {
            return Place::Unknown;
        }
        if cursor.sequence.saturating_add(1) < self.first {
            Place::Overtaken
        } else {
            Place::Within
        }
    }

    /// The cursor behind all that is in the log.
    pub(crate) fn end(&self) -> Cursor {
        Cursor { epoch: self.epoch, sequence: self.last }
    }
}

/// From where to where the copies of the last signals reach, in sequences of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copies {
    /// When their stream was made, in Unix nanoseconds.
    pub(crate) made_at: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// What the copies of the last signals say of one subject, in sequences of the log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ends {
    /// The oldest and the newest signal that is copied, of any subject.
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<u64>,
    /// The last signal of the subject.
    pub(crate) of_subject: Option<u64>,
}

impl Ends {
    /// Whether it is certain that no signal of the subject was stored behind `after`, given that
    /// the log keeps none of it and begins at `first_kept`.
    pub(crate) fn prove_quiet(&self, after: u64, first_kept: u64) -> bool {
        let (Some(first), Some(last)) = (self.first, self.last) else { return false };
        // Whatever the log has dropped is copied, and no copy went away but for a newer one.
        let is_complete = last.saturating_add(1) >= first_kept;
        is_complete && self.of_subject.map_or(first <= after.saturating_add(1), |end| end <= after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_from_just_before_the_first_kept_signal_to_the_last() {
        let log = Bounds { epoch: 7, first: 10, last: 20, is_replicated: false };
        let place = |epoch, sequence| log.place(Cursor { epoch, sequence });
        assert_eq!(place(7, 8), Place::Overtaken, "signal 9 was there and is dropped");
        assert_eq!(place(7, 9), Place::Within);
        assert_eq!(place(7, 20), Place::Within);
        assert_eq!(place(7, 21), Place::Unknown, "a log that went back in time");
        assert_eq!(place(6, 15), Place::Unknown, "another log");
        assert_eq!(place(7, u64::MAX), Place::Unknown);
    }

    #[test]
    fn an_empty_new_log_accepts_its_beginning() {
        // JetStream reports first 1, last 0 for a stream that never held anything.
        let log = Bounds { epoch: 7, first: 1, last: 0, is_replicated: false };
        assert_eq!(log.place(Cursor { epoch: 7, sequence: 0 }), Place::Within);
    }

    #[test]
    fn copies_prove_only_what_they_hold() {
        let ends = Ends { first: Some(5), last: Some(40), of_subject: Some(12) };
        assert!(ends.prove_quiet(12, 41) && ends.prove_quiet(30, 20));
        assert!(!ends.prove_quiet(11, 41), "12 was missed");
        assert!(!ends.prove_quiet(12, 42), "41 is dropped and not copied: whose was it?");
        let never = Ends { of_subject: None, ..ends };
        assert!(never.prove_quiet(4, 41));
        assert!(!never.prove_quiet(3, 41), "4 may have been the last of the subject");
        assert!(!Ends::default().prove_quiet(4, 5), "nothing is copied");
    }
}

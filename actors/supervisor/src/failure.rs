//! What goes wrong with an actor, as its askers and as its supervisor see it.

use std::any::Any;
use std::time::Duration;

use crate::panic_hook;

/// Why an actor gave no answer. None of these says whether the work was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AskError {
    /// The mailbox is full; the message was not queued.
    #[error("too much is queued")]
    Busy,
    /// The actor failed while it held the message.
    #[error("it failed while it held the request")]
    Crashed,
    /// The actor has been stopped for good.
    #[error("it has been stopped")]
    Stopped,
    /// There was no answer within the deadline.
    #[error("it gave no answer in time")]
    TimedOut,
}

/// What made a worker fail.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    Panic(String),
    /// An answer took longer than this.
    Deadline(Duration),
    /// The worker itself declared that it cannot go on.
    Error(String),
}

impl Failure {
    /// Reads the text of a panic caught on this thread, and where it was.
    pub(crate) fn panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "without a message".to_owned());
        Self::Panic(match panic_hook::take_last_panic_location() {
            Some(location) => format!("{text} ({location})"),
            None => text,
        })
    }

    /// What the asker of the message in hand is told.
    pub(crate) fn as_ask_error(&self) -> AskError {
        match self {
            Self::Panic(_) | Self::Error(_) => AskError::Crashed,
            Self::Deadline(_) => AskError::TimedOut,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Panic(text) => write!(f, "panic: {text}"),
            Self::Deadline(limit) => write!(f, "it took longer than {limit:?}"),
            Self::Error(text) => write!(f, "error: {text}"),
        }
    }
}

//! Whether NATS stores what it is given. One that is connected and does not is of no more use than
//! one that is away, and no waiting helps: an operator has to hear of it.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, ErrorCode};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::BridgeError;

/// How long a refusal counts that nothing followed: nobody may have tried since.
const REFUSAL_TTL: Duration = Duration::from_secs(15);

/// So many writes or looks in a row without an answer are no accident.
const MAX_SILENT: u32 = 2;

/// What the server says when it has no room, or none for us.
const NO_ROOM: &[ErrorCode] = &[
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::MEMORY_RESOURCES_EXCEEDED,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED,
    ErrorCode::STREAM_STORE_FAILED,
];

/// What the server says when JetStream is off, for all or for us.
const SWITCHED_OFF: &[ErrorCode] =
    &[ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT];

/// What writes and looks at the store have shown. Clones share it: the connections of all threads
/// write into one store.
#[derive(Clone, Default)]
pub(crate) struct StoreHealth(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// Why the store cannot be used at all.
    off: Option<String>,
    /// Whether the last look found it off: a server that has just started may be late with it.
    looked_off: bool,
    /// Looks without an answer since the last that had one.
    looked_in_vain: u32,
    /// Why the last write was refused, and when.
    refused: Option<(String, Instant)>,
    /// Writes without an answer since the last that had one.
    silent: u32,
}

impl StoreHealth {
    /// Takes the end of a write.
    pub(crate) fn on_write<T>(&self, written: &Result<T, BridgeError>) {
        let mut seen = self.0.lock();
        match written {
            Ok(_) => (seen.refused, seen.silent) = (None, 0),
            Err(BridgeError::StoreRefused(cause)) => {
                (seen.refused, seen.silent) = (Some((cause.clone(), Instant::now())), 0);
            }
            Err(BridgeError::TimedOut) => {
                seen.silent = seen.silent.saturating_add(1);
                if seen.silent >= MAX_SILENT {
                    let cause = "it does not acknowledge what it is given".to_owned();
                    seen.refused = Some((cause, Instant::now()));
                }
            }
            // About a record, or the connection.
            Err(_) => {}
        }
    }

    /// Takes a look at the store that had no answer. That refuses no write: a cluster that has just
    /// lost a server does not answer for some seconds either.
    pub(crate) fn on_silent_look(&self) {
        let mut seen = self.0.lock();
        seen.looked_in_vain = seen.looked_in_vain.saturating_add(1);
    }

    /// Takes a look at the store: why it is off, if it is. Off counts from the second look in a row
    /// on. Returns whether it is on again.
    pub(crate) fn on_look(&self, off: Option<String>) -> bool {
        let mut seen = self.0.lock();
        seen.looked_in_vain = 0;
        let twice = std::mem::replace(&mut seen.looked_off, off.is_some());
        let before = std::mem::replace(&mut seen.off, off.filter(|_| twice));
        before.is_some() && seen.off.is_none()
    }

    /// Refuses a write at once that cannot be done, since the store is off. Readers go on to wait:
    /// nothing is lost by that.
    pub(crate) fn check(&self) -> Result<(), BridgeError> {
        match &self.0.lock().off {
            Some(cause) => Err(BridgeError::StoreRefused(cause.clone())),
            None => Ok(()),
        }
    }

    /// Returns why the store does not work, if it does not.
    pub(crate) fn failure(&self) -> Option<String> {
        let seen = self.0.lock();
        let refused = seen.refused.as_ref().filter(|(_, at)| at.elapsed() < REFUSAL_TTL);
        let refused = refused.map(|(cause, _)| cause.clone());
        let mute = (seen.looked_in_vain >= MAX_SILENT)
            .then(|| "JetStream does not answer: it may be switched off".to_owned());
        seen.off.clone().or(refused).or(mute)
    }
}

/// Returns what to make of an error of a write: a refusal by the store, or a connection that does
/// not serve.
pub(crate) fn write_error(error: impl StdError + 'static) -> BridgeError {
    match refusal(&error) {
        Some(cause) => BridgeError::StoreRefused(cause),
        None => BridgeError::disconnected(error),
    }
}

/// Returns why the store is off, if that is what `error` says.
pub(crate) fn switched_off(error: &jetstream::context::AccountError) -> Option<String> {
    use jetstream::context::AccountErrorKind::{JetStream, JetStreamUnavailable};
    match error.kind() {
        JetStreamUnavailable => Some("JetStream is switched off at the server".to_owned()),
        JetStream(said) if SWITCHED_OFF.contains(&said.error_code()) => Some(said.to_string()),
        _ => None,
    }
}

fn refusal(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(said) = error.downcast_ref::<jetstream::Error>() {
            let code = said.error_code();
            let is_refusal = NO_ROOM.contains(&code)
                || SWITCHED_OFF.contains(&code)
                || code == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM;
            return is_refusal.then(|| said.to_string());
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: u64) -> jetstream::Error {
        let json = format!(r#"{{"code":503,"err_code":{code},"description":"no room"}}"#);
        serde_json::from_str(&json).expect("what a server says")
    }

    #[test]
    fn a_store_without_room_is_told_from_one_that_is_away() {
        let kind = jetstream::context::PublishErrorKind::Other;
        let failed = |code| jetstream::context::PublishError::with_source(kind, said(code));
        for code in [10002, 10023, 10028, 10047, 10077, 10054, 10076, 10039] {
            let error = write_error(failed(code));
            assert!(matches!(error, BridgeError::StoreRefused(_)), "{code}: {error}");
            assert!(!error.is_transient() && error.to_string().contains("no room"), "{error}");
        }
        let away = write_error(failed(10008));
        assert!(matches!(away, BridgeError::Disconnected(_)) && away.is_transient(), "{away}");
    }

    #[test]
    fn the_store_fails_from_a_refusal_or_two_silences_to_the_next_success() {
        let health = StoreHealth::default();
        let refused = || Err::<(), _>(BridgeError::StoreRefused("no room".to_owned()));
        health.on_write(&Err::<(), _>(BridgeError::TimedOut));
        health.on_write(&Err::<(), _>(BridgeError::Conflict));
        assert_eq!(health.failure(), None);
        health.on_write(&Err::<(), _>(BridgeError::TimedOut));
        assert!(health.failure().is_some_and(|why| why.contains("does not acknowledge")));
        health.on_write(&refused());
        assert_eq!(health.failure().as_deref(), Some("no room"));
        // Whoever is refused may try again: how else would it be seen to work.
        assert!(health.check().is_ok());
        health.on_write(&Ok(()));
        assert_eq!(health.failure(), None);
    }

    #[test]
    fn a_store_that_answers_again_has_not_failed_any_more() {
        let health = StoreHealth::default();
        health.on_silent_look();
        assert_eq!(health.failure(), None, "once is an accident");
        health.on_silent_look();
        assert!(health.failure().is_some_and(|why| why.contains("does not answer")));
        assert!(health.check().is_ok());
        health.on_look(None);
        assert_eq!(health.failure(), None);
    }

    #[test]
    fn a_store_that_is_off_is_asked_nothing_until_it_is_on() {
        let health = StoreHealth::default();
        assert!(!health.on_look(None));
        assert!(!health.on_look(Some("off".to_owned())));
        assert!(health.check().is_ok(), "once is an accident");
        assert!(!health.on_look(Some("off".to_owned())));
        assert!(matches!(health.check(), Err(BridgeError::StoreRefused(why)) if why == "off"));
        assert_eq!(health.clone().failure().as_deref(), Some("off"));
        assert!(health.on_look(None), "on again");
        assert!(health.check().is_ok());
    }
}

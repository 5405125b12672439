//! What the agents share about one pool of relays: its secrets, and which of its relays are
//! drained. Pure; kept sealed in NATS.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use stream_pki::SecretError;
use stream_protocol::Timestamp;

use crate::TurnError;
use crate::secret::Secret;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Secrets {
    /// Signs new credentials.
    pub(crate) current: Secret,
    /// Waits until all relays accept it.
    #[serde(default)]
    pub(crate) pending: Option<Secret>,
    /// Signed credentials that are still valid.
    #[serde(default)]
    pub(crate) previous: Option<Previous>,
    /// Relays that an operator has taken out, by their first URL.
    #[serde(default)]
    pub(crate) drained: BTreeSet<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Previous {
    pub(crate) secret: Secret,
    /// When the last credential made with it expires.
    pub(crate) until: Timestamp,
}

impl Secrets {
    /// Returns what the first agent begins with: the secret in the file `path`.
    pub(crate) fn first(path: &Path) -> Result<Self, SecretError> {
        let current = Secret::first(path)?;
        Ok(Self { current, pending: None, previous: None, drained: BTreeSet::new() })
    }

    /// Returns whether the secret in the file `path` is one of these.
    pub(crate) fn hold(&self, path: &Path) -> Result<bool, SecretError> {
        let first = Secret::first(path)?;
        let previous = self.previous.as_ref().map(|previous| &previous.secret);
        let mut all = [Some(&self.current), self.pending.as_ref(), previous].into_iter().flatten();
        Ok(all.any(|secret| *secret == first))
    }

    /// Makes `fresh` the pending secret, unless there is one, which may be on some relays already.
    /// Refuses while two secrets are valid.
    pub(crate) fn begin(&mut self, fresh: &Secret) -> Result<(), TurnError> {
        if self.previous.is_some() {
            return Err(TurnError::Refused(
                "two secrets are live already: retire the old one first".to_owned(),
            ));
        }
        self.pending.get_or_insert_with(|| fresh.clone());
        Ok(())
    }

    /// Makes the pending secret, which all relays accept, the current one. Credentials of the old
    /// one expire by `until`. Refuses when another agent changed it meanwhile.
    pub(crate) fn switch(&mut self, proven: &Secret, until: Timestamp) -> Result<(), TurnError> {
        let Some(pending) = self.pending.take_if(|pending| pending == proven) else {
            return Err(TurnError::Refused("another agent has changed the secret".to_owned()));
        };
        let secret = std::mem::replace(&mut self.current, pending);
        self.previous = Some(Previous { secret, until });
        Ok(())
    }

    /// Forgets the old secret. Refuses when there is none, and while its credentials are valid.
    pub(crate) fn retire(&mut self, now: Timestamp) -> Result<(), TurnError> {
        self.old(now)?;
        self.previous = None;
        Ok(())
    }

    /// Returns the old secret when it can be retired.
    pub(crate) fn old(&self, now: Timestamp) -> Result<&Secret, TurnError> {
        match &self.previous {
            None => Err(TurnError::Refused("there is no old secret".to_owned())),
            Some(Previous { until, .. }) if now < *until => {
                let rest = until.secs_since(now);
                let why = format!("credentials of the old secret are good for another {rest} s");
                Err(TurnError::Refused(why))
            }
            Some(Previous { secret, .. }) => Ok(secret),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_unix(second)
    }

    fn secrets() -> Secrets {
        let current = Secret::random();
        Secrets { current, pending: None, previous: None, drained: BTreeSet::new() }
    }

    #[test]
    fn a_pending_secret_changes_nothing_until_it_is_proven() {
        let (mut secrets, fresh) = (secrets(), Secret::random());
        let current = secrets.current.clone();
        secrets.begin(&fresh).unwrap();
        // Another try proves the same one, which the operator has put on some relays.
        secrets.begin(&Secret::random()).unwrap();
        assert_eq!((&secrets.current, &secrets.pending), (&current, &Some(fresh.clone())));

        assert!(secrets.switch(&Secret::random(), at(100)).is_err());
        assert_eq!(secrets.current, current);
        secrets.switch(&fresh, at(100)).unwrap();
        assert_eq!((&secrets.current, &secrets.pending), (&fresh, &None));
        assert_eq!(secrets.previous.as_ref().unwrap().secret, current);
    }

    #[test]
    fn never_are_more_than_two_secrets_live() {
        let (mut secrets, fresh) = (secrets(), Secret::random());
        assert!(secrets.retire(at(0)).is_err(), "there is only one");
        secrets.begin(&fresh).unwrap();
        secrets.switch(&fresh, at(100)).unwrap();
        assert!(secrets.begin(&Secret::random()).is_err());
        let error = secrets.retire(at(40)).unwrap_err().to_string();
        assert!(error.contains("another 60 s"), "{error}");
        secrets.retire(at(100)).unwrap();
        secrets.begin(&Secret::random()).unwrap();
    }

    #[test]
    fn a_file_is_held_whose_secret_is_any_of_the_secrets() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("turn.secret");
        let mut secrets = secrets();
        let text = secrets.current.as_str().to_owned();
        stream_pki::write_new(&path, text.as_bytes(), 0o600).unwrap();
        assert!(secrets.hold(&path).unwrap());
        let fresh = Secret::random();
        secrets.begin(&fresh).unwrap();
        secrets.switch(&fresh, at(100)).unwrap();
        assert!(secrets.hold(&path).unwrap(), "it is the previous one");
        secrets.retire(at(100)).unwrap();
        assert!(!secrets.hold(&path).unwrap());
    }

    #[test]
    fn what_is_shared_survives_its_text_and_prints_no_secret() {
        let mut secrets = secrets();
        secrets.drained.insert("turn:a".to_owned());
        let text = serde_json::to_string(&secrets).unwrap();
        let read: Secrets = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (read.current, read.drained),
            (secrets.current.clone(), secrets.drained.clone())
        );
        assert!(!format!("{secrets:?}").contains(secrets.current.as_str()));
    }
}

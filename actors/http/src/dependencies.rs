//! What a unit depends on, looked at no more than once a second, however many ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// A probe is answered within this time, even when an actor is stuck.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long what was found of the dependencies is answered again.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// What a unit depends on: by name, whether it is there or why not.
pub type Dependencies = BTreeMap<&'static str, Result<(), String>>;

/// What was found last, and when. Whoever looks holds the lock, so that others wait for the same
/// look.
#[derive(Clone, Default)]
pub struct LatestDependencies(Arc<Mutex<Option<(Instant, Dependencies)>>>);

impl LatestDependencies {
    /// Returns what was found in the last second, or what `look` finds within five.
    pub async fn get(&self, look: impl Future<Output = Dependencies>) -> Dependencies {
        let mut latest = self.0.lock().await;
        if let Some((at, found)) = &*latest
            && at.elapsed() < GOOD_FOR
        {
            return found.clone();
        }
        let found = tokio::time::timeout(PROBE_TIMEOUT, look).await.unwrap_or_else(|_| {
            BTreeMap::from([("actors", Err("gave no answer in time".to_owned()))])
        });
        *latest = Some((Instant::now(), found.clone()));
        found
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_probes_at_once_ask_the_actors_once() {
        let (latest, looks) = (LatestDependencies::default(), Cell::new(0));
        let look = || async {
            looks.set(looks.get() + 1);
            tokio::task::yield_now().await;
            BTreeMap::from([("nats", Ok(()))])
        };
        tokio::join!(latest.get(look()), latest.get(look()), latest.get(look()));
        assert_eq!(looks.get(), 1);
        tokio::time::advance(GOOD_FOR).await;
        latest.get(look()).await;
        assert_eq!(looks.get(), 2);
        let stuck = latest.get(std::future::pending());
        tokio::time::advance(GOOD_FOR).await;
        assert!(stuck.await["actors"].is_err());
    }
}

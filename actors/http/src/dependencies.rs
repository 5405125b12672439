//! What a unit depends on, looked at now and then, however many ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// A probe is answered within this time, even when an actor is stuck.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it is answered again that all is there.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// How long it is answered again that something is away. A unit that has just started reaches one
/// after the other, and somebody waits for it.
const AWAY_FOR: Duration = Duration::from_millis(50);

/// What a unit depends on: by name, whether it is there or why not.
pub type Dependencies = BTreeMap<&'static str, Result<(), String>>;

/// What was found last, and when. Whoever looks holds the lock, so that others wait for the same
/// look.
#[derive(Clone, Default)]
pub struct LatestDependencies(Arc<Mutex<Option<(Instant, Dependencies)>>>);

impl LatestDependencies {
    /// Returns what was found a moment ago, or what `look` finds within 5 s.
    pub async fn get(&self, look: impl Future<Output = Dependencies>) -> Dependencies {
        let mut latest = self.0.lock().await;
        if let Some((at, found)) = &*latest
            && at.elapsed() < good_for(found)
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

fn good_for(found: &Dependencies) -> Duration {
    if found.values().all(Result::is_ok) { GOOD_FOR } else { AWAY_FOR }
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

    #[tokio::test(start_paused = true)]
    async fn what_is_away_is_looked_at_again_soon() {
        let latest = LatestDependencies::default();
        let away = async || BTreeMap::from([("nats", Err("it is away".to_owned()))]);
        let there = async || BTreeMap::from([("nats", Ok(()))]);
        assert!(latest.get(away()).await["nats"].is_err());
        assert!(latest.get(there()).await["nats"].is_err(), "at once");
        tokio::time::advance(AWAY_FOR).await;
        assert!(latest.get(there()).await["nats"].is_ok());
        tokio::time::advance(AWAY_FOR).await;
        assert!(latest.get(away()).await["nats"].is_ok(), "it was there");
    }
}

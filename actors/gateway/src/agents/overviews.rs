//! What all agents say of themselves, asked once a second, however many want to know.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::{self, AgentOp};
use stream_protocol::{AgentOverview, Empty, Presence, Refusal};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::AgentView;
use crate::placement;

/// How long what was told is answered again.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// How long an agent may take to answer.
const DEADLINE: Duration = Duration::from_millis(1_500);

/// So many agents are asked at the same time.
const AT_ONCE: usize = 64;

type Overviews = Arc<Vec<AgentView>>;

/// What was told last, and when it was asked for. Whoever asks holds the lock, so that others wait
/// for the same answers. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct LatestOverviews(Arc<Mutex<Option<(Instant, Overviews)>>>);

impl LatestOverviews {
    /// Returns every agent that gives signs of life, by name, as it was within the last second.
    ///
    /// # Errors
    ///
    /// Refuses while NATS is away.
    pub(crate) async fn get(&self, bridge: &Bridge) -> Result<Overviews, Refusal> {
        self.read(|| ask_all(bridge)).await
    }

    /// Has the agents asked again.
    pub(crate) async fn forget(&self) {
        *self.0.lock().await = None;
    }

    async fn read<F>(&self, ask: impl FnOnce() -> F) -> Result<Overviews, Refusal>
    where
        F: Future<Output = Result<Vec<AgentView>, Refusal>>,
    {
        let mut latest = self.0.lock().await;
        if let Some((at, told)) = &*latest
            && at.elapsed() < GOOD_FOR
        {
            return Ok(Arc::clone(told));
        }
        let begun = Instant::now();
        let told = Arc::new(ask().await?);
        *latest = Some((begun, Arc::clone(&told)));
        Ok(told)
    }
}

async fn ask_all(bridge: &Bridge) -> Result<Vec<AgentView>, Refusal> {
    let mut agents = placement::list(bridge).await?;
    agents.sort_by(|one, other| one.agent.cmp(&other.agent));
    let asked = agents.into_iter().map(|presence| ask(bridge, presence));
    Ok(stream::iter(asked).buffered(AT_ONCE).collect().await)
}

async fn ask(bridge: &Bridge, presence: Presence) -> AgentView {
    let subject = subjects::agent(&presence.agent, AgentOp::Overview);
    let told = bridge.ask::<_, AgentOverview>(subject, &Empty {}, DEADLINE).await;
    let told = told.map_err(|error| match error {
        BridgeError::NoResponder => "it is not connected, or its release is older".to_owned(),
        error => error.to_string(),
    });
    AgentView::of(presence, told)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;
    use stream_protocol::RefusalCode;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn agents_are_asked_once_a_second_and_again_after_a_failure() {
        let (latest, asked) = (LatestOverviews::default(), Cell::new(0));
        let ask = async || {
            asked.set(asked.get() + 1);
            tokio::task::yield_now().await;
            Ok(Vec::new())
        };
        let all = join_all((0..100).map(|_| latest.read(ask))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(asked.get(), 1);
        tokio::time::advance(GOOD_FOR).await;
        let away = async || Err(Refusal::new(RefusalCode::Unavailable, "NATS is away"));
        assert!(latest.read(away).await.is_err());
        assert!(latest.read(ask).await.is_ok());
        latest.forget().await;
        assert!(latest.read(ask).await.is_ok());
        assert_eq!(asked.get(), 3);
    }
}

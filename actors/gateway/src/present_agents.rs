//! The agents that are there, for many who ask at the same time.

use std::sync::Arc;

use stream_bridge::Bridge;
use stream_protocol::{Presence, Refusal};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::placement;

/// The agents that give signs of life. Clones share their questions.
#[derive(Clone, Default)]
pub(crate) struct PresentAgents(Arc<Mutex<Option<LastRead>>>);

struct LastRead {
    begun: Instant,
    read: Result<Vec<Presence>, Refusal>,
}

impl PresentAgents {
    /// Returns the presence of every agent whose lease has not run out. Those who ask while an
    /// answer is awaited share the next one.
    pub(crate) async fn list(&self, bridge: &Bridge) -> Result<Vec<Presence>, Refusal> {
        self.read(|| placement::list(bridge)).await
    }

    async fn read<F>(&self, ask: impl FnOnce() -> F) -> Result<Vec<Presence>, Refusal>
    where
        F: Future<Output = Result<Vec<Presence>, Refusal>>,
    {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        // What was asked for before this call may lack an agent that has come since.
        if let Some(last) = last.as_ref().filter(|last| last.begun >= asked) {
            return last.read.clone();
        }
        let begun = Instant::now();
        let read = ask().await;
        *last = Some(LastRead { begun, read: read.clone() });
        read
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_share_a_question_and_nobody_gets_an_older_answer() {
        let (agents, questions) = (PresentAgents::default(), Cell::new(0));
        let ask = async || {
            questions.set(questions.get() + 1);
            tokio::task::yield_now().await;
            Ok(Vec::new())
        };
        let all = join_all((0..100).map(|_| agents.read(ask))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(questions.get(), 2, "the one under way, and one for all who came meanwhile");
        assert!(agents.read(ask).await.is_ok());
        assert_eq!(questions.get(), 3);
    }
}

//! The order to drain that comes over the network.

use stream_protocol::subjects::Bucket;
use stream_protocol::{AgentId, DrainAgent, DrainOutcome, Presence, Refusal, RefusalCode};

use crate::Sources;

impl Sources {
    /// Has the agent drain and stay, or go on as before. What stands against it is an outcome.
    ///
    /// # Errors
    ///
    /// Refuses while NATS is away, and an order that has lain about for too long.
    pub(crate) async fn take_order(&self, order: &DrainAgent) -> Result<DrainOutcome, Refusal> {
        if self.bridge.now() >= order.until {
            return Err(Refusal::new(RefusalCode::Unavailable, "the order has come too late"));
        }
        if !self.remote_drain {
            return Ok(DrainOutcome::NotAllowed);
        }
        if self.drain.is_ending() {
            return Ok(DrainOutcome::Ending);
        }
        if !order.drain {
            return Ok(match self.drain.cancel() {
                true => DrainOutcome::Done,
                false => DrainOutcome::NotDraining,
            });
        }
        if !order.force && !has_successor(&self.present().await?, &self.agent) {
            return Ok(DrainOutcome::LastOne);
        }
        self.drain.begin_to_stay();
        Ok(DrainOutcome::Done)
    }

    async fn present(&self) -> Result<Vec<Presence>, Refusal> {
        let listed = self.bridge.list::<Presence>(Bucket::Agents).await;
        let listed = listed.map_err(|error| {
            Refusal::new(RefusalCode::Unavailable, format!("who else is there: {error}"))
        })?;
        Ok(listed.into_iter().map(|(_, entry)| entry.value).collect())
    }
}

/// Whether another agent of its cluster could take what `agent` has. An agent that has not said yet
/// of which cluster it is has nothing.
fn has_successor(present: &[Presence], agent: &AgentId) -> bool {
    let Some(own) = present.iter().find(|one| one.agent == *agent) else { return true };
    present.iter().any(|one| {
        one.agent != *agent
            && one.cluster == own.cluster
            && !one.draining
            && one.unavailable.is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(agent: &str, cluster: &str) -> Presence {
        Presence {
            agent: agent.parse().unwrap(),
            region: String::new(),
            cluster: cluster.to_owned(),
            catalogue: String::new(),
            capacity: 0,
            draining: false,
            unavailable: None,
            version: "1".to_owned(),
            stun_servers: Vec::new(),
        }
    }

    #[test]
    fn a_successor_is_of_the_same_cluster_and_serves() {
        let asked = "a".parse().unwrap();
        let own = presence("a", "c");
        let with = |other: Presence| has_successor(&[own.clone(), other], &asked);
        assert!(!has_successor(std::slice::from_ref(&own), &asked));
        assert!(!with(presence("b", "other")));
        assert!(!with(Presence { draining: true, ..presence("b", "c") }));
        assert!(!with(Presence { unavailable: Some("AMS is away".into()), ..presence("b", "c") }));
        assert!(with(presence("b", "c")), "also one that is full: places become free");
        assert!(has_successor(&[], &asked), "it has said nothing, and has nothing");
    }
}

//! The search for an agent that launches the instance of a session.

use std::time::Duration;

use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::{self, AgentOp, Bucket};
use stream_protocol::{
    ClientIce, Hop, IceTerms, Launch, Presence, RefusalCode, SessionDocument, SessionId,
    TimelineEntry,
};
use tokio::time::Instant;

use crate::placement;

/// How long an agent may take to have AMS accept the launch, and how long agents are asked.
const LAUNCH_DEADLINE: Duration = Duration::from_secs(15);

/// Asks one agent of `hosts` after the other, until one launches the instance of `session`, whose
/// client gets ICE servers on `terms`. Returns what it says, and its region.
///
/// # Errors
///
/// Returns what the last agent said, when none is left, time is up, or it may have begun something.
pub(crate) async fn request_launch(
    bridge: &Bridge,
    session: &SessionId,
    terms: IceTerms,
    hosts: Vec<Presence>,
) -> Result<(ClientIce, String), BridgeError> {
    let ask = async |host: &Presence, placement: String| {
        let launch = Launch { session: session.clone(), placement, terms };
        let asked = bridge
            .ask(subjects::agent(&host.agent, AgentOp::Launch), &launch, LAUNCH_DEADLINE)
            .await;
        let error = match asked {
            Ok(ice) => return Asked::Launched((ice, host.region.clone())),
            Err(error) => error,
        };
        log::info!(session:%, agent:% = host.agent, error:%; "agent did not take the session");
        let text = format!("agent {} did not take the session: {error}", host.agent);
        bridge.tell_timeline(session, vec![TimelineEntry::new(Hop::Place, text)]);
        match begun(&error) {
            Begun::Nothing => Asked::Declined(error),
            Begun::Unknown if is_unclaimed(bridge, session).await => Asked::Declined(error),
            Begun::Unknown | Begun::Something => Asked::Failed(error),
        }
    };
    search(hosts, placement::random, ask).await
}

/// What an agent made of a launch.
enum Asked<T> {
    Launched(T),
    /// The agent has begun nothing: another one may take the session.
    Declined(BridgeError),
    Failed(BridgeError),
}

async fn search<T>(
    mut hosts: Vec<Presence>,
    mut draw: impl FnMut(usize) -> usize,
    mut ask: impl AsyncFnMut(&Presence, String) -> Asked<T>,
) -> Result<T, BridgeError> {
    let started = Instant::now();
    let mut failure = BridgeError::NoResponder;
    while started.elapsed() < LAUNCH_DEADLINE {
        let Some((host, reason)) = placement::pick(&mut hosts, &mut draw) else { break };
        match ask(&host, reason).await {
            Asked::Launched(launched) => return Ok(launched),
            Asked::Declined(error) => failure = error,
            Asked::Failed(error) => return Err(error),
        }
    }
    Err(failure)
}

/// Whether an agent has begun the launch that it did not carry out.
#[derive(Debug, PartialEq)]
enum Begun {
    Nothing,
    /// Its claim would show in the document.
    Unknown,
    Something,
}

fn begun(error: &BridgeError) -> Begun {
    match error {
        BridgeError::NoResponder => Begun::Nothing,
        BridgeError::Refused(refusal) => match refusal.code {
            RefusalCode::Busy | RefusalCode::Draining => Begun::Nothing,
            // AMS may be away for this agent alone.
            RefusalCode::Unavailable => Begun::Unknown,
            _ => Begun::Something,
        },
        _ => Begun::Something,
    }
}

async fn is_unclaimed(bridge: &Bridge, session: &SessionId) -> bool {
    let found = bridge.read::<SessionDocument>(Bucket::Sessions, session.as_str()).await;
    let document = found.ok().flatten().map(|entry| entry.value);
    document.is_some_and(|document| document.owner.is_none() && !document.status.is_final())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use stream_protocol::Refusal;
    use tokio::time::sleep;

    use super::*;

    fn refused(code: RefusalCode) -> BridgeError {
        BridgeError::Refused(Refusal::new(code, "no"))
    }

    fn agents(count: usize) -> Vec<Presence> {
        let agent = |n| {
            let text = format!(
                r#"{{"agent":"a{n}","region":"","cluster":"","applications":[],"capacity":1,
                    "draining":false,"version":"1"}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        (0..count).map(agent).collect()
    }

    #[test]
    fn another_agent_is_asked_only_when_the_first_surely_did_not_begin() {
        assert_eq!(begun(&BridgeError::NoResponder), Begun::Nothing);
        assert_eq!(begun(&refused(RefusalCode::Draining)), Begun::Nothing);
        assert_eq!(begun(&refused(RefusalCode::Busy)), Begun::Nothing);
        assert_eq!(begun(&refused(RefusalCode::Unavailable)), Begun::Unknown);
        assert_eq!(begun(&BridgeError::TimedOut), Begun::Something);
        assert_eq!(begun(&refused(RefusalCode::NotFound)), Begun::Something);
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_agent_with_room_is_found_behind_many_without() {
        let asked = Cell::new(0);
        let ask = async |host: &Presence, _| {
            asked.set(asked.get() + 1);
            match host.agent.as_str() {
                "a1" => Asked::Launched("here"),
                _ => Asked::Declined(refused(RefusalCode::Busy)),
            }
        };
        // The first one of those left, whose place the last one takes.
        let found = search(agents(50), |_| 0, ask).await;
        assert_eq!(found.unwrap(), "here");
        assert_eq!(asked.get(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn the_search_ends_in_time_and_with_an_agent_that_may_have_begun() {
        let started = Instant::now();
        let slow = async |_: &Presence, _| {
            sleep(Duration::from_secs(2)).await;
            Asked::<()>::Declined(refused(RefusalCode::Busy))
        };
        assert!(search(agents(50), |_| 0, slow).await.is_err());
        assert_eq!(started.elapsed(), Duration::from_secs(16));

        let asked = Cell::new(0);
        let begins = async |_: &Presence, _| {
            asked.set(asked.get() + 1);
            Asked::<()>::Failed(BridgeError::TimedOut)
        };
        assert!(matches!(search(agents(3), |_| 0, begins).await, Err(BridgeError::TimedOut)));
        assert_eq!(asked.get(), 1);
    }
}

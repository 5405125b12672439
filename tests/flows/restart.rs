//! An actor of the agent fails in the middle of a session: nobody notices.

use crate::support::{APP, STEP_TIMEOUT, eventually, run_flow};
use stream_dev::in_process::{Options, Stack};
use stream_protocol::Screen;
use stream_simulators::client::Viewer;

/// In the order they start.
const ACTORS: [&str; 10] =
    ["pki", "bridge", "tickets", "ams", "tokens", "turn", "sessions", "admin", "api", "overview"];

#[test]
fn the_agent_is_made_of_these_actors() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let names: Vec<_> =
            stack.agent.supervisor.status().iter().map(|actor| actor.name).collect();
        assert_eq!(names, ACTORS);
        Ok(())
    });
}

#[test]
fn a_session_completes_whichever_actor_fails_during_its_start_and_its_stream() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        for actor in ACTORS {
            survives(&stack, actor).await.map_err(|error| error.context(actor))?;
        }
        Ok(())
    });
}

async fn survives(stack: &Stack, actor: &'static str) -> anyhow::Result<()> {
    let before = restarts(stack);
    let client = stack.client()?;
    let created = client.create(APP, Screen::default()).await?;
    // The instance boots, attaches and negotiates while the actor is rebuilt.
    assert!(stack.agent.supervisor.crash(actor));
    let viewer = Viewer::connect(&created, vec![stack.nodes.gateway_pin()?]).await?;
    viewer.wait_frames(10, STEP_TIMEOUT).await?;
    assert!(stack.agent.supervisor.crash(actor));
    let seen = viewer.frames();
    viewer.wait_frames(seen + 10, STEP_TIMEOUT).await?;
    viewer.tap(200.0, 100.0, STEP_TIMEOUT).await?;
    viewer.wait_mark(200, 100, STEP_TIMEOUT).await?;
    viewer.disconnect().await;

    let delete = async || match client.delete(&created.id).await {
        Ok(()) => Ok(Some(())),
        // An actor that makes its connection anew says so; a client repeats.
        Err(error) if error.status() == Some(503) => Ok(None),
        Err(error) => Err(error.into()),
    };
    eventually("deleted", delete).await?;
    stack.ams.wait_until(|instances| instances.is_empty(), STEP_TIMEOUT).await?;

    for (name, (before, after)) in ACTORS.into_iter().zip(before.into_iter().zip(restarts(stack))) {
        let expected = if name == actor { 2 } else { 0 };
        assert_eq!(after - before, expected, "restarts of {name} while {actor} failed");
    }
    Ok(())
}

fn restarts(stack: &Stack) -> Vec<u64> {
    stack.agent.supervisor.status().iter().map(|actor| actor.restarts).collect()
}

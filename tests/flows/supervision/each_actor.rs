//! One actor fails again and again under a steady load of whole sessions.

use std::time::Duration;

use anyhow::{Context, ensure};
use stream_dev::in_process::Stack;
use stream_supervisor::{ActorState, Failures, Fault};

use super::load::{CLIENTS, Tally, actor, actors, stack, under_load};
use crate::support::{STEP_TIMEOUT, eventually, run_flow};

/// The deadline of an answer that hangs.
const HANG: Duration = Duration::from_millis(50);

/// How often each actor fails in each way.
fn failures() -> u32 {
    if std::env::var_os("STREAM_TEST_LONG").is_some() { 1000 } else { 50 }
}

/// Has the actor called `name` fail in every way while clients come and go, and looks at what they
/// noticed.
async fn survive(stack: &Stack, program: &str, name: &'static str) -> anyhow::Result<()> {
    let supervisor = match program {
        "agent" => &stack.agent.supervisor,
        _ => &stack.gateway.supervisor,
    };
    supervisor.disable_escalation();
    for fault in [Fault::Panic, Fault::Error, Fault::HangFor(HANG)] {
        let (all_before, before) = (actors(stack), actor(supervisor, name)?);
        let fail = async |tally: &Tally| {
            for n in 1..=failures() {
                ensure!(supervisor.inject(name, fault, 1), "there is no actor {name}");
                // Each failure meets a running actor, under load.
                let sessions = tally.sessions();
                let wait = async {
                    while actor(supervisor, name)?.restarts < before.restarts + u64::from(n)
                        || (n % 10 == 0 && tally.sessions() == sessions)
                    {
                        tokio::task::yield_now().await;
                    }
                    anyhow::Ok(())
                };
                tokio::time::timeout(STEP_TIMEOUT, wait).await.context("it is not rebuilt")??;
            }
            Ok(())
        };
        let tally = under_load(stack, &format!("{name}-{fault:?}"), fail).await?;
        log::warn!("{program} {name} {fault:?}: {tally:?}");
        let (sessions, errors, times) = (tally.sessions(), tally.errors(), failures());
        ensure!(sessions >= CLIENTS, "hardly any load: {sessions} sessions");
        ensure!(errors <= times as usize, "{errors} errors of {times} failures by {fault:?}");

        let counted = counted_since(actor(supervisor, name)?.failures, before.failures);
        ensure!(counted == expected(fault), "{counted:?} of {fault:?}");
        for ((_, before), (of, after)) in all_before.into_iter().zip(actors(stack)) {
            let failed = (of, after.name) == (program, name);
            let (restarts, expected) = (after.restarts - before.restarts, u64::from(times));
            let expected = if failed { expected } else { 0 };
            ensure!(restarts == expected, "{of} {} restarted {restarts} times", after.name);
            ensure!(after.refused == before.refused, "{of} {} refused a message", after.name);
        }
    }
    eventually("nothing queued anywhere", async || {
        let idle = |actor: &stream_supervisor::ActorStatus| {
            (actor.state, actor.depth) == (ActorState::Running, 0)
        };
        Ok(actors(stack).iter().all(|(_, actor)| idle(actor)).then_some(()))
    })
    .await
}

fn counted_since(now: Failures, before: Failures) -> Failures {
    Failures {
        panics: now.panics - before.panics,
        deadlines: now.deadlines - before.deadlines,
        errors: now.errors - before.errors,
    }
}

fn expected(fault: Fault) -> Failures {
    let (times, none) = (u64::from(failures()), Failures::default());
    match fault {
        Fault::Panic => Failures { panics: times, ..none },
        Fault::Error => Failures { errors: times, ..none },
        Fault::Hang | Fault::HangFor(_) | Fault::Wedge => Failures { deadlines: times, ..none },
    }
}

macro_rules! survives {
    ($($test:ident: $program:ident, $actor:literal;)*) => {
        $(#[test]
        fn $test() {
            run_flow(async || survive(&stack().await?, stringify!($program), $actor).await);
        })*
    };
}

survives! {
    clients_do_not_notice_when_pki_of_the_agent_fails: agent, "pki";
    clients_do_not_notice_when_bridge_of_the_agent_fails: agent, "bridge";
    clients_do_not_notice_when_tickets_of_the_agent_fails: agent, "tickets";
    clients_do_not_notice_when_ams_fails: agent, "ams";
    clients_do_not_notice_when_tokens_of_the_agent_fails: agent, "tokens";
    clients_do_not_notice_when_turn_fails: agent, "turn";
    clients_do_not_notice_when_sessions_fails: agent, "sessions";
    clients_do_not_notice_when_admin_of_the_agent_fails: agent, "admin";
    clients_do_not_notice_when_api_fails: agent, "api";
    clients_do_not_notice_when_overview_fails: agent, "overview";
    clients_do_not_notice_when_pki_of_the_gateway_fails: gateway, "pki";
    clients_do_not_notice_when_bridge_of_the_gateway_fails: gateway, "bridge";
    clients_do_not_notice_when_tickets_of_the_gateway_fails: gateway, "tickets";
    clients_do_not_notice_when_tokens_of_the_gateway_fails: gateway, "tokens";
    clients_do_not_notice_when_admin_of_the_gateway_fails: gateway, "admin";
    clients_do_not_notice_when_views_fails: gateway, "views";
    clients_do_not_notice_when_initiated_fails: gateway, "initiated";
    clients_do_not_notice_when_gateway_fails: gateway, "gateway";
}

#[test]
fn these_are_all_the_actors_there_are() {
    run_flow(async || {
        let stack = stack().await?;
        let named = |program| {
            let all = actors(&stack).into_iter().filter(move |(of, _)| *of == program);
            all.map(|(_, actor)| actor.name).collect::<Vec<_>>()
        };
        let agent = [
            "pki", "bridge", "tickets", "ams", "tokens", "turn", "sessions", "admin", "api",
            "overview",
        ];
        assert_eq!(named("agent"), agent);
        assert_eq!(
            named("gateway"),
            ["pki", "bridge", "tickets", "tokens", "views", "admin", "initiated", "gateway"]
        );
        Ok(())
    });
}

//! An agent dies, or is held up, between two steps of a launch: another one finishes the work.

use std::time::Duration;

use crate::support::fleet::{Fleet, Unit};
use crate::support::{APP, Answer, light_instances, run_flow};
use anyhow::Context;
use stream_dev::in_process::Options;
use stream_protocol::{SessionDocument, Status};
use stream_simulators::ams::Faults;
use stream_supervisor::spawn_detached;
use tokio::sync::oneshot;
use tokio::time::Instant;
use toml::toml;

/// More than a lease, the time that somebody is missed, and what an agent waits after it has
/// reached NATS.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(40);

const SESSION_POLL: Duration = Duration::from_millis(20);

/// Three agents behind one gateway.
struct Agents(Fleet);

impl Agents {
    async fn start() -> anyhow::Result<Self> {
        let agent = toml! { agent.lease_s = 3 };
        let options = Options { launcher: light_instances(), agent, ..Options::default() };
        Ok(Self(Fleet::start(options, 3, 1).await?))
    }

    /// The unit called `agent`.
    fn unit(&mut self, agent: &str) -> anyhow::Result<&mut Unit> {
        self.0.agent(agent)
    }

    /// Waits for a session, other than those in `before`, that is as `wanted`.
    async fn session(
        &self,
        what: &str,
        before: &[String],
        wanted: impl Fn(&SessionDocument) -> bool,
    ) -> anyhow::Result<SessionDocument> {
        let search = async {
            loop {
                let all = self.0.documents().await;
                let documents = all.unwrap_or_default().into_iter();
                let new = |one: &SessionDocument| !before.iter().any(|id| id == one.id.as_str());
                if let Some(found) = documents.filter(new).find(&wanted) {
                    return found;
                }
                tokio::time::sleep(SESSION_POLL).await;
            }
        };
        let found = tokio::time::timeout(TAKEN_OVER_WITHIN, search).await;
        found.with_context(|| format!("never {what}"))
    }

    /// Asks for a session as a client does that will ask again. The answer is told, if one comes.
    fn ask(&self, key: &str) -> oneshot::Receiver<Answer> {
        let (gateway, key) = (self.0.http.clone(), key.to_owned());
        let (tell, told) = oneshot::channel();
        spawn_detached("the client's question", async move {
            if let Ok(answer) = gateway.create_with_key(APP, &key).await {
                // Mostly nobody waits for it.
                let _ = tell.send(answer);
            }
        });
        told
    }

    /// Whether the owner of the session has come to ask AMS, which takes the token that it mints.
    fn has_minted(&self, session: &SessionDocument) -> bool {
        let Some(unit) = self.0.agents.iter().find(|unit| unit.nodes.agent == owner(session))
        else {
            return false;
        };
        let log = std::fs::read_to_string(unit.process.log()).unwrap_or_default();
        let (launched, whose) = ("an instance is launched", format!("session={}", session.id));
        log.lines().any(|line| line.contains(launched) && line.contains(&whose))
    }

    /// How many instances serve the session.
    fn instances(&self, session: &SessionDocument) -> usize {
        let tag = format!("session={}", session.id);
        self.0.stack.ams.instances().iter().filter(|one| one.tags.contains(&tag)).count()
    }
}

fn owner(document: &SessionDocument) -> &str {
    document.owner.as_ref().map_or("", |owner| owner.as_str())
}

/// When the owner is struck.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Claimed, and the launch has not got to AMS.
    Claimed,
    /// The token is minted and AMS is asked; it carries that out, twice, while nobody owns it.
    Minted,
    /// The token is minted and AMS is asked; it carries that out when the next owner has long made
    /// the launch again.
    Late,
    /// AMS has launched, and the owner does not know.
    Launched,
    /// All is written down.
    Recorded,
    /// The client has its answer.
    Replied,
}

impl Moment {
    const ALL: [Self; 6] =
        [Self::Claimed, Self::Minted, Self::Late, Self::Launched, Self::Recorded, Self::Replied];

    /// What gives the time to strike then.
    fn faults(self) -> Faults {
        let pause = Duration::from_secs(2);
        match self {
            Self::Claimed => Faults { late_launch: pause, ..Faults::default() },
            Self::Minted => Faults { late_launch: pause, double_launch: true, ..Faults::default() },
            Self::Late => Faults { late_launch: LATE, double_launch: true, ..Faults::default() },
            Self::Launched => Faults { late_answer: pause, ..Faults::default() },
            Self::Recorded | Self::Replied => Faults::default(),
        }
    }

    fn has_come(self, agents: &Agents, document: &SessionDocument) -> bool {
        match self {
            Self::Claimed => document.owner.is_some(),
            Self::Minted | Self::Late => agents.has_minted(document),
            Self::Launched => agents.instances(document) > 0,
            Self::Recorded | Self::Replied => document.instance_id.is_some(),
        }
    }
}

/// How late AMS carries out a launch whose asker is long dead.
const LATE: Duration = Duration::from_secs(20);

/// Strikes the owner of a new session at `moment` and returns the session once another agent has
/// it with its one instance.
async fn strike(
    agents: &mut Agents,
    key: &str,
    moment: Moment,
    blow: impl FnOnce(&mut Unit) -> anyhow::Result<()>,
) -> anyhow::Result<(SessionDocument, String)> {
    let known = agents.0.documents().await?;
    let before: Vec<_> = known.into_iter().map(|one| one.id.to_string()).collect();
    agents.0.stack.ams.set_faults(moment.faults());
    let answer = agents.ask(key);
    if let Moment::Replied = moment {
        assert_eq!(answer.await?.status, 201);
    }
    let has_come = |document: &SessionDocument| moment.has_come(agents, document);
    let session = agents.session("struck", &before, has_come).await?;
    let recorded = matches!(moment, Moment::Recorded | Moment::Replied);
    assert_eq!(session.instance_id.is_some(), recorded, "struck too late at {moment:?}");
    let struck = owner(&session).to_owned();
    blow(agents.unit(&struck)?)?;
    agents.0.stack.ams.set_faults(Faults::default());
    let id = session.id.clone();
    let taken_over = |document: &SessionDocument| {
        let served = document.instance_id.is_some();
        document.id == id && owner(document) != struck && served
    };
    let session = agents.session("taken over", &before, taken_over).await?;
    assert_eq!(agents.instances(&session), 1, "at {moment:?}");
    Ok((session, struck))
}

async fn is_active(agents: &Agents, session: &SessionDocument) -> anyhow::Result<()> {
    let active = |one: &SessionDocument| one.id == session.id && one.status == Status::Active;
    agents.session("active", &[], active).await.map(drop)
}

async fn kill_again_and_again(moment: Moment) -> anyhow::Result<()> {
    let rounds = match (std::env::var_os("STREAM_TEST_LONG"), moment) {
        (Some(_), _) => 20,
        (None, Moment::Late) => 1,
        (None, _) => 3,
    };
    let mut agents = Agents::start().await?;
    for round in 0..rounds {
        let asked = Instant::now();
        let kill = |unit: &mut Unit| {
            unit.process.kill();
            Ok(())
        };
        let (session, struck) = strike(&mut agents, &round.to_string(), moment, kill).await?;
        agents.unit(&struck)?.restart().await?;
        is_active(&agents, &session).await?;
        if let Moment::Late = moment {
            tokio::time::sleep_until(asked + LATE + Duration::from_secs(1)).await;
        }
        assert_eq!(agents.instances(&session), 1, "after the return, at {moment:?}");
    }
    assert_eq!(agents.0.stack.ams.instances().len(), rounds, "at {moment:?}");
    let all = agents.0.documents().await?;
    let live = all.iter().filter(|document| document.status == Status::Active);
    assert_eq!((live.count(), all.len()), (rounds, rounds), "at {moment:?}");
    Ok(())
}

#[test]
fn whenever_its_agent_is_killed_a_session_has_one_instance_and_another_agent() {
    // Most of the time is waited for who is missed: the moments share it,
    // each with three agents of its own.
    std::thread::scope(|scope| {
        for moment in Moment::ALL {
            let killed = async move || {
                kill_again_and_again(moment).await.with_context(|| format!("at {moment:?}"))
            };
            scope.spawn(move || run_flow(killed));
        }
    });
}

#[test]
fn an_agent_that_is_held_up_for_long_has_no_say_when_it_goes_on() {
    let held_up = async |moment| {
        let mut agents = Agents::start().await?;
        let stop = |unit: &mut Unit| unit.process.suspend();
        let (session, struck) = strike(&mut agents, "held-up", moment, stop).await?;
        agents.unit(&struck)?.process.wake()?;
        is_active(&agents, &session).await?;
        // A round of sweeps of every unit.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let present = agents.session("there", &[], |one| one.id == session.id).await?;
        assert_eq!(owner(&present), owner(&session), "the one that took over keeps it");
        assert_eq!((present.status, agents.instances(&session)), (Status::Active, 1));
        assert_eq!(agents.0.stack.ams.instances().len(), 1);
        Ok(())
    };
    std::thread::scope(|scope| {
        for moment in [Moment::Claimed, Moment::Minted] {
            scope.spawn(move || run_flow(async || held_up(moment).await));
        }
    });
}

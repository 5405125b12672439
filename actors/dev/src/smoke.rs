//! One whole session with a headless client, hop by hop.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::Context;
use stream_agent::agent::AgentConfig;
use stream_ams::Ams;
use stream_simulators::client::{Gateway, Milestone, Viewer};
use stream_supervisor::Supervisor;
use tokio::time::{sleep, timeout_at};

use crate::node_files::NodeFiles;

/// From the start of the program; a person waits for it.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks at what tells nobody that it has changed.
const STATUS_POLL: Duration = Duration::from_millis(10);

/// Where the tap goes, in pixels of the stream: nothing else is drawn there.
const TAP: (usize, usize) = (96, 328);

/// Drives one session of `application` through all milestones and prints when each was reached.
/// Fails at the first hop that is not, or at the end of a minute since `started`, naming the hop.
pub async fn run(
    nodes: NodeFiles,
    gateway: Gateway,
    application: String,
    started: Instant,
) -> anyhow::Result<()> {
    let milestones = Milestones {
        asked: Instant::now(),
        deadline: started + RUN_TIMEOUT,
        reached: RefCell::default(),
    };
    let driven = drive(&nodes, &gateway, &application, &milestones).await;
    milestones.print();
    driven
}

async fn drive(
    nodes: &NodeFiles,
    gateway: &Gateway,
    application: &str,
    milestones: &Milestones,
) -> anyhow::Result<()> {
    let supervisor = Supervisor::default();
    let ams = AgentConfig::read(&nodes.dir.join("agent.toml"))?.ams;
    let ams = Ams::start(ams, &supervisor)?;
    let pins = vec![nodes.gateway_pin()?];

    let created =
        milestones.step("create answered", gateway.create(application, Default::default()));
    let created = created.await?;
    let tag = format!("session={}", created.id);
    let launched = milestones.step("launched", instances(&ams, &tag, |number| number == 1));
    let attached = milestones.step("instance attached", active(gateway, &created.id));
    let watched = async {
        let viewer =
            milestones.quietly("signaling socket", Viewer::connect(&created, pins)).await?;
        for (name, milestone) in [
            ("offer", Milestone::OfferReceived),
            ("answer", Milestone::AnswerSent),
            ("ICE connected", Milestone::IceConnected),
            ("first frame", Milestone::FirstFrame),
        ] {
            let at = milestones.quietly(name, viewer.wait_event(milestone, RUN_TIMEOUT)).await?;
            milestones.reach(name, at);
        }
        milestones.step("60th frame", viewer.wait_frames(60, RUN_TIMEOUT)).await?;
        let (x, y) = TAP;
        milestones.quietly("tap", viewer.tap(x as f64, y as f64, RUN_TIMEOUT)).await?;
        milestones.step("tap answered", viewer.wait_mark(x, y, RUN_TIMEOUT)).await?;
        anyhow::Ok(viewer)
    };
    let ((), (), viewer) = tokio::try_join!(launched, attached, watched)?;
    milestones.step("deleted", gateway.delete(&created.id)).await?;
    milestones.step("instance gone", instances(&ams, &tag, |number| number == 0)).await?;
    viewer.disconnect().await;
    supervisor.stop();
    Ok(())
}

/// Returns once the number of instances with `tag` is as `wanted`.
async fn instances(ams: &Ams, tag: &str, wanted: fn(usize) -> bool) -> anyhow::Result<()> {
    while !wanted(ams.instances(tag).await?.len()) {
        sleep(STATUS_POLL).await;
    }
    Ok(())
}

/// Returns once the session is active: its instance itself said that it runs.
async fn active(gateway: &Gateway, id: &str) -> anyhow::Result<()> {
    loop {
        let session = gateway.get(id).await?;
        match session.status.as_str() {
            "active" => return Ok(()),
            "created" => sleep(STATUS_POLL).await,
            other => anyhow::bail!("the session is {other}: {}", session.status_message),
        }
    }
}

/// What has been reached, and when it is too late.
struct Milestones {
    asked: Instant,
    deadline: Instant,
    reached: RefCell<Vec<(&'static str, Duration)>>,
}

impl Milestones {
    /// Waits for a hop and notes when it was reached.
    async fn step<T, E: Into<anyhow::Error>>(
        &self,
        name: &'static str,
        hop: impl Future<Output = Result<T, E>>,
    ) -> anyhow::Result<T> {
        let done = self.quietly(name, hop).await?;
        self.reach(name, Instant::now());
        Ok(done)
    }

    /// Waits for what has no place of its own in the time line.
    async fn quietly<T, E: Into<anyhow::Error>>(
        &self,
        name: &'static str,
        hop: impl Future<Output = Result<T, E>>,
    ) -> anyhow::Result<T> {
        let done = match timeout_at(self.deadline.into(), hop).await {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(anyhow::anyhow!("a minute is over")),
        };
        done.with_context(|| format!("the session failed at: {name}"))
    }

    fn reach(&self, name: &'static str, at: Instant) {
        self.reached.borrow_mut().push((name, at - self.asked));
    }

    fn print(&self) {
        let mut reached = self.reached.borrow_mut();
        reached.sort_by_key(|(_, at)| *at);
        println!("{:>8}  {:<18}", "ms", "since the request");
        for (name, at) in reached.iter() {
            println!("{:>8}  {name}", at.as_millis());
        }
    }
}

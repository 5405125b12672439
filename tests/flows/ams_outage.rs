//! Many sessions while AMS is away, and while everything goes wrong there at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{APP, Http, STEP_TIMEOUT, eventually, light_instances, run_flow};
use anyhow::Context;
use futures_util::future::try_join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;
use stream_dev::in_process::{Options, Stack};
use stream_protocol::Userdata;
use stream_simulators::ams::{Boot, Faults, Launcher};
use toml::toml;

/// From the return of AMS until a session can be created again.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// A session that meets every mishap there is may be tried for so long.
const TRY_FOR: Duration = Duration::from_secs(90);

/// Between two sessions: 20 a second.
const EVERY: Duration = Duration::from_millis(50);

fn long() -> bool {
    std::env::var_os("STREAM_TEST_LONG").is_some()
}

/// What booted for each session, and runs.
#[derive(Default)]
struct Boots(Mutex<HashMap<String, Booted>>);

#[derive(Clone, Copy, Default)]
struct Booted {
    all: usize,
    now: usize,
    /// The most that ever ran at the same time.
    most: usize,
}

impl Boots {
    fn change(&self, session: &str, change: impl FnOnce(&mut Booted)) {
        let mut boots = self.0.lock().expect("no panic");
        change(boots.entry(session.to_owned()).or_default());
    }

    /// Launches what `launcher` does and keeps count.
    fn counted(self: &Arc<Self>, launcher: Launcher) -> Launcher {
        let boots = Arc::clone(self);
        Arc::new(move |boot: Boot| {
            let session = serde_json::from_str::<Userdata>(&boot.user_data);
            let session = session.map(|userdata| userdata.session_id.to_string());
            let (boots, running) = (Arc::clone(&boots), launcher(boot));
            Box::pin(async move {
                let session = session.map_err(|error| error.to_string())?;
                boots.change(&session, |booted| {
                    booted.all += 1;
                    booted.now += 1;
                    booted.most = booted.most.max(booted.now);
                });
                let ended = running.await;
                boots.change(&session, |booted| booted.now -= 1);
                ended
            })
        })
    }

    fn of_all(&self) -> Vec<(String, Booted)> {
        let boots = self.0.lock().expect("no panic");
        boots.iter().map(|(session, booted)| (session.clone(), *booted)).collect()
    }
}

struct Clients {
    http: Http,
    /// How often a request was put off.
    put_off: AtomicUsize,
}

impl Clients {
    fn of(stack: &Stack) -> anyhow::Result<Self> {
        let nodes = &stack.nodes;
        let http = Http::new(&nodes.gateway_url(), Some(&stack.token), nodes.gateway_pin()?)?;
        Ok(Self { http, put_off: AtomicUsize::new(0) })
    }

    /// Creates a session, again and again while it is put off, and uses and deletes it. `fine` are
    /// the refusals that may come beside 503.
    async fn live(&self, key: &str, fine: &[StatusCode]) -> anyhow::Result<()> {
        let mut attempt = 0;
        let created = loop {
            // Whose launch failed for good asks for another session.
            let answer = self.http.create_with_key(APP, &format!("{key}-{attempt}")).await?;
            match answer.status {
                StatusCode::CREATED => break answer,
                StatusCode::SERVICE_UNAVAILABLE => {
                    anyhow::ensure!(answer.retry_after, "put off until when? {answer:?}");
                    let cause = answer.body["error"].as_str().unwrap_or_default();
                    anyhow::ensure!(!cause.is_empty(), "put off without a cause: {answer:?}");
                }
                // The launch of an earlier attempt has failed, and its session has ended.
                StatusCode::BAD_REQUEST => attempt += 1,
                status if fine.contains(&status) => attempt += 1,
                _ => anyhow::bail!("{answer:?}"),
            }
            self.put_off.fetch_add(1, Relaxed);
            tokio::time::sleep(EVERY).await;
        };
        let id = created.body["metadata"]["id"].as_str().context("an id")?.to_owned();
        let path = format!("/1.0/sessions/{id}");
        eventually_within(TRY_FOR, "up", async || {
            let session = self.http.get(&path).await?;
            let up = match session.body["metadata"]["status"].as_str() {
                Some("active") => true,
                // Its instance broke.
                Some("error") => !fine.is_empty(),
                _ => false,
            };
            Ok(up.then_some(()))
        })
        .await?;
        eventually_within(TRY_FOR, "deleted", async || {
            let deleted = self.http.send(Method::DELETE, &path, None).await?;
            let done = deleted.status.is_success() || deleted.status == StatusCode::NOT_FOUND;
            anyhow::ensure!(done || deleted.status == 503, "{deleted:?}");
            Ok(done.then_some(()))
        })
        .await
    }
}

async fn eventually_within<T>(
    give_up_after: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        match eventually(what, &mut look).await {
            Ok(found) => return Ok(found),
            Err(error) if started.elapsed() >= give_up_after => return Err(error),
            Err(_) => {}
        }
    }
}

fn restarts(stack: &Stack) -> u64 {
    let supervisors = [&stack.agent.supervisor, &stack.gateway.supervisor];
    supervisors.into_iter().flat_map(|s| s.status()).map(|actor| actor.restarts).sum()
}

#[test]
fn sessions_wait_for_an_ams_that_is_away_and_go_on_when_it_is_back() {
    run_flow(async || {
        let boots = Arc::new(Boots::default());
        let launcher = boots.counted(light_instances());
        let options = Options { launcher, ams_proxy: true, ..Options::default() };
        let stack = Stack::start(options).await?;
        let proxy = stack.ams_proxy.as_ref().context("a proxy")?;
        let clients = Clients::of(&stack)?;
        let away = Duration::from_secs(if long() { 300 } else { 20 });
        let over = AtomicUsize::new(0);
        let client = async |n: usize| {
            let mut lived = 0;
            while over.load(Relaxed) == 0 {
                clients.live(&format!("away-{n}-{lived}"), &[]).await?;
                lived += 1;
            }
            anyhow::Ok(lived)
        };
        let outage = async {
            // The load is there before.
            eventually("loaded", async || Ok((boots.of_all().len() > 5).then_some(()))).await?;
            proxy.sever();
            tokio::time::sleep(away).await;
            let agent = Http::new(&stack.nodes.agent_url(), None, stack.nodes.agent_pin()?)?;
            let ready = agent.get("/1.0/health/ready").await?;
            anyhow::ensure!(ready.status == 503 && ready.body.to_string().contains("ams"));
            anyhow::ensure!(agent.get("/1.0/health/live").await?.status == 200);
            let known = boots.of_all().len();
            proxy.restore().await?;
            let back = async || Ok((boots.of_all().len() > known).then_some(()));
            tokio::time::timeout(BACK_WITHIN, eventually("back", back))
                .await
                .context("nothing is launched in time")??;
            over.store(1, Relaxed);
            anyhow::Ok(())
        };
        let (lived, ()) = futures_util::try_join!(try_join_all((0..4).map(client)), outage)?;
        anyhow::ensure!(clients.put_off.load(Relaxed) > 0, "nobody noticed");
        anyhow::ensure!(lived.iter().all(|lived| *lived > 0), "{lived:?}");
        stack.ams.wait_until(|instances| instances.is_empty(), STEP_TIMEOUT).await?;
        for (session, booted) in boots.of_all() {
            anyhow::ensure!(booted.all == 1, "{session} was launched {} times", booted.all);
        }
        anyhow::ensure!(restarts(&stack) == 0, "an actor failed");
        Ok(())
    });
}

#[test]
fn nothing_is_left_and_nothing_is_double_after_a_bad_day_at_twenty_sessions_a_second() {
    run_flow(async || {
        let boots = Arc::new(Boots::default());
        let launcher = boots.counted(light_instances());
        let agent = toml! { agent.capacity = 2_000 };
        let options = Options { launcher, agent, ..Options::default() };
        let stack = Stack::start(options).await?;
        stack.ams.set_faults(Faults {
            slow: Duration::from_millis(2),
            error_every: 23,
            busy_every: 29,
            throttled_every: 31,
            hang_every: 211,
            late_launch: Duration::from_millis(30),
            late_answer: Duration::from_millis(30),
            double_launch: true,
            broken_boot_every: 17,
            slow_delete: Duration::from_millis(50),
            lying_deletes: 5,
            hanging_deletes: 2,
            failing_hook: false,
            lost_event_every: 7,
            doubled_event_every: 5,
        });
        let clients = Clients::of(&stack)?;
        let count = if long() { 1_000 } else { 100 };
        let fine = [StatusCode::INTERNAL_SERVER_ERROR];
        let sessions = (0..count).map(async |n| {
            tokio::time::sleep(EVERY * n).await;
            clients.live(&format!("bad-{n}"), &fine).await.with_context(|| format!("session {n}"))
        });
        try_join_all(sessions).await?;
        stack.ams.wait_until(|instances| instances.is_empty(), TRY_FOR).await?;
        let booted = boots.of_all();
        anyhow::ensure!(booted.len() >= count as usize / 2, "hardly any: {}", booted.len());
        for (session, booted) in booted {
            anyhow::ensure!(booted.most == 1, "{session} had {} instances at once", booted.most);
        }
        anyhow::ensure!(restarts(&stack) == 0, "an actor failed");
        let ended = async || {
            let left = clients.http.get("/1.0/sessions?status=active").await?.success()?;
            Ok((left == json!([])).then_some(()))
        };
        eventually("ended", ended).await
    });
}

//! Signaling while units die one after the other: nothing is lost, repeated or out of order.

mod chaos;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::support::fleet::Fleet;
use crate::support::socket::Socket;
use crate::support::{APP, Http, run_flow};
use anyhow::{Context, ensure};
use futures_util::future::{join_all, try_join, try_join_all};
use reqwest::StatusCode;
use rustls::ClientConfig;
use serde_json::{Value, json};
use stream_dev::in_process::Options;
use stream_pki::{Trust, client_config};
use stream_protocol::Userdata;
use stream_simulators::ams::{Boot, scripted_instances};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};
use toml::toml;

/// What each end of each session says.
const SIGNALS: usize = 50;

/// From the return of NATS until a session can be created.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Between two deaths.
const DEATH: Duration = Duration::from_secs(3);

/// How long it goes on after the last signal was said.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(90);

/// A connection, or a question, that gets nowhere is given up.
const ATTEMPT: Duration = Duration::from_secs(20);

/// Whoever is away for longer says why.
const SLOW: Duration = Duration::from_secs(8);

/// The first and the longest pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

fn long() -> bool {
    std::env::var_os("STREAM_TEST_LONG").is_some()
}

/// For how long units die.
fn length() -> Duration {
    Duration::from_secs(if long() { 120 } else { 30 })
}

/// What one end of a session says, and what it has heard.
struct End {
    name: &'static str,
    /// The next to be said, and when.
    next: usize,
    due: tokio::time::Instant,
    every: Duration,
    /// Said, and not acknowledged.
    unstored: VecDeque<usize>,
    cursor: String,
    heard: Vec<u64>,
}

impl End {
    /// Begins one that says all it has to say in `length`.
    fn new(
        name: &'static str,
        started: tokio::time::Instant,
        number: usize,
        length: Duration,
    ) -> Self {
        let every = length / SIGNALS as u32;
        // Not all in the same moment.
        let due = started + every * (number % 16) as u32 / 16;
        let (unstored, heard) = (VecDeque::new(), Vec::new());
        Self { name, next: 0, due, every, unstored, cursor: String::new(), heard }
    }

    fn is_done(&self) -> bool {
        self.has_said_all() && self.heard.len() >= SIGNALS
    }

    fn has_said_all(&self) -> bool {
        self.next == SIGNALS && self.unstored.is_empty()
    }

    /// Waits for the next signal to be due, and returns its number.
    async fn say(&mut self) -> usize {
        if self.next == SIGNALS {
            return std::future::pending().await;
        }
        sleep_until(self.due).await;
        self.due += self.every;
        self.unstored.push_back(self.next);
        self.next += 1;
        self.next - 1
    }

    fn posted(&self, number: usize) -> Value {
        let signal = json!({ "type": "candidate", "of": self.name, "n": number });
        json!({ "id": format!("{}-{number}", self.name), "generation": 0, "signal": signal })
    }

    /// Takes a signal in its envelope.
    fn hear(&mut self, envelope: &Value) -> anyhow::Result<()> {
        let cursor = envelope["cursor"].as_str().with_context(|| format!("{envelope}"))?;
        cursor.clone_into(&mut self.cursor);
        self.heard.push(envelope["signal"]["n"].as_u64().context("a number")?);
        Ok(())
    }

    /// Speaks and listens on a socket until it breaks, or all is done.
    async fn converse(&mut self, socket: &mut Socket) -> anyhow::Result<()> {
        for number in self.unstored.clone() {
            socket.send(&self.posted(number)).await?;
        }
        while !self.is_done() {
            tokio::select! {
                number = self.say() => socket.send(&self.posted(number)).await?,
                frame = socket.next() => {
                    let frame = frame?;
                    match frame["type"].as_str() {
                        Some("stored") => {
                            let id = format!("{}-{}", self.name, self.unstored.front().context("?")?);
                            ensure!(frame["id"] == json!(id), "{frame} when {id} was due");
                            self.unstored.pop_front();
                        }
                        Some(other) => anyhow::bail!("{other}: {frame}"),
                        None => self.hear(&frame)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// What came is what the other end said, each once and in order.
    fn check(&self, session: &str) -> anyhow::Result<()> {
        let expected: Vec<_> = (0..SIGNALS as u64).collect();
        let name = self.name;
        ensure!(self.heard == expected, "the {name} of session {session} heard {:?}", self.heard);
        Ok(())
    }
}

/// What everybody went through.
#[derive(Default)]
struct Tally {
    breaks: AtomicUsize,
    handshakes: AtomicUsize,
    resumed: AtomicUsize,
    /// From a break to the first frame of the next socket; milliseconds.
    away: std::sync::Mutex<Vec<u128>>,
    gone: AtomicUsize,
}

impl Tally {
    /// Opens a socket that goes on after the cursor of `end`, again and again until one answers.
    async fn open(
        &self,
        end: &mut End,
        tls: &Arc<ClientConfig>,
        url: impl Fn(&str) -> String,
        token: Option<&str>,
    ) -> Socket {
        let broken = Instant::now();
        let (mut pause, mut said) = (FIRST_PAUSE, String::new());
        loop {
            let attempt = async {
                let mut socket = Socket::open_as(&url(&end.cursor), tls, token).await?;
                self.handshakes.fetch_add(1, Relaxed);
                self.resumed.fetch_add(socket.is_resumed().into(), Relaxed);
                let first = socket.next().await?;
                ensure!(first["type"] == "resumed", "{first}");
                let cursor = first["cursor"].as_str().context("a cursor")?;
                ensure!(end.cursor.is_empty() || end.cursor == cursor, "{first}");
                cursor.clone_into(&mut end.cursor);
                anyhow::Ok(socket)
            };
            match timeout(ATTEMPT, attempt).await {
                Ok(Ok(socket)) => {
                    let away = broken.elapsed();
                    if away > SLOW {
                        log::warn!("{} was away for {away:?}: {said}", end.name);
                    }
                    self.away.lock().expect("no panic").push(away.as_millis());
                    return socket;
                }
                Ok(Err(error)) => {
                    if error.to_string().contains("history_gone") {
                        self.gone.fetch_add(1, Relaxed);
                    }
                    said = format!("{said} | {:?} {error:#}", broken.elapsed());
                }
                Err(_) => said = format!("{said} | {:?} no answer", broken.elapsed()),
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    fn report(&self) {
        let mut away = self.away.lock().expect("no panic").clone();
        away.sort_unstable();
        let at = |share: f64| away[((away.len() - 1) as f64 * share) as usize];
        let (handshakes, resumed) = (self.handshakes.load(Relaxed), self.resumed.load(Relaxed));
        println!(
            "{} breaks; back after p50 {} ms, p99 {} ms, at most {} ms; {resumed} of {handshakes} \
             handshakes of sockets resumed",
            self.breaks.load(Relaxed),
            at(0.5),
            at(0.99),
            at(1.0),
        );
    }
}

/// The client of a session: a socket at some gateway.
async fn client(end: &mut End, url: &str, tls: &Arc<ClientConfig>, tally: &Tally) {
    while !end.is_done() {
        let mut socket = tally.open(end, tls, |after| format!("{url}&after={after}"), None).await;
        if let Err(error) = end.converse(&mut socket).await {
            log::debug!("client: {error:#}");
            tally.breaks.fetch_add(1, Relaxed);
        }
    }
}

/// Its instance: now on a socket at some agent, now with one request after the other.
struct Instance {
    userdata: Userdata,
    http: Http,
}

impl Instance {
    fn of(boot: &Boot) -> anyhow::Result<Self> {
        let userdata: Userdata = serde_json::from_str(&boot.user_data)?;
        let pin = userdata.fingerprints.first().context("a fingerprint")?.parse()?;
        let http = Http::new(&userdata.agent_url, Some(&userdata.token), pin)?;
        Ok(Self { userdata, http })
    }

    async fn report_running(&self) {
        let report = json!({ "status": "running" });
        let path = format!("/1.0/sessions/{}", self.userdata.session_id);
        let tell =
            async || self.http.send(reqwest::Method::PATCH, &path, Some(report.clone())).await;
        while !tell().await.is_ok_and(|answer| answer.status == StatusCode::OK) {
            sleep(FIRST_PAUSE).await;
        }
    }

    async fn live(&self, end: &mut End, tls: &Arc<ClientConfig>, tally: &Tally, hop: Duration) {
        self.report_running().await;
        while !end.is_done() {
            let lived = if timeout(hop, self.on_a_socket(end, tls, tally)).await.is_ok() {
                Ok(())
            } else {
                timeout(hop, self.with_requests(end)).await.unwrap_or(Ok(()))
            };
            if let Err(error) = lived {
                log::debug!("instance: {error:#}");
                tally.breaks.fetch_add(1, Relaxed);
            }
        }
    }

    async fn on_a_socket(&self, end: &mut End, tls: &Arc<ClientConfig>, tally: &Tally) {
        let Userdata { agent_url, session_id, token, .. } = &self.userdata;
        let base = agent_url.replacen("https", "wss", 1);
        while !end.is_done() {
            let url = |after: &str| {
                format!("{base}/1.0/sessions/{session_id}/sockets/master?after={after}")
            };
            let mut socket = tally.open(end, tls, url, Some(token)).await;
            if let Err(error) = end.converse(&mut socket).await {
                log::debug!("instance: {error:#}");
                tally.breaks.fetch_add(1, Relaxed);
            }
        }
    }

    async fn with_requests(&self, end: &mut End) -> anyhow::Result<()> {
        let path = format!("/1.0/sessions/{}/signals", self.userdata.session_id);
        while !end.is_done() {
            if !end.unstored.is_empty() {
                let all: Vec<_> = end.unstored.iter().map(|number| end.posted(*number)).collect();
                let count = all.len();
                let post = self.http.send(reqwest::Method::POST, &path, Some(json!(all)));
                match timeout(ATTEMPT, post).await? {
                    Ok(answer) if answer.status == StatusCode::OK => {
                        drop(end.unstored.drain(..count))
                    }
                    _ => sleep(FIRST_PAUSE).await,
                }
                continue;
            }
            let after = end.cursor.clone();
            let after = if after.is_empty() { after } else { format!("after={after}&") };
            let read = format!("{path}?{after}wait=10");
            let (said, page) = tokio::select! {
                _ = end.say() => (true, None),
                page = self.http.get(&read) => (false, Some(page)),
            };
            if said {
                continue;
            }
            let page = match page.context("a page")? {
                Ok(page) if page.status == StatusCode::OK => page.success()?,
                _ => {
                    sleep(FIRST_PAUSE).await;
                    continue;
                }
            };
            for envelope in page["signals"].as_array().context("signals")? {
                end.hear(envelope)?;
            }
            page["cursor"].as_str().context("a cursor")?.clone_into(&mut end.cursor);
        }
        Ok(())
    }
}

/// Kills one unit after the other, and twice the server of NATS; returns how many units.
async fn kill(fleet: &mut Fleet) -> anyhow::Result<usize> {
    let (started, mut deaths) = (Instant::now(), 0);
    while started.elapsed() < length() {
        sleep(DEATH).await;
        let [chance] = *stream_pki::random_bytes::<1>();
        let mut units: Vec<_> = fleet.agents.iter_mut().chain(&mut fleet.gateways).collect();
        let victim = usize::from(chance) % units.len();
        units[victim].replace().await?;
        deaths += 1;
        if deaths == 3 || deaths == 7 {
            fleet.stack.nats.kill();
            fleet.stack.nats.restart()?;
        }
    }
    Ok(deaths)
}

/// Sessions that were created and whose instances have booted.
struct Population {
    fleet: Fleet,
    sessions: Vec<(Value, Instance, Boot)>,
    /// Those of sessions that are created later.
    boots: mpsc::UnboundedReceiver<Boot>,
}

impl Population {
    async fn gather(count: usize, agents: usize, gateways: usize) -> anyhow::Result<Self> {
        let (told, mut boots) = mpsc::unbounded_channel();
        let launcher = scripted_instances(told);
        let agent = toml! { agent.capacity = 1_000 };
        let options = Options { launcher, agent, ..Options::default() };
        let fleet = Fleet::start(options, agents, gateways).await?;
        let mut sessions = Vec::new();
        for batch in 0..count / 20 {
            let create = async |n: usize| {
                let key = format!("{batch}-{n}");
                fleet.http.create_with_key(APP, &key).await?.success()
            };
            for created in try_join_all((0..20).map(create)).await? {
                let boot = timeout(ATTEMPT, boots.recv()).await?.context("AMS is gone")?;
                sessions.push((created, Instance::of(&boot)?, boot));
            }
        }
        Ok(Self { fleet, sessions, boots })
    }

    /// Has both ends of every session say all they have to say while there is `disturbance`, and
    /// looks at what the other end heard.
    async fn live<T>(
        &mut self,
        disturbance: impl AsyncFnOnce(&mut Fleet) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.live_for(length(), disturbance).await
    }

    /// As [`Population::live`], and they take `length` to say it.
    async fn live_for<T>(
        &mut self,
        length: Duration,
        disturbance: impl AsyncFnOnce(&mut Fleet) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let Self { fleet, sessions, .. } = self;
        let (gateway, agent) = (fleet.stack.nodes.gateway_pin()?, fleet.stack.nodes.agent_pin()?);
        // Each keeps its own tickets, as machines do.
        let trust = |pin| client_config(&Trust::Pins(vec![pin]), None).map(Arc::new);
        // Created together, they boot in any order.
        let url_of = |id: &str| {
            let of = sessions.iter().find(|(created, ..)| created["id"] == json!(id));
            of.and_then(|(created, ..)| created["url"].as_str()).context("a url")
        };
        let (tally, started) = (Tally::default(), tokio::time::Instant::now());
        let lives = sessions.iter().enumerate().map(async |(number, (_, instance, _))| {
            let session = instance.userdata.session_id.as_str();
            let url = url_of(session)?;
            let (gateways, agents) = (trust(gateway)?, trust(agent)?);
            let mut far = End::new("instance", started, number, length);
            let mut near = End::new("client", started, number + 7, length);
            // Everybody changes over at another time.
            let hop = Duration::from_millis(1500 + 37 * (number as u64 % 100));
            let both = async {
                tokio::join!(
                    client(&mut near, url, &gateways, &tally),
                    instance.live(&mut far, &agents, &tally, hop),
                )
            };
            let done = timeout(length + DELIVERY_TIMEOUT, both).await;
            near.check(session)?;
            far.check(session)?;
            done.with_context(|| format!("session {session} does not come to its end"))
        });
        let lives = async {
            let lives = join_all(lives).await;
            let failed: Vec<_> = lives.iter().filter_map(|life| life.as_ref().err()).collect();
            ensure!(failed.is_empty(), "{} of {}: {:#}", failed.len(), lives.len(), failed[0]);
            anyhow::Ok(())
        };
        let (told, ()) = try_join(disturbance(fleet), lives).await?;
        tally.report();
        ensure!(tally.gone.load(Relaxed) == 0, "somebody was told that history is gone");
        Ok(told)
    }
}

#[test]
fn nothing_is_lost_repeated_or_swapped_while_units_die_and_nats_restarts() {
    run_flow(async || {
        let mut population = Population::gather(300, 3, 2).await?;
        let deaths = population.live(kill).await?;
        println!("{deaths} deaths of units, two of NATS");
        Ok(())
    });
}

#[test]
fn nothing_is_lost_and_nobody_dies_while_nats_is_away() {
    run_flow(async || {
        let mut population = Population::gather(60, 2, 2).await?;
        let back = population.live(async |fleet| {
            let away = Duration::from_secs(if long() { 180 } else { 20 });
            sleep(DEATH).await;
            fleet.stack.nats.kill();
            sleep(away).await;
            for unit in &mut fleet.agents {
                let (nodes, process) = (&unit.nodes, &mut unit.process);
                ensure!(process.ended().is_none(), "{}", process.last_words());
                let agent = Http::new(&nodes.agent_url(), None, nodes.agent_pin()?)?;
                ensure!(agent.get("/1.0/health/live").await?.status == StatusCode::OK);
                let ready = agent.get("/1.0/health/ready").await?;
                ensure!(ready.status == StatusCode::SERVICE_UNAVAILABLE, "{ready:?}");
            }
            for unit in &mut fleet.gateways {
                ensure!(unit.process.ended().is_none(), "{}", unit.process.last_words());
            }
            let refused = fleet.http.create_with_key(APP, "away").await?;
            ensure!(refused.status == StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
            ensure!(refused.retry_after, "until when?");
            fleet.stack.nats.restart()?;
            let back = Instant::now();
            // What a client does that is told to try again.
            while fleet.http.create_with_key(APP, "back").await?.status != StatusCode::CREATED {
                ensure!(back.elapsed() < BACK_WITHIN, "no session in time");
                sleep(FIRST_PAUSE).await;
            }
            Ok(back.elapsed())
        });
        println!("a session was created {:?} after the return of NATS", back.await?);
        Ok(())
    });
}

#[test]
fn an_upgrade_of_all_units_one_after_the_other_fails_no_join_and_loses_nothing() {
    run_flow(async || {
        let mut population = Population::gather(200, 3, 2).await?;
        let over = AtomicUsize::new(0);
        let (joined, upgraded) = (AtomicUsize::new(0), AtomicUsize::new(0));
        // Those that are joined have a client after the other; the others go on talking.
        let joinable: Vec<_> = population.sessions.drain(..20).collect();
        let http = population.fleet.http.clone();
        let join = async |instance: &Instance| {
            instance.report_running().await;
            let path = format!("/1.0/sessions/{}/join", instance.userdata.session_id);
            while over.load(Relaxed) == 0 {
                let answer = http.send(reqwest::Method::POST, &path, None).await?;
                ensure!(answer.status == StatusCode::OK, "{answer:?}");
                joined.fetch_add(1, Relaxed);
                sleep(FIRST_PAUSE * 4).await;
            }
            anyhow::Ok(())
        };
        let upgrade = async |fleet: &mut Fleet| {
            for unit in fleet.agents.iter_mut().chain(&mut fleet.gateways) {
                stream_admin::Client::new(unit.socket())
                    .drain(Some(Duration::from_secs(15)))
                    .await?;
                unit.ends_well().await?;
                unit.restart().await?;
                upgraded.fetch_add(1, Relaxed);
            }
            over.store(1, Relaxed);
            anyhow::Ok(())
        };
        let joins = async {
            try_join_all(joinable.iter().map(|(_, instance, _)| join(instance))).await.map(drop)
        };
        try_join(population.live(upgrade), joins).await?;
        let joined = joined.load(Relaxed);
        println!("{} units upgraded, {joined} joins, none failed", upgraded.load(Relaxed));
        ensure!(joined > 100, "hardly any: {joined} joins");
        Ok(())
    });
}

//! What the flows share: a running stack, and an instance that the test plays itself.

pub(crate) mod fleet;
pub(crate) mod mounts;
pub(crate) mod openapi;
pub(crate) mod socket;
pub(crate) mod systemd;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stream_dev::in_process::{Options, Stack};
use stream_pki::{Fingerprint, Identity, Trust, client_config};
use stream_protocol::{Screen, Userdata};
use stream_simulators::ams::{Boot, Launcher, scripted_instances};
use stream_simulators::client::{Gateway, JoinedSession, Session};
use tokio::sync::{mpsc, watch};

pub(crate) const APP: &str = stream_dev::in_process::APPLICATION;

/// How long anything that must happen may take before the test gives up.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(45);

/// The program of the package `stream-dev`, which cargo puts beside those of this one.
pub(crate) fn stream_dev() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_stream-agent")).with_file_name("stream-dev");
    assert!(program.is_file(), "{program:?} is missing: cargo build --workspace --bins");
    program
}

/// Runs a flow in an actix system of its own.
pub(crate) fn run_flow(test: impl AsyncFnOnce() -> anyhow::Result<()>) {
    let _ = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"))
        .is_test(true)
        .try_init();
    actix::System::new().block_on(test()).expect("the flow completes");
}

/// A stack whose instances the test plays.
pub(crate) struct ScriptedStack {
    pub(crate) stack: Stack,
    pub(crate) client: Gateway,
    boots: mpsc::UnboundedReceiver<Boot>,
}

impl ScriptedStack {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// Starts a stack as `options` say, but for what its instances run.
    pub(crate) async fn start_with(options: Options) -> anyhow::Result<Self> {
        let (told, boots) = mpsc::unbounded_channel();
        let launcher = scripted_instances(told);
        let stack = Stack::start(Options { launcher, ..options }).await?;
        let client = stack.client()?;
        Ok(Self { stack, client, boots })
    }

    /// Creates a session and returns it with its instance, which has said nothing yet.
    pub(crate) async fn create(&mut self) -> anyhow::Result<(JoinedSession, Instance)> {
        let created = self.client.create(APP, Screen::default()).await?;
        Ok((created, self.booted().await?))
    }

    /// Returns the next instance that AMS boots.
    pub(crate) async fn booted(&mut self) -> anyhow::Result<Instance> {
        let boot = tokio::time::timeout(STEP_TIMEOUT, self.boots.recv()).await?;
        Instance::of(boot.context("AMS is gone")?)
    }
}

/// Somebody who has AMS launch and delete instances.
pub(crate) fn user_of_ams(stack: &Stack) -> anyhow::Result<reqwest::Client> {
    let pins = Trust::Pins(vec![stack.ams.fingerprint()]);
    let file = |end: &str| stack.nodes.agent_dir().join(format!("ams-client.{end}"));
    let tls = client_config(&pins, Some(&Identity::load(file("crt"), file("key"))?))?;
    Ok(reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?)
}

/// Instances that attach and wait for their end, without a picture.
pub(crate) fn light_instances() -> Launcher {
    Arc::new(|boot: Boot| {
        Box::pin(async move {
            let mut stop = boot.stop.clone();
            let instance = Instance::of(boot).map_err(|error| error.to_string())?;
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                () = instance.wait_for_its_end() => {}
            }
            Ok(())
        })
    })
}

/// The instance's end of the agent's API.
pub(crate) struct Instance {
    pub(crate) userdata: Userdata,
    /// AMS tells the instance so to end, as long as somebody holds this.
    _stop: watch::Receiver<bool>,
    pub(crate) http: Http,
}

impl Instance {
    fn of(boot: Boot) -> anyhow::Result<Self> {
        Self::told(&boot.user_data, boot.stop)
    }

    /// An instance that finds `userdata` when it boots.
    pub(crate) fn told(userdata: &str, stop: watch::Receiver<bool>) -> anyhow::Result<Self> {
        let userdata: Userdata = serde_json::from_str(userdata)?;
        let pin = userdata.fingerprints.first().context("a fingerprint to pin")?.parse()?;
        let http = Http::new(&userdata.agent_url, Some(&userdata.token), pin)?;
        Ok(Self { userdata, _stop: stop, http })
    }

    /// Says that it runs and follows its commands, whatever the agent answers in between.
    async fn wait_for_its_end(&self) {
        while !self.report("running").await.is_ok_and(|answer| answer.status == 200) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut after = 0;
        loop {
            match self.commands(after, 25).await {
                Ok(commands) if commands["desired"] == "terminated" => return,
                Ok(commands) => after = commands["revision"].as_u64().unwrap_or(0),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// A path below this instance's session.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/1.0/sessions/{}{rest}", self.userdata.session_id)
    }

    pub(crate) async fn report(&self, status: &str) -> anyhow::Result<Answer> {
        let body = json!({ "status": status, "capabilities": ["roles", "a later word"] });
        self.report_as(body).await
    }

    /// Reports on itself in its own words.
    pub(crate) async fn report_as(&self, body: Value) -> anyhow::Result<Answer> {
        self.http.send(Method::PATCH, &self.path(""), Some(body)).await
    }

    pub(crate) async fn commands(&self, after: u64, wait: u64) -> anyhow::Result<Value> {
        let path = self.path(&format!("/commands?after={after}&wait={wait}"));
        self.http.get(&path).await?.success()
    }

    pub(crate) async fn write(
        &self,
        id: &str,
        generation: u64,
        signal: Value,
    ) -> anyhow::Result<Answer> {
        let body = json!({ "id": id, "generation": generation, "signal": signal });
        self.http.send(Method::POST, &self.path("/signals"), Some(body)).await
    }

    /// Reads signals: `(cursor to go on with, [(generation, signal)])`.
    pub(crate) async fn read(
        &self,
        after: Option<&str>,
        wait: u64,
    ) -> anyhow::Result<(String, Vec<(u64, Value)>)> {
        let after = after.map(|cursor| format!("after={cursor}&")).unwrap_or_default();
        let path = self.path(&format!("/signals?{after}wait={wait}"));
        let page = self.http.get(&path).await?.success()?;
        let cursor = page["cursor"].as_str().context("a cursor")?.to_owned();
        let signals = page["signals"].as_array().context("a list of signals")?.iter();
        let signals = signals.map(|entry| {
            (entry["generation"].as_u64().unwrap_or(u64::MAX), entry["signal"].clone())
        });
        Ok((cursor, signals.collect()))
    }
}

/// A client of an API of ours: pinned, with or without a token.
#[derive(Clone)]
pub(crate) struct Http {
    base: String,
    token: Option<String>,
    /// An idempotency key.
    key: Option<String>,
    client: reqwest::Client,
}

impl Http {
    pub(crate) fn new(base: &str, token: Option<&str>, pin: Fingerprint) -> anyhow::Result<Self> {
        let tls = client_config(&Trust::Pins(vec![pin]), None)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .timeout(Duration::from_secs(70))
            // Less than a gateway stays that drains: a connection that has lain idle for longer may
            // end in the very moment in which it is used again.
            .pool_idle_timeout(Duration::from_secs(1))
            .build()?;
        Ok(Self { base: base.to_owned(), token: token.map(str::to_owned), key: None, client })
    }

    /// Returns this client with another token.
    pub(crate) fn with(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, None).await
    }

    /// Returns this client as one that repeats itself under `key`.
    pub(crate) fn keyed(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// Asks the gateway for a session that others may join, in the way of a client that repeats
    /// itself.
    pub(crate) async fn create_with_key(&self, app: &str, key: &str) -> anyhow::Result<Answer> {
        let (keyed, body) = (self.keyed(key), json!({ "app": app, "joinable": true }));
        keyed.send(Method::POST, "/1.0/sessions", Some(body)).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Answer> {
        self.send_text(method, path, body.map(|body| body.to_string())).await
    }

    pub(crate) async fn send_text(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> anyhow::Result<Answer> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Macaroon root={token}"));
        }
        if let Some(key) = &self.key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let status = response.status();
        let retry_after = response.headers().contains_key("retry-after");
        let kind = response.headers().get("content-type").cloned();
        let text = match kind.as_ref().and_then(|kind| kind.to_str().ok()) {
            // They never end.
            Some("text/event-stream") => String::new(),
            _ => response.text().await?,
        };
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, retry_after, body })
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: bool,
    pub(crate) body: Value,
}

impl Answer {
    /// The metadata of a success; anything else is an error.
    pub(crate) fn success(self) -> anyhow::Result<Value> {
        anyhow::ensure!(self.status.is_success(), "{self:?}");
        Ok(self.body["metadata"].clone())
    }
}

/// Waits until the gateway of `client` has heard that a session has this status: what an agent
/// writes it hears a moment later.
pub(crate) async fn becomes(
    client: &Gateway,
    session: &str,
    status: &str,
) -> anyhow::Result<Session> {
    eventually(status, async || {
        let session = client.get(session).await?;
        Ok((session.status == status).then_some(session))
    })
    .await
}

/// Repeats `look` until it finds something; the condition is somebody else's to bring about.
pub(crate) async fn eventually<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let search = async {
        loop {
            if let Some(found) = look().await? {
                return anyhow::Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(STEP_TIMEOUT, search).await.with_context(|| format!("never {what}"))?
}

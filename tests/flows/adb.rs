//! Shares of type adb: who they connect beside the client, and what the real `adb` gets of it.

use std::process::{Output, Stdio};
use std::time::Duration;

use crate::shares::operate;
use crate::support::socket::Socket;
use crate::support::{
    APP, Answer, Http, Instance, STEP_TIMEOUT, ScriptedStack, becomes, eventually, run_flow,
    stream_dev,
};
use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use stream_dev::in_process::{Options, Stack};
use stream_dev::ports;
use stream_protocol::Screen;
use stream_simulators::client::JoinedSession;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use toml::toml;

/// The gateway as its account sees it.
fn account(stack: &Stack) -> anyhow::Result<Http> {
    let nodes = &stack.nodes;
    Http::new(&nodes.gateway_url(), Some(&stack.token), nodes.gateway_pin()?)
}

/// Makes a share of `session` and returns its id and its URL.
async fn share(http: &Http, session: &str) -> anyhow::Result<(String, String)> {
    let made = try_share(http, session, "adb").await?.success()?;
    let text = |name: &str| made[name].as_str().map(str::to_owned).context("a text");
    assert_eq!(made["type"], "adb", "{made}");
    Ok((text("id")?, text("url")?))
}

async fn try_share(http: &Http, session: &str, kind: &str) -> anyhow::Result<Answer> {
    let path = format!("/1.0/sessions/{session}/share");
    http.send(Method::POST, &path, Some(json!({ "type": kind }))).await
}

/// A session whose instance serves ADB, and the gateway as its account sees it.
struct Running {
    scripted: ScriptedStack,
    session: JoinedSession,
    instance: Instance,
    http: Http,
}

impl Running {
    async fn start() -> anyhow::Result<Self> {
        Self::start_with(Options::default(), &["adb", "roles"]).await
    }

    async fn start_with(options: Options, capabilities: &[&str]) -> anyhow::Result<Self> {
        let mut scripted = ScriptedStack::start_with(options).await?;
        let (session, instance) = scripted.create().await?;
        let report = json!({ "status": "running", "capabilities": capabilities });
        instance.report_as(report).await?.success()?;
        let http = account(&scripted.stack)?;
        Ok(Self { scripted, session, instance, http })
    }

    async fn share(&self) -> anyhow::Result<(String, String)> {
        share(&self.http, &self.session.id).await
    }

    /// Asks what a share's URL answers, in this spelling of its path.
    async fn connect_by(&self, url: &str, spelling: &str) -> anyhow::Result<Answer> {
        let (_, path) = url.split_once("/1.0/sessions/").context("a path")?;
        self.http.with(None).get(&format!("/1.0/{spelling}/{path}")).await
    }

    async fn connect(&self, url: &str) -> anyhow::Result<Answer> {
        self.connect_by(url, "sessions").await
    }

    /// Connects by a share's URL and returns the URL of the socket.
    async fn connected(&self, url: &str) -> anyhow::Result<String> {
        let connected = self.connect(url).await?.success()?;
        assert!(connected["stun_servers"].is_array(), "{connected}");
        Ok(connected["url"].as_str().context("a socket")?.to_owned())
    }

    async fn open(&self, socket: &str) -> anyhow::Result<Socket> {
        Socket::open_url(socket, &self.scripted.stack).await
    }

    /// What the instance is told of peers that use ADB.
    async fn announced(&self) -> anyhow::Result<Value> {
        Ok(self.instance.commands(0, 0).await?["adb"].clone())
    }

    /// Signals of a peer that the instance finds, as soon as there are any.
    async fn read(&self, share: &str) -> anyhow::Result<Vec<(u64, Value)>> {
        let path = self.instance.path(&format!("/signals?peer={share}&wait=10"));
        let page = self.instance.http.get(&path).await?.success()?;
        let signals = page["signals"].as_array().context("signals")?.iter();
        let generation = |entry: &Value| entry["generation"].as_u64().unwrap_or(u64::MAX);
        Ok(signals.map(|entry| (generation(entry), entry["signal"].clone())).collect())
    }

    /// Writes a signal to a peer as the instance.
    async fn write(&self, share: &str, generation: u64, signal: Value) -> anyhow::Result<Answer> {
        let body = json!({ "id": "s-1", "generation": generation, "signal": signal });
        let path = self.instance.path(&format!("/signals?peer={share}"));
        self.instance.http.send(Method::POST, &path, Some(body)).await
    }
}

/// What a socket is told at its end, which comes at once.
async fn told(socket: &mut Socket) -> anyhow::Result<String> {
    let signal = tokio::time::timeout(Duration::from_secs(2), socket.next()).await??;
    assert_eq!(signal["type"], "error", "{signal}");
    Ok(signal["message"].as_str().context("words")?.to_owned())
}

fn refused(opened: anyhow::Result<Socket>) -> anyhow::Result<String> {
    Ok(opened.err().context("it opened")?.to_string())
}

#[test]
fn who_uses_adb_is_a_peer_of_its_own_beside_the_client() {
    run_flow(async || {
        let running = Running::start().await?;
        let stack = &running.scripted.stack;
        let mut client = Socket::open(&running.session, stack).await?;
        let before = running.instance.commands(0, 0).await?;
        let (id, url) = running.share().await?;
        let base = stack.nodes.gateway_url();
        let expected =
            format!("{base}/1.0/sessions/{}/connect?type=adb&token=", running.session.id);
        assert!(url.starts_with(&expected), "{url}");

        let socket = running.connected(&url).await?;
        assert!(socket.starts_with("wss://") && socket.contains("/sockets/adb?token="), "{socket}");
        let commands = running.instance.commands(0, 0).await?;
        assert_eq!(commands["adb"], json!([{ "share": id, "generation": 1 }]));
        for name in ["client", "generation", "signaling"] {
            assert_eq!(commands[name], before[name], "{name}");
        }

        let mut adb = running.open(&socket).await?;
        adb.send(&json!({ "type": "discover", "of": "adb" })).await?;
        client.send(&json!({ "type": "discover", "of": "client" })).await?;
        assert_eq!(running.read(&id).await?, [(1, json!({ "type": "discover", "of": "adb" }))]);
        let (_, of_client) = running.instance.read(None, 10).await?;
        assert_eq!(of_client, [(0, json!({ "type": "discover", "of": "client" }))]);
        let mut master =
            Socket::open_instance(&running.instance, &format!("master?peer={id}"), stack).await?;
        assert_eq!(master.next().await?["of"], "adb");
        master.send(&json!({ "type": "offer", "for": "adb" })).await?;
        running.write(&id, 1, json!({ "type": "candidate" })).await?.success()?;
        running.instance.write("s-1", 0, json!({ "type": "offer" })).await?.success()?;
        let mut seen = [adb.next().await?["type"].clone(), adb.next().await?["type"].clone()];
        seen.sort_by_key(ToString::to_string);
        assert_eq!(seen, ["candidate", "offer"]);
        assert_eq!(client.next().await?, json!({ "type": "offer" }));

        let nobody = "0".repeat(20);
        assert_eq!(running.write(&nobody, 1, json!({ "type": "x" })).await?.status, 404);
        let path = running.instance.path(&format!("/signals?peer={nobody}"));
        assert_eq!(running.instance.http.get(&path).await?.status, 404);
        let path = running.instance.path("/signals?peer=adb");
        assert_eq!(running.instance.http.get(&path).await?.status, 400);
        Ok(())
    });
}

#[test]
fn a_new_connection_cuts_the_one_before_and_a_deleted_share_all() {
    run_flow(async || {
        let running = Running::start().await?;
        let (id, url) = running.share().await?;
        let (other, _) = running.share().await?;
        let mut first = running.open(&running.connected(&url).await?).await?;
        let path = format!("master?peer={id}");
        let mut master =
            Socket::open_instance(&running.instance, &path, &running.scripted.stack).await?;

        let again = running.connect_by(&url, "session").await?.success()?;
        assert!(told(&mut first).await?.contains("connected anew"));
        assert!(told(&mut master).await?.contains("connected anew"));
        assert_eq!(running.announced().await?, json!([{ "share": id, "generation": 2 }]));
        let again = again["url"].as_str().context("a socket")?;
        let mut second = running.open(again).await?;
        let mut third = running.open(&again.replace("/1.0/sessions/", "/1.0/session/")).await?;
        assert!(told(&mut second).await?.contains("opened the socket again"), "one at a time");

        let shares = format!("/1.0/shares/{id}");
        let later = json!({ "expiry_at": stream_protocol::Timestamp::now().as_unix() + 7200 });
        running.http.send(Method::PATCH, &shares, Some(later)).await?.success()?;
        third.send(&json!({ "type": "discover" })).await?;
        assert_eq!(running.read(&id).await?, [(2, json!({ "type": "discover" }))], "it goes on");

        running.http.send(Method::DELETE, &shares, None).await?.success()?;
        assert_eq!(told(&mut third).await?, "token revoked");
        assert_eq!(running.announced().await?, json!([]));
        assert!(refused(running.open(again).await)?.contains("401"));
        assert_eq!(running.connect(&url).await?.status, 401);
        let left = running.http.get("/1.0/shares").await?.success()?;
        assert_eq!(left, json!([other]));
        Ok(())
    });
}

#[test]
fn a_share_that_runs_out_ends_at_the_socket_and_at_the_instance() {
    run_flow(async || {
        let running = Running::start().await?;
        let (id, url) = running.share().await?;
        let mut socket = running.open(&running.connected(&url).await?).await?;
        let soon = json!({ "expiry_at": stream_protocol::Timestamp::now().as_unix() + 3 });
        let path = format!("/1.0/shares/{id}");
        running.http.send(Method::PATCH, &path, Some(soon)).await?.success()?;
        assert_eq!(socket.next().await?["message"], "the share has ended");
        eventually("cut off", async || Ok((running.announced().await? == json!([])).then_some(())))
            .await?;
        assert_eq!(running.connect(&url).await?.status, 401);
        Ok(())
    });
}

#[test]
fn the_end_of_a_session_is_that_of_its_connections() {
    run_flow(async || {
        let running = Running::start().await?;
        let (_, url) = running.share().await?;
        let mut socket = running.open(&running.connected(&url).await?).await?;
        running.scripted.client.delete(&running.session.id).await?;
        let told = socket.next().await?;
        assert_eq!(told["type"], "error", "{told}");
        becomes(&running.scripted.client, &running.session.id, "terminated").await?;
        assert_eq!(running.connect(&url).await?.status, 401);
        Ok(())
    });
}

#[test]
fn a_ticket_for_adb_opens_that_socket_alone_and_its_share_joins_nothing() {
    run_flow(async || {
        let running = Running::start().await?;
        let (_, url) = running.share().await?;
        let adb = running.connected(&url).await?;
        let slave = adb.replace("/sockets/adb", "/sockets/slave");
        assert!(refused(running.open(&slave).await)?.contains("403"));
        let of_client = running.session.url.replace("/sockets/slave", "/sockets/adb");
        assert!(refused(running.open(&of_client).await)?.contains("403"));

        let (_, token) = url.split_once("token=").context("a token")?;
        let bearer = running.http.with(Some(token));
        let join = format!("/1.0/sessions/{}/join", running.session.id);
        assert_eq!(bearer.send(Method::POST, &join, None).await?.status, 400);
        for kind in ["control", "view", "root"] {
            let other = url.replace("type=adb", &format!("type={kind}"));
            assert_eq!(running.connect(&other).await?.status, 400, "{kind}");
        }
        let account = url.replace(token, &running.scripted.stack.token);
        assert_eq!(running.connect(&account).await?.status, 401);

        // It can be opened again, as the same connection.
        let mut socket = running.open(&format!("{adb}&tickets=1")).await?;
        let ticket = socket.next().await?["token"].clone();
        let (base, _) = adb.split_once("?token=").context("a token")?;
        let again = format!("{base}?token={}", ticket.as_str().context("a ticket")?);
        running.open(&again).await?;
        Ok(())
    });
}

#[test]
fn a_session_has_five_shares_for_adb_and_others_beside_them() {
    run_flow(async || {
        let running = Running::start().await?;
        for _ in 0..5 {
            running.share().await?;
        }
        let sixth = try_share(&running.http, &running.session.id, "adb").await?;
        assert_eq!(sixth.status, 403);
        assert_eq!(sixth.body["error"], "a session has at most 5 adb shares");
        try_share(&running.http, &running.session.id, "control").await?.success()?;
        Ok(())
    });
}

#[test]
fn an_instance_that_does_not_serve_adb_is_not_shared_nor_connected() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (session, instance) = scripted.create().await?;
        let http = account(&scripted.stack)?;
        // Before it runs nobody knows.
        let (_, url) = share(&http, &session.id).await?;
        let (_, path) = url.split_once("/1.0/").context("a path")?;
        let connect = async || http.with(None).get(&format!("/1.0/{path}")).await;
        let early = connect().await?;
        assert_eq!(
            (early.status.as_u16(), &early.body["error"]),
            (400, &json!("session is not active yet"))
        );

        instance.report("running").await?.success()?;
        let late = try_share(&http, &session.id, "adb").await?;
        for answer in [connect().await?, late] {
            assert_eq!(answer.status, 409, "{answer:?}");
            let why = answer.body["error"].as_str().context("a sentence")?;
            assert!(why.contains("does not serve adb"), "{why}");
        }
        assert_eq!(instance.commands(0, 0).await?["adb"], json!([]));
        Ok(())
    });
}

#[test]
fn adb_holds_off_no_end_of_a_session_without_a_client() {
    run_flow(async || {
        let gateway = toml! { gateway.first_client_s = 4 };
        let agent = toml! { agent.sweep_s = 1 };
        let options = Options { gateway, agent, ..Options::default() };
        let mut scripted = ScriptedStack::start_with(options).await?;
        let created = scripted.client.create_from(&json!({ "app": APP })).await?;
        let instance = scripted.booted().await?;
        let report = json!({ "status": "running", "capabilities": ["adb"] });
        instance.report_as(report).await?.success()?;
        let http = account(&scripted.stack)?;
        // Not joinable, and shared all the same: who uses ADB is no client.
        let (_, url) = share(&http, &created.id).await?;
        let (_, path) = url.split_once("/1.0/").context("a path")?;
        let connected = http.with(None).get(&format!("/1.0/{path}")).await?.success()?;
        let socket = connected["url"].as_str().context("a socket")?;
        let mut adb = Socket::open_url(socket, &scripted.stack).await?;
        adb.send(&json!({ "type": "answer" })).await?;
        let ended = becomes(&scripted.client, &created.id, "terminated").await?;
        assert_eq!(ended.status_message, "no client came within 4 seconds");
        Ok(())
    });
}

#[test]
fn operators_make_the_url_of_adb_on_the_command_line() {
    run_flow(async || {
        let running = Running::start().await?;
        let words = ["session", "share", &running.session.id, "--type", "adb"];
        let socket = running.scripted.stack.nodes.admin_socket();
        let url = operate(&words, &socket).await?;
        let mut adb = running.open(&running.connected(url.trim()).await?).await?;
        adb.send(&json!({ "type": "discover" })).await?;
        let listed = operate(&["share", "list"], &socket).await?;
        assert!(listed.contains(" adb "), "{listed}");
        Ok(())
    });
}

/// An `adb` server of its own, and what asks it.
struct Adb {
    port: u16,
    home: tempfile::TempDir,
    _server: Child,
}

impl Adb {
    async fn start() -> anyhow::Result<Self> {
        let (port, home) = (ports::free(), tempfile::tempdir()?);
        let mut command = Self::command(port, home.path());
        let server = command.args(["nodaemon", "server"]).stderr(Stdio::null()).spawn()?;
        let adb = Self { port, home, _server: server };
        let listens = async || Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok());
        eventually("adb listens", listens).await?;
        Ok(adb)
    }

    fn command(port: u16, home: &std::path::Path) -> Command {
        let mut command = Command::new("adb");
        let variables = [("HOME", home), ("ANDROID_SDK_HOME", home), ("TMPDIR", home)];
        command.envs(variables).env("ANDROID_ADB_SERVER_PORT", port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn ask(&self, words: &[&str]) -> anyhow::Result<Output> {
        let mut command = Self::command(self.port, self.home.path());
        let output = command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        Ok(tokio::time::timeout(STEP_TIMEOUT, output).await??)
    }

    async fn shell(&self, device: &str, command: &str) -> anyhow::Result<(String, Option<i32>)> {
        let output = self.ask(&["-s", device, "shell", command]).await?;
        let text = [output.stdout, output.stderr].concat();
        Ok((String::from_utf8_lossy(&text).into_owned(), output.status.code()))
    }
}

/// The bridge of the development stack, and where it listens.
async fn bridge(stack: &Stack, url: &str) -> anyhow::Result<(Child, String)> {
    let pin = stack.nodes.gateway_pin()?.to_string();
    let mut command = Command::new(stream_dev());
    command.args(["adb", url, "--listen", "127.0.0.1:0", "--fingerprint", &pin]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().context("standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(STEP_TIMEOUT, lines.next_line()).await??;
    let Some(line) = line else {
        let output = child.wait_with_output().await?;
        anyhow::bail!("{}", String::from_utf8_lossy(&output.stderr));
    };
    let device = line.strip_prefix("adb connect ").context("an address")?.to_owned();
    Ok((child, device))
}

#[test]
fn the_real_adb_gets_a_shell_until_the_share_is_deleted() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let client = stack.client()?;
        let session = client.create(APP, Screen::default()).await?;
        becomes(&client, &session.id, "active").await?;
        let http = account(&stack)?;
        let (id, url) = share(&http, &session.id).await?;
        let (first, device) = bridge(&stack, &url).await?;
        let adb = Adb::start().await?;
        let said = adb.ask(&["connect", &device]).await?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        ensure!(said.contains(&format!("connected to {device}")), "{said}");
        assert_eq!(adb.shell(&device, "echo hello").await?, ("hello\n".to_owned(), Some(0)));
        let (text, code) = adb.shell(&device, "ls /").await?;
        assert_eq!((text.as_str(), code), ("not supported: ls /\n", Some(127)));
        for n in 0..20 {
            let said = adb.shell(&device, &format!("echo {n}")).await?;
            assert_eq!(said, (format!("{n}\n"), Some(0)));
        }
        // A server that comes again finds the device again.
        adb.ask(&["disconnect", &device]).await?;
        adb.ask(&["connect", &device]).await?;
        assert_eq!(adb.shell(&device, "echo again").await?.0, "again\n");

        let (second, other) = bridge(&stack, &url).await?;
        let cut = tokio::time::timeout(STEP_TIMEOUT, first.wait_with_output()).await??;
        let why = String::from_utf8_lossy(&cut.stderr).into_owned();
        ensure!(!cut.status.success() && why.contains("connected anew"), "{why}");
        adb.ask(&["connect", &other]).await?;
        assert_eq!(adb.shell(&other, "echo new").await?.0, "new\n");

        http.send(Method::DELETE, &format!("/1.0/shares/{id}"), None).await?.success()?;
        let cut = tokio::time::timeout(STEP_TIMEOUT, second.wait_with_output()).await??;
        let why = String::from_utf8_lossy(&cut.stderr).into_owned();
        ensure!(!cut.status.success() && why.contains("token revoked"), "{why}");
        ensure!(adb.shell(&other, "echo gone").await?.1 != Some(0));
        let commanded = client.get(&session.id).await?.status;
        assert_eq!(commanded, "active", "nothing else has ended");
        stack.stop().await;
        Ok(())
    });
}

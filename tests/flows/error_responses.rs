//! What is not allowed is refused with the right code, and says so to whom it helps.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use crate::support::socket::Socket;
use crate::support::{
    APP, Answer, Http, STEP_TIMEOUT, ScriptedStack, becomes, eventually, run_flow,
};
use anyhow::Context;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stream_dev::in_process::Stack;
use stream_dev::keys::KeyStore;
use stream_dev::ports;
use stream_macaroon::Macaroon;
use stream_protocol::SessionId;
use stream_simulators::instance::{self, Behaviour};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// Returns what has become of `token` with one more caveat, which needs no key.
fn attenuated(token: &str, caveat: &str) -> String {
    let mut macaroon = Macaroon::decode(token).expect("a token of ours");
    macaroon.add_first_party(caveat);
    macaroon.encode()
}

/// Tokens that are none, each wrong in another way.
fn bad_tokens(good: &str) -> Vec<(&'static str, Option<String>)> {
    let mut flipped = good.to_owned().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    vec![
        ("none", None),
        ("garbage", Some("AgEUYW5ib3gtc3RyZWFt".to_owned())),
        ("a flipped bit", Some(String::from_utf8(flipped).expect("still text"))),
        ("expired", Some(attenuated(good, "time-before 2020-01-01T00:00:00Z"))),
        ("not understood", Some(attenuated(good, "weather sunny"))),
    ]
}

fn assert_refused(answer: &Answer, code: u16, what: &str) {
    assert_eq!(answer.status.as_u16(), code, "{what}: {answer:?}");
    assert_eq!(answer.body["type"], "error", "{what}: {answer:?}");
    assert_eq!(answer.body["status_code"], code, "{what}: {answer:?}");
}

#[test]
fn a_token_that_asks_too_often_is_told_when_to_ask_again() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (_, instance) = scripted.create().await?;
        let (_, neighbour) = scripted.create().await?;
        let file = scripted.stack.nodes.dir.join("agent.toml");
        let text = std::fs::read_to_string(&file)?;
        let slow = text.replace("requests_per_second = 100000", "requests_per_second = 1");
        assert_ne!(text, slow);
        std::fs::write(&file, slow)?;
        scripted.stack.restart_agent().await?;

        let (http, path) = (&instance.http, instance.path("/commands?after=0"));
        eventually("keys", async || Ok((http.get(&path).await?.status == 200).then_some(())))
            .await?;
        let refused = eventually("the end of drain_timeout", async || {
            let answer = http.get(&path).await?;
            Ok((answer.status != 200).then_some(answer))
        });
        let refused = refused.await?;
        assert_refused(&refused, 429, "more than a burst");
        assert!(refused.retry_after, "{refused:?}");

        let narrowed = attenuated(&instance.userdata.token, "allow command.read");
        let answer = http.with(Some(&narrowed)).get(&path).await?;
        assert_refused(&answer, 429, "what is derived from it");
        let answer = neighbour.http.get(&neighbour.path("/commands?after=0")).await?;
        assert_eq!(answer.status, 200, "another token is not affected");
        eventually("drain_timeout", async || {
            Ok((http.get(&path).await?.status == 200).then_some(()))
        })
        .await
    });
}

#[test]
fn the_agent_opens_to_an_instance_its_own_session_and_nothing_else() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (_, instance) = scripted.create().await?;
        let (_, neighbour) = scripted.create().await?;
        let http = &instance.http;
        let token = instance.userdata.token.as_str();
        let commands = instance.path("/commands?after=0&wait=0");
        assert_eq!(http.get(&commands).await?.status, 200);

        let mut bodies = Vec::new();
        for (what, token) in bad_tokens(token) {
            let answer = http.with(token.as_deref()).get(&commands).await?;
            assert_refused(&answer, 401, what);
            bodies.push(answer.body);
        }
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "all alike: {bodies:?}");

        let others = [
            ("another session", neighbour.path("/commands")),
            ("no session at all", format!("/1.0/sessions/{}/commands", SessionId::random())),
            ("the state of the unit", "/1.0/status".to_owned()),
        ];
        for (what, path) in others {
            assert_refused(&http.get(&path).await?, 403, what);
        }
        let deletion = http.send(Method::DELETE, &instance.path(""), None).await?;
        assert_refused(&deletion, 403, "an op that instances do not have");
        let reader = http.with(Some(&attenuated(token, "allow command.read")));
        assert_eq!(reader.get(&commands).await?.status, 200);
        let signals = instance.path("/signals");
        let written = reader.send(Method::POST, &signals, Some(signal("x"))).await?;
        assert_refused(&written, 403, "an op given away");

        let foreign = http.with(Some(&scripted.stack.token)).get(&commands).await?;
        assert_refused(&foreign, 401, "a token of the gateway");
        Ok(())
    });
}

fn signal(id: &str) -> Value {
    json!({ "id": id, "generation": 0, "signal": { "type": "offer" } })
}

#[test]
fn bodies_that_are_too_large_or_malformed_are_refused_and_harm_nothing() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (_, instance) = scripted.create().await?;
        let path = instance.path("/signals");
        let post =
            async |body: String| instance.http.send_text(Method::POST, &path, Some(body)).await;
        for body in
            ["", "{", "7", "[]", r#"{"id":"x"}"#, r#"{"id":"a b","generation":0,"signal":{}}"#]
        {
            assert_refused(&post(body.to_owned()).await?, 400, body);
        }
        let pad = |bytes: usize| {
            json!({ "id": "x", "generation": 0,
                    "signal": { "type": "offer", "pad": "a".repeat(bytes) } })
            .to_string()
        };
        assert_refused(&post(pad(300 * 1024)).await?, 413, "a signal over 256 KiB");
        assert_refused(&post(pad(2 * 1024 * 1024)).await?, 413, "a body over 1 MiB");
        assert_eq!(post(pad(200 * 1024)).await?.status, 200);
        let (path, half) = (instance.path(""), Some("{".to_owned()));
        let report = instance.http.send_text(Method::PATCH, &path, half).await?;
        assert_refused(&report, 400, "a report");
        assert_refused(&instance.http.get("/1.0/nowhere").await?, 404, "a path");
        Ok(())
    });
}

#[test]
fn a_session_writes_no_more_signals_than_a_minute_allows() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (_, instance) = scripted.create().await?;
        let path = instance.path("/signals");
        for batch in 0..10 {
            let signals: Vec<_> = (0..100).map(|n| signal(&format!("s{batch}-{n}"))).collect();
            let answer = instance.http.send(Method::POST, &path, Some(json!(signals))).await?;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        let answer = instance.http.send(Method::POST, &path, Some(signal("one-more"))).await?;
        assert_refused(&answer, 429, "the limit");
        assert!(answer.retry_after);
        Ok(())
    });
}

fn gateway(stack: &Stack) -> anyhow::Result<Http> {
    Http::new(&stack.nodes.gateway_url(), Some(&stack.token), stack.nodes.gateway_pin()?)
}

#[test]
fn the_gateway_refuses_bad_tokens_and_bad_requests() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let http = gateway(&scripted.stack)?;
        let session = format!("/1.0/sessions/{}", created.id);

        let mut bodies = Vec::new();
        let instance_token = Some(instance.userdata.token.clone());
        let bad = bad_tokens(&scripted.stack.token).into_iter();
        for (what, token) in bad.chain([("a token of the agent", instance_token)]) {
            for path in ["/1.0/sessions", session.as_str(), "/1.0/applications", "/1.0/regions"] {
                let answer = http.with(token.as_deref()).get(path).await?;
                assert_refused(&answer, 401, &format!("{what} at {path}"));
                bodies.push(answer.body);
            }
        }
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "all alike: {bodies:?}");
        let reader = http.with(Some(&attenuated(&scripted.stack.token, "allow session.read")));
        assert_eq!(reader.get(&session).await?.status, 200);
        let deletion = reader.send(Method::DELETE, &session, None).await?;
        assert_refused(&deletion, 403, "an op given away");

        let unknown = format!("/1.0/sessions/{}", SessionId::random());
        assert_refused(&http.get(&unknown).await?, 404, "an unknown session");
        let create = async |body: Value| http.send(Method::POST, "/1.0/sessions", Some(body)).await;
        assert_refused(&create(json!({})).await?, 400, "no app");
        let screen = json!({ "width": 0, "height": 720 });
        let answer = create(json!({ "app": APP, "screen": screen })).await?;
        assert_refused(&answer, 400, "an impossible screen");
        assert_refused(&create(json!({ "app": "unknown" })).await?, 404, "an unknown app");
        // Right after its connect the gateway does not know yet who is about to announce itself.
        let elsewhere = eventually("all announced", async || {
            let answer = create(json!({ "app": APP, "region": "mars" })).await?;
            Ok((answer.status != 503).then_some(answer))
        })
        .await?;
        assert_refused(&elsewhere, 404, "an unknown region");
        let data = json!({ "app": APP, "extra_data": "x".repeat(9 * 1024) });
        assert_refused(&create(data).await?, 400, "too much extra data");
        let body = json!({ "app": "x".repeat(1024 * 1024) });
        assert_refused(&create(body).await?, 413, "too large a body");
        let answer = http.send_text(Method::POST, "/1.0/sessions", Some("{\"app\"".into())).await?;
        assert_refused(&answer, 400, "malformed JSON");
        assert_eq!(scripted.stack.ams.instances().len(), 1, "none of it launched anything");
        Ok(())
    });
}

#[test]
fn the_clients_socket_opens_only_with_its_own_token() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, _one) = scripted.create().await?;
        let (other, _two) = scripted.create().await?;
        let (base, token) = created.url.split_once("?token=").context("a token")?;
        let (_, foreign) = other.url.split_once("?token=").context("a token")?;
        let expired = attenuated(token, "time-before 2020-01-01T00:00:00Z");
        let urls = [
            base.to_owned(),
            format!("{base}?token={foreign}"),
            format!("{base}?token={expired}"),
            format!("{base}?token={}", scripted.stack.token),
        ];
        for url in urls {
            let refused = Socket::open_url(&url, &scripted.stack).await;
            let error = refused.err().context("the socket opened")?;
            assert!(error.to_string().contains("40"), "401 or 403, not {error}");
        }
        let mut socket = Socket::open(&created, &scripted.stack).await?;
        socket.send(&json!({ "no": "type" })).await?;
        assert_eq!(socket.next().await?["type"], "error", "the client is told before the close");
        Ok(())
    });
}

/// The beginning of a TLS 1.2 connection: a client that offers nothing newer.
fn hello_of_tls_1_2() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]); // random
    body.push(0); // no session
    body.extend([0, 4, 0xc0, 0x2f, 0xc0, 0x30]); // ECDHE-RSA with AES-GCM
    body.extend([1, 0]); // no compression
    let extensions: &[u8] = &[
        0, 10, 0, 4, 0, 2, 0, 23, // groups: P-256
        0, 11, 0, 2, 1, 0, // points: uncompressed
        0, 13, 0, 6, 0, 4, 4, 1, 8, 4, // signatures: RSA with SHA-256
    ];
    body.extend(u16::try_from(extensions.len()).expect("short").to_be_bytes());
    body.extend(extensions);
    let length = u16::try_from(body.len()).expect("short");
    let mut hello = vec![22, 3, 1];
    hello.extend((length + 4).to_be_bytes());
    hello.extend([1, 0]);
    hello.extend(length.to_be_bytes());
    hello.extend(body);
    hello
}

#[test]
fn no_endpoint_speaks_tls_1_2() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let stack = &scripted.stack;
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let endpoints = [
            ("agent", local(stack.nodes.agent_port)),
            ("gateway", local(stack.nodes.gateway_port)),
            ("ams", stack.ams.address()),
            ("nats", local(stack.nats.port())),
        ];
        for (name, address) in endpoints {
            let answer = tokio::task::spawn_blocking(move || -> std::io::Result<Vec<u8>> {
                let mut connection = TcpStream::connect(address)?;
                connection.set_read_timeout(Some(STEP_TIMEOUT))?;
                connection.write_all(&hello_of_tls_1_2())?;
                let mut answer = Vec::new();
                connection.take(7).read_to_end(&mut answer)?;
                Ok(answer)
            })
            .await??;
            // An alert (21), fatal (2), protocol_version (70).
            assert_eq!(
                (answer.first(), answer.get(5..7)),
                (Some(&21), Some(&[2, 70][..])),
                "{name}"
            );
        }
        Ok(())
    });
}

/// A second agent as a process of its own, with something wrong in its configuration.
struct Misconfigured {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    _dir: tempfile::TempDir,
}

impl Misconfigured {
    /// Starts an agent like that of `stack`, after `change` was made to its configuration; the
    /// directory is for files the change needs.
    fn start(
        stack: &Stack,
        change: impl FnOnce(String, &std::path::Path) -> anyhow::Result<String>,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let socket = |path: std::path::PathBuf| path.display().to_string();
        let own_socket = socket(dir.path().join("run/admin.socket"));
        let text = std::fs::read_to_string(stack.nodes.dir.join("agent.toml"))?
            .replace("name = \"dev\"", "name = \"misconfigured\"")
            .replace(
                &format!("listen = \"127.0.0.1:{}\"", stack.nodes.agent_port),
                &format!("listen = \"127.0.0.1:{}\"", ports::free()),
            )
            .replace(&socket(stack.nodes.agent_socket()), &own_socket);
        let config = dir.path().join("agent.toml");
        std::fs::write(&config, change(text, dir.path())?)?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_stream-agent"))
            .args(["run", "--config"])
            .arg(&config)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let lines = BufReader::new(child.stderr.take().context("its log")?).lines();
        Ok(Self { child, lines, _dir: dir })
    }

    /// Reads the log up to the first line that contains `text`.
    async fn says(&mut self, text: &str) -> anyhow::Result<String> {
        let mut before = Vec::new();
        let search = async {
            while let Some(line) = self.lines.next_line().await? {
                if line.contains(text) {
                    return anyhow::Ok(line);
                }
                before.push(line);
            }
            anyhow::bail!("the agent ended")
        };
        let found = tokio::time::timeout(STEP_TIMEOUT, search).await;
        found
            .unwrap_or_else(|late| Err(late.into()))
            .with_context(|| format!("{text}: {before:#?}"))
    }

    fn lives(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.child.try_wait()?.is_none(), "the agent ended");
        Ok(())
    }
}

#[test]
fn an_agent_with_the_wrong_nats_authority_says_so_and_keeps_trying() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let other = KeyStore::shared()?.pair("server")?;
        let mut misconfigured = Misconfigured::start(&scripted.stack, |text, _| {
            let right = scripted.stack.nats.ca();
            let wrong = other.certificate.to_str().context("a path")?.to_owned();
            Ok(text.replace(right.to_str().context("a path")?, &wrong))
        })?;
        // Said once, however often it tries.
        let cause = "its certificate comes from an authority that is not among the trusted ones";
        misconfigured.says(&format!("{cause}, check nats.ca")).await?;
        misconfigured.lives()?;
        Ok(())
    });
}

#[test]
fn an_agent_with_the_wrong_nats_token_says_so_and_gets_in_once_it_is_right() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let right = std::fs::read(scripted.stack.nats.token())?;
        let mut file = None;
        let mut misconfigured = Misconfigured::start(&scripted.stack, |text, dir| {
            let wrong = dir.join("wrong.token");
            stream_dev::keys::write_secret(&wrong, "not-the-token-of-this-server")?;
            let token = scripted.stack.nats.token();
            let text =
                text.replace(token.to_str().context("a path")?, wrong.to_str().context("a path")?);
            file = Some(wrong);
            Ok(text)
        })?;
        misconfigured.says("nats is away: the server refuses our login").await?;
        misconfigured.lives()?;
        std::fs::write(file.context("the file")?, right)?;
        misconfigured.says("nats is connected").await?;
        Ok(())
    });
}

#[test]
fn an_agent_with_the_wrong_pin_of_ams_says_so_and_stays_up() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let right = scripted.stack.ams.fingerprint().to_string();
        let mut misconfigured = Misconfigured::start(&scripted.stack, |text, _| {
            Ok(text.replace(&right, &"ab".repeat(32)))
        })?;
        misconfigured.says("ams is away: ").await.map(|line| {
            assert!(line.contains("none of the configured fingerprints"), "{line}");
        })?;
        misconfigured.lives()?;
        Ok(())
    });
}

#[test]
fn an_agent_that_ams_does_not_trust_says_so_and_is_taken_once_it_does() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let other = KeyStore::shared()?.pair("server")?;
        let mut misconfigured = Misconfigured::start(&scripted.stack, |text, dir| {
            other.copy(dir, "stranger")?;
            let client = |end: &str| {
                scripted
                    .stack
                    .nodes
                    .agent_dir()
                    .join(format!("ams-client.{end}"))
                    .display()
                    .to_string()
            };
            let stranger = |end: &str| dir.join(format!("stranger.{end}")).display().to_string();
            Ok(text
                .replace(&client("crt"), &stranger("crt"))
                .replace(&client("key"), &stranger("key")))
        })?;
        misconfigured.says("ams is away: ").await.map(|line| {
            assert!(line.contains("trust"), "{line}");
        })?;
        misconfigured.lives()?;
        scripted.stack.ams.trust(other.identity()?.fingerprint());
        misconfigured.says("ams is reached").await?;
        Ok(())
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test itself looks at how the task ends")]
fn an_instance_that_pins_another_certificate_never_attaches() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let mut userdata = instance.userdata.clone();
        userdata.fingerprints = vec!["cd".repeat(32)];
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let text = serde_json::to_string(&userdata)?;
        let wrong = tokio::task::spawn_local(instance::run(text, Behaviour::default(), stopped));
        // It logs each attempt; what it may not do is reach the session, however often it tries.
        let active = async {
            while scripted.client.get(&created.id).await?.status == "created" {
                tokio::task::yield_now().await;
            }
            anyhow::Ok(())
        };
        let while_it_tries = Duration::from_secs(2);
        assert!(tokio::time::timeout(while_it_tries, active).await.is_err(), "it got in");
        assert!(!wrong.is_finished(), "it keeps trying");
        assert_eq!(instance.report("running").await?.status, StatusCode::OK);
        becomes(&scripted.client, &created.id, "active").await?;
        stop.send_replace(true);
        wrong.await??;
        Ok(())
    });
}

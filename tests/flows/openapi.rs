//! The documents at `/1.0/openapi.json`: valid, complete, and true of what is really said.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use crate::support::openapi::{DOCUMENT, document, operations};
use crate::support::socket::Socket;
use crate::support::{APP, Answer, Http, Instance, ScriptedStack, run_flow};
use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};
use stream_dev::in_process::Stack;
use stream_protocol::{SessionId, TokenKind};
use stream_tokens::{Mint, Tokens};
use tokio::io::AsyncWriteExt;

const SESSIONS: &str = "/1.0/sessions";
const SESSION: &str = "/1.0/sessions/{id}";
const SIGNALS: &str = "/1.0/sessions/{id}/signals";

/// A service, its document, and all that was asked and answered.
struct ApiRecorder {
    document: Value,
    http: Http,
    /// Stands for `{id}`.
    session: String,
    exchanges: Vec<Value>,
}

impl ApiRecorder {
    async fn of(http: Http) -> anyhow::Result<Self> {
        let document = document(&http).await?;
        Ok(Self { document, http, session: String::new(), exchanges: Vec::new() })
    }

    /// Asks with another token from now on; returns the client of before.
    fn change_token(&mut self, token: Option<&str>) -> Http {
        let other = self.http.with(token);
        std::mem::replace(&mut self.http, other)
    }

    /// Asks, and keeps what was asked and answered.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        query: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Answer> {
        let place = format!("{}{query}", path.replace("{id}", &self.session));
        let answer = self.http.send(method.clone(), &place, body.clone()).await?;
        self.keep(method.as_str(), path, body, answer.status.as_u16(), answer.body.clone());
        Ok(answer)
    }

    async fn get(&mut self, path: &str, query: &str) -> anyhow::Result<Answer> {
        self.ask(Method::GET, path, query, None).await
    }

    fn keep(&mut self, method: &str, path: &str, body: Option<Value>, status: u16, answer: Value) {
        self.exchanges.push(json!({
            "path": path, "method": method, "body": body, "status": status, "answer": answer,
        }));
    }

    /// Refuses a document that is not valid, that does not fit what was said, or that describes
    /// what was never seen to succeed.
    async fn check(&self) -> anyhow::Result<()> {
        let operations = operations(&self.document)?;
        let ids: BTreeSet<_> = operations.iter().map(|operation| &operation.id).collect();
        anyhow::ensure!(ids.len() == operations.len(), "an operationId is used twice: {ids:?}");
        for operation in &operations {
            let succeeded = self.exchanges.iter().any(|exchange| {
                exchange["path"] == operation.path
                    && exchange["method"] == operation.method
                    && exchange["status"] == operation.success
            });
            let (method, path) = (&operation.method, &operation.path);
            anyhow::ensure!(
                succeeded,
                "{method} {path} was never seen to succeed: ask for it here"
            );
        }
        let wrong = validate(&self.document, &self.exchanges).await?;
        anyhow::ensure!(wrong.is_empty(), "{wrong}");
        Ok(())
    }
}

/// Returns what is wrong, line by line.
async fn validate(document: &Value, exchanges: &[Value]) -> anyhow::Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/openapi/check.mjs");
    let mut node = tokio::process::Command::new("node");
    node.arg(script).kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut node = node.spawn().context("node")?;
    let mut stdin = node.stdin.take().context("standard input")?;
    let text = json!({ "document": document, "exchanges": exchanges }).to_string();
    stdin.write_all(text.as_bytes()).await?;
    drop(stdin);
    let output =
        tokio::time::timeout(crate::support::STEP_TIMEOUT, node.wait_with_output()).await??;
    let wrong = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    anyhow::ensure!(output.status.success() == wrong.is_empty(), "the check itself failed");
    Ok(wrong)
}

async fn token(tokens: &Tokens, kind: TokenKind) -> anyhow::Result<String> {
    Ok(tokens.mint(Mint::new(kind, "witness")).await?.token.to_string())
}

/// Asks the agent for everything it has, in the life of one session.
async fn see_agent(
    agent: &mut ApiRecorder,
    gateway: &mut ApiRecorder,
    instance: &Instance,
    scripted: &mut ScriptedStack,
) -> anyhow::Result<()> {
    for path in ["/1.0", DOCUMENT, "/1.0/health/live"] {
        agent.get(path, "").await?;
    }
    let monitor = token(&scripted.stack.agent.tokens, TokenKind::Monitor).await?;
    let own = agent.change_token(Some(&monitor));
    agent.get("/metrics", "").await?;
    agent.get("/1.0/health/ready", "").await?;
    agent.get("/1.0/status", "").await?;
    assert_eq!(agent.get(SESSION, "").await?.status, 403);
    agent.http = own;

    agent
        .ask(
            Method::PATCH,
            SESSION,
            "",
            Some(json!({"status": "running", "capabilities": ["adb", "roles"]})),
        )
        .await?;
    agent.get(SESSION, "").await?;
    let commands = agent.get(&format!("{SESSION}/commands"), "?after=0&wait=60").await?;
    assert_eq!(commands.success()?["signaling"], "open");
    agent.get(&format!("{SESSION}/commands"), "?wait=soon").await?;

    let joined = gateway.ask(Method::POST, &format!("{SESSION}/join"), "", None).await?;
    let joined = joined.success()?;
    let generation = agent.get(SESSION, "").await?.success()?["generation"].clone();
    for path in ["/1.0/sessions/{id}/sockets/slave", "/1.0/session/{id}/sockets/slave"] {
        let prefix = path.split("{id}").next().context("a prefix")?;
        let url = joined["url"].as_str().context("a url")?.replace("/1.0/sessions/", prefix);
        let mut socket = Socket::open_url(&url, &scripted.stack).await?;
        socket.send(&json!({"type": "offer"})).await?;
        socket.close().await?;
        gateway.keep("GET", path, None, 101, Value::Null);
    }

    for which in ["control", "master"] {
        for root in ["sessions", "session"] {
            let stack = &scripted.stack;
            Socket::open_instance_below(root, instance, which, stack).await?.close().await?;
            let path = format!("/1.0/{root}/{{id}}/sockets/{which}");
            agent.keep("GET", &path, None, 101, Value::Null);
        }
    }

    let read = agent.get(SIGNALS, "?wait=10").await?.success()?;
    anyhow::ensure!(!read["signals"].as_array().context("signals")?.is_empty(), "{read}");
    let gone = agent.get(SIGNALS, "?after=1-1").await?;
    assert_eq!(gone.status, 409);
    let signal = |id| json!({"id": id, "generation": generation, "signal": {"type": "answer"}});
    agent.ask(Method::POST, SIGNALS, "", Some(signal("one"))).await?;
    agent.ask(Method::POST, SIGNALS, "", Some(json!([signal("two"), signal("three")]))).await?;
    agent.ask(Method::POST, SIGNALS, "", Some(json!([]))).await?;
    let large = json!("x".repeat(2 * 1024 * 1024));
    assert_eq!(agent.ask(Method::POST, SIGNALS, "", Some(large)).await?.status, 413);
    let report = json!({"client": "connected", "generation": generation});
    agent.ask(Method::PATCH, SESSION, "", Some(report)).await?;
    agent.ask(Method::POST, &format!("{SESSION}/ice-servers"), "?renew=false", None).await?;

    let session = std::mem::replace(&mut agent.session, SessionId::random().to_string());
    assert_eq!(agent.get(SESSION, "").await?.status, 403);
    agent.session = session;
    let instance = agent.change_token(None);
    assert_eq!(agent.get(SESSION, "").await?.status, 401);
    agent.http = instance;
    Ok(())
}

/// Asks the gateway for everything that it has beside the life of a session.
async fn see_gateway(gateway: &mut ApiRecorder) -> anyhow::Result<()> {
    for path in ["/metrics", DOCUMENT, "/1.0/applications", "/1.0/regions", "/1.0/status", SESSION]
    {
        gateway.get(path, "").await?;
    }
    for path in ["/1.0/sessions/{id}/sockets/master", "/1.0/session/{id}/sockets/master"] {
        assert_eq!(gateway.get(path, "").await?.status, 403);
    }
    for path in ["/1.0/health/live", "/1.0/health/ready"] {
        assert_eq!(gateway.get(path, "").await?.status, 200);
    }
    gateway.get(SESSIONS, "").await?;
    gateway.get(SESSIONS, "?recursion=true&status=active&limit=5&sort_order=desc").await?;
    assert_eq!(gateway.get(SESSIONS, "?limit=few").await?.status, 400);
    let screen = Some(json!({"screen": {"width": 1280, "height": 720}}));
    gateway.ask(Method::POST, &format!("{SESSION}/join"), "", screen).await?;
    gateway.ask(Method::POST, SESSIONS, "", Some(json!({}))).await?;
    let nowhere = json!({"app": "nobody.has.this"});
    assert_eq!(gateway.ask(Method::POST, SESSIONS, "", Some(nowhere)).await?.status, 404);
    let large = json!("x".repeat(128 * 1024));
    assert_eq!(gateway.ask(Method::POST, SESSIONS, "", Some(large)).await?.status, 413);

    let account = gateway.change_token(None);
    gateway.get("/1.0/status", "").await?;
    assert_eq!(gateway.get(SESSION, "").await?.status, 401);
    gateway.http = account;
    let session = std::mem::replace(&mut gateway.session, SessionId::random().to_string());
    assert_eq!(gateway.get(SESSION, "").await?.status, 404);
    gateway.session = "none".to_owned();
    assert_eq!(gateway.get(SESSION, "").await?.status, 400);
    gateway.session = session;
    Ok(())
}

/// Asks the gateway for what only operators may.
async fn see_operations(
    gateway: &mut ApiRecorder,
    operator: &str,
    agent: &str,
) -> anyhow::Result<()> {
    const CONFIG: &str = "/1.0/config";
    assert_eq!(gateway.get(CONFIG, "").await?.status, 403);
    let account = gateway.change_token(Some(operator));
    gateway.get(CONFIG, "").await?.success()?;
    for (value, status) in [("7", 200), ("", 200), ("many", 400)] {
        let change = json!({"name": "share.per_session", "value": value});
        assert_eq!(gateway.ask(Method::PATCH, CONFIG, "", Some(change)).await?.status, status);
    }
    gateway.get("/1.0/accounts", "").await?.success()?;
    assert_eq!(gateway.get("/1.0/events", "").await?.status, 200);
    gateway.get("/1.0/relays", "").await?.success()?;
    gateway.get("/1.0/sessions/{id}/timeline", "").await?.success()?;
    gateway.get("/1.0/agents", "").await?.success()?;
    let (drain, session) =
        ("/1.0/agents/{id}/drain", std::mem::replace(&mut gateway.session, agent.to_owned()));
    assert_eq!(gateway.ask(Method::POST, drain, "", None).await?.status, 409, "it is the last one");
    gateway.ask(Method::POST, drain, "?force=true", None).await?.success()?;
    gateway.ask(Method::DELETE, drain, "", None).await?.success()?;
    gateway.session = session;
    gateway.http = account;
    Ok(())
}

/// Asks the gateway for everything in the life of one share.
async fn see_shares(gateway: &mut ApiRecorder, stack: &Stack) -> anyhow::Result<()> {
    let share = format!("{SESSION}/share");
    let wanted = json!({"type": "control", "description": "for Ada", "expiry_min": 5});
    let made = gateway.ask(Method::POST, &share, "", Some(wanted)).await?.success()?;
    let refused = gateway.ask(Method::POST, &share, "", Some(json!({"type": "root"}))).await?;
    assert_eq!(refused.status, 400);
    let adb =
        gateway.ask(Method::POST, &share, "", Some(json!({"type": "adb"}))).await?.success()?;
    let (_, query) = adb["url"].as_str().and_then(|url| url.split_once('?')).context("url")?;
    for prefix in ["/1.0/sessions/", "/1.0/session/"] {
        let path = format!("{prefix}{{id}}/connect");
        let connected = gateway.get(&path, &format!("?{query}")).await?.success()?;
        let url = connected["url"].as_str().context("a url")?.replace("/1.0/sessions/", prefix);
        Socket::open_url(&url, stack).await?.close().await?;
        gateway.keep("GET", &format!("{prefix}{{id}}/sockets/adb"), None, 101, Value::Null);
    }
    let (_, token) =
        made["url"].as_str().and_then(|url| url.split_once("&share=")).context("url")?;
    for path in ["/1.0/sessions/{id}/connect", "/1.0/session/{id}/connect"] {
        gateway.get(path, &format!("?type=control&token={token}")).await?.success()?;
    }
    gateway.get("/1.0/shares", "").await?;
    gateway.get("/1.0/shares", "?recursion=true&limit=1").await?;

    let id = made["id"].as_str().context("an id")?.to_owned();
    let session = std::mem::replace(&mut gateway.session, id);
    let path = "/1.0/shares/{id}";
    gateway.get(path, "").await?;
    gateway.ask(Method::POST, &format!("{path}/qr"), "", None).await?;
    gateway.ask(Method::PATCH, path, "", Some(json!({"description": "for Bob"}))).await?;
    gateway.ask(Method::DELETE, path, "", None).await?;
    assert_eq!(gateway.get(path, "").await?.status, 404);
    gateway.session = session;
    Ok(())
}

#[test]
fn both_documents_are_valid_and_describe_what_is_served() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let nodes = &scripted.stack.nodes;
        let http =
            Http::new(&nodes.gateway_url(), Some(&scripted.stack.token), nodes.gateway_pin()?)?;
        let mut gateway = ApiRecorder::of(http).await?;
        let wanted = json!({
            "app": APP, "app_version": null, "region": "", "screen": {"width": 720, "height": 1280},
            "joinable": true, "idle_time_min": 5, "ephemeral": true, "extra_data": {"user": 7},
        });
        let created = gateway.ask(Method::POST, SESSIONS, "", Some(wanted)).await?.success()?;
        let session = created["id"].as_str().context("an id")?.to_owned();
        let instance = scripted.booted().await?;
        let mut agent = ApiRecorder::of(instance.http.clone()).await?;
        agent.session.clone_from(&session);
        gateway.session = session;

        see_agent(&mut agent, &mut gateway, &instance, &mut scripted).await?;
        see_gateway(&mut gateway).await?;
        see_shares(&mut gateway, &scripted.stack).await?;
        let operators = stream_gateway::admin::Client::new(scripted.stack.nodes.admin_socket());
        let operator = operators.create_operator("operator", None, Default::default()).await?;
        see_operations(&mut gateway, &operator, &scripted.stack.nodes.agent).await?;

        let ams = token(&scripted.stack.agent.tokens, TokenKind::Ams).await?;
        agent.change_token(Some(&ams));
        let launched = json!({"instance_id": "bvpg7vbmend4td6moir0", "app": APP});
        agent.ask(Method::POST, SESSIONS, "", Some(launched)).await?.success()?;
        agent.ask(Method::DELETE, SESSION, "", None).await?;
        let ids = json!({ "ids": [gateway.session] });
        let ended = gateway.ask(Method::DELETE, SESSIONS, "?sync=true", Some(ids)).await?;
        assert_eq!(ended.status, 200);
        let unknown = json!({ "ids": [SessionId::random()] });
        let refused = gateway.ask(Method::DELETE, SESSIONS, "", Some(unknown)).await?;
        assert_eq!(refused.status, 404);
        gateway.ask(Method::DELETE, SESSION, "?sync=true", None).await?;

        agent.check().await.context("the agent")?;
        gateway.check().await.context("the gateway")?;
        Ok(())
    });
}

#[test]
fn the_check_sees_what_is_wrong() {
    run_flow(async || {
        let described = |schema: Value| {
            let answer = json!({"description": "", "content": {"application/json": {
                "schema": schema,
            }}});
            json!({
                "openapi": "3.1.1", "info": {"title": "x", "version": "1"},
                "paths": {"/x": {"get": {"responses": {"200": answer}}}},
            })
        };
        let said = |status: u16, answer: Value| {
            [json!({"path": "/x", "method": "GET", "status": status, "answer": answer})]
        };
        let object = || described(json!({"type": "object", "required": ["a"]}));
        assert_eq!(validate(&object(), &said(200, json!({"a": 1}))).await?, "");
        assert!(validate(&object(), &said(200, json!({}))).await?.contains("property 'a'"));
        assert!(validate(&object(), &said(418, json!({}))).await?.contains("418 is not described"));
        let dangling = described(json!({"$ref": "#/components/schemas/Nowhere"}));
        assert!(validate(&dangling, &[]).await?.starts_with("the document"));
        let mut untitled = object();
        untitled["info"] = json!({});
        assert!(validate(&untitled, &[]).await?.starts_with("the document"));
        Ok(())
    });
}

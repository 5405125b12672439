//! Every operation that a service describes, every kind of token, every way to tamper with it: who
//! gets in, who does not, and what exactly they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::openapi::{DOCUMENT, Operation, Token, document, operations};
use crate::support::{Answer, Http, ScriptedStack, eventually, run_flow};
use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::json;
use stream_agent::agent::AgentConfig;
use stream_agent::gateway::GatewayConfig;
use stream_bridge::Bridge;
use stream_gateway::admin::AccountLimits;
use stream_macaroon::{Key, Macaroon};
use stream_protocol::{Op, Role, SessionId, ShareId, Timestamp, TokenKind};
use stream_supervisor::Supervisor;
use stream_tokens::{Config, Mint, Revocation, Service, Tokens};

/// Open to everybody, and known to be.
const OPEN: [&str; 3] = ["/1.0", DOCUMENT, "/1.0/health/live"];

/// Closed to everybody, whatever they bring.
const CLOSED: [&str; 2] = ["/1.0/sessions/{id}/sockets/master", "/1.0/session/{id}/sockets/master"];

/// Open to everybody, but a bad token is refused.
const OPTIONAL: [&str; 2] = ["/1.0/status", "/1.0/health/ready"];

/// Open to tokens of the role `adb` alone, as [`CLIENT_SOCKET`] is to those of all others.
const ADB_SOCKET: &str = "/sockets/adb";
const CLIENT_SOCKET: &str = "/sockets/slave";

/// Open to those who have the link of a share, which takes more than a token: see `shares`.
const SHARED: &str = "/connect";

/// One of the services, with a unit of its own beside it that mints what is asked for.
struct Target {
    service: Service,
    operations: Vec<Operation>,
    http: Http,
    tokens: Tokens,
    /// A token of an account that exists, for each kind of them.
    accounts: BTreeMap<TokenKind, String>,
    /// The session in every path. There is none: who is let in gets 404.
    session: SessionId,
}

impl Target {
    async fn start(
        service: Service,
        http: Http,
        nats: stream_bridge::Config,
        tokens: Config,
        accounts: BTreeMap<TokenKind, String>,
    ) -> anyhow::Result<Self> {
        let supervisor = Supervisor::default();
        let bridge = Bridge::start(nats, "matrix", &supervisor)?;
        let state = tokens.state.with_extension("matrix");
        let tokens = Tokens::start(Config { state, ..tokens }, service, bridge, &supervisor)?;
        eventually("ready", async || Ok(tokens.ready().await.ok())).await?;
        let operations = operations(&document(&http).await?)?;
        Ok(Self { service, operations, http, tokens, accounts, session: SessionId::random() })
    }

    /// Returns a token of `kind` that allows all that its kind may; one of a socket, where
    /// `operation` takes it.
    async fn token(&self, kind: TokenKind, operation: &Operation) -> anyhow::Result<String> {
        match self.accounts.get(&kind) {
            Some(token) => Ok(token.clone()),
            None => Ok(self.mint(kind, role_of(operation)).await?.0),
        }
    }

    /// Returns a fresh token and its id; one of a socket is for `role`.
    async fn mint(&self, kind: TokenKind, role: Role) -> anyhow::Result<(String, String)> {
        // Of one client only where there are clients.
        let socket = kind == TokenKind::Socket && self.service == Service::Gateway;
        let share = ShareId::random();
        let subject = if role == Role::Adb { share.as_str() } else { "matrix" };
        let mint = Mint::new(kind, subject)
            .session(is_bound(kind).then(|| self.session.clone()))
            .role(socket.then_some(role))
            .generation(socket.then_some(0))
            .expires(Timestamp::now() + Duration::from_secs(300));
        let minted = self.tokens.mint(mint);
        let minted = minted.await?;
        Ok((minted.token.to_string(), minted.id))
    }

    async fn ask(&self, operation: &Operation, token: Option<&str>) -> anyhow::Result<u16> {
        let status = match (operation.token, token) {
            // There a browser can send no header.
            (Token::Query, Some(token)) => {
                let path = format!("{}?token={token}", operation.path);
                self.send(&operation.method, &path, None).await?
            }
            _ => self.send(&operation.method, &operation.path, token).await?,
        };
        let (status, name) = (status.status.as_u16(), self.name(operation));
        assert!(
            operation.statuses.contains(&status),
            "{name} does not say that it answers {status}"
        );
        Ok(status)
    }

    async fn send(&self, method: &str, path: &str, token: Option<&str>) -> anyhow::Result<Answer> {
        let path = path.replace("{id}", self.session.as_str());
        self.http.with(token).send(Method::from_bytes(method.as_bytes())?, &path, None).await
    }

    /// What `operation` is to answer to a whole token of `kind`, sent without a body.
    fn answer(&self, operation: &Operation, op: Op, kind: TokenKind) -> u16 {
        let placed = !is_bound(kind) || operation.path.contains("{id}");
        if !kind.ops().contains(&op) || !placed {
            return 403;
        }
        match (self.service, operation.token) {
            (Service::Agent, _) => within(operation),
            // Beside the token of a share there is a record, and these have none.
            (Service::Gateway, _) if kind == TokenKind::Share => 401,
            // The way in for tokens that the gateway puts into addresses: any other is none.
            (Service::Gateway, Token::Query) if kind != TokenKind::Socket => 401,
            (Service::Gateway, Token::Query) => within(operation),
            (Service::Gateway, _) if !self.accounts.contains_key(&kind) => 403,
            (Service::Gateway, _) => within(operation),
        }
    }

    fn name(&self, operation: &Operation) -> String {
        format!("{:?} {} {}", self.service, operation.method, operation.path)
    }
}

/// The role of a token that opens the socket of `operation`.
fn role_of(operation: &Operation) -> Role {
    if operation.path.ends_with(ADB_SOCKET) { Role::Adb } else { Role::Control }
}

/// What is answered to those who are let in: there is no such session, and no body either.
fn within(operation: &Operation) -> u16 {
    match operation.needs_body {
        true => 400,
        false if operation.path.contains("{id}") => 404,
        false => operation.success,
    }
}

fn is_bound(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Instance | TokenKind::Share | TokenKind::Socket)
}

/// Returns `token` with one more caveat.
fn narrowed(token: &str, caveat: &str) -> String {
    let mut macaroon = Macaroon::decode(token).expect("a token of ours");
    macaroon.add_first_party(caveat);
    macaroon.encode()
}

/// Returns `token` as somebody would write it who has no key.
fn forged(token: &str, location: Option<&str>) -> String {
    let read = Macaroon::decode(token).expect("a token of ours");
    let key = Key::derive(&[7; 64]);
    let location = location.unwrap_or(read.location());
    let mut forged = Macaroon::new(&key, location, read.identifier());
    read.caveats().iter().for_each(|caveat| forged.add_first_party(caveat));
    forged.encode()
}

/// Returns `token` without its first caveat, the signature left as it is.
fn stripped(token: &str) -> String {
    let read = Macaroon::decode(token).expect("a token of ours");
    let caveat = read.caveats().first().expect("a caveat").as_bytes();
    let mut bytes = URL_SAFE_NO_PAD.decode(token).expect("base64");
    let at = bytes.windows(caveat.len()).position(|bytes| bytes == caveat).expect("the caveat");
    // The field's number and its length stand before it, the end of its section behind.
    let length = if caveat.len() < 128 { 1 } else { 2 };
    bytes.drain(at - 1 - length..=at + caveat.len());
    let stripped = URL_SAFE_NO_PAD.encode(bytes);
    let left = Macaroon::decode(&stripped).expect("still a macaroon").caveats().len();
    assert_eq!(left + 1, read.caveats().len());
    stripped
}

/// What makes a token invalid, whatever it allowed.
fn invalid(token: &str) -> Vec<(&'static str, Option<String>)> {
    let flipped = |at: usize| {
        let mut text = token.as_bytes().to_vec();
        text[at] = if text[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(text).ok()
    };
    vec![
        ("no token", None),
        ("an empty one", Some(String::new())),
        ("garbage", Some("AgEUYW5ib3gtc3RyZWFt".to_owned())),
        ("the first half", Some(token[..token.len() / 2].to_owned())),
        ("a changed identifier", flipped(50)),
        ("a changed caveat", flipped(token.len() - 60)),
        ("a changed signature", flipped(token.len() - 10)),
        ("a caveat taken away", Some(stripped(token))),
        ("something behind it", Some(format!("{token}AAAA"))),
        ("another key", Some(forged(token, None))),
        ("another location", Some(forged(token, Some("anbox-stream-elsewhere")))),
        ("an end that has passed", Some(narrowed(token, "time-before 2020-01-01T00:00:00Z"))),
        ("a bare time that has passed", Some(narrowed(token, "2020-01-01T00:00:00Z"))),
        ("a caveat nobody knows", Some(narrowed(token, "weather sunny"))),
    ]
}

/// What leaves a token valid, but not for `op` in the session it is used for.
fn given_away(token: &str, op: Op) -> Vec<(&'static str, String)> {
    let others: Vec<_> = Op::ALL.iter().filter(|o| **o != op).map(|o| o.as_str()).collect();
    let elsewhere = format!("declared session {}", SessionId::random());
    vec![
        ("everything else", narrowed(token, &format!("allow {}", others.join(" ")))),
        ("nothing", narrowed(token, "allow")),
        ("another session", narrowed(token, &elsewhere)),
        ("one client", narrowed(token, "declared generation 7")),
        ("two roles", narrowed(&narrowed(token, "declared role view"), "declared role adb")),
    ]
}

/// What needs no token is known to, and answers without one.
async fn walk_open(target: &Target) -> anyhow::Result<()> {
    for operation in &target.operations {
        let name = target.name(operation);
        let known: &[&str] = match operation.token {
            Token::Unused if operation.success == 403 => &CLOSED,
            Token::Unused => &OPEN,
            Token::Optional => &OPTIONAL,
            Token::Header | Token::Query => continue,
        };
        assert!(known.contains(&operation.path.as_str()), "{name} is open: is that meant?");
        assert_eq!(operation.op.is_some(), operation.token == Token::Optional, "{name}");
        assert_eq!(target.ask(operation, None).await?, operation.success, "{name}");
        if operation.success == 403 {
            for &kind in TokenKind::ALL {
                let token = target.token(kind, operation).await?;
                let path = format!("{}?token={token}", operation.path);
                let refused = target.send(&operation.method, &path, Some(&token)).await?;
                assert_eq!(refused.status, 403, "{name} with {kind}");
                assert_eq!(refused.body["error"], "instances connect to their agent");
            }
        }
    }
    Ok(())
}

async fn walk(target: &Target, foreign: &Target) -> anyhow::Result<()> {
    let mut opened = BTreeSet::new();
    for operation in target.operations.iter().filter(|o| o.token != Token::Unused) {
        let name = target.name(operation);
        let op = operation.op.unwrap_or_else(|| panic!("{name} takes a token and names no op"));
        for &kind in TokenKind::ALL {
            let token = target.token(kind, operation).await?;
            let status = target.ask(operation, Some(&token)).await?;
            assert_eq!(status, target.answer(operation, op, kind), "{name} with {kind}");
            let stranger = foreign.token(kind, operation).await?;
            let refused = target.ask(operation, Some(&stranger)).await?;
            assert_eq!(refused, 401, "{name} with {kind} of the other service");
            for (what, text) in invalid(&token) {
                // Without a token there is nothing to refuse.
                if operation.token == Token::Optional && text.as_deref().unwrap_or("").is_empty() {
                    continue;
                }
                let refused = target.ask(operation, text.as_deref()).await?;
                assert_eq!(refused, 401, "{name} with {kind} and {what}");
            }
            if [401, 403].contains(&status) {
                continue;
            }
            opened.insert(&operation.id);
            for (what, text) in given_away(&token, op) {
                let refused = target.ask(operation, Some(&text)).await?;
                assert_eq!(refused, 403, "{name} with {kind} that leaves {what}");
            }
            let exact = narrowed(&token, &format!("allow {op}"));
            let exact = target.ask(operation, Some(&exact)).await?;
            assert_eq!(exact, status, "{name} with {kind} for {op} alone");
        }
        if operation.path.ends_with(ADB_SOCKET) || operation.path.ends_with(CLIENT_SOCKET) {
            for role in [Role::Adb, Role::Control, Role::View] {
                let (token, _) = target.mint(TokenKind::Socket, role).await?;
                let is_for = (role == Role::Adb) == operation.path.ends_with(ADB_SOCKET);
                let expected = if is_for { within(operation) } else { 403 };
                assert_eq!(target.ask(operation, Some(&token)).await?, expected, "{name}, {role}");
            }
        }
        let opens = opened.contains(&operation.id) || operation.path.ends_with(SHARED);
        assert!(opens, "{name} opens to nobody");
    }
    Ok(())
}

/// A token that was good a moment ago is refused by every operation once it is revoked.
async fn revoke(target: &Target) -> anyhow::Result<()> {
    for &kind in TokenKind::ALL {
        let (of_client, id) = target.mint(kind, Role::Control).await?;
        target.tokens.revoke(Revocation::Token(id), None).await?;
        let (of_adb, id) = target.mint(kind, Role::Adb).await?;
        target.tokens.revoke(Revocation::Token(id), None).await?;
        for operation in target.operations.iter().filter(|o| o.token != Token::Unused) {
            let token = if role_of(operation) == Role::Adb { &of_adb } else { &of_client };
            eventually(&format!("401 from {}", target.name(operation)), async || {
                Ok((target.ask(operation, Some(token)).await? == 401).then_some(()))
            })
            .await?;
        }
    }
    Ok(())
}

/// Whatever an account that sees its own sessions only asks of another's, it is told what it is
/// told of one that is not there.
async fn walk_own(
    target: &Target,
    account: &str,
    [session, share]: [&str; 2],
) -> anyhow::Result<()> {
    // Whole enough for all that take one.
    let body = json!({ "type": "control", "description": "mine", "ids": [session] });
    let mut seen = 0;
    for operation in &target.operations {
        let (name, path) = (target.name(operation), &operation.path);
        // What only operators may is refused before anything is looked for.
        let may = operation.op.is_some_and(|op| TokenKind::Account.ops().contains(&op));
        if operation.token != Token::Header || !path.contains("{id}") || !may {
            continue;
        }
        let id = if path.starts_with("/1.0/shares/") { share } else { session };
        let method = Method::from_bytes(operation.method.as_bytes())?;
        let (path, body) = (path.replace("{id}", id), operation.needs_body.then(|| body.clone()));
        let answer = target.http.with(Some(account)).send(method, &path, body).await?;
        assert_eq!(answer.status, 404, "{name} of a foreign one: {answer:?}");
        seen += 1;
    }
    assert!(seen >= 7, "{seen} operations name a session or a share");
    Ok(())
}

/// Every way in refuses a viewer while a controlling client is there, and says when to come again.
async fn walk_view(target: &Target, session: &str, viewer: &str) -> anyhow::Result<()> {
    let ways: Vec<_> = target
        .operations
        .iter()
        .filter(|operation| operation.op == Some(Op::SessionJoin))
        .collect();
    assert_eq!(ways.len(), 3, "join, and both spellings of connect");
    for operation in ways {
        let name = target.name(operation);
        let mut path = operation.path.replace("{id}", session);
        if operation.token == Token::Query {
            path = format!("{path}?type=view&token={viewer}");
        }
        let method = Method::from_bytes(operation.method.as_bytes())?;
        let answer = target.http.with(Some(viewer)).send(method, &path, None).await?;
        assert_eq!((answer.status.as_u16(), answer.retry_after), (409, true), "{name}: {answer:?}");
        assert!(operation.statuses.contains(&409), "{name} does not say that it answers 409");
    }
    Ok(())
}

/// What a service does not describe it does not serve: not by another method, not by a path of the
/// other service, and not by those that one would try.
async fn probe(target: &Target, foreign: &Target) -> anyhow::Result<()> {
    let tried = ["/1.0/config", "/1.0/version", "/1.0/sessions/{id}/sockets/other", "/admin"];
    let described = |target: &Target| -> BTreeSet<String> {
        target.operations.iter().map(|operation| operation.path.clone()).collect()
    };
    let ours = described(target);
    let mut paths = described(foreign);
    paths.extend(tried.map(str::to_owned));
    paths.extend(ours.iter().cloned());
    for path in &paths {
        for method in ["DELETE", "GET", "PATCH", "POST", "PUT"] {
            let known = |o: &Operation| o.method == method && &o.path == path;
            if !target.operations.iter().any(known) {
                let expected = if ours.contains(path) { 405 } else { 404 };
                let status = target.send(method, path, None).await?.status;
                assert_eq!(status, expected, "{:?} {method} {path}", target.service);
            }
        }
    }
    Ok(())
}

#[test]
fn every_operation_lets_in_whom_it_should_and_nobody_else() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (_, instance) = scripted.create().await?;
        let nodes = &scripted.stack.nodes;
        let config = AgentConfig::read(&nodes.dir.join("agent.toml"))?;
        let (http, none) = (instance.http, BTreeMap::new());
        let agent = Target::start(Service::Agent, http, config.nats, config.tokens, none).await?;
        let config = GatewayConfig::read(&nodes.dir.join("gateway.toml"))?;
        let operators = stream_gateway::admin::Client::new(nodes.admin_socket());
        let operator = operators.create_operator("operator", None, Default::default()).await?;
        let account = scripted.stack.token.clone();
        let accounts =
            BTreeMap::from([(TokenKind::Account, account), (TokenKind::Operator, operator)]);
        let http = Http::new(&nodes.gateway_url(), None, nodes.gateway_pin()?)?;
        let gateway =
            Target::start(Service::Gateway, http, config.nats, config.tokens, accounts).await?;

        for (target, foreign) in [(&agent, &gateway), (&gateway, &agent)] {
            walk_open(target).await?;
            walk(target, foreign).await?;
            probe(target, foreign).await?;
            revoke(target).await?;
        }
        Ok(())
    });
}

#[test]
fn a_foreign_session_is_hidden_and_a_controlled_one_is_not_viewed_whatever_the_way() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        instance.report("running").await?.success()?;
        let nodes = &scripted.stack.nodes;
        let (pin, account) = (nodes.gateway_pin()?, &scripted.stack.token);
        let http = Http::new(&nodes.gateway_url(), Some(account), pin)?;
        let path = format!("/1.0/sessions/{}/share", created.id);
        let view = Some(json!({ "type": "view" }));
        let shared = http.send(Method::POST, &path, view).await?.success()?;
        let text = |name: &str| shared[name].as_str().unwrap_or_default().to_owned();
        let (share, url) = (text("id"), text("url"));
        let (_, viewer) = url.split_once("&share=").context("a token")?;

        let config = GatewayConfig::read(&nodes.dir.join("gateway.toml"))?;
        let operators = stream_gateway::admin::Client::new(nodes.admin_socket());
        let limits = AccountLimits { own_sessions: true, max_sessions: None };
        let own = operators.create_account("own", None, limits).await?;
        let target =
            Target::start(Service::Gateway, http, config.nats, config.tokens, BTreeMap::new())
                .await?;
        walk_own(&target, &own, [&created.id, &share]).await?;
        walk_view(&target, &created.id, viewer).await
    });
}

/// A route that is not added by the table is neither described nor walked above.
#[test]
fn routes_are_added_by_the_tables_alone() -> anyhow::Result<()> {
    let words = [
        ".route(",
        ".service(",
        ".default_service(",
        "Resource::route",
        "web::resource(",
        "web::scope(",
        "#[get(",
        "#[post(",
    ];
    // The resources of both tables, the scope of the gateway's, the files of the page, which are
    // open, and what is nowhere.
    let known = [
        ("gateway/src/routes.rs", 1),
        ("gateway/src/web_ui.rs", 1),
        ("http/src/resources.rs", 2),
        ("http/src/server.rs", 1),
    ];
    let actors = Path::new(env!("CARGO_MANIFEST_DIR")).join("actors");
    let mut found = Vec::new();
    for folder in ["api/src", "gateway/src", "http/src"] {
        for file in files(&actors.join(folder))? {
            if file.ends_with("tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file)?;
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let lines = code.filter(|line| words.iter().any(|word| line.contains(word)));
            match lines.count() {
                0 => {}
                count => found.push((file.strip_prefix(&actors)?.to_owned(), count)),
            }
        }
    }
    found.sort();
    let mut known = known.map(|(file, count)| (PathBuf::from(file), count));
    known.sort();
    assert_eq!(found, known, "a route outside of the table");
    Ok(())
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

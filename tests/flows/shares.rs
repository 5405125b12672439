//! Shares: what a link opens, for how long, and how it is taken back.

use std::path::Path;
use std::time::Duration;

use crate::support::socket::Socket;
use crate::support::{Answer, Http, Instance, STEP_TIMEOUT, ScriptedStack, eventually, run_flow};
use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};
use stream_dev::in_process::{Options, Stack};
use stream_macaroon::Macaroon;
use stream_protocol::Timestamp;
use stream_simulators::client::JoinedSession;
use tokio::process::Command;
use toml::toml;

/// A session that runs, and the gateway as its account sees it.
struct Running {
    scripted: ScriptedStack,
    session: JoinedSession,
    instance: Instance,
    http: Http,
}

impl Running {
    async fn start() -> anyhow::Result<Self> {
        Self::start_with(Options::default()).await
    }

    async fn start_with(options: Options) -> anyhow::Result<Self> {
        let options = Options { gateway: toml! { gateway.client_grace_s = 0 }, ..options };
        let mut scripted = ScriptedStack::start_with(options).await?;
        let (session, instance) = scripted.create().await?;
        instance.report("running").await?.success()?;
        // Whoever created it has watched and left: viewers wait for nobody.
        for client in ["connected", "disconnected"] {
            let report = json!({ "client": client, "generation": 0 });
            instance.report_as(report).await?.success()?;
        }
        let nodes = &scripted.stack.nodes;
        let http =
            Http::new(&nodes.gateway_url(), Some(&scripted.stack.token), nodes.gateway_pin()?)?;
        Ok(Self { scripted, session, instance, http })
    }

    fn stack(&self) -> &Stack {
        &self.scripted.stack
    }

    /// A path below the session.
    fn path(&self, rest: &str) -> String {
        format!("/1.0/sessions/{}{rest}", self.session.id)
    }

    async fn share(&self, body: Value) -> anyhow::Result<Answer> {
        self.http.send(Method::POST, &self.path("/share"), Some(body)).await
    }

    /// Makes a share and returns it with its token.
    async fn shared(&self, body: Value) -> anyhow::Result<(Value, String)> {
        let share = self.share(body).await?.success()?;
        let url = share["url"].as_str().context("a link")?;
        let (page, token) = url.split_once("&share=").context("a token")?;
        let expected = format!("{}/#session={}", self.stack().nodes.gateway_url(), self.session.id);
        assert_eq!(page, expected, "what the page opens");
        let token = token.to_owned();
        Ok((share, token))
    }

    async fn join(&self, token: &str) -> anyhow::Result<Answer> {
        self.http.with(Some(token)).send(Method::POST, &self.path("/join"), None).await
    }

    /// Joins as a client does and opens its socket.
    async fn joined(&self, token: &str) -> anyhow::Result<Socket> {
        let joined = self.join(token).await?.success()?;
        Socket::open_url(joined["url"].as_str().context("a socket")?, self.stack()).await
    }

    /// As what the instance is to serve its client.
    async fn role(&self) -> anyhow::Result<Value> {
        Ok(self.instance.commands(0, 0).await?["client"]["role"].clone())
    }

    async fn connect(&self, query: &str) -> anyhow::Result<Answer> {
        self.http.with(None).get(&self.path(&format!("/connect?{query}"))).await
    }
}

fn now() -> u64 {
    Timestamp::now().as_unix()
}

fn narrowed(token: &str, caveat: &str) -> String {
    let mut macaroon = Macaroon::decode(token).expect("a token of ours");
    macaroon.add_first_party(caveat);
    macaroon.encode()
}

async fn told(socket: &mut Socket) -> anyhow::Result<String> {
    let signal = tokio::time::timeout(Duration::from_secs(1), socket.next()).await??;
    assert_eq!(signal["type"], "error", "{signal}");
    Ok(signal["message"].as_str().context("words")?.to_owned())
}

#[test]
fn a_link_joins_its_session_in_its_role_and_opens_nothing_else() {
    run_flow(async || {
        let mut running = Running::start().await?;
        let (other, _neighbour) = running.scripted.create().await?;
        let body = json!({ "type": "view", "description": "for Ada" });
        let (share, token) = running.shared(body).await?;
        assert_eq!(
            (&share["session_id"], &share["type"], &share["description"]),
            (&json!(running.session.id), &json!("view"), &json!("for Ada"))
        );
        let twelve_hours = now() + 12 * 3600;
        assert!(share["expiry_at"].as_u64().context("an end")?.abs_diff(twelve_hours) < 60);
        assert_eq!(share["expiry_min"], 720);
        assert_eq!(share["made_by"], "test");

        let bearer = running.http.with(Some(&token));
        assert_eq!(bearer.get(&running.path("")).await?.success()?["status"], "active");
        let mut socket = running.joined(&token).await?;
        assert_eq!(running.role().await?, "view");
        running.instance.write("s1", 1, json!({ "type": "offer" })).await?.success()?;
        assert_eq!(socket.next().await?["type"], "offer");

        let elsewhere = format!("/1.0/sessions/{}/join", other.id);
        let id = share["id"].as_str().context("an id")?;
        for (method, path) in [
            (Method::DELETE, running.path("")),
            (Method::POST, running.path("/share")),
            (Method::POST, elsewhere),
            (Method::GET, "/1.0/sessions".to_owned()),
            (Method::GET, "/1.0/applications".to_owned()),
            (Method::GET, "/1.0/shares".to_owned()),
            (Method::DELETE, format!("/1.0/shares/{id}")),
        ] {
            let answer = bearer.send(method.clone(), &path, None).await?;
            assert_eq!(answer.status, 403, "{method} {path}");
        }
        Ok(())
    });
}

#[test]
fn a_client_that_is_no_page_connects_with_the_token_in_the_address() {
    run_flow(async || {
        let running = Running::start().await?;
        let (_, token) = running.shared(json!({ "type": "control" })).await?;
        let connected = running.connect(&format!("type=control&token={token}")).await?.success()?;
        assert!(connected["stun_servers"].is_array(), "{connected}");
        let url = connected["url"].as_str().context("a socket")?;
        let mut first = Socket::open_url(url, running.stack()).await?;
        assert_eq!(running.role().await?, "control");
        let spelt =
            format!("/1.0/session/{}/connect?type=control&token={token}", running.session.id);
        running.http.with(None).get(&spelt).await?.success()?;
        assert!(told(&mut first).await?.contains("another client"), "one at a time");

        let account = &running.stack().token;
        for (query, status) in [
            ("type=control".to_owned(), 401),
            (format!("type=control&token={account}"), 401),
            (format!("type=control&token={}", &token[..token.len() - 2]), 401),
            (format!("type=control&token={}", narrowed(&token, "allow session.read")), 403),
            (format!("type=control&token={}", narrowed(&token, "declared role view")), 403),
            (format!("type=adb&token={token}"), 400),
            (format!("type=view&token={token}"), 400),
            (format!("token={token}"), 400),
        ] {
            assert_eq!(running.connect(&query).await?.status, status, "{query}");
        }
        Ok(())
    });
}

#[test]
fn what_cannot_be_shared_is_refused() {
    run_flow(async || {
        let running = Running::start().await?;
        let late = now() + 31 * 24 * 3600;
        for body in [
            json!({}),
            json!({ "type": "root" }),
            json!({ "type": "view", "expiry_at": 1 }),
            json!({ "type": "view", "expiry_at": late }),
            json!({ "type": "view", "description": "d".repeat(257) }),
        ] {
            assert_eq!(running.share(body.clone()).await?.status, 400, "{body}");
        }
        for n in 0..5 {
            running.shared(json!({ "type": "view", "description": n.to_string() })).await?;
        }
        let sixth = running.share(json!({ "type": "view" })).await?;
        assert_eq!(sixth.status, 403);
        assert_eq!(sixth.body["error"], "a session has at most 5 shares");

        let get = async |query: &str| running.http.get(&format!("/1.0/shares{query}")).await;
        let page = get("?recursion=true&limit=2&offset=3").await?;
        let page = (page.body["total_size"].clone(), page.success()?);
        let said = |n: usize| (page.1[n]["url"].is_null(), page.1[n]["session_id"].clone());
        assert_eq!((page.0, page.1.as_array().map(Vec::len)), (json!(5), Some(2)));
        assert_eq!(said(0), (true, json!(running.session.id)), "a list has no links");
        let all = get("").await?.success()?;
        assert!(all.as_array().is_some_and(|ids| ids.len() == 5 && ids[0].is_string()), "{all}");
        let none = get(&format!("?session_id={}", "0".repeat(20))).await?.success()?;
        assert_eq!(none, json!([]));
        Ok(())
    });
}

#[test]
fn a_deleted_share_opens_nothing_and_what_it_opened_is_closed_at_once() {
    run_flow(async || deleted_share(Options::default()).await);
}

pub(crate) async fn deleted_share(options: Options) -> anyhow::Result<()> {
    let running = Running::start_with(options).await?;
    let (kept, good) = running.shared(json!({ "type": "view" })).await?;
    let (share, bad) = running.shared(json!({ "type": "view" })).await?;
    let joined = running.join(&bad).await?.success()?;
    let url = joined["url"].as_str().context("a socket")?;
    let mut socket = Socket::open_url(&format!("{url}&tickets=1"), running.stack()).await?;
    let ticket = socket.next().await?;
    assert_eq!(ticket["type"], "ticket", "{ticket}");
    let (base, _) = url.split_once("?token=").context("a token")?;
    let again = format!("{base}?token={}", ticket["token"].as_str().context("a ticket")?);
    Socket::open_url(&again, running.stack()).await?.close().await?;

    let path = format!("/1.0/shares/{}", share["id"].as_str().context("an id")?);
    running.http.send(Method::DELETE, &path, None).await?.success()?;
    assert_eq!(told(&mut socket).await?, "token revoked");
    for url in [url, &again] {
        let refused = Socket::open_url(url, running.stack()).await.err();
        assert!(refused.context("it opened")?.to_string().contains("401"));
    }
    assert_eq!(running.join(&bad).await?.status, 401);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(running.http.send(method, &path, None).await?.status, 404);
    }
    running.join(&good).await?.success()?;
    let path = format!("/1.0/shares/{}?sync=false", kept["id"].as_str().context("an id")?);
    assert_eq!(running.http.send(Method::DELETE, &path, None).await?.status, 202);
    assert_eq!(running.join(&good).await?.status, 401);
    Ok(())
}

#[test]
fn a_share_ends_when_it_says_with_its_sockets_and_its_link_outlives_a_change() {
    run_flow(async || {
        let running = Running::start().await?;
        let (_, short) = running.shared(json!({ "type": "view", "expiry_at": now() + 8 })).await?;
        let (share, long) = running.shared(json!({ "type": "view" })).await?;
        let mut socket = running.joined(&short).await?;
        let ended = socket.next().await?;
        assert_eq!(ended["message"], "the share has ended", "{ended}");
        assert_eq!(running.join(&short).await?.status, 401);

        let path = format!("/1.0/shares/{}", share["id"].as_str().context("an id")?);
        let patch = async |body: Value| running.http.send(Method::PATCH, &path, Some(body)).await;
        let expiry_at = now() + 20 * 24 * 3600;
        let body = json!({ "expiry_at": expiry_at, "description": "longer" });
        let changed = patch(body).await?.success()?;
        assert_eq!(changed["expiry_at"], expiry_at);
        let read = running.http.get(&path).await?.success()?;
        assert_eq!((&read["description"], &read["url"]), (&json!("longer"), &share["url"]));
        running.join(&long).await?.success()?;
        for body in [json!({ "expiry_at": 1 }), json!({ "expiry_at": now() + 31 * 24 * 3600 })] {
            assert_eq!(patch(body.clone()).await?.status, 400, "{body}");
        }
        patch(json!({ "expiry_at": now() + 2 })).await?.success()?;
        eventually("over", async || Ok((running.join(&long).await?.status == 401).then_some(())))
            .await
    });
}

#[test]
fn the_end_of_a_session_is_that_of_its_shares() {
    run_flow(async || {
        let running = Running::start().await?;
        let (share, token) = running.shared(json!({ "type": "control" })).await?;
        running.scripted.client.delete(&running.session.id).await?;
        eventually("over", async || {
            let status = running.scripted.client.get(&running.session.id).await?.status;
            Ok((status == "terminated").then_some(()))
        })
        .await?;
        assert_eq!(running.join(&token).await?.status, 401);
        assert_eq!(running.connect(&format!("type=control&token={token}")).await?.status, 401);
        assert_eq!(running.http.get("/1.0/shares").await?.success()?, json!([]));
        let path = format!("/1.0/shares/{}", share["id"].as_str().context("an id")?);
        assert_eq!(running.http.get(&path).await?.status, 404);
        assert_eq!(running.share(json!({ "type": "view" })).await?.status, 400);
        Ok(())
    });
}

#[test]
fn a_narrowed_token_joins_in_its_role_and_gives_no_more_away_than_it_has() {
    run_flow(async || {
        let running = Running::start().await?;
        let account = &running.stack().token;
        let (control, _) = running.shared(json!({ "type": "control" })).await?;
        let viewer = narrowed(account, "declared role view");
        running.join(&viewer).await?.success()?;
        assert_eq!(running.role().await?, "view");
        let debugger = narrowed(account, "declared role adb");
        assert_eq!(running.join(&debugger).await?.status, 400);

        let as_viewer = running.http.with(Some(&viewer));
        let share = async |body| as_viewer.send(Method::POST, &running.path("/share"), body).await;
        assert_eq!(share(Some(json!({ "type": "control" }))).await?.status, 403);
        share(Some(json!({ "type": "view" }))).await?.success()?;
        let path = format!("/1.0/shares/{}", control["id"].as_str().context("an id")?);
        assert_eq!(as_viewer.get(&path).await?.status, 403, "its link would control");
        let prolonged = Some(json!({ "expiry_at": now() + 20 * 24 * 3600 }));
        assert_eq!(as_viewer.send(Method::PATCH, &path, prolonged).await?.status, 403);
        let read = running.http.get(&path).await?.success()?;
        assert_eq!(read["expiry_at"], control["expiry_at"], "a refusal changes nothing");
        let of_client = running.http.with(Some(&narrowed(account, "declared generation 7")));
        assert_eq!(of_client.get(&path).await?.status, 403, "only a socket is of one client");

        let end = now() + 100;
        let moment = Timestamp::from_unix(end);
        let brief = running.http.with(Some(&narrowed(account, &format!("time-before {moment}"))));
        let body = Some(json!({ "type": "view" }));
        let share = brief.send(Method::POST, &running.path("/share"), body).await?.success()?;
        assert_eq!(share["expiry_at"], end);
        let joined = brief.send(Method::POST, &running.path("/join"), None).await?.success()?;
        let (_, token) =
            joined["url"].as_str().and_then(|u| u.split_once("token=")).context("a token")?;
        let caveats = Macaroon::decode(token)?.caveats().join("\n");
        assert!(caveats.contains(&format!("time-before {moment}")), "{caveats}");

        // What is renewed over the socket ends with the token, and so does the socket.
        let end = Timestamp::from_unix(now() + 5);
        let joined = running.join(&narrowed(account, &format!("time-before {end}"))).await?;
        let joined = joined.success()?;
        let url = format!("{}&tickets=1", joined["url"].as_str().context("a socket")?);
        let mut socket = Socket::open_url(&url, running.stack()).await?;
        let ticket = socket.next().await?;
        let caveats = Macaroon::decode(ticket["token"].as_str().context("a ticket")?)?;
        let until = format!("declared until {}", end.as_unix());
        assert!(caveats.caveats().contains(&until), "{:?}", caveats.caveats());
        let mut told = ticket;
        while told["type"] == "ticket" {
            told = socket.next().await?;
        }
        assert_eq!(told["message"], "the token has ended", "{told}");
        Ok(())
    });
}

/// Runs the gateway's program as an operator does and returns what it prints.
pub(crate) async fn operate(words: &[&str], socket: &Path) -> anyhow::Result<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stream-gateway"));
    command.args(words).arg("--socket").arg(socket).kill_on_drop(true);
    let output = tokio::time::timeout(STEP_TIMEOUT, command.output()).await??;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn operators_make_list_change_and_delete_shares() {
    run_flow(async || {
        let running = Running::start().await?;
        let (socket, session) = (running.stack().nodes.admin_socket(), &running.session.id);
        let made =
            ["share", "create", session, "--type=view", "--description=for Ada", "--expiry=30m"];
        let link = operate(&made, &socket).await?;
        let (_, token) = link.trim().split_once("&share=").context("a token")?;
        running.join(token).await?.success()?;

        let listed = operate(&["share", "list", "--session-id", session], &socket).await?;
        let words: Vec<_> = listed.split_whitespace().collect();
        assert_eq!(&words[1..3], [session, "view"], "{listed}");
        assert!(listed.contains("for Ada") && !listed.contains(token), "{listed}");
        let id = words[0];
        let change = ["share", "update", id, "--description=for Bob", "--expiry=7d"];
        assert!(operate(&change, &socket).await?.contains("for Bob"));
        running.join(token).await?.success()?;
        operate(&["share", "delete", id], &socket).await?;
        assert_eq!(running.join(token).await?.status, 401);
        assert_eq!(operate(&["share", "list"], &socket).await?, "");
        let missing = operate(&["share", "delete", id], &socket).await;
        assert!(missing.is_err_and(|error| error.to_string().contains("share not found")));

        // The documented spelling, which names no type.
        let made = ["session", "share", session, "--description=for Eve", "--expiration=30m"];
        let link = operate(&made, &socket).await?;
        let (_, token) = link.trim().split_once("&share=").context("a token")?;
        running.join(token).await?.success()?;
        assert_eq!(running.role().await?, "control");
        let listed = operate(&["share", "list"], &socket).await?;
        assert!(listed.contains(" control ") && listed.contains("for Eve"), "{listed}");
        Ok(())
    });
}

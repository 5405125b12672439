//! Service accounts: what they see, how much they may have, and what ends with them.

use std::time::Duration;

use crate::support::socket::Socket;
use crate::support::{APP, Answer, Http, ScriptedStack, eventually, run_flow};
use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};
use stream_dev::in_process::Options;
use stream_gateway::admin::{AccountLimits, Client};

struct Accounts {
    scripted: ScriptedStack,
    operator: Client,
    /// The account of the stack, which sees all.
    all: Http,
}

impl Accounts {
    async fn start() -> anyhow::Result<Self> {
        Self::start_with(Options::default()).await
    }

    async fn start_with(options: Options) -> anyhow::Result<Self> {
        let scripted = ScriptedStack::start_with(options).await?;
        let nodes = &scripted.stack.nodes;
        let token = &scripted.stack.token;
        let all = Http::new(&nodes.gateway_url(), Some(token), nodes.gateway_pin()?)?;
        Ok(Self { operator: Client::new(nodes.admin_socket()), all, scripted })
    }

    async fn account(&self, name: &str, limits: AccountLimits) -> anyhow::Result<Http> {
        let token = self.operator.create_account(name, None, limits).await?;
        Ok(self.all.with(Some(&token)))
    }
}

const OWN: AccountLimits = AccountLimits { own_sessions: true, max_sessions: None };

async fn create(account: &Http) -> anyhow::Result<Answer> {
    let body = json!({ "app": APP, "joinable": true });
    account.send(Method::POST, "/1.0/sessions", Some(body)).await
}

fn id(made: &Value) -> anyhow::Result<String> {
    Ok(made["id"].as_str().context("an id")?.to_owned())
}

#[test]
fn an_account_with_own_sessions_finds_no_other() {
    run_flow(async || {
        let mut accounts = Accounts::start().await?;
        let (foreign, instance) = accounts.scripted.create().await?;
        instance.report("running").await?.success()?;
        let foreign = format!("/1.0/sessions/{}", foreign.id);
        let share = json!({ "type": "control" });
        let path = format!("{foreign}/share");
        let shared =
            accounts.all.send(Method::POST, &path, Some(share.clone())).await?.success()?;
        let shared = format!("/1.0/shares/{}", id(&shared)?);

        let anna = accounts.account("anna", OWN).await?;
        for (method, path, body) in [
            (Method::GET, foreign.clone(), None),
            (Method::DELETE, foreign.clone(), None),
            (Method::POST, format!("{foreign}/join"), None),
            (Method::POST, format!("{foreign}/share"), Some(share)),
            (Method::GET, shared.clone(), None),
            (Method::PATCH, shared.clone(), Some(json!({ "description": "mine" }))),
            (Method::DELETE, shared.clone(), None),
        ] {
            let answer = anna.send(method.clone(), &path, body).await?;
            assert_eq!(answer.status, 404, "{method} {path}");
        }
        for list in ["/1.0/sessions", "/1.0/sessions?status=active", "/1.0/shares"] {
            assert_eq!(anna.get(list).await?.success()?, json!([]), "{list}");
        }
        let own = id(&create(&anna).await?.success()?)?;
        assert_eq!(anna.get("/1.0/sessions").await?.success()?, json!([own]));
        anna.get(&format!("/1.0/sessions/{own}")).await?.success()?;
        let all = accounts.all.get("/1.0/sessions").await?.success()?;
        assert_eq!(all.as_array().map(Vec::len), Some(2), "{all}");

        // Another account under the same name is not the one that made it.
        accounts.operator.delete_account("anna", false).await?;
        let later = accounts.account("anna", OWN).await?;
        assert_eq!(later.get("/1.0/sessions").await?.success()?, json!([]));
        assert_eq!(later.get(&format!("/1.0/sessions/{own}")).await?.status, 404);
        Ok(())
    });
}

#[test]
fn an_account_has_no_more_sessions_than_it_may_and_gets_places_back() {
    run_flow(async || {
        let accounts = Accounts::start().await?;
        let limits = AccountLimits { own_sessions: false, max_sessions: Some(1) };
        let anna = accounts.account("anna", limits).await?;
        let first = id(&create(&anna).await?.success()?)?;
        let refused = create(&anna).await?;
        assert_eq!(refused.status, 429, "{:?}", refused.body);
        create(&accounts.all).await?.success()?;
        anna.send(Method::DELETE, &format!("/1.0/sessions/{first}"), None).await?.success()?;
        let again = async || Ok((create(&anna).await?.status != 429).then_some(()));
        eventually("a place", again).await
    });
}

#[test]
fn one_request_ends_many_sessions_and_names_each_that_does_not_end() {
    run_flow(async || {
        let accounts = Accounts::start().await?;
        let anna = accounts.account("anna", OWN).await?;
        let foreign = id(&create(&accounts.all).await?.success()?)?;
        let made = create(&anna).await?.success()?;
        let (first, second) = (id(&made)?, id(&create(&anna).await?.success()?)?);
        let read = anna.get(&format!("/1.0/sessions/{first}")).await?.success()?;
        let region = "cloud-0";
        assert_eq!((&made["region"], &read["region"]), (&json!(region), &json!(region)));

        let end = async |ids: &[&str], query: &str| {
            let path = format!("/1.0/sessions{query}");
            anna.send(Method::DELETE, &path, Some(json!({ "ids": ids }))).await
        };
        let partly = end(&[&first, &foreign, "x"], "?sync=true").await?;
        let told = &partly.body["metadata"];
        assert_eq!((partly.status.as_u16(), &told["deleted_sessions"]), (207, &json!([first])));
        for (refused, status) in [(foreign.as_str(), 404), ("x", 400)] {
            let errors = told["errors"].as_array().context("errors")?;
            let of = errors.iter().find(|error| error["session_id"] == refused);
            let of = of.with_context(|| format!("nothing about {refused}: {told}"))?;
            assert_eq!(of["status_code"], status, "{told}");
        }
        // The one that ended is not listed any more.
        assert_eq!(anna.get("/1.0/sessions").await?.success()?, json!([second]));
        assert_eq!(end(&[&foreign], "").await?.status, 404);
        assert_eq!(end(&[], "").await?.status, 400);
        assert_eq!(end(&[&second], "").await?.status, 202);
        accounts.all.get(&format!("/1.0/sessions/{foreign}")).await?.success()?;
        Ok(())
    });
}

#[test]
fn what_an_account_gave_away_ends_with_it() {
    run_flow(async || account_ends(Options::default()).await);
}

pub(crate) async fn account_ends(options: Options) -> anyhow::Result<()> {
    let mut accounts = Accounts::start_with(options).await?;
    let (session, instance) = accounts.scripted.create().await?;
    instance.report("running").await?.success()?;
    let path = format!("/1.0/sessions/{}", session.id);
    let anna = accounts.account("anna", AccountLimits::default()).await?;
    let share = json!({ "type": "control" });
    let made = anna.send(Method::POST, &format!("{path}/share"), Some(share)).await?.success()?;
    let link = made["url"].as_str().context("a link")?;
    let (_, token) = link.split_once("&share=").context("a token")?;
    let bearer = accounts.all.with(Some(token));
    let joined = bearer.send(Method::POST, &format!("{path}/join"), None).await?.success()?;
    let url = joined["url"].as_str().context("a socket")?;
    let mut socket = Socket::open_url(url, &accounts.scripted.stack).await?;
    let own = id(&create(&anna).await?.success()?)?;

    accounts.operator.delete_account("anna", true).await?;
    let told = socket.next().await?;
    assert_eq!(told["type"], "error", "{told}");
    assert_eq!(bearer.send(Method::POST, &format!("{path}/join"), None).await?.status, 401);
    assert_eq!(anna.get("/1.0/sessions").await?.status, 401);
    let over = async || {
        let answer = accounts.all.get(&format!("/1.0/sessions/{own}")).await?;
        let status = answer.success()?["status"].clone();
        Ok((status == "terminated" || status == "error").then_some(()))
    };
    eventually("its session has ended", over).await?;
    let others = accounts.all.get(&path).await?.success()?;
    assert_eq!(others["status"], "active", "{others}");
    Ok(())
}

#[test]
fn a_rotation_replaces_the_token_and_leaves_sessions_and_shares() {
    run_flow(async || {
        let mut accounts = Accounts::start().await?;
        let token = accounts.operator.create_account("anna", None, OWN).await?;
        let before = accounts.all.with(Some(&token));
        let created = create(&before).await?.success()?;
        let instance = accounts.scripted.booted().await?;
        instance.report("running").await?.success()?;
        let path = format!("/1.0/sessions/{}", id(&created)?);
        let url = created["url"].as_str().context("a socket")?;
        let mut socket = Socket::open_url(url, &accounts.scripted.stack).await?;
        let share = Some(json!({ "type": "control" }));
        let shared = before.send(Method::POST, &format!("{path}/share"), share).await?.success()?;
        let shared = format!("/1.0/shares/{}", id(&shared)?);

        let token = accounts.operator.rotate_account("anna", Duration::ZERO).await?;
        let after = accounts.all.with(Some(&token));
        assert_eq!(before.get(&path).await?.status, 401);
        assert_eq!(socket.next().await?["message"], "token revoked");
        for path in [&path, &shared] {
            after.get(path).await?.success()?;
        }
        let own = id(&created)?;
        assert_eq!(after.get("/1.0/sessions").await?.success()?, json!([own]));
        let second = id(&create(&after).await?.success()?)?;

        let token = accounts.operator.rotate_account("anna", Duration::from_secs(3)).await?;
        let last = accounts.all.with(Some(&token));
        let sessions = async |account: &Http| {
            let ids = account.get("/1.0/sessions").await?.success()?;
            anyhow::Ok(ids.as_array().map_or(0, Vec::len))
        };
        assert_eq!((sessions(&last).await?, sessions(&after).await?), (2, 2), "both are good");
        let joined = after.send(Method::POST, &format!("{path}/join"), None).await?.success()?;
        let url = joined["url"].as_str().context("a socket")?;
        let mut socket = Socket::open_url(url, &accounts.scripted.stack).await?;
        let refused = async || Ok((after.get(&path).await?.status == 401).then_some(()));
        eventually("ended", refused).await?;
        assert_eq!(socket.next().await?["type"], "error");
        last.get(&shared).await?.success()?;
        last.send(Method::DELETE, &format!("/1.0/sessions/{second}"), None).await?.success()?;
        let ended = async || {
            let listed = accounts.operator.accounts().await?;
            let anna = listed.into_iter().find(|one| one.name == "anna").context("anna")?;
            Ok(anna.replaced_until.is_none().then_some(()))
        };
        eventually("one token", ended).await?;

        accounts.operator.delete_account("anna", false).await?;
        let later = accounts.account("anna", OWN).await?;
        assert_eq!(later.get("/1.0/sessions").await?.success()?, json!([]));
        assert_eq!(accounts.all.get(&shared).await?.status, 404, "it ends with its maker");
        let nobody = accounts.operator.rotate_account("nobody", Duration::ZERO).await;
        assert!(nobody.is_err_and(|error| error.to_string().contains("no account nobody")));
        Ok(())
    });
}

#[test]
fn the_last_use_of_an_account_is_listed() {
    run_flow(async || {
        let accounts = Accounts::start().await?;
        let anna = accounts.account("anna", OWN).await?;
        let used = async || {
            let listed = accounts.operator.accounts().await?;
            let anna = listed.into_iter().find(|one| one.name == "anna").context("anna")?;
            anyhow::Ok(anna.last_used_at)
        };
        assert_eq!(used().await?, None);
        anna.get("/1.0/sessions").await?.success()?;
        eventually("noted", used).await?;
        Ok(())
    });
}

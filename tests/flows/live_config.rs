//! What operators change while gateways run: at one of them, for all.

use crate::support::fleet::{Fleet, Unit};
use crate::support::{APP, Answer, Http, ScriptedStack, eventually, light_instances, run_flow};
use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use stream_dev::in_process::Options;
use stream_gateway::admin::Client;

const CONFIG: &str = "/1.0/config";

/// A gateway as one account sees it.
fn at(unit: &Unit, token: &str) -> anyhow::Result<Http> {
    Http::new(&unit.nodes.gateway_url(), Some(token), unit.nodes.gateway_pin()?)
}

async fn change(gateway: &Http, name: &str, value: &str) -> anyhow::Result<Answer> {
    let body = json!({ "name": name, "value": value });
    gateway.send(Method::PATCH, CONFIG, Some(body)).await
}

async fn value(gateway: &Http, name: &str) -> anyhow::Result<Value> {
    Ok(gateway.get(CONFIG).await?.success()?[name].clone())
}

/// Waits until a gateway has heard of a value.
async fn follows(gateway: &Http, name: &str, expected: &str) -> anyhow::Result<()> {
    eventually("followed", async || {
        let items = gateway.get(CONFIG).await?;
        let follows = items.status == 200 && items.body["metadata"][name] == expected;
        Ok(follows.then_some(()))
    })
    .await
}

/// Makes a session and returns the path of its shares once it runs.
async fn shared(gateway: &Http, key: &str) -> anyhow::Result<String> {
    let created = gateway.create_with_key(APP, key).await?.success()?;
    Ok(format!("/1.0/sessions/{}/share", created["id"].as_str().context("an id")?))
}

async fn share(gateway: &Http, path: &str) -> anyhow::Result<Answer> {
    gateway.send(Method::POST, path, Some(json!({ "type": "control" }))).await
}

#[test]
fn what_is_changed_at_one_gateway_holds_at_all_and_outlives_them() {
    run_flow(async || changed_for_all(Options::default()).await);
}

pub(crate) async fn changed_for_all(options: Options) -> anyhow::Result<()> {
    let options = Options { launcher: light_instances(), ..options };
    let mut fleet = Fleet::start(options, 1, 2).await?;
    let operators = Client::new(fleet.gateways[0].socket());
    let token = operators.create_operator("operator", None, Default::default()).await?;
    let account = fleet.stack.token.clone();
    let (first, second) = (at(&fleet.gateways[0], &token)?, at(&fleet.gateways[1], &token)?);

    let expected = json!({
        "requests_per_second": "100000",
        "session.idle_time_min": "30",
        "share.expiry_h": "12",
        "share.per_session": "5",
    });
    ensure!(first.get(CONFIG).await?.success()? == expected, "no path, and no secret");
    let changed = change(&first, "share.per_session", "1").await?.success()?;
    ensure!(changed["share.per_session"] == "1", "{changed}");
    ensure!(value(&first, "share.per_session").await? == "1", "it knows its own");
    follows(&second, "share.per_session", "1").await?;
    let clients = second.with(Some(&account));
    let path = shared(&clients, "shared").await?;
    share(&clients, &path).await?.success()?;
    let refused = share(&clients, &path).await?;
    ensure!(refused.status == 403, "{refused:?}");
    ensure!(refused.body["error"] == "a session has at most 1 share", "{refused:?}");

    // The life of a share and the rate of a token are read when they count.
    change(&second, "share.expiry_h", "1").await?.success()?;
    follows(&first, "share.expiry_h", "1").await?;
    let path = shared(&first.with(Some(&account)), "brief").await?;
    let brief = share(&first.with(Some(&account)), &path).await?.success()?;
    ensure!(brief["expiry_min"] == 60, "{brief}");
    change(&first, "requests_per_second", "1").await?.success()?;
    let exhausted = async || Ok((first.get(CONFIG).await?.status == 429).then_some(()));
    eventually("as many as it may", exhausted).await?;
    follows(&second, "requests_per_second", "1").await?;
    eventually("admitted", async || {
        Ok((change(&second, "requests_per_second", "").await?.status == 200).then_some(()))
    })
    .await?;
    follows(&second, "requests_per_second", "100000").await?;

    // A gateway that starts again finds it, whatever its file says.
    fleet.gateways[1].replace().await?;
    let second = at(&fleet.gateways[1], &token)?;
    follows(&second, "share.per_session", "1").await?;
    let clients = second.with(Some(&account));
    let path = shared(&clients, "after").await?;
    share(&clients, &path).await?.success()?;
    ensure!(share(&clients, &path).await?.status == 403);

    // An empty value brings back that of the file, everywhere.
    change(&second, "share.per_session", "").await?.success()?;
    follows(&first, "share.per_session", "5").await?;
    share(&clients, &path).await?.success()?;
    let log = std::fs::read_to_string(fleet.gateways[0].process.log())?;
    let line = log.lines().find(|line| line.contains("configuration changed"));
    let line = line.context("it is logged")?;
    ensure!(line.contains("account operator") && line.contains("share.per_session"), "{line}");
    ensure!(!log.contains(&token), "the log holds the token");
    Ok(())
}

#[test]
fn only_operators_read_and_change_it_and_only_what_is_on_the_list() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let nodes = &scripted.stack.nodes;
        let account =
            Http::new(&nodes.gateway_url(), Some(&scripted.stack.token), nodes.gateway_pin()?)?;
        ensure!(account.get(CONFIG).await?.status == 403);
        ensure!(change(&account, "share.per_session", "1").await?.status == 403);
        ensure!(account.with(None).get(CONFIG).await?.status == 401);

        let operators = Client::new(nodes.admin_socket());
        let token = operators.create_operator("operator", None, Default::default()).await?;
        let operator = account.with(Some(&token));
        let before = operator.get(CONFIG).await?.success()?;
        for (name, value, words) in [
            ("public_url", "x", "public_url is set in gateway.toml"),
            ("tls.key", "x", "tls.key is set in gateway.toml"),
            ("share.per_session", "0", "share.per_session is a whole number from 1 to 100"),
            ("session.idle_time_min", "soon", "session.idle_time_min is a whole number from 0 to"),
        ] {
            let refused = change(&operator, name, value).await?;
            ensure!(refused.status == 400, "{refused:?}");
            let why = refused.body["error"].as_str().context("words")?;
            ensure!(why.starts_with(words), "{why}");
        }
        ensure!(operator.get(CONFIG).await?.success()? == before, "a refusal changes nothing");

        // What a session gets that says nothing, from the next one on; a repeated request finds
        // the one before all the same.
        let first = account.create_with_key(APP, "a").await?.success()?;
        change(&operator, "session.idle_time_min", "7").await?.success()?;
        let again = account.create_with_key(APP, "a").await?.success()?;
        ensure!(again["id"] == first["id"], "{again}");
        let second = account.create_with_key(APP, "b").await?.success()?;
        for (session, idle) in [(&first, 30), (&second, 7)] {
            let id = session["id"].as_str().context("an id")?;
            let story = operators.explain_session(id).await?;
            let request = story.document.context("a document")?.request;
            ensure!(request.idle_time_min == idle, "{request:?}");
        }
        // It is an account like others beside that.
        let listed = operators.accounts().await?;
        let of = |name: &str| listed.iter().find(|one| one.name == name).map(|one| one.operator);
        ensure!((of("operator"), of("test")) == (Some(true), Some(false)), "{listed:?}");
        let token = operators.rotate_account("operator", Default::default()).await?;
        ensure!(operator.get(CONFIG).await?.status == 401);
        operator.with(Some(&token)).get(CONFIG).await?.success()?;
        Ok(())
    });
}

#[test]
fn without_nats_nothing_is_changed_and_what_was_known_last_holds() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let nodes = &scripted.stack.nodes;
        let operators = Client::new(nodes.admin_socket());
        let token = operators.create_operator("operator", None, Default::default()).await?;
        let operator = Http::new(&nodes.gateway_url(), Some(&token), nodes.gateway_pin()?)?;
        change(&operator, "share.per_session", "3").await?.success()?;

        scripted.stack.nats.kill();
        eventually("away", async || {
            let answer = change(&operator, "share.per_session", "4").await?;
            Ok((answer.status == 503).then_some(()))
        })
        .await?;
        ensure!(value(&operator, "share.per_session").await? == "3");
        scripted.stack.nats.restart()?;
        follows(&operator, "share.per_session", "3").await?;
        eventually("changed", async || {
            let answer = change(&operator, "share.per_session", "4").await?;
            Ok((answer.status == 200).then_some(()))
        })
        .await?;
        ensure!(value(&operator, "share.per_session").await? == "4");
        Ok(())
    });
}

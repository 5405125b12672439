//! Whoever may only view a session: where that is possible, and when.

use std::time::Duration;

use crate::support::socket::Socket;
use crate::support::{APP, Answer, Http, Instance, ScriptedStack, eventually, run_flow};
use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use stream_dev::in_process::{Options, Stack};
use stream_protocol::Capabilities;
use stream_simulators::ams::simulated_instances_with;
use stream_simulators::instance::Behaviour;
use toml::toml;

/// A session, its instance, and whoever asks the gateway for it.
struct Viewed {
    scripted: ScriptedStack,
    id: String,
    instance: Instance,
    owner: Http,
}

impl Viewed {
    /// Starts a session as `request` asks for it; its instance has said nothing yet.
    async fn start(request: Value) -> anyhow::Result<Self> {
        let gateway = toml! { gateway.client_grace_s = 1 gateway.share_join_interval_s = 0 };
        let options = Options { gateway, ..Options::default() };
        let mut scripted = ScriptedStack::start_with(options).await?;
        let created = scripted.client.create_from(&request).await?;
        let instance = scripted.booted().await?;
        let (nodes, token) = (&scripted.stack.nodes, &scripted.stack.token);
        let owner = Http::new(&nodes.gateway_url(), Some(token), nodes.gateway_pin()?)?;
        Ok(Self { id: created.id, scripted, instance, owner })
    }

    async fn share(&self) -> anyhow::Result<Answer> {
        let path = format!("/1.0/sessions/{}/share", self.id);
        self.owner.send(Method::POST, &path, Some(json!({ "type": "view" }))).await
    }

    /// Whoever has the link of a share.
    async fn viewer(&self) -> anyhow::Result<Http> {
        let share = self.share().await?.success()?;
        let link = share["url"].as_str().context("a link")?;
        let (_, token) = link.split_once("&share=").context("a token")?;
        Ok(self.owner.with(Some(token)))
    }

    async fn join(&self, as_whom: &Http, body: Value) -> anyhow::Result<Answer> {
        let path = format!("/1.0/sessions/{}/join", self.id);
        as_whom.send(Method::POST, &path, Some(body)).await
    }

    /// Joins and opens the socket.
    async fn joined(&self, as_whom: &Http, body: Value) -> anyhow::Result<Socket> {
        let joined = self.join(as_whom, body).await?.success()?;
        Socket::open_url(joined["url"].as_str().context("a socket")?, &self.scripted.stack).await
    }

    /// Whom the instance is to serve.
    async fn client(&self) -> anyhow::Result<Value> {
        Ok(self.instance.commands(0, 0).await?["client"].clone())
    }

    async fn report_client(&self, client: &str, generation: u64) -> anyhow::Result<()> {
        let report = json!({ "client": client, "generation": generation });
        self.instance.report_as(report).await?.success().map(drop)
    }
}

fn plain() -> Value {
    json!({ "app": APP, "joinable": true })
}

#[test]
fn a_viewer_waits_for_the_owner_changes_nothing_and_gives_way_at_once() {
    run_flow(async || {
        let viewed = Viewed::start(plain()).await?;
        viewed.instance.report("running").await?.success()?;
        let viewer = viewed.viewer().await?;
        let own = json!({ "screen": { "width": 1920, "height": 1080 } });
        let mut owner = viewed.joined(&viewed.owner, own).await?;
        viewed.report_client("connected", 1).await?;
        let served = viewed.client().await?;

        let small = json!({ "screen": { "width": 320, "height": 240 } });
        let refused = viewed.join(&viewer, small.clone()).await?;
        ensure!(refused.status == 409 && refused.retry_after, "{refused:?}");
        let path = format!("/1.0/sessions/{}/connect?type=view&token=", viewed.id);
        let link = viewed.share().await?.success()?["url"].clone();
        let token = link.as_str().and_then(|link| link.split_once("&share=")).context("a token")?.1;
        let refused = viewed.owner.with(None).get(&format!("{path}{token}")).await?;
        ensure!(refused.status == 409 && refused.retry_after, "{refused:?}");
        ensure!(viewed.client().await? == served, "the owner is cut off");
        viewed.instance.write("s1", 1, json!({ "type": "offer" })).await?.success()?;
        ensure!(owner.next().await?["type"] == "offer", "its socket is closed");

        owner.close().await?;
        viewed.report_client("disconnected", 1).await?;
        let entered = eventually("entered", async || {
            let answer = viewed.join(&viewer, small.clone()).await?;
            Ok((answer.status == 200).then_some(answer))
        });
        let url = entered.await?.success()?["url"].clone();
        let url = url.as_str().context("a socket")?;
        let mut watching = Socket::open_url(url, &viewed.scripted.stack).await?;
        let watched = viewed.client().await?;
        ensure!(watched == json!({ "role": "view", "screen": served["screen"] }), "{watched}");

        let _back = viewed.joined(&viewed.owner, json!({})).await?;
        let told = watching.next().await?;
        ensure!(told["message"] == "another client has joined the session", "{told}");
        ensure!(viewed.client().await?["role"] == "control");
        Ok(())
    });
}

#[test]
fn a_viewer_and_the_owner_who_join_at_once_leave_the_owner_there() {
    run_flow(async || {
        let viewed = Viewed::start(plain()).await?;
        viewed.instance.report("running").await?.success()?;
        let viewer = viewed.viewer().await?;
        for _ in 0..20 {
            let (owner, watching) = tokio::join!(
                viewed.join(&viewed.owner, json!({})),
                viewed.join(&viewer, json!({})),
            );
            owner?.success()?;
            ensure!(watching?.status == 409, "it is named from the beginning");
            ensure!(viewed.client().await?["role"] == "control");
        }
        Ok(())
    });
}

#[test]
fn the_owner_replaces_a_viewer_of_a_session_that_replaces_nobody_and_viewers_wait() {
    run_flow(async || {
        let request = json!({ "app": APP, "joinable": true, "on_conflict": "reject" });
        let viewed = Viewed::start(request).await?;
        viewed.instance.report("running").await?.success()?;
        let viewer = viewed.viewer().await?;
        viewed.report_client("connected", 0).await?;
        viewed.report_client("disconnected", 0).await?;
        let enter = async || {
            let answer = viewed.join(&viewer, json!({})).await?;
            Ok((answer.status == 200).then_some(()))
        };
        eventually("entered", enter).await?;
        let second = viewed.join(&viewed.viewer().await?, json!({})).await?;
        ensure!(second.status == 400, "{second:?}");
        viewed.join(&viewed.owner, json!({})).await?.success()?;
        ensure!(viewed.client().await?["role"] == "control");
        ensure!(viewed.join(&viewed.owner, json!({})).await?.status == 400, "it controls");
        Ok(())
    });
}

#[test]
fn nobody_views_through_an_instance_that_does_not_honour_roles() {
    run_flow(async || {
        let viewed = Viewed::start(plain()).await?;
        let early = viewed.viewer().await?;
        ensure!(viewed.join(&early, json!({})).await?.status == 400, "it does not run yet");
        viewed.instance.report_as(json!({ "status": "running" })).await?.success()?;
        let refused = viewed.share().await?;
        ensure!(refused.status == 409 && !refused.retry_after, "{refused:?}");
        let refused = viewed.join(&early, json!({})).await?;
        ensure!(refused.status == 409 && !refused.retry_after, "{refused:?}");
        let why = refused.body["error"].as_str().context("words")?;
        ensure!(why.contains("honours roles"), "{why}");
        let client = stream_gateway::admin::Client::new(viewed.scripted.stack.nodes.admin_socket());
        let share = client.create_share(&viewed.id, "view", "", None).await;
        ensure!(share.is_err_and(|error| error.to_string().contains("honours roles")));
        client.create_share(&viewed.id, "control", "", None).await?;
        viewed.instance.report("running").await?.success()?;
        viewed.share().await?.success().map(drop)
    });
}

#[test]
fn the_simulated_instance_honours_roles_unless_it_is_told_not_to() {
    run_flow(async || {
        let without_roles =
            Behaviour { capabilities: Capabilities::default(), ..Behaviour::default() };
        for (launcher, expected) in
            [(Options::default().launcher, 200), (simulated_instances_with(without_roles), 409)]
        {
            let stack = Stack::start(Options { launcher, ..Options::default() }).await?;
            let client = stack.client()?;
            let id = client.create_from(&plain()).await?.id;
            eventually("active", async || {
                Ok((client.get(&id).await?.status == "active").then_some(()))
            })
            .await?;
            let nodes = &stack.nodes;
            let http = Http::new(&nodes.gateway_url(), Some(&stack.token), nodes.gateway_pin()?)?;
            let path = format!("/1.0/sessions/{id}/share");
            let made = http.send(Method::POST, &path, Some(json!({ "type": "view" }))).await?;
            ensure!(made.status.as_u16() == expected, "{made:?}");
            tokio::time::timeout(Duration::from_secs(20), stack.stop()).await?;
        }
        Ok(())
    });
}

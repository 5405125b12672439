//! A nats-server that permits each service what it needs and no more: whole flows, in which it
//! refuses nothing, and what it refuses to whoever has the nkey of a service.

use std::time::Duration;

use crate::support::{APP, STEP_TIMEOUT, becomes, eventually, light_instances, run_flow};
use crate::{accounts, agents, ams_initiated, live_config, session, shares, signaling, tokens};
use anyhow::Context;
use async_nats::Event;
use stream_dev::in_process::{Options, Stack};
use stream_dev::nats::Nats;
use stream_pki::{Identity, Trust, client_config};
use stream_protocol::Screen;
use stream_protocol::subjects::{Bucket, NatsUser};
use tokio::sync::mpsc;

/// A stack whose end fails when its server has refused something.
fn strict() -> Options {
    Options { least_privilege: true, ..Options::default() }
}

#[test]
fn a_session_lives_from_its_request_to_its_end() {
    run_flow(async || session::shown_and_gone(strict()).await);
}

#[test]
fn an_agent_that_starts_again_takes_up_its_sessions() {
    run_flow(async || session::taken_up(strict()).await);
}

#[test]
fn signals_travel_both_ways_over_rest_and_a_websocket() {
    run_flow(async || signaling::both_ways(strict()).await);
}

#[test]
fn a_share_is_made_opened_and_deleted() {
    run_flow(async || shares::deleted_share(strict()).await);
}

#[test]
fn an_account_is_made_and_deleted_with_all_it_gave_away() {
    run_flow(async || accounts::account_ends(strict()).await);
}

#[test]
fn what_holds_for_all_gateways_is_changed_at_one() {
    run_flow(async || live_config::changed_for_all(strict()).await);
}

#[test]
fn agents_are_seen_and_drained() {
    run_flow(async || agents::seen_and_drained(strict()).await);
}

#[test]
fn tokens_are_revoked_and_their_keys_rotated() {
    run_flow(async || tokens::operated(strict()).await);
}

#[test]
fn ams_has_agents_ask_gateways_for_a_session_of_its_own() {
    run_flow(async || ams_initiated::one_session(strict()).await);
}

#[test]
fn a_service_goes_on_with_another_nkey_and_the_one_before_is_let_in_no_more() {
    run_flow(async || {
        let options = Options { launcher: light_instances(), ..strict() };
        let mut stack = Stack::start(options).await?;
        let client = stack.client()?;
        let kept = client.create(APP, Screen::default()).await?;
        becomes(&client, &kept.id, "active").await?;
        for user in [NatsUser::Agent, NatsUser::Gateway] {
            let file = stack.nats.bridge_as(user).nkey.context("a file")?;
            let seed = std::fs::read_to_string(&file)?;
            let before = stack.nats.change_nkey(user)?;
            let now = nkeys::KeyPair::from_seed(&std::fs::read_to_string(&file)?)?.public_key();
            let is_connected = |nkey: &str| {
                let told = stack.nats.statistics("connz?auth=1")?;
                let connected = told["connections"].as_array().context("connections")?;
                let mut users = connected.iter().filter_map(|one| one["authorized_user"].as_str());
                anyhow::Ok(users.any(|user| user.contains(nkey)))
            };
            anyhow::ensure!(is_connected(&before)?, "nobody has used it");
            stack.nats.reload()?;
            eventually("connected anew", async || {
                Ok((is_connected(&now)? && !is_connected(&before)?).then_some(()))
            })
            .await?;
            let refused = Thief::with(&stack.nats, user, seed).await;
            anyhow::ensure!(refused.is_err(), "the seed before is good for nothing");
        }
        // What was there is, and what comes is served.
        let created =
            eventually("served", async || Ok(client.create(APP, Screen::default()).await.ok()));
        becomes(&client, &created.await?.id, "active").await?;
        client.delete(&kept.id).await?;
        becomes(&client, &kept.id, "terminated").await?;
        stack.stop().await;
        Ok(())
    });
}

/// Somebody who has the nkey of a service.
struct Thief {
    client: async_nats::Client,
    told: mpsc::UnboundedReceiver<String>,
}

impl Thief {
    async fn of(nats: &Nats, user: NatsUser) -> anyhow::Result<Self> {
        let seed = nats.bridge_as(user).nkey.context("a file")?;
        Self::with(nats, user, std::fs::read_to_string(seed)?).await
    }

    async fn with(nats: &Nats, user: NatsUser, seed: String) -> anyhow::Result<Self> {
        let config = nats.bridge_as(user);
        let file = |path: Option<std::path::PathBuf>| path.context("a file");
        let identity = Identity::load(file(config.certificate)?, file(config.key)?)?;
        let tls = client_config(&Trust::from_ca_file(nats.ca())?, Some(&identity))?;
        let (tell, told) = mpsc::unbounded_channel();
        let on_event = move |event| {
            if let Event::ServerError(error) = event {
                let _ = tell.send(error.to_string());
            }
            std::future::ready(())
        };
        let options = async_nats::ConnectOptions::with_nkey(seed).require_tls(true).tls_first();
        let options = options.event_callback(on_event).tls_client_config(tls);
        Ok(Self { client: options.connect(nats.url()).await?, told })
    }

    /// The next thing that the server refuses.
    async fn refused(&mut self, what: &str) -> anyhow::Result<String> {
        self.client.flush().await?;
        let told = tokio::time::timeout(STEP_TIMEOUT, self.told.recv()).await;
        told.with_context(|| format!("{what} is permitted"))?.context("a connection")
    }

    async fn cannot_publish(&mut self, subject: &str) -> anyhow::Result<()> {
        self.client.publish(subject.to_owned(), "{}".into()).await?;
        let refused = self.refused(subject).await?.to_lowercase();
        let expected = format!("permissions violation for publish to \"{subject}\"");
        anyhow::ensure!(refused.contains(&expected.to_lowercase()), "{subject}: {refused}");
        Ok(())
    }

    async fn cannot_subscribe(&mut self, subject: &str) -> anyhow::Result<()> {
        let _subscription = self.client.subscribe(subject.to_owned()).await?;
        let refused = self.refused(subject).await?.to_lowercase();
        let expected = format!("permissions violation for subscription to \"{subject}\"");
        anyhow::ensure!(refused.contains(&expected.to_lowercase()), "{subject}: {refused}");
        Ok(())
    }

    /// Nobody removes, empties or changes a stream, whoever it belongs to.
    async fn cannot_harm_streams(&mut self) -> anyhow::Result<()> {
        let buckets = Bucket::ALL.map(|bucket| format!("KV_{}", bucket.name()));
        let others = ["signals", "signal_ends", "timeline", "KV_keys"].map(str::to_owned);
        for stream in buckets.iter().chain(&others) {
            for act in ["DELETE", "PURGE", "UPDATE", "MSG.DELETE", "SNAPSHOT", "RESTORE"] {
                self.cannot_publish(&format!("$JS.API.STREAM.{act}.{stream}")).await?;
            }
            // A consumer would deliver a stream to any subject.
            self.cannot_publish(&format!("$JS.API.CONSUMER.CREATE.{stream}")).await?;
        }
        self.cannot_publish("$JS.API.STREAM.CREATE.another").await
    }

    /// Does nothing with a bucket, neither reads it nor writes into it nor makes it.
    async fn cannot_touch(&mut self, bucket: Bucket) -> anyhow::Result<()> {
        let name = bucket.name();
        for subject in [
            format!("$KV.{name}.a.b"),
            format!("live.kv.{name}.a.b"),
            format!("$JS.API.STREAM.INFO.KV_{name}"),
            format!("$JS.API.STREAM.CREATE.KV_{name}"),
            format!("$JS.API.STREAM.MSG.GET.KV_{name}"),
            format!("$JS.API.DIRECT.GET.KV_{name}"),
            format!("$JS.API.DIRECT.GET.KV_{name}.$KV.{name}.a.b"),
        ] {
            self.cannot_publish(&subject).await?;
        }
        for subject in [format!("$KV.{name}.>"), format!("live.kv.{name}.>")] {
            self.cannot_subscribe(&subject).await?;
        }
        Ok(())
    }
}

/// No subject that brings everything, or what others are answered.
const FOR_NOBODY: [&str; 5] = [">", "$KV.>", "live.>", "_INBOX.>", "$JS.EVENT.>"];

const SIGNALS: &str = "stream.v1.signal.abcdefghij0123456789";

#[test]
fn the_nkey_of_a_gateway_speaks_for_no_agent_and_reads_none_of_their_keys() {
    run_flow(async || {
        let mut stack = Stack::start(strict()).await?;
        stack.nats.expect_violations();
        let mut thief = Thief::of(&stack.nats, NatsUser::Gateway).await?;
        for subject in FOR_NOBODY {
            thief.cannot_subscribe(subject).await?;
        }
        for subject in [
            // What agents are asked, and answered.
            "stream.v1.agent.*.*",
            "stream.v1.agent.agent-1.launch",
            "stream.v1.agent.agent-1.drain",
            "stream.v1.session.*.*",
            "_INBOX.agent.>",
            // Without the group a gateway would hear what others are to answer.
            "gateway.sessions",
            "live.stream.v1.signal.*.to_instance",
        ] {
            thief.cannot_subscribe(subject).await?;
        }
        for bucket in [Bucket::KeysAgent, Bucket::Endpoints] {
            thief.cannot_touch(bucket).await?;
        }
        for subject in [
            &format!("{SIGNALS}.to_client"),
            &format!("live.{SIGNALS}.to_client"),
            "$KV.agents.agent-1",
            "$KV.catalogues.agent-1.0",
            "$KV.settings.another",
            "$KV.keys.agent.root",
            "$KV.keys.gateway.root",
            "$JS.API.DIRECT.GET.KV_keys",
            "$JS.API.DIRECT.GET.KV_keys.$KV.keys.agent.root",
            "$JS.API.STREAM.MSG.GET.KV_keys",
            "$JS.API.STREAM.CREATE.KV_keys",
            "_INBOX.agent.a",
            "gateway.sessions",
        ] {
            thief.cannot_publish(subject).await?;
        }
        thief.cannot_harm_streams().await
    });
}

#[test]
fn the_nkey_of_an_agent_touches_no_account_and_no_share_and_answers_for_no_gateway() {
    run_flow(async || {
        let mut stack = Stack::start(strict()).await?;
        stack.nats.expect_violations();
        let mut thief = Thief::of(&stack.nats, NatsUser::Agent).await?;
        for subject in FOR_NOBODY {
            thief.cannot_subscribe(subject).await?;
        }
        for subject in ["gateway.sessions", "_INBOX.gateway.>"] {
            thief.cannot_subscribe(subject).await?;
        }
        let group = ("gateway.sessions", "gateways".to_owned());
        let _subscription = thief.client.queue_subscribe(group.0, group.1).await?;
        let refused = thief.refused("answering for gateways").await?;
        anyhow::ensure!(refused.to_lowercase().contains("gateway.sessions"), "{refused}");
        for bucket in [
            Bucket::Accounts,
            Bucket::Clients,
            Bucket::KeysGateway,
            Bucket::Settings,
            Bucket::Shares,
        ] {
            thief.cannot_touch(bucket).await?;
        }
        for subject in [
            &format!("{SIGNALS}.to_instance"),
            &format!("live.{SIGNALS}.to_client"),
            "$JS.API.DIRECT.GET.timeline",
            "$KV.keys.gateway.root",
            "$JS.API.DIRECT.GET.KV_keys",
            "$JS.API.DIRECT.GET.KV_keys.$KV.keys.gateway.root",
            "$JS.API.STREAM.MSG.GET.KV_keys",
            "_INBOX.gateway.a",
            "stream.v1.agent.agent-1.launch",
            "stream.v1.agent.agent-1.drain",
        ] {
            thief.cannot_publish(subject).await?;
        }
        thief.cannot_harm_streams().await
    });
}

#[test]
fn a_stranger_without_an_nkey_or_with_a_token_is_not_let_in() {
    run_flow(async || {
        let mut stack = Stack::start(strict()).await?;
        stack.nats.expect_violations();
        let config = stack.nats.bridge();
        let stranger = nkeys::KeyPair::new_user();
        let file = stack.nodes.dir.join("stranger.nkey");
        stream_dev::keys::write_secret(&file, stranger.seed()?)?;
        let supervisor = stream_supervisor::Supervisor::default();
        let nkey = stream_bridge::Config { nkey: Some(file), ..config };
        let bridge = stream_bridge::Bridge::start(nkey, "stranger", &supervisor)?;
        let refused = async || {
            let status = bridge.status().await;
            let why = status.error.filter(|why| why.contains("nats.nkey"));
            Ok(why.filter(|_| !status.connected))
        };
        eventually("refused", refused).await?;
        supervisor.shut_down(Duration::from_secs(1)).await;
        Ok(())
    });
}

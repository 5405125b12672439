//! Much at once: what ends by the hundred holds up nothing that begins, and leaves nothing behind.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use stream_dev::faulty_proxy::FaultyProxy;
use stream_dev::in_process::{Options, Stack};
use stream_protocol::{Screen, Status};
use stream_simulators::ams::Faults;
use toml::toml;

use crate::support::fleet::{Fleet, Unit};
use crate::support::{APP, Http, STEP_TIMEOUT, eventually, light_instances, run_flow};

/// Clients that ask at the same time.
const CLIENTS: usize = 16;

/// Sessions that come while the others go.
const NEW: usize = 20;

#[test]
fn sessions_that_end_at_once_at_a_slow_ams_hold_up_none_that_begin() {
    run_flow(async || {
        let ending = if std::env::var_os("STREAM_TEST_LONG").is_some() { 1_000 } else { 60 };
        let agent = toml! { agent.capacity = 5_000 };
        let gateway = toml! {
            gateway.requests_per_second = 10_000
            http.requests_per_address = 10_000
        };
        let launcher = light_instances();
        let options = Options { capacity: 5_000, launcher, agent, gateway, ..Options::default() };
        let stack = Stack::start(options).await?;
        let clients = (0..CLIENTS).map(|_| stack.client()).collect::<anyhow::Result<Vec<_>>>()?;
        let create = async |nth: usize| {
            let created = clients[nth % CLIENTS].create(APP, Screen::default()).await?;
            anyhow::Ok(created.id)
        };
        let old: Vec<_> =
            stream::iter(0..ending).map(create).buffer_unordered(CLIENTS).try_collect().await?;

        // They are being deleted for as long as everything else here takes.
        let slow_delete = Duration::from_secs(10);
        stack.ams.set_faults(Faults { slow_delete, ..Faults::default() });
        let deleted = stream::iter(old.iter().enumerate())
            .map(async |(nth, id)| clients[nth % CLIENTS].delete(id).await)
            .buffer_unordered(CLIENTS);
        let delete = deleted.try_collect::<Vec<_>>();
        let begin = try_join_all((0..NEW).map(async |nth| {
            let id = create(nth).await?;
            eventually("active", async || {
                Ok((clients[0].get(&id).await?.status == "active").then_some(()))
            })
            .await?;
            anyhow::Ok(id)
        }));
        let (deleted, new) = tokio::join!(delete, begin);
        deleted?;
        let new: HashSet<_> = new?.into_iter().collect();
        // All that is new runs, and what is old is not gone yet: nothing has waited for it.
        let instances = stack.ams.instances().len();
        ensure!(instances == ending + NEW, "{instances} instances while {ending} are to go");

        let gone = stack.ams.wait_until(|instances| instances.len() == NEW, STEP_TIMEOUT);
        gone.await.context("instances are left behind")?;
        eventually("none but the new ones are listed", async || {
            let left: HashSet<_> = clients[0].list().await?.into_iter().collect();
            Ok((left == new).then_some(()))
        })
        .await?;
        for id in &new {
            ensure!(clients[0].get(id).await?.status == "active", "{id} was ended as well");
        }
        Ok(())
    });
}

/// What clients of the slow gateway ask for at once.
const AT_ONCE: usize = 60;

/// How much longer NATS takes each way for one gateway.
const SLOW: Duration = Duration::from_millis(700);

/// A creation asks NATS several times; each answer is one and a half seconds late.
#[test]
fn a_gateway_whose_nats_is_slow_makes_each_session_once_and_holds_up_no_other() {
    run_flow(async || {
        let agent = toml! { agent.capacity = 5_000 };
        let gateway = toml! { http.requests_per_address = 10_000 };
        let launcher = light_instances();
        let options = Options { capacity: 5_000, launcher, agent, gateway, ..Options::default() };
        let mut fleet = Fleet::start(options, 1, 2).await?;
        let port = fleet.stack.nats.port();
        let proxy = FaultyProxy::to(port).await?;
        let servers = vec![format!("tls://127.0.0.1:{}", proxy.port())];
        let nats = std::mem::replace(&mut fleet.stack.config.nats.servers, servers);
        fleet.gateways[0].nodes.write_gateway(&fleet.stack.config)?;
        fleet.stack.config.nats.servers = nats;
        fleet.gateways[0].replace().await?;
        let at = |unit: &Unit| {
            let nodes = &unit.nodes;
            Http::new(&nodes.gateway_url(), Some(&fleet.stack.token), nodes.gateway_pin()?)
        };
        let (slow, quick) = (at(&fleet.gateways[0])?, at(&fleet.gateways[1])?);
        eventually("it serves", async || {
            Ok(slow.get("/1.0/health/ready").await?.status.eq(&200).then_some(()))
        })
        .await?;

        proxy.delay(SLOW);
        // Who gets no answer in time asks again, as clients do.
        let create = async |nth: usize| {
            let key = format!("slow-{nth}");
            let id = eventually("created", async || {
                let answer = slow.create_with_key(APP, &key).await?;
                ensure!(answer.status.is_success() || answer.status == 503, "{answer:?}");
                Ok(answer.body["metadata"]["id"].as_str().map(str::to_owned))
            });
            id.await
        };
        let storm = try_join_all((0..AT_ONCE).map(create));
        // Meanwhile the other one answers as ever.
        let beside = async {
            let mut longest = Duration::ZERO;
            for nth in 0..NEW {
                let begun = Instant::now();
                quick.create_with_key(APP, &format!("quick-{nth}")).await?.success()?;
                longest = longest.max(begun.elapsed());
            }
            anyhow::Ok(longest)
        };
        let (made, longest) = tokio::try_join!(storm, beside)?;
        println!("beside it, the slowest creation took {longest:?}");
        let made: HashSet<_> = made.into_iter().collect();
        ensure!(made.len() == AT_ONCE, "{} sessions of {AT_ONCE} clients", made.len());

        proxy.delay(Duration::ZERO);
        eventually("all run", async || {
            let active = fleet.documents().await?.into_iter();
            let active = active.filter(|one| one.status == Status::Active).count();
            Ok((active == AT_ONCE + NEW).then_some(()))
        })
        .await?;
        let stored = fleet.documents().await?.len();
        ensure!(stored == AT_ONCE + NEW, "{stored} sessions are stored");
        let instances = fleet.stack.ams.instances().len();
        ensure!(instances == AT_ONCE + NEW, "{instances} instances");
        Ok(())
    });
}

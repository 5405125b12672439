//! Much at once: what ends by the hundred holds up nothing that begins, and leaves nothing behind.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use stream_dev::in_process::{Options, Stack};
use stream_protocol::Screen;
use stream_simulators::ams::Faults;
use toml::toml;

use crate::support::{APP, STEP_TIMEOUT, eventually, light_instances, run_flow};

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

//! Both services under systemd, which a small runner plays: what they tell it, that a restart
//! refuses nobody, and that they can do without all that their units refuse.

mod load;
mod runner;
mod sandbox;
mod system_calls;

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::systemd::Systemd;
use crate::support::{eventually, light_instances, run_flow};
use anyhow::{Context, ensure};
use reqwest::StatusCode;
use rustix::process::Signal;
use stream_dev::in_process::{Options, Stack};
use stream_dev::keys::KeyStore;
use stream_dev::node_files::NodeFiles;
use stream_pki::{Trust, client_config};
use tokio::process::Command;

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");
const GATEWAY: &str = env!("CARGO_BIN_EXE_stream-gateway");

/// Clients that ask all the time while a service is restarted.
const CLIENTS: usize = 6;

/// Several times what the services take for a restart on a machine that does much else.
const SLOWEST: Duration = Duration::from_secs(10);

async fn stack(faults: bool) -> anyhow::Result<Stack> {
    Stack::start(Options { launcher: light_instances(), faults, ..Options::default() }).await
}

fn agent(stack: &Stack) -> anyhow::Result<(Systemd, NodeFiles)> {
    let nodes = stack.nodes.join("agent-of-systemd", "agent-2", &KeyStore::shared()?)?;
    let config = nodes.write_agent(&stack.config)?;
    Ok((Systemd::new(AGENT, &config, &nodes.dir)?, nodes))
}

fn gateway(stack: &Stack) -> anyhow::Result<(Systemd, NodeFiles)> {
    let nodes = stack.nodes.join_gateway("gateway-of-systemd", &KeyStore::shared()?)?;
    let config = nodes.write_gateway(&stack.config)?;
    Ok((Systemd::new(GATEWAY, &config, &nodes.dir)?, nodes))
}

/// A client that connects anew for each request.
fn client(nodes: &NodeFiles, program: &str) -> anyhow::Result<reqwest::Client> {
    let pin = if program == AGENT { nodes.agent_pin()? } else { nodes.gateway_pin()? };
    let tls = client_config(&Trust::Pins(vec![pin]), None)?;
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
    Ok(client.pool_max_idle_per_host(0).timeout(SLOWEST).build()?)
}

#[test]
fn a_restart_behind_an_inherited_socket_refuses_nobody() {
    run_flow(async || {
        let stack = stack(false).await?;
        for (program, (mut unit, nodes)) in [(GATEWAY, gateway(&stack)?), (AGENT, agent(&stack)?)] {
            unit.start().await?;
            let client = client(&nodes, program)?;
            let url = format!("{}/1.0/health/live", unit.url()?);
            let (asked, done) = (Cell::new(0), Cell::new(false));
            let slowest = Cell::new(Duration::ZERO);
            let ask = async || {
                while !done.get() {
                    let begun = Instant::now();
                    let status = client.get(&url).send().await?.status();
                    ensure!(status == StatusCode::OK, "{status}");
                    asked.set(asked.get() + 1);
                    slowest.set(slowest.get().max(begun.elapsed()));
                }
                anyhow::Ok(())
            };
            let restarts = async {
                for _ in 0..2 {
                    let before = asked.get();
                    unit.restart().await?;
                    eventually("served", async || Ok((asked.get() > before).then_some(()))).await?;
                }
                done.set(true);
                anyhow::Ok(())
            };
            let clients = futures_util::future::try_join_all((0..CLIENTS).map(|_| ask()));
            tokio::try_join!(restarts, clients)?;
            println!("{program}: {} requests, the slowest {:?}", asked.get(), slowest.get());
            let log = unit.log_text();
            ensure!(log.contains(unit.url()?.trim_start_matches("https://")), "{log}");
        }
        Ok(())
    });
}

#[test]
fn a_service_says_that_it_is_ready_what_is_away_and_that_it_ends() {
    run_flow(async || {
        let mut stack = stack(false).await?;
        for (mut unit, _) in [gateway(&stack)?, agent(&stack)?] {
            stack.nats.kill();
            // Ready all the same: it accepts, and answers what it can.
            unit.start().await?;
            let away =
                |line: &str| line.starts_with("STATUS=serving; away: ") && line.contains("nats (");
            let line = unit.wait_until(away).await?;
            ensure!(!line.contains('\n') && line.len() < 500, "{line}");
            stack.nats.restart()?;
            unit.wait_for("STATUS=serving").await?;

            unit.forget();
            unit.signal(Signal::HUP)?;
            unit.wait_for("RELOADING=1").await?;
            unit.wait_until(|line| line.starts_with("MONOTONIC_USEC=")).await?;
            unit.wait_for("READY=1").await?;

            unit.signal(Signal::TERM)?;
            unit.wait_for("STOPPING=1").await?;
            unit.wait_until(|line| line.starts_with("EXTEND_TIMEOUT_USEC=")).await?;
            ensure!(unit.ended().await?.success());
        }
        Ok(())
    });
}

#[test]
fn a_service_that_hangs_feeds_the_watchdog_no_more_and_one_with_a_stuck_actor_ends_before() {
    run_flow(async || {
        let stack = stack(true).await?;
        let (unit, nodes) = gateway(&stack)?;
        let time = Duration::from_secs(3);
        let mut unit = unit.with_watchdog(time);
        unit.start().await?;
        for _ in 0..3 {
            unit.wait_for("WATCHDOG=1").await?;
        }
        unit.signal(Signal::STOP)?;
        unit.forget();
        let fed = tokio::time::timeout(time, unit.wait_for("WATCHDOG=1")).await;
        ensure!(fed.is_err(), "a process that does not run feeds it");
        unit.signal(Signal::KILL)?;
        unit.ended().await?;
        unit.start().await?;

        // The supervisor finds it out by itself, while it feeds the watchdog.
        wedge(&nodes.admin_socket(), "views").await?;
        unit.forget();
        let fed = RefCell::new(0);
        let ends = unit.wait_until(|line| {
            *fed.borrow_mut() += usize::from(line == "WATCHDOG=1");
            line == "STOPPING=1"
        });
        ends.await?;
        ensure!(*fed.borrow() >= 3, "{} times", fed.borrow());
        let status = unit.ended().await?;
        ensure!(status.code() == Some(70), "{status}: {}", unit.log_text());
        Ok(())
    });
}

/// Makes an actor block its thread.
async fn wedge(socket: &Path, actor: &str) -> anyhow::Result<()> {
    let mut command = Command::new(GATEWAY);
    command.args(["crash", actor, "--wedge", "--socket"]).arg(socket).kill_on_drop(true);
    let status = command.status().await.context("the program")?;
    ensure!(status.success(), "{status}");
    Ok(())
}

//! `stream-dev load` as an operator runs it: against a gateway, with what goes well and what does
//! not.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use stream_dev::in_process::{Options, Stack};
use toml::toml;

use crate::support::fleet::{Fleet, Unit};
use crate::support::{APP, eventually, run_flow, stream_dev};
use tokio::process::Command;

/// Far more than anything here takes.
const LOAD_TIMEOUT: Duration = Duration::from_secs(3_000);

/// Has it use the gateway of the stack.
async fn load(stack: &Stack, more: &[&str]) -> anyhow::Result<(Output, Value, String)> {
    load_at(&stack.nodes.gateway_url(), stack, more).await
}

/// Has `stream-dev load` use `gateway`, one of the stack; returns its output, and what it wrote.
async fn load_at(
    gateway: &str,
    stack: &Stack,
    more: &[&str],
) -> anyhow::Result<(Output, Value, String)> {
    let out = tempfile::tempdir()?;
    let mut command = Command::new(stream_dev());
    command.args(["load", "--gateway", gateway, "--quiet", "20", "--out"]);
    command.arg(out.path()).args(more).kill_on_drop(true);
    command.env("ASG_API_TOKEN", &stack.token);
    command.env("STREAM_GATEWAY_SHA256", stack.nodes.gateway_pin()?.to_string());
    let output = tokio::time::timeout(LOAD_TIMEOUT, command.output()).await??;
    let read = |name| {
        std::fs::read_to_string(out.path().join(name))
            .with_context(|| format!("{name}: {}", String::from_utf8_lossy(&output.stderr)))
    };
    let (figures, report) = (read("load.json")?, read("report.html")?);
    for text in [&figures, &report] {
        ensure!(!text.contains(stack.token.as_str()), "the token is in a report");
    }
    Ok((output, serde_json::from_str(&figures)?, report))
}

/// How often `hop` was reached in the last run.
fn count(figures: &Value, hop: &str) -> u64 {
    let run = figures["runs"].as_array().and_then(|runs| runs.last());
    let hops = run.and_then(|run| run["hops"].as_array()).map_or(&[][..], Vec::as_slice);
    hops.iter().find(|one| one["hop"] == hop).map_or(0, |one| one["count"].as_u64().unwrap_or(0))
}

#[test]
fn a_load_tells_every_hop_resumes_freezes_and_leaves_nothing_behind() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let shape = ["--sessions", "8", "--rate", "8", "--length", "2"];
        let (output, figures, report) =
            load(&stack, &[&shape[..], &["--resume-every", "1", "--frozen", "25"]].concat())
                .await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{said}");
        for (hop, wanted) in [("create", 8), ("socket", 8), ("first_signal", 8), ("delete", 8)] {
            ensure!(count(&figures, hop) == wanted, "{hop}: {figures}");
        }
        // Two of eight freeze; the others signal once a second, and go on after each.
        let signals = count(&figures, "signal");
        ensure!((6..=12).contains(&signals), "{signals} signals");
        ensure!(count(&figures, "resume") == signals, "{figures}");
        let left = figures["left"].as_array().context("left")?;
        for what in ["memory (MiB)", "open files", "sockets", "sessions"] {
            let held = left.iter().find(|held| held["what"] == what).context(what)?;
            ensure!(held["left"] == false, "{held}");
            let ends = matches!(what, "sockets" | "sessions");
            ensure!(!ends || held["after"] == 0.0 && held["most"] != 0.0, "{held}");
        }
        ensure!(report.contains("<polyline") && report.contains("signal and answer"), "no plot");
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(table.contains("8 sessions at 8.0/s"), "{table}");
        Ok(())
    });
}

#[test]
fn a_load_with_media_sees_pictures() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let (output, figures, _) =
            load(&stack, &["--sessions", "2", "--rate", "2", "--length", "1", "--media"]).await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ensure!(count(&figures, "connected") == 2 && count(&figures, "first_picture") == 2);
        Ok(())
    });
}

#[test]
fn a_load_counts_refusals_by_their_cause_and_fails() {
    run_flow(async || {
        // Enough for the start, and not for all that come at once.
        let gateway = toml! { gateway.requests_per_second = 4 };
        let stack = Stack::start(Options { gateway, ..Options::default() }).await?;
        let (output, figures, _) =
            load(&stack, &["--sessions", "100", "--rate", "1000", "--length", "0"]).await?;
        ensure!(output.status.code() == Some(1), "it ends with {}", output.status);
        let failures = figures["runs"][0]["failures"].to_string();
        ensure!(failures.contains("429"), "{failures}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(said.contains("sessions failed"), "{said}");
        Ok(())
    });
}

#[test]
fn the_largest_rate_is_looked_for_by_trying() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        // No creation takes a millisecond only: none of the rates holds.
        let shape = ["--sessions", "2", "--rate", "40", "--length", "0", "--find-rate"];
        let (output, figures, _) = load(&stack, &[&shape[..], &["--bound", "0"]].concat()).await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tried = figures["search"]["tried"].as_array().context("what was tried")?;
        ensure!(tried.len() > 2 && tried[1] == 20.0, "{tried:?}");
        ensure!(figures["search"]["largest_rate"].is_null(), "{figures}");
        ensure!(figures["application"] == APP, "{figures}");
        Ok(())
    });
}

/// What must not grow with the sessions that have come and gone.
#[derive(Debug)]
struct Holding {
    /// Of NATS.
    subscriptions: u64,
    consumers: u64,
    connections: u64,
    /// Descriptors and threads of each unit.
    units: Vec<(usize, usize)>,
}

impl Holding {
    fn of(fleet: &Fleet) -> anyhow::Result<Self> {
        let (varz, jsz) =
            (fleet.stack.nats.statistics("varz")?, fleet.stack.nats.statistics("jsz")?);
        let number = |page: &Value, name: &str| page[name].as_u64().context(name.to_owned());
        let count = |unit: &Unit, what: &str| {
            let path = format!("/proc/{}/{what}", unit.process.pid());
            anyhow::Ok(std::fs::read_dir(path)?.count())
        };
        let units = fleet.agents.iter().chain(&fleet.gateways);
        Ok(Self {
            subscriptions: number(&varz, "subscriptions")?,
            connections: number(&varz, "connections")?,
            consumers: number(&jsz, "consumers")?,
            units: units
                .map(|unit| anyhow::Ok((count(unit, "fd")?, count(unit, "task")?)))
                .collect::<anyhow::Result<_>>()?,
        })
    }

    /// Whether nothing has grown by more than one in twenty, and two.
    fn is_no_more_than(&self, before: &Self) -> bool {
        let small = |now: u64, before: u64| now <= before + before / 20 + 2;
        let units = self.units.iter().zip(&before.units);
        small(self.subscriptions, before.subscriptions)
            && small(self.consumers, before.consumers)
            && small(self.connections, before.connections)
            && units.into_iter().all(|(now, before)| {
                small(now.0 as u64, before.0 as u64) && small(now.1 as u64, before.1 as u64)
            })
    }
}

#[test]
fn sessions_that_come_and_go_leave_nothing_open() {
    run_flow(async || {
        let many = if std::env::var_os("STREAM_TEST_LONG").is_some() { "20000" } else { "60" };
        let gateway = toml! {
            gateway.requests_per_second = 10_000
            http.requests_per_address = 10_000
        };
        let fleet = Fleet::start(Options { gateway, ..Options::default() }, 1, 1).await?;
        let url = fleet.gateways[0].nodes.gateway_url();
        let churn = async |sessions: &str| {
            let shape = ["--sessions", sessions, "--rate", "12", "--length", "0"];
            let (output, figures, _) = load_at(&url, &fleet.stack, &shape).await?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            anyhow::Ok(figures)
        };
        // The first ones open what stays open.
        churn("20").await?;
        let before = Holding::of(&fleet)?;
        let figures = churn(many).await?;
        ensure!(count(&figures, "delete").to_string() == many, "{figures}");
        let mut last = None;
        let settled = eventually("what it was", async || {
            let now = last.insert(Holding::of(&fleet)?);
            Ok(now.is_no_more_than(&before).then_some(()))
        });
        settled.await.with_context(|| format!("{last:?} after {before:?}"))?;
        Ok(())
    });
}

//! How soon the console is there, how it does with 10,000 sessions in the store, and how soon it
//! shows what has happened, in real browsers.
//!
//! The floor of its first view is a page of one line from the same server, over a new connection as
//! well.

mod changes;

use std::process::Stdio;

use anyhow::{Context, ensure};
use serde::Deserialize;
use stream_dev::ams::APPLICATION;
use tokio::process::Command;

use super::report::{Figure, Report, Samples};
use super::stored::Stored;

/// Every other one has ended, and is in no list.
const STORED: usize = 20_000;
const LISTED: usize = STORED / 2;

const ROUNDS: usize = 10;

/// In milliseconds, on the loopback.
const FIRST_VIEW: f64 = 300.0;

/// Beside a page of one line: some forty files more, over the same connection.
const FIRST_VIEW_TIMES: f64 = 5.0;

/// In milliseconds: two consoles show what has happened, at the latest.
const SEEN: f64 = 1000.0;

/// What is told comes from the same write that the answer waits for, and is shown with all that
/// comes within the next tenth of a second.
const SEEN_TIMES: f64 = 20.0;

/// In milliseconds: ten pages of the list one after the other, and the table.
const TABLE: f64 = 2000.0;

/// What the script in the browser has measured, round by round.
#[derive(Deserialize)]
struct Measured {
    floor: Vec<f64>,
    first_view: Vec<f64>,
    listed: Vec<f64>,
    long_tasks: Vec<f64>,
    created: Vec<f64>,
    seen: Vec<f64>,
}

pub(super) async fn run() -> anyhow::Result<Report> {
    let stored = Stored::start(STORED).await?;
    eprintln!("{STORED} sessions are stored");
    let measured = measure(&stored).await;
    stored.stop().await;
    let measured = measured?;
    let beside = |name, times: &[f64], (other_is, other): (_, &[f64]), goal| {
        Figure::time(name, &Samples::of(times), (other_is, &Samples::of(other)), goal)
    };
    let to_reach = |name, times: &[f64], most| {
        Figure::lower(name, "ms", Samples::of(times).median(), ("what is to be reached", most), 1.0)
    };
    let Measured { floor, first_view, listed, long_tasks, created, seen } = measured;
    let mut figures = vec![
        to_reach("first view", &first_view, FIRST_VIEW),
        beside("first view", &first_view, ("a page of one line", &floor), FIRST_VIEW_TIMES),
        to_reach("10,000 rows", &listed, TABLE),
        Figure::lower(
            "tasks over 50 ms",
            "all",
            long_tasks.iter().sum(),
            ("a single one", 1.0),
            0.0,
        ),
        to_reach("seen by two", &seen, SEEN),
        beside("seen by two", &seen, ("the creation itself", &created), SEEN_TIMES),
    ];
    let slowest = |name, times: &Samples| {
        let most = ("what is to be reached", SEEN);
        Figure::lower(name, "ms, worst", times.percentile(1.0), most, 1.0)
    };
    let changes = changes::measure().await?;
    figures.extend(changes::CHANGES.iter().zip(&changes).map(|(name, times)| slowest(name, times)));
    Ok(Report::new(figures))
}

async fn measure(stored: &Stored) -> anyhow::Result<Measured> {
    let script = stream_dev::checkout().join("tests/browser/console_times.mjs");
    // As an operator, who is told of changes; others ask for all again every two seconds.
    let mut node = Command::new("node");
    node.arg(script).arg(stored.gateway_url()).arg(APPLICATION);
    node.args([LISTED.to_string(), ROUNDS.to_string()]);
    node.env("STREAM_TOKEN", stored.operator().await?).stdout(Stdio::piped()).kill_on_drop(true);
    let output = node.spawn()?.wait_with_output().await?;
    ensure!(output.status.success(), "the browser failed");
    serde_json::from_slice(&output.stdout).context("the figures of the browser")
}

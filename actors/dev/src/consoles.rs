//! Two consoles in real browsers, which look at what somebody does elsewhere.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long an order may take; the script gives up earlier, and says why.
const ORDER_TIMEOUT: Duration = Duration::from_secs(60);

/// Two browsers with a console each; they end with it.
pub struct Consoles {
    node: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Consoles {
    /// Opens both at the gateway at `url`, signed in with `token`.
    pub async fn open(url: &str, token: &str) -> anyhow::Result<Self> {
        let mut node = Command::new("node");
        node.arg(crate::checkout().join("tests/browser/consoles.mjs")).arg(url);
        node.env("STREAM_TOKEN", token).kill_on_drop(true);
        node.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut node = node.spawn().context("node")?;
        let orders = node.stdin.take().context("stdin")?;
        let stdout = node.stdout.take().context("stdout")?;
        let mut consoles = Self { node, orders, answers: BufReader::new(stdout).lines() };
        consoles.answer().await?;
        Ok(consoles)
    }

    /// Opens a view in both, such as `#/agents`.
    pub async fn go(&mut self, view: &str) -> anyhow::Result<()> {
        self.tell(json!({ "go": view })).await.map(drop)
    }

    /// Waits until both see what `selector` names; returns how long that took.
    pub async fn see(&mut self, selector: &str) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        self.tell(json!({ "see": selector })).await.with_context(|| selector.to_owned())?;
        Ok(begun.elapsed())
    }

    /// Has both carry out an order of the script, and returns its answer.
    pub async fn tell(&mut self, order: Value) -> anyhow::Result<Value> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> anyhow::Result<Value> {
        match timeout(ORDER_TIMEOUT, self.answers.next_line()).await?? {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => {
                let mut said = String::new();
                self.node.stderr.take().context("stderr")?.read_to_string(&mut said).await?;
                anyhow::bail!("the consoles failed: {said}")
            }
        }
    }
}

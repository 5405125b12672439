//! What operators do with relays, by the command line of the agent.

use anyhow::{Context, ensure};
use stream_dev::coturn::Coturn;
use stream_dev::in_process::{Options, Stack};
use stream_protocol::SessionId;
use stream_supervisor::Supervisor;
use tokio::process::Command;

use super::relays::{Shared, bridge, can_relay};
use crate::support::{STEP_TIMEOUT, eventually, light_instances, run_flow};

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");

/// What a command has said, and whether that is good.
struct Said {
    good: bool,
    out: String,
    error: String,
}

async fn turn(stack: &Stack, words: &[&str]) -> anyhow::Result<Said> {
    let mut command = Command::new(AGENT);
    command.arg("turn").args(words).arg("--socket").arg(stack.nodes.agent_socket());
    let output = tokio::time::timeout(STEP_TIMEOUT, command.kill_on_drop(true).output()).await??;
    Ok(Said {
        good: output.status.success(),
        out: String::from_utf8(output.stdout)?,
        error: String::from_utf8(output.stderr)?,
    })
}

/// What a session would be given.
async fn credentials(stack: &Stack) -> anyhow::Result<String> {
    let session = SessionId::random().to_string();
    let said = turn(stack, &["credentials", "--session", &session]).await?;
    ensure!(said.good, "{}", said.error);
    Ok(said.out)
}

/// The user name and the password that `said` has for a relay.
fn login<'a>(said: &'a str, relay: &str) -> anyhow::Result<(&'a str, &'a str)> {
    let (_, behind) = said.split_once(relay).context("the relay")?;
    let after = |name: &str| {
        let line = behind.lines().find_map(|line| line.trim().strip_prefix(name));
        line.map(str::trim).context("a credential")
    };
    Ok((after("username ")?, after("password ")?))
}

#[test]
fn a_relay_is_drained_and_the_secret_changed_by_commands() {
    run_flow(async || {
        let options = Options { coturn: true, launcher: light_instances(), ..Options::default() };
        let mut stack = Stack::start(options).await?;
        let secret = stack.nodes.turn_secret()?;
        let second = Coturn::start(&stack.nodes.dir.join("second"), &secret)?;
        let mut relays = [stack.coturn.take().context("a relay")?, second];
        let urls = relays.each_ref().map(Coturn::url);
        stack.config.turn.push(urls[1].clone());
        stack.nodes.write_agent(&stack.config)?;
        stack.restart_agent().await?;

        let offered = async |wanted: [bool; 2]| {
            eventually("so", async || {
                let said = credentials(&stack).await?;
                Ok((urls.each_ref().map(|url| said.contains(url)) == wanted).then_some(()))
            })
            .await
        };
        offered([true, true]).await?;
        ensure!(turn(&stack, &["drain", &urls[0]]).await?.good);
        offered([false, true]).await?;
        let probed = turn(&stack, &["probe"]).await?.out;
        let row = probed.lines().find(|line| line.contains(&urls[0])).context("its row")?;
        ensure!(row.contains("drained"), "{probed}");
        ensure!(!turn(&stack, &["drain", &urls[1]]).await?.good, "none would be left");
        ensure!(turn(&stack, &["undrain", &urls[0]]).await?.good);
        offered([true, true]).await?;

        let waiting = turn(&stack, &["rotate"]).await?;
        let Said { good: false, out, error } = waiting else {
            anyhow::bail!("no relay has the new secret")
        };
        ensure!(urls.iter().all(|url| error.contains(url)), "{error}");
        ensure!(error.contains("nothing has changed"), "{error}");
        let new = out.trim();
        relays.iter().try_for_each(|relay| relay.add_secret(new))?;
        let Said { good, out, error } = turn(&stack, &["rotate"]).await?;
        ensure!(good && error.contains("the new secret is in use"), "{out}{error}");

        let early = turn(&stack, &["retire"]).await?;
        ensure!(!early.good && early.error.contains("good for another"), "{}", early.error);
        let supervisor = Supervisor::default();
        let sealing_key = stack.nodes.agent_dir().join("sealing.key");
        let shared = Shared { bridge: bridge(&stack.nats, &supervisor)?, sealing_key };
        shared.age_old_secret().await?;
        let still_on = eventually("old", async || {
            let said = turn(&stack, &["retire"]).await?;
            Ok((!said.error.contains("good for another")).then_some(said))
        });
        let still_on = still_on.await?;
        ensure!(!still_on.good && still_on.error.contains("still on"), "{}", still_on.error);
        for relay in &mut relays {
            relay.restart(&[new])?;
        }
        let retired = turn(&stack, &["retire"]).await?;
        ensure!(retired.good && retired.error.contains("forgotten"), "{}", retired.error);
        ensure!(!turn(&stack, &["retire"]).await?.good, "there is no old one");

        // Relays that know the new one only.
        offered([true, true]).await?;
        let said = credentials(&stack).await?;
        for (relay, url) in relays.iter().zip(&urls) {
            let (username, password) = login(&said, url)?;
            ensure!(can_relay(relay, username, password).await?, "{url}: {said}");
        }
        supervisor.stop();
        stack.stop().await;
        Ok(())
    });
}

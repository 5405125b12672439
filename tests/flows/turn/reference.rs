//! The reference configuration of coturn, word for word, as whoever holds credentials meets it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use stream_dev::coturn::Coturn;
use stream_dev::ports;
use stream_dev::process::{Process, find};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::{STEP_TIMEOUT, run_flow};

const REFERENCE: &str = include_str!("../../../config/turnserver.conf");

const SECRET: &str = "a-secret-of-sixteen-or-more";

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// What comes of a try to relay to `peer`: the error that the relay answers, or none.
async fn attempt(port: u16, peer: &str, kind: &[&str]) -> anyhow::Result<Option<String>> {
    let program = find("turnutils_uclient").context("turnutils_uclient belongs to coturn")?;
    // Each with a quota of its own.
    let user = format!("to-{}{}", peer.replace('.', "-"), kind.concat());
    let mut child = Command::new(program)
        .args(["-v", "-W", SECRET, "-n", "1", "-m", "1", "-e", peer, "-p", &port.to_string()])
        .args(["-u", &user])
        .args(kind)
        .arg("127.0.0.1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
    let said = async {
        let mut all = String::new();
        while let Some(line) = lines.next_line().await? {
            // The first is the question for a nonce.
            if line.contains("error 4") && !line.contains("error 401") {
                return Ok(Some(line));
            }
            if line.contains("start_mclient: msz") {
                return Ok(None);
            }
            all.push_str(&line);
        }
        anyhow::bail!("it said nothing of the kind: {all}")
    };
    tokio::time::timeout(STEP_TIMEOUT, said).await?
}

#[test]
fn the_reference_relays_to_the_world_and_into_no_private_network() {
    run_flow(async || {
        let dir = tempfile::tempdir()?;
        let port = ports::free();
        let own = format!(
            "listening-ip=127.0.0.1\nrelay-ip=127.0.0.1\npidfile={dir}/pid\nuserdb={dir}/users\n\
             log-file=stdout\n",
            dir = dir.path().display()
        );
        let text = REFERENCE
            .replace("listening-port=3478", &format!("listening-port={port}"))
            .replace("REPLACE-WITH-THE-CONTENTS-OF-turn.secret", SECRET);
        anyhow::ensure!(text.contains(SECRET) && text.contains(&port.to_string()), "{text}");
        let config = dir.path().join("turnserver.conf");
        std::fs::write(&config, text + &own)?;
        let program = Coturn::find().context("there is no coturn: install the package coturn")?;
        let log = dir.path().join("log");
        let arguments = ["-c".as_ref(), config.as_os_str()];
        let mut process = Process::start("coturn", &program, &arguments, &log)?;
        process.wait_for_port(port, START_TIMEOUT)?;
        // Words that it does not know would be said here, and ignored.
        let said = std::fs::read_to_string(&log)?;
        for wrong in ["Bad configuration", "WARNING", "ERROR"] {
            assert!(!said.contains(wrong), "{said}");
        }

        for peer in ["10.0.0.5", "127.0.0.1", "169.254.169.254", "172.16.3.4", "192.168.1.1"] {
            let answer = attempt(port, peer, &[]).await?.unwrap_or_default();
            assert!(answer.contains("403"), "{peer}: {answer}");
        }
        assert_eq!(attempt(port, "192.0.2.9", &[]).await?, None, "an address of the world");
        let tcp = attempt(port, "192.0.2.9", &["-T", "-t"]).await?.unwrap_or_default();
        assert!(tcp.contains("442"), "TCP is relayed: {tcp}");
        Ok(())
    });
}

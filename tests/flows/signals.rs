//! The signals of the system, sent to both programs as they run for operators.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use rustix::process::{Pid, Signal, kill_process};
use stream_dev::keys::KeyStore;
use stream_dev::node_files::{NodeFiles, StackConfig};
use stream_dev::process::Process;

use crate::support::{eventually, run_flow};

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");
const GATEWAY: &str = env!("CARGO_BIN_EXE_stream-gateway");
const START_WITHIN: Duration = Duration::from_secs(20);

fn send(process: &Process, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(process.pid()).ok().and_then(Pid::from_raw);
    Ok(kill_process(pid.ok_or_else(|| anyhow::anyhow!("its process id"))?, signal)?)
}

fn has_said(process: &Process, words: &str) -> anyhow::Result<bool> {
    Ok(std::fs::read_to_string(process.log())?.contains(words))
}

/// Sends every signal that ends nothing, and waits until the program has said so.
async fn survives(process: &mut Process) -> anyhow::Result<()> {
    let others = [
        (Signal::USR1, "a signal asks for nothing here signal=SIGUSR1"),
        (Signal::USR2, "a signal asks for nothing here signal=SIGUSR2"),
        (Signal::ALARM, "a signal asks for nothing here signal=SIGALRM"),
        (Signal::HUP, "reading the files again signal=SIGHUP"),
    ];
    for (signal, says) in others {
        send(process, signal)?;
        eventually(says, async || {
            ensure!(process.ended().is_none(), "{says}: {}", process.last_words());
            Ok(has_said(process, says)?.then_some(()))
        })
        .await?;
    }
    Ok(())
}

#[test]
fn no_signal_but_those_that_ask_for_it_ends_a_program() {
    run_flow(async || {
        let (dir, keys) = (tempfile::tempdir()?, KeyStore::shared()?);
        let nodes = NodeFiles::prepare(&dir.path().join("nodes"), &keys)?;
        // Nobody is there: neither is needed to listen for signals.
        let nats = keys.signed("nats")?;
        let token = dir.path().join("token");
        stream_dev::keys::write_secret(&token, "a-token-of-sixteen-or-more")?;
        let nobody = stream_bridge::Config {
            servers: vec!["tls://127.0.0.1:1".to_owned()],
            ca: nats.authority,
            token: Some(token),
            credentials: None,
            nkey: None,
            certificate: None,
            key: None,
            replicas: 1,
        };
        let config = StackConfig::new(nobody, &nodes)?;
        for (name, program, config, port) in [
            ("agent", AGENT, nodes.write_agent(&config)?, nodes.agent_port),
            ("gateway", GATEWAY, nodes.write_gateway(&config)?, nodes.gateway_port),
        ] {
            let log = dir.path().join(format!("{name}.log"));
            let arguments = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
            let mut process = Process::start(name, Path::new(program), &arguments, &log)?;
            process.wait_for_port(port, START_WITHIN)?;
            survives(&mut process).await?;
            // The second one does not wait for what is left.
            send(&process, Signal::QUIT)?;
            let stopping = async || {
                Ok(has_said(&process, "stopping on a signal signal=SIGQUIT")?.then_some(()))
            };
            eventually("stopping", stopping).await?;
            send(&process, Signal::QUIT)?;
            let status = eventually("ended", async || Ok(process.ended())).await?;
            ensure!(status.success(), "{name}: {status}");
        }
        Ok(())
    });
}

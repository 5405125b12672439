//! `doctor`: a healthy stack has nothing to tell, and every fault that is made is told by name,
//! with what to do about it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::certificates::dated;
use crate::support::{STEP_TIMEOUT, eventually, light_instances, run_flow};
use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use serde_json::Value;
use stream_dev::in_process::{Options, Stack};
use stream_dev::keys::{KeyStore, write_secret};
use stream_dev::node_files::merge;
use stream_pki::{create_private_dir, write_new};
use tokio::process::Command;
use toml::{Table, toml};

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");
const GATEWAY: &str = env!("CARGO_BIN_EXE_stream-gateway");

/// What `doctor` says of a configuration, and its exit code.
async fn doctor(program: &str, config: &Path) -> anyhow::Result<(Value, i32)> {
    let mut command = Command::new(program);
    command.args(["doctor", "--json", "--config"]).arg(config).kill_on_drop(true);
    let output = tokio::time::timeout(STEP_TIMEOUT, command.output()).await??;
    let said = serde_json::from_slice(&output.stdout);
    let said = said.with_context(|| format!("{output:?}"))?;
    Ok((said, output.status.code().context("a code")?))
}

/// A fault: what of the configuration is another one, and which words tell of it.
struct Fault {
    name: &'static str,
    program: &'static str,
    keys: Table,
    severity: &'static str,
    what: &'static str,
    remedy: &'static str,
}

impl Fault {
    fn gateway(name: &'static str, keys: Table, told: [&'static str; 3]) -> Self {
        let [severity, what, remedy] = told;
        Self { name, program: GATEWAY, keys, severity, what, remedy }
    }

    fn agent(name: &'static str, keys: Table, told: [&'static str; 3]) -> Self {
        Self { program: AGENT, ..Self::gateway(name, keys, told) }
    }

    /// Writes the configuration with the fault beside the good one.
    fn write(&self, stack: &Stack) -> anyhow::Result<PathBuf> {
        let dir = &stack.nodes.dir;
        let of = if self.program == AGENT { "agent.toml" } else { "gateway.toml" };
        let mut config: Table = fs::read_to_string(dir.join(of))?.parse()?;
        merge(&mut config, self.keys.clone());
        let path = dir.join(format!("{}.toml", self.name));
        fs::write(&path, toml::to_string(&config)?)?;
        Ok(path)
    }

    async fn is_told(&self, stack: &Stack) -> anyhow::Result<()> {
        let (report, code) = doctor(self.program, &self.write(stack)?).await?;
        let name = self.name;
        let wanted = if self.severity == "error" { 2 } else { 1 };
        ensure!(code >= wanted, "{name}: {code}: {report}");
        let says = |finding: &Value, of: &str, words: &str| {
            finding[of].as_str().is_some_and(|text| text.contains(words))
        };
        let findings = report["findings"].as_array().context("findings")?;
        let is_it = |finding: &&Value| {
            finding["severity"] == self.severity
                && says(finding, "what", self.what)
                && says(finding, "remedy", self.remedy)
        };
        ensure!(findings.iter().any(|finding| is_it(&finding)), "{name} is not told: {report:#}");
        Ok(())
    }
}

/// Faults of configuration and files, each beside a stack that is well.
fn faults(dir: &Path, keys: &KeyStore) -> anyhow::Result<Vec<Fault>> {
    create_private_dir(dir)?;
    let path = |name: &str| dir.join(name).display().to_string();
    let of_pair = |name: &str| -> anyhow::Result<_> {
        let pair = keys.pair(name)?.copy(dir, name)?;
        Ok((pair.certificate.display().to_string(), pair.key.display().to_string()))
    };
    let (stranger, stranger_key) = of_pair("agent-2")?;
    let (_, server_key) = of_pair("gateway")?;
    let pair_key = stranger_key.clone();
    fs::copy(&server_key, path("open.key"))?;
    fs::set_permissions(path("open.key"), Permissions::from_mode(0o644))?;
    let expired = dated(&fs::read_to_string(&server_key)?, false, [-9, -1])?;
    let soon = dated(&fs::read_to_string(&server_key)?, false, [-300, 9])?;
    write_new(path("expired.crt"), expired.as_bytes(), 0o644)?;
    write_new(path("soon.crt"), soon.as_bytes(), 0o644)?;
    write_secret(path("other.token"), "another-token-of-sixteen-or-more\n")?;
    fs::copy(keys.pair("ams")?.certificate, path("other-ca.crt"))?;
    create_private_dir(path("state"))?;
    fs::write(path("state/gateway.root.generation"), "1")?;
    write_secret(path("root.key"), "x".repeat(64))?;
    create_private_dir(path("open"))?;
    fs::set_permissions(path("open"), Permissions::from_mode(0o755))?;

    let (open, expired, soon) = (path("open.key"), path("expired.crt"), path("soon.crt"));
    let (token, ca, missing) = (path("other.token"), path("other-ca.crt"), path("none"));
    let (state, root, open_state) = (path("state"), path("root.key"), path("open"));
    let (socket, pin) = (path("none.socket"), "ab".repeat(32));
    let in_key = server_key.clone();
    Ok(vec![
        Fault::gateway(
            "value",
            toml! { gateway.workers = 0 },
            ["error", "workers", "check-config"],
        ),
        Fault::gateway(
            "nats-away",
            toml! { nats.servers = ["tls://127.0.0.1:9"] },
            ["error", "127.0.0.1:9: it cannot be reached", "[nats]"],
        ),
        Fault::gateway(
            "nats-ca",
            toml! { nats.ca = ca },
            ["error", "authority that is not among the trusted", "[nats]"],
        ),
        Fault::gateway(
            "nats-token",
            toml! { nats.token = token },
            ["error", "check nats.token", "[nats]"],
        ),
        Fault::gateway(
            "replicas",
            toml! { nats.replicas = 3 },
            ["warning", "has 1 copies, and [nats] replicas asks for 3", "--replicas 3"],
        ),
        Fault::gateway(
            "open-key",
            toml! { tls.key = open },
            ["error", "everybody may read it", "correct"],
        ),
        Fault::gateway(
            "foreign-key",
            toml! { tls.key = stranger_key },
            ["error", "is not the key of the certificate", "together"],
        ),
        Fault::gateway(
            "expired",
            toml! { tls.certificate = expired tls.key = server_key },
            ["error", "has expired on", "with its key"],
        ),
        Fault::gateway(
            "soon",
            toml! { tls.certificate = soon tls.key = in_key },
            ["warning", "ends in 9 days", "with its key"],
        ),
        Fault::gateway(
            "sealing-key",
            toml! { tokens.sealing_key = missing },
            ["error", "does not exist: run `init`", "correct"],
        ),
        Fault::gateway(
            "left-over",
            toml! { tokens.state = state tokens.first_root_key = root },
            ["warning", "is used no more: NATS has its secret", "remove it"],
        ),
        Fault::gateway(
            "open-state",
            toml! { tokens.state = open_state },
            ["error", "others may enter it", "chmod 0700"],
        ),
        Fault::gateway("port", toml! { admin.socket = socket }, ["error", "is taken", "ss -ltnp"]),
        Fault::agent(
            "ams-pin",
            toml! { ams.fingerprints = [pin] },
            ["error", "none of the configured fingerprints", "[ams]"],
        ),
        Fault::agent(
            "ams-trust",
            toml! { ams.certificate = stranger ams.key = pair_key },
            ["error", "does not trust our client certificate", "ams register"],
        ),
        Fault::agent(
            "relay",
            toml! { turn.servers = [{ urls = ["turn:127.0.0.1:9"] }] },
            ["error", "relay turn:127.0.0.1:9", "start the relay"],
        ),
        Fault::agent(
            "no-relay",
            toml! { turn.servers = [] },
            ["warning", "no relay is configured", "[turn] servers"],
        ),
    ])
}

#[test]
fn a_healthy_stack_has_nothing_to_tell_and_each_fault_is_named_with_its_remedy() {
    run_flow(async || {
        let options = Options { launcher: light_instances(), coturn: true, ..Options::default() };
        let stack = Stack::start(options).await?;
        let dir = stack.nodes.dir.clone();
        for (program, file) in [(AGENT, "agent.toml"), (GATEWAY, "gateway.toml")] {
            // The first secrets go once they are stored.
            let (report, _) = eventually("healthy", async || {
                let (report, code) = doctor(program, &dir.join(file)).await?;
                log::info!("{report:#}");
                Ok((code == 0).then_some((report, code)))
            })
            .await
            .with_context(|| format!("{program} is not well"))?;
            ensure!(report["severity"] == "good", "{report}");
            let areas: Vec<_> = report["findings"].as_array().into_iter().flatten().collect();
            for area in ["configuration", "files", "certificates", "clocks", "nats", "unit"] {
                ensure!(areas.iter().any(|one| one["area"] == area), "nothing of {area}: {report}");
            }
        }
        let faults = faults(&dir.join("faults"), &KeyStore::shared()?)?;
        for some in faults.chunks(4) {
            try_join_all(some.iter().map(|fault| fault.is_told(&stack))).await?;
        }

        // AMS was told of a certificate that is not shown any more.
        let (other, url) = ("ab".repeat(32), stack.nodes.agent_url());
        for (key, value) in [("url", url.as_str()), ("token", "t"), ("fingerprint", &other)] {
            stack.ams.configure(&format!("agent.api.{key}"), value).map_err(anyhow::Error::msg)?;
        }
        let expects = Fault::agent(
            "agent-pin",
            Table::new(),
            ["error", "expects the certificate abab", "ams configure"],
        );
        expects.is_told(&stack).await?;

        // Nothing runs, and nothing hangs.
        stack.gateway.stop().await;
        let (report, code) = doctor(GATEWAY, &dir.join("gateway.toml")).await?;
        ensure!(code >= 1, "{report}");
        let text = report.to_string();
        ensure!(text.contains("does not run") || text.contains("is taken"), "{text}");
        Ok(())
    });
}

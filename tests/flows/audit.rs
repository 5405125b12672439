//! The audit log, as the programs write it: what is ordered is in it, and whatever is done to it is
//! found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use stream_dev::in_process::{Options, Stack, account, wait_for_agent};
use stream_dev::keys::KeyStore;
use stream_dev::node_files::{NodeFiles, merge};
use stream_gateway::admin::Client;
use stream_pki::{Trust, client_config};
use tokio::process::Command;

use crate::support::mounts::may_mount;
use crate::support::systemd::Systemd;
use crate::support::{APP, ScriptedStack, becomes, eventually, light_instances, run_flow};

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");
const GATEWAY: &str = env!("CARGO_BIN_EXE_stream-gateway");

/// A gateway as a program of its own, with an audit log in `file`.
async fn prepared(file: impl Fn(&Path) -> PathBuf) -> anyhow::Result<(Stack, NodeFiles, PathBuf)> {
    let mut stack =
        Stack::start(Options { launcher: light_instances(), ..Options::default() }).await?;
    let nodes = stack.nodes.join_gateway("gateway-as-program", &KeyStore::shared()?)?;
    let file = file(&nodes.dir);
    let audit: toml::Table = toml::from_str(&format!("[audit]\nfile = {file:?}"))?;
    merge(&mut stack.config.gateway, audit);
    nodes.write_gateway(&stack.config)?;
    Ok((stack, nodes, file))
}

/// What `audit verify` of the gateway says, and whether that is good.
async fn verify(nodes: &NodeFiles, more: &[&str]) -> anyhow::Result<(bool, String)> {
    verify_as(GATEWAY, &nodes.dir.join("gateway.toml"), more).await
}

/// What `audit verify` of a service says, and whether that is good.
async fn verify_as(program: &str, config: &Path, more: &[&str]) -> anyhow::Result<(bool, String)> {
    let mut command = Command::new(program);
    command.args(["audit", "verify", "--config"]).arg(config).args(more);
    let output = command.kill_on_drop(true).output().await?;
    let said = String::from_utf8([output.stdout, output.stderr].concat())?;
    Ok((output.status.success(), said))
}

fn lines(file: &Path) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(file)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

async fn call(
    nodes: &NodeFiles,
    url: &str,
    token: &str,
    (method, path, body): (Method, &str, Value),
) -> anyhow::Result<StatusCode> {
    let tls = client_config(&Trust::Pins(vec![nodes.gateway_pin()?]), None)?;
    let http = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?;
    let request = http.request(method, format!("{url}{path}")).json(&body);
    let answer = request.header(AUTHORIZATION, format!("Macaroon root={token}")).send().await?;
    Ok(answer.status())
}

fn session() -> (Method, &'static str, Value) {
    let screen = json!({ "width": 320, "height": 240, "fps": 5 });
    (Method::POST, "/1.0/sessions", json!({ "app": APP, "screen": screen }))
}

fn setting(rate: u32) -> (Method, &'static str, Value) {
    let change = json!({ "name": "requests_per_second", "value": rate.to_string() });
    (Method::PATCH, "/1.0/config", change)
}

/// Creates accounts one after the other until one is not answered with a token; returns the names
/// of the others.
async fn create_accounts(nodes: &NodeFiles, prefix: &str) -> (BTreeSet<String>, String) {
    let client = Client::new(nodes.admin_socket());
    let mut created = BTreeSet::new();
    loop {
        let name = format!("{prefix}-{}", created.len());
        match client.create_account(&name, None, Default::default()).await {
            Ok(_) => drop(created.insert(name)),
            Err(error) => return (created, error.to_string()),
        }
    }
}

#[test]
fn what_is_ordered_is_written_down_and_whatever_is_changed_is_found() {
    run_flow(async || {
        let (stack, nodes, file) = prepared(|dir| dir.join("audit.log")).await?;
        let mut unit = Systemd::new(GATEWAY, &nodes.dir.join("gateway.toml"), &nodes.dir)?;
        unit.start().await?;
        account(&nodes, "alice").await?;
        let operator = Command::new(GATEWAY)
            .args(["account", "create", "boss", "--operator", "--socket"])
            .arg(nodes.admin_socket())
            .output()
            .await?;
        let operator = String::from_utf8(operator.stdout)?.trim().to_owned();
        let url = unit.url()?;
        let status = call(&nodes, &url, &operator, setting(4321)).await?;
        ensure!(status == StatusCode::OK, "{status}");
        let status = call(&nodes, &url, &operator, session()).await?;
        ensure!(status.is_success(), "{status}");
        let told = async || {
            let created =
                |line: &&Value| line["what"] == "session.create" && line["why"].is_string();
            Ok(lines(&file)?.iter().find(created).cloned())
        };
        let step = eventually("noted", told).await?;
        ensure!(step["session"].is_string() && step["request"].is_string(), "{step}");
        let session = step["session"].as_str().context("an id")?;
        let path = format!("/1.0/sessions/{session}");
        let end = (Method::DELETE, path.as_str(), Value::Null);
        let status = call(&nodes, &url, &operator, end).await?;
        ensure!(status.is_success(), "{status}");
        let deleted = async || {
            let deleted = |line: &&Value| line["what"] == "session.delete";
            Ok(lines(&file)?.iter().find(deleted).cloned())
        };
        let deleted = eventually("noted", deleted).await?;
        ensure!(deleted["session"] == session && deleted["request"].is_string(), "{deleted}");
        ensure!(deleted["details"]["method"] == "DELETE", "{deleted}");
        ensure!(deleted["who"]["account"]["name"] == "boss", "{deleted}");

        let written = lines(&file)?;
        let of =
            |what: &str| written.iter().filter(|line| line["what"] == what).collect::<Vec<_>>();
        let uid = rustix::process::geteuid().as_raw();
        let created = of("account.create");
        // Attempts before the service had its keys were refused, and are written down as well.
        let alice = created.iter().rfind(|line| line["details"]["name"] == "alice");
        let alice = alice.context("the account")?;
        ensure!(alice["who"] == json!({ "operator": { "uid": uid } }), "{alice}");
        let outcome =
            created.iter().find(|line| line["of"] == alice["seq"]).context("its outcome")?;
        ensure!(outcome["done"] == true, "{outcome}");
        let changed = of("config.update");
        ensure!(changed.len() == 2 && changed[1]["done"] == true, "{changed:?}");
        let who = &changed[0]["who"]["account"];
        let token = who["token"].as_str().context("an id")?;
        ensure!(who["name"] == "boss" && !operator.contains(token), "{who}");
        ensure!(!std::fs::read_to_string(&file)?.contains(&operator), "a token is in it");

        // Somebody else moves it away.
        let moved = nodes.dir.join("audit.log.1");
        std::fs::rename(&file, &moved)?;
        unit.signal(Signal::HUP)?;
        eventually("a new file", async || Ok(file.exists().then_some(()))).await?;
        account(&nodes, "carol").await?;

        // Killed in the middle.
        let kill = async {
            account(&nodes, "the-first").await?;
            unit.signal(Signal::KILL)
        };
        let ((answered, _), killed) = tokio::join!(create_accounts(&nodes, "some"), kill);
        killed?;
        unit.ended().await?;
        unit.start().await?;
        account(&nodes, "dave").await?;
        // As soon as the service has reached NATS, it has told how far it is.
        let second = lines(&file)?[1]["seq"].as_u64().context("a number")?;
        let remembered = eventually("remembered", async || {
            let (is_intact, said) = verify(&nodes, &[]).await?;
            ensure!(is_intact, "{said}");
            let number = said.split("nats remembers number ").nth(1);
            let number = number.and_then(|rest| rest.lines().next()?.parse::<u64>().ok());
            Ok(number.filter(|number| *number > second))
        });
        remembered.await?;
        let text = std::fs::read_to_string(&file)?;
        for name in &answered {
            ensure!(text.contains(&format!("\"name\":\"{name}\"")), "{name} was answered");
        }
        println!("{} accounts were answered before the kill", answered.len());

        unit.stop().await?;
        let whole = std::fs::read_to_string(&file)?;
        let mut some: Vec<_> = whole.split_inclusive('\n').collect();
        some.remove(2);
        std::fs::write(&file, some.concat())?;
        let (is_intact, said) = verify(&nodes, &["--offline"]).await?;
        let place = format!("{}:3: ", file.display());
        ensure!(!is_intact && said.contains(&place) && said.contains("missing"), "{said}");
        // What cannot be seen in the files alone.
        std::fs::write(&file, whole.split_inclusive('\n').take(2).collect::<String>())?;
        ensure!(verify(&nodes, &["--offline"]).await?.0, "the files fit together");
        let (is_intact, said) = verify(&nodes, &[]).await?;
        ensure!(!is_intact && said.contains("lines are missing at the end"), "{said}");
        // The service that goes on with it says so for ever.
        unit.start().await?;
        let gap = async || Ok(lines(&file)?.into_iter().find(|line| line["what"] == "audit.gap"));
        eventually("noted", gap).await?;
        let (is_intact, said) = verify(&nodes, &["--offline"]).await?;
        ensure!(!is_intact && said.contains("were missing when this one was written"), "{said}");
        stack.stop().await;
        Ok(())
    });
}

#[test]
fn what_becomes_of_sessions_is_in_the_log_of_their_agent_with_its_cause() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let nodes = scripted.stack.nodes.join("program", "agent-2", &KeyStore::shared()?)?;
        let file = nodes.dir.join("audit.log");
        let audit: toml::Table = toml::from_str(&format!("[audit]\nfile = {file:?}"))?;
        merge(&mut scripted.stack.config.agent, audit);
        let config = nodes.write_agent(&scripted.stack.config)?;
        let mut unit = Systemd::new(AGENT, &config, &nodes.dir)?;
        // Where instances find it.
        scripted.stack.config.agents = Some(unit.url()?);
        nodes.write_agent(&scripted.stack.config)?;
        // Only the program is to serve.
        scripted.stack.agent.stop().await;
        unit.start().await?;
        wait_for_agent(&scripted.client).await?;

        let (ended, instance) = scripted.create().await?;
        instance.report("running").await?.success()?;
        becomes(&scripted.client, &ended.id, "active").await?;
        scripted.client.delete(&ended.id).await?;
        becomes(&scripted.client, &ended.id, "terminated").await?;
        let (failed, instance) = scripted.create().await?;
        let report = json!({ "status": "error", "message": "the picture is missing" });
        instance.report_as(report).await?.success()?;
        becomes(&scripted.client, &failed.id, "error").await?;

        for (session, what, why, went_well) in [
            (&ended, "session.launch", "AMS has accepted instance", true),
            (&ended, "session.boot", "running", true),
            (&ended, "session.end", "the session is terminated", true),
            (&failed, "session.launch", "AMS has accepted instance", true),
            (&failed, "session.boot", "the picture is missing", false),
            (&failed, "session.end", "the session is error", false),
        ] {
            let told = eventually(what, async || {
                let is_meant = |line: &Value| {
                    let says = line["why"].as_str().is_some_and(|text| text.contains(why));
                    line["session"] == *session.id && line["what"] == what && says
                };
                Ok(lines(&file)?.into_iter().find(is_meant))
            });
            let line = told.await.with_context(|| {
                format!("{what} for {why}: {}", std::fs::read_to_string(&file).unwrap_or_default())
            })?;
            ensure!(line["who"]["unit"].is_string(), "{line}");
            let done = if went_well { Value::Null } else { Value::from(false) };
            ensure!(line["done"] == done, "{line}");
        }
        let whole = std::fs::read_to_string(&file)?;
        for token in [&scripted.stack.token, &instance.userdata.token] {
            ensure!(!whole.contains(token.as_str()), "a token is in it");
        }

        let (is_intact, said) = verify_as(AGENT, &config, &[]).await?;
        ensure!(is_intact && said.contains("the audit log is intact"), "{said}");
        unit.stop().await?;
        let whole = std::fs::read_to_string(&file)?;
        let changed = whole.replacen("the picture is missing", "the picture was there", 1);
        std::fs::write(&file, &changed)?;
        let at = whole.lines().position(|line| line.contains("the picture is missing"));
        let place = format!("{}:{}: ", file.display(), at.context("the line")? + 1);
        let (is_intact, said) = verify_as(AGENT, &config, &["--offline"]).await?;
        ensure!(!is_intact && said.contains(&place), "{said}");
        Ok(())
    });
}

/// Runs the rest of the arguments where `$1` has room for some lines.
const SMALL_DISK: &str = r#"mkdir "$1"; mount -t tmpfs -o size=64k none "$1" || exit 9
head -c 57344 /dev/zero >"$1/filler"; shift; exec "$@""#;

#[test]
fn on_a_full_disk_no_order_is_carried_out_and_sessions_go_on() {
    if !may_mount("mount -t tmpfs none /mnt") {
        return;
    }
    run_flow(async || {
        let (stack, nodes, file) = prepared(|dir| dir.join("disk/audit.log")).await?;
        let log = std::fs::File::create(nodes.dir.join("unit.log"))?;
        let mut program = Command::new("unshare")
            .args(["--mount", "sh", "-c", SMALL_DISK, "sh"])
            .arg(file.parent().context("a directory")?)
            .args([GATEWAY, "run", "--config"])
            .arg(nodes.dir.join("gateway.toml"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let root = PathBuf::from(format!("/proc/{}/root", program.id().context("it runs")?));
        let seen = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        // Asked for what changes nothing, so that no line is written until all is there.
        let (url, sessions) = (nodes.gateway_url(), (Method::GET, "/1.0/sessions", Value::Null));
        let served = eventually("ready", async || {
            let asked = call(&nodes, &url, &stack.token, sessions.clone()).await;
            Ok(asked.ok().filter(|status| *status == StatusCode::OK))
        });
        served.await?;

        let (created, why) = create_accounts(&nodes, "some").await;
        ensure!(why.contains("the audit log cannot be written"), "{why}");
        ensure!((1..60).contains(&created.len()), "{} lines in 8 KiB", created.len());
        let client = Client::new(nodes.admin_socket());
        let accounts = client.accounts().await?;
        let names: BTreeSet<_> = accounts.into_iter().map(|account| account.name).collect();
        let refused = format!("some-{}", created.len());
        ensure!(created.is_subset(&names) && !names.contains(&refused), "{names:?}");
        let status = call(&nodes, &url, &stack.token, session()).await?;
        ensure!(status.is_success(), "{status}: sessions wait for no disk");

        std::fs::remove_file(seen(&file).with_file_name("filler"))?;
        client.create_account(&refused, None, Default::default()).await?;
        let copy = nodes.dir.join("copy");
        std::fs::copy(seen(&file), &copy)?;
        let copy = copy.to_str().context("a path")?;
        let (is_intact, said) = verify(&nodes, &["--offline", copy]).await?;
        ensure!(is_intact, "{said}");
        let lost = |line: &Value| line["what"] == "audit.lost" && line["lost"].as_u64() > Some(0);
        ensure!(lines(Path::new(copy))?.iter().any(lost), "lines of the session were lost");
        let log = std::fs::read_to_string(nodes.dir.join("unit.log"))?;
        ensure!(log.contains("the audit log cannot be written: what"), "{log}");
        program.start_kill()?;
        stack.stop().await;
        Ok(())
    });
}

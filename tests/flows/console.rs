//! The console in a real browser, as operators use it: with sessions of real parts, by pointer and
//! by keys alone, with every view looked at.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::support::socket::Socket;
use crate::support::{APP, Http, ScriptedStack, run_flow};
use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use stream_dev::consoles::Consoles;
use stream_dev::in_process::{Options, Stack};
use stream_gateway::admin::Client;
use tokio::process::Command;
use toml::toml;

/// The script looks at some forty views, each four times.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(520);

/// Where pictures of every view go, with a `%` for its name.
fn pictures() -> PathBuf {
    let usual = Path::new(env!("CARGO_TARGET_TMPDIR")).join("console/%.png");
    std::env::var_os("STREAM_PICTURES").map_or(usual, PathBuf::from)
}

/// Puts the pictures that README shows in place of those that lie there.
fn renew_pictures_of_readme() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/pictures");
    for entry in std::fs::read_dir(&folder)? {
        let name = entry?.file_name();
        let view = name.to_string_lossy().replace(".png", "");
        let made = pictures().to_string_lossy().replace('%', &view);
        std::fs::copy(&made, folder.join(&name)).with_context(|| made.clone())?;
    }
    Ok(())
}

#[test]
fn operators_do_their_work_in_the_console() {
    run_flow(async || {
        // Who views waits for no longer until the one before is given up.
        let gateway = toml! { gateway.client_grace_s = 1 };
        // Its relay tells the browser how far the region is.
        let options = Options { coturn: true, gateway, ..Options::default() };
        let stack = Stack::start(options).await?;
        let operators = Client::new(stack.nodes.admin_socket());
        let operator = operators.create_operator("operator", None, Default::default()).await?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/console.mjs");
        let mut node = Command::new("node");
        node.arg(script).arg(stack.nodes.gateway_url()).arg(APP);
        node.env("STREAM_TOKEN", &stack.token).env("STREAM_OPERATOR_TOKEN", &operator);
        node.env("STREAM_GATEWAY_SOCKET", stack.nodes.admin_socket());
        node.env("STREAM_PICTURES", pictures());
        node.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = tokio::time::timeout(SCRIPT_TIMEOUT, node.output()).await??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the browser failed: {said}");
        let seen: Value = serde_json::from_slice(&output.stdout).context("figures")?;
        ensure!(seen["most_rows"].as_u64().is_some_and(|rows| rows <= 102), "{seen}");
        if std::env::var_os("STREAM_WRITE_PICTURES").is_some() {
            renew_pictures_of_readme()?;
        }
        Ok(())
    });
}

#[test]
fn two_consoles_see_what_happens_without_asking_for_it() {
    run_flow(async || {
        let agent = toml! { agent.remote_drain = true };
        let gateway = toml! { gateway.client_grace_s = 1 };
        let options = Options { agent, gateway, ..Options::default() };
        let mut scripted = ScriptedStack::start_with(options).await?;
        let nodes = scripted.stack.nodes.clone();
        let operators = Client::new(nodes.admin_socket());
        let operator = operators.create_operator("operator", None, Default::default()).await?;
        let account = Some(scripted.stack.token.as_str());
        let http = Http::new(&nodes.gateway_url(), account, nodes.gateway_pin()?)?;
        let mut consoles = Consoles::open(&nodes.gateway_url(), &operator).await?;
        consoles.see("console-sessions .empty a").await?;
        let mut took = Vec::new();

        let wanted = json!({ "app": APP, "joinable": true, "ephemeral": false });
        let created = http.send(Method::POST, "/1.0/sessions", Some(wanted)).await?.success()?;
        let id = created["id"].as_str().context("id")?;
        let path = format!("/1.0/sessions/{id}");
        let row = |more: &str| format!("console-sessions tr[data-id=\"{id}\"]{more}");
        took.push(consoles.see(&row("[data-status=created]")).await?);
        let instance = scripted.booted().await?;
        instance.report("running").await?.success()?;
        took.push(consoles.see(&row("[data-status=active]")).await?);

        // Who closes the socket and does not return counts as gone after a moment.
        let url = created["url"].as_str().context("url")?;
        Socket::open_url(url, &scripted.stack).await?.close().await?;
        consoles.see(&row(" td.client[data-said=waiting]")).await?;
        http.send(Method::POST, &format!("{path}/join"), Some(json!({}))).await?.success()?;
        took.push(consoles.see(&row(" td.client[data-said=watching]")).await?);

        consoles.go(&format!("#/sessions/{id}")).await?;
        consoles.see("console-shares form").await?;
        let share = format!("{path}/share");
        let wanted = json!({ "type": "control" });
        let share = http.send(Method::POST, &share, Some(wanted)).await?.success()?;
        took.push(consoles.see("console-shares li").await?);
        let share = format!("/1.0/shares/{}", share["id"].as_str().context("id")?);
        http.send(Method::DELETE, &share, None).await?.success()?;
        took.push(consoles.see("console-shares ul[hidden]").await?);

        consoles.go("#/agents").await?;
        consoles.see("tr[data-state=serving]").await?;
        let by_operator = http.with(Some(&operator));
        let agents = by_operator.get("/1.0/agents").await?.success()?;
        let name = agents[0]["name"].as_str().context("name")?;
        let drain = format!("/1.0/agents/{name}/drain");
        let forced = format!("{drain}?force=true");
        by_operator.send(Method::POST, &forced, None).await?.success()?;
        took.push(consoles.see("tr:is([data-state=draining], [data-state=drained])").await?);
        by_operator.send(Method::DELETE, &drain, None).await?.success()?;
        took.push(consoles.see("tr[data-state=serving]").await?);

        consoles.go("#/sessions").await?;
        consoles.see(&row("")).await?;
        // What happens while the stream is lost is told as well.
        consoles.tell(json!({ "away": true })).await?;
        instance.report("error").await?.success()?;
        consoles.see("console-live[data-state=reconnecting]").await?;
        consoles.tell(json!({ "away": false })).await?;
        consoles.see(&row("[data-status=error]")).await?;
        consoles.see("console-live[data-state=live]").await?;
        http.send(Method::DELETE, &path, None).await?.success()?;
        took.push(consoles.see(&row("[data-status=terminated]")).await?);

        // Listed once, and the sign-in asked as well: what happened was told, and not asked for.
        let told = consoles.tell(json!({ "asked": true })).await?;
        for asked in told["asked"].as_array().context("asked")? {
            let asked = asked.as_array().context("requests")?;
            let count = |path: &str| {
                let request = format!("GET {path}");
                asked.iter().filter(|one| **one == request).count()
            };
            ensure!(count("/1.0/sessions") == 2, "{asked:?}");
            ensure!(count(&path) == 1 && count("/1.0/shares") == 1, "{asked:?}");
        }
        took.sort();
        // Within a second on a machine that does nothing else; how long it takes here is no test.
        println!("both saw it after {took:?}");
        Ok(())
    });
}

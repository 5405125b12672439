//! The operator's side of both services: the command line over the socket, and what is scraped.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use crate::support::socket::Socket;
use crate::support::{
    Http, STEP_TIMEOUT, ScriptedStack, becomes, eventually, light_instances, run_flow,
};
use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};
use stream_bridge::Bridge;
use stream_dev::in_process::{Options, Stack, client_config};
use stream_pki::Fingerprint;
use stream_protocol::TokenKind;
use stream_protocol::subjects::Bucket;
use stream_simulators::client::Gateway;
use stream_supervisor::Supervisor;
use stream_tokens::Mint;
use tokio::process::Command;

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");
const GATEWAY: &str = env!("CARGO_BIN_EXE_stream-gateway");

/// Runs one of the programs beside a service, as an operator does.
async fn operate(program: &str, words: &[&str], socket: &Path) -> anyhow::Result<Output> {
    let mut command = Command::new(program);
    command.args(words).arg("--socket").arg(socket).kill_on_drop(true);
    Ok(tokio::time::timeout(STEP_TIMEOUT, command.output()).await??)
}

/// What a program that succeeds prints.
async fn printed(program: &str, words: &[&str], socket: &Path) -> anyhow::Result<String> {
    let output = operate(program, words, socket).await?;
    anyhow::ensure!(output.status.success(), "{words:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The sentence with which a program refuses.
async fn refused(program: &str, words: &[&str], socket: &Path) -> anyhow::Result<String> {
    let output = operate(program, words, socket).await?;
    anyhow::ensure!(output.status.code() == Some(1), "{words:?}: {output:?}");
    Ok(String::from_utf8(output.stderr)?)
}

fn light(faults: bool) -> Options {
    Options { launcher: light_instances(), faults, ..Options::default() }
}

#[test]
fn status_shows_every_actor_of_both_services() {
    run_flow(async || {
        let stack = Stack::start(light(false)).await?;
        let services = [
            (AGENT, stack.nodes.agent_socket(), &stack.agent.supervisor, "agent.toml"),
            (GATEWAY, stack.nodes.admin_socket(), &stack.gateway.supervisor, "gateway.toml"),
        ];
        for (program, socket, supervisor, config) in services {
            let names: Vec<_> = supervisor.status().iter().map(|actor| actor.name).collect();
            assert!(names.contains(&"admin"), "{names:?}");

            let table = printed(program, &["status"], &socket).await?;
            let lines: Vec<_> = table.lines().skip(1).collect();
            assert_eq!(lines.len(), names.len(), "{table}");
            for (line, name) in lines.iter().zip(&names) {
                let cells: Vec<_> = line.split_whitespace().collect();
                assert_eq!(cells[..3], [*name, "running", "0"], "{table}");
            }

            let json = printed(program, &["status", "--json"], &socket).await?;
            let report: Value = serde_json::from_str(&json)?;
            let told = report["actors"].as_array().into_iter().flatten();
            let told: Vec<_> = told.filter_map(|actor| actor["name"].as_str()).collect();
            assert_eq!(told, names);

            // The configuration names the socket as well.
            let config = stack.nodes.dir.join(config);
            let words = ["status".as_ref(), "--config".as_ref(), config.as_os_str()];
            let output = Command::new(program).args(words).output().await?;
            assert!(output.status.success(), "{output:?}");
        }
        stack.stop().await;
        Ok(())
    });
}

#[test]
fn a_session_is_explained_with_the_agent_that_was_chosen_and_what_happened() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        instance.report("running").await?.success()?;
        let socket = scripted.stack.nodes.admin_socket();
        let told = printed(GATEWAY, &["session", "explain", &created.id], &socket).await?;
        for fact in [
            "status      active: the instance is running",
            "placement   dev in region cloud-0 had 100 free places; no other could host it",
            "agent       dev, which is there",
            " the instance is running",
        ] {
            assert!(told.contains(fact), "{fact} is not in\n{told}");
        }
        let json =
            printed(GATEWAY, &["session", "explain", &created.id, "--json"], &socket).await?;
        let story: Value = serde_json::from_str(&json)?;
        assert_eq!(story["document"]["id"], created.id);
        let nobody = "0".repeat(20);
        let sentence = refused(GATEWAY, &["session", "explain", &nobody], &socket).await?;
        assert!(sentence.contains("not found"), "{sentence}");
        scripted.stack.stop().await;
        Ok(())
    });
}

#[test]
fn a_record_that_this_version_cannot_read_stays_until_an_operator_deletes_it() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        // The store has to be older than what it is to know of.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (created, _instance) = scripted.create().await?;
        let bridge = Bridge::start(scripted.stack.nats.bridge(), "test", &Supervisor::default())?;
        let later = json!({ "id": ["of a later version"] });
        let put = async || Ok(bridge.put(Bucket::Sessions, &created.id, &later).await.ok());
        eventually("stored", put).await?;
        let socket = scripted.stack.nodes.admin_socket();
        let sentence = refused(GATEWAY, &["session", "delete", &created.id], &socket).await?;
        assert!(sentence.contains("cannot be read"), "{sentence}");
        assert!(bridge.revision(Bucket::Sessions, &created.id).await?.is_some());

        let words = ["session", "delete", &created.id, "--unreadable"];
        assert_eq!(printed(GATEWAY, &words, &socket).await?, "terminated\n");
        assert_eq!(bridge.revision(Bucket::Sessions, &created.id).await?, None);
        scripted.stack.ams.wait_until(|all| all.is_empty(), STEP_TIMEOUT).await?;
        scripted.stack.stop().await;
        Ok(())
    });
}

#[test]
fn an_actor_fails_on_request_only_where_the_configuration_allows_it() {
    run_flow(async || {
        let stack = Stack::start(light(false)).await?;
        let sentence = refused(AGENT, &["crash", "turn"], &stack.nodes.agent_socket()).await?;
        assert!(sentence.contains("yes_for_test_purposes_only"), "{sentence}");
        assert_eq!(restarts(&stack, "turn"), 0);
        stack.stop().await;

        let stack = Stack::start(light(true)).await?;
        let socket = stack.nodes.agent_socket();
        printed(AGENT, &["crash", "turn", "--panic", "--times", "2"], &socket).await?;
        eventually("restarted twice", async || Ok((restarts(&stack, "turn") == 2).then_some(())))
            .await?;
        assert!(line_of(&socket, "turn").await?.contains("panic: "));
        printed(AGENT, &["crash", "turn", "--error"], &socket).await?;
        eventually("restarted again", async || Ok((restarts(&stack, "turn") == 3).then_some(())))
            .await?;
        assert!(line_of(&socket, "turn").await?.contains("error: "));

        let sentence = refused(AGENT, &["crash", "nobody"], &socket).await?;
        assert!(sentence.contains("nobody") && sentence.contains("sessions"), "{sentence}");
        let sentence = refused(AGENT, &["crash", "turn", "--times", "0"], &socket).await?;
        assert!(sentence.contains("1 to 10000"), "{sentence}");
        // The operators' own actor too: the next one finds it at work again.
        printed(AGENT, &["crash", "admin"], &socket).await?;
        printed(AGENT, &["status"], &socket).await?;
        stack.stop().await;
        Ok(())
    });
}

/// What the table says of an actor of the agent.
async fn line_of(socket: &Path, actor: &str) -> anyhow::Result<String> {
    let table = printed(AGENT, &["status"], socket).await?;
    let line = table.lines().find(|line| line.split(' ').next() == Some(actor));
    Ok(line.with_context(|| format!("{actor} is not in\n{table}"))?.to_owned())
}

fn restarts(stack: &Stack, actor: &str) -> u64 {
    let status = stack.agent.supervisor.status();
    status.iter().find(|status| status.name == actor).map_or(0, |status| status.restarts)
}

#[test]
fn an_account_that_looks_after_the_deployment_is_made_for_30_days() {
    run_flow(async || {
        let stack = Stack::start(light(false)).await?;
        let socket = stack.nodes.admin_socket();
        let token = printed(GATEWAY, &["account", "create", "ops", "--operator"], &socket).await?;
        let http =
            Http::new(&stack.nodes.gateway_url(), Some(token.trim()), stack.nodes.gateway_pin()?)?;
        for path in ["/1.0/config", "/1.0/sessions"] {
            assert_eq!(http.get(path).await?.status, 200, "{path}");
        }
        let list = printed(GATEWAY, &["account", "list"], &socket).await?;
        let line = list.lines().find(|line| line.starts_with("ops "));
        assert!(line.context("it is listed")?.ends_with("  operator"), "{list}");
        let json = printed(GATEWAY, &["account", "list", "--json"], &socket).await?;
        let accounts: Value = serde_json::from_str(&json)?;
        let days = |name: &str| {
            let account = accounts.as_array()?.iter().find(|account| account["name"] == name)?;
            let (made, ends) = (account["created_at"].as_u64()?, account["expires_at"].as_u64()?);
            Some((ends - made + 60) / (24 * 3600))
        };
        assert_eq!(days("ops"), Some(30), "{json}");
        let all = accounts.as_array().into_iter().flatten();
        let operators: Vec<_> = all.filter(|account| account["operator"] == true).collect();
        assert_eq!(operators.len(), 1, "the account of the stack is none: {json}");
        stack.stop().await;
        Ok(())
    });
}

#[test]
fn the_token_of_a_deleted_account_is_refused_at_once() {
    run_flow(async || {
        let stack = Stack::start(light(false)).await?;
        let socket = stack.nodes.admin_socket();
        let create = ["account", "create", "anna@example.org", "--expiration", "2"];
        let token = printed(GATEWAY, &create, &socket).await?;
        let http =
            Http::new(&stack.nodes.gateway_url(), Some(token.trim()), stack.nodes.gateway_pin()?)?;
        assert_eq!(http.get("/1.0/sessions").await?.status, 200);
        let sentence = refused(GATEWAY, &create, &socket).await?;
        assert!(sentence.contains("exists already"), "{sentence}");

        let list = printed(GATEWAY, &["account", "list"], &socket).await?;
        let names: Vec<_> = list.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, ["anna@example.org", "test"], "{list}");
        assert!(!list.contains(token.trim()), "a token is shown once");

        let anna = Gateway::new(&client_config(&stack.nodes, token.trim())?)?;
        let created = anna.create(crate::support::APP, Default::default()).await?;
        let mut open = Socket::open(&created, &stack).await?;

        let delete = ["account", "delete", "anna@example.org"];
        printed(GATEWAY, &delete, &socket).await?;
        assert_eq!(open.next().await?["message"], "token revoked");
        let again = Socket::open(&created, &stack).await;
        assert!(again.is_err(), "the address of the socket is no good any more");
        assert_eq!(http.get("/1.0/sessions").await?.status, 401);
        let list = printed(GATEWAY, &["account", "list"], &socket).await?;
        assert!(!list.contains("anna"), "{list}");
        let sentence = refused(GATEWAY, &delete, &socket).await?;
        assert!(sentence.contains("there is no account"), "{sentence}");
        stack.stop().await;
        Ok(())
    });
}

#[test]
fn an_operator_sees_sessions_and_ends_them() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        assert_eq!(instance.report("running").await?.status, 200);
        let socket = scripted.stack.nodes.admin_socket();
        let list = printed(GATEWAY, &["session", "list"], &socket).await?;
        let cells: Vec<_> = list.split_whitespace().take(4).collect();
        assert_eq!(cells, [created.id.as_str(), "active", crate::support::APP, "dev"], "{list}");

        let end = printed(GATEWAY, &["session", "delete", &created.id], &socket).await?;
        assert_eq!(end.trim(), "terminating");
        scripted.stack.ams.wait_until(|instances| instances.is_empty(), STEP_TIMEOUT).await?;
        eventually("terminated", async || {
            let list = printed(GATEWAY, &["session", "list"], &socket).await?;
            Ok(list.contains("terminated").then_some(()))
        })
        .await?;
        let unknown = "0".repeat(20);
        let sentence = refused(GATEWAY, &["session", "delete", &unknown], &socket).await?;
        assert!(sentence.contains("not found"), "{sentence}");
        scripted.stack.stop().await;
        Ok(())
    });
}

#[test]
fn a_scrape_tells_how_the_services_are_and_names_no_session() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        assert_eq!(instance.report("running").await?.status, 200);
        let stack = &scripted.stack;
        let gateway = (stack.nodes.gateway_url(), stack.nodes.gateway_pin()?);
        let agent = (stack.nodes.agent_url(), stack.nodes.agent_pin()?);
        becomes(&scripted.client, &created.id, "active").await?;

        let text = scrape(&gateway, &stack.token).await?;
        assert!(!text.contains(&created.id), "{text}");
        for line in [
            r#"anbox_stream_gateway_sessions_total{status="active"} 1"#,
            r#"anbox_stream_gateway_sessions_total{status="error"} 0"#,
            "anbox_stream_gateway_accounts_total 1",
            "anbox_stream_gateway_agents_total 1",
            "anbox_stream_gateway_agents_unresponsive 0",
            "anbox_stream_gateway_nats_up 1",
            r#"anbox_stream_gateway_actor_state{actor="bridge",state="running"} 1"#,
            r#"anbox_stream_gateway_actor_restarts_total{actor="bridge"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let handled = r#"handler="create_new_session",host="127.0.0.1",method="POST""#;
        for start in [
            format!("anbox_stream_gateway_http_requests_total{{{handled},code=\"2xx\"}} 1"),
            format!("anbox_stream_gateway_http_request_duration_seconds_count{{{handled}}} 1"),
            format!("anbox_stream_gateway_http_response_size_bytes_count{{{handled}}} 1"),
            "anbox_stream_gateway_http_in_flight_requests 1".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == start), "{start} is not in\n{text}");
        }

        let watcher = Mint::new(TokenKind::Monitor, "watcher");
        let minted = stack.agent.tokens.mint(watcher).await?;
        let text = scrape(&agent, &minted.token).await?;
        assert!(!text.contains(&created.id), "{text}");
        let handled = r#"handler="/1.0/sessions/{id}",host="127.0.0.1",method="PATCH",code="2xx""#;
        for line in [
            r#"anbox_stream_agent_dependency_up{dependency="nats"} 1"#,
            r#"anbox_stream_agent_dependency_up{dependency="ams"} 1"#,
            "anbox_stream_agent_sessions_open 1",
            r#"anbox_stream_agent_actor_state{actor="sessions",state="running"} 1"#,
            &format!("anbox_stream_agent_http_requests_total{{{handled}}} 1"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }

        // Not for everybody, and not for an instance.
        for (url, pin) in [gateway, agent.clone()] {
            assert_eq!(Http::new(&url, None, pin)?.get("/metrics").await?.status, 401);
        }
        assert_eq!(instance.http.send(Method::GET, "/metrics", None).await?.status, 403);
        scripted.stack.stop().await;
        Ok(())
    });
}

async fn scrape((url, pin): &(String, Fingerprint), token: &str) -> anyhow::Result<String> {
    let answer = Http::new(url, Some(token), *pin)?.get("/metrics").await?;
    anyhow::ensure!(answer.status == 200, "{answer:?}");
    Ok(answer.body.as_str().unwrap_or_default().to_owned())
}

/// Asks for the status in the way of `stream-admin` and prints the answer.
/// Whoever is turned away may find the other end closed while it still writes.
const KNOCK: &str = r#"use IO::Socket::UNIX;
    $SIG{PIPE} = 'IGNORE';
    my $socket = IO::Socket::UNIX->new($ARGV[0]) or die "no socket: $!";
    syswrite $socket, qq({"v":1,"op":"status"}\n);
    print scalar <$socket> // "";"#;

#[test]
fn a_stranger_is_turned_away_even_where_the_directory_lets_one_in() {
    run_flow(async || {
        let stack = Stack::start(light(false)).await?;
        let socket = stack.nodes.agent_socket();
        let knock = async |user: Option<u32>| {
            let mut perl = Command::new("perl");
            perl.args(["-e", KNOCK]).arg(&socket).kill_on_drop(true);
            if let Some(user) = user {
                perl.uid(user).gid(user);
            }
            anyhow::Ok(tokio::time::timeout(STEP_TIMEOUT, perl.output()).await??)
        };
        let own = knock(None).await?;
        assert!(String::from_utf8_lossy(&own.stdout).contains("\"actors\""), "{own:?}");

        let private = socket.parent().map(|dir| dir.metadata()).transpose()?;
        assert_eq!(private.map(|dir| dir.permissions().mode() & 0o777), Some(0o700));
        // Only root can be somebody else.
        if rustix::process::geteuid().is_root() {
            open_to_all(&socket)?;
            let stranger = knock(Some(65_534)).await?;
            assert!(stranger.status.success(), "it was let to the socket: {stranger:?}");
            assert!(stranger.stdout.is_empty(), "{stranger:?}");
        }
        stack.stop().await;
        Ok(())
    });
}

/// Opens the socket and all directories above it that are the test's own.
fn open_to_all(socket: &Path) -> anyhow::Result<()> {
    let open = |path: &Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o777));
    open(socket)?;
    let temporary = std::env::temp_dir();
    for above in socket.ancestors().skip(1).take_while(|above| **above != temporary) {
        open(above)?;
    }
    Ok(())
}

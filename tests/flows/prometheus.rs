//! What Prometheus and Grafana are given: rules, their tests, dashboards. A real Prometheus scrapes
//! both services and has all that is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use stream_dev::in_process::{Options, Stack};
use stream_dev::process::{Process, find};
use stream_pki::{Trust, client_config};
use stream_protocol::Screen;
use stream_simulators::ams::simulated_instances_with;
use stream_simulators::client::Viewer;
use stream_simulators::instance::{Behaviour, Transport};

use crate::support::socket::connect;
use crate::support::{APP, Http, STEP_TIMEOUT, becomes, eventually, run_flow};

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn yaml(file: &str) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(config().join("prometheus").join(file))?;
    Ok(serde_norway::from_str(&text)?)
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The rules, by their names.
fn alerts() -> anyhow::Result<Vec<Value>> {
    let file = yaml("alerts.yml")?;
    let rules = list(&file, "groups").iter().flat_map(|group| list(group, "rules"));
    let rules: Vec<_> = rules.cloned().collect();
    ensure!(rules.len() >= 12, "the rules were not understood");
    Ok(rules)
}

#[test]
fn prometheus_takes_its_files_and_every_alert_passes_its_test() {
    let promtool = find("promtool").expect("the package prometheus is missing");
    for arguments in [
        &["check", "rules", "alerts.yml"][..],
        &["test", "rules", "alerts_test.yml"],
        &["check", "config", "--syntax-only", "prometheus.yml"],
    ] {
        let mut command = Command::new(&promtool);
        let told = command.args(arguments).current_dir(config().join("prometheus")).output();
        let told = told.expect("promtool runs");
        let words =
            [told.stdout, told.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        assert!(told.status.success(), "{arguments:?}: {}", words.concat());
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_fires_and_a_paragraph_of_the_runbook() -> anyhow::Result<()> {
    let tests = yaml("alerts_test.yml")?;
    let tests = list(&tests, "tests").iter().flat_map(|test| list(test, "alert_rule_test"));
    let fires: BTreeSet<_> = tests
        .filter(|test| !list(test, "exp_alerts").is_empty())
        .map(|test| text(test, "alertname").to_owned())
        .collect();
    let runbook = std::fs::read_to_string(config().join("prometheus/RUNBOOK.md"))?;
    let mut paragraphs: BTreeMap<_, _> =
        runbook.split("\n## ").skip(1).filter_map(|paragraph| paragraph.split_once('\n')).collect();
    for alert in alerts()? {
        let name = text(&alert, "alert");
        ensure!(fires.contains(name), "no test in alerts_test.yml has {name} fire");
        let paragraph = paragraphs.remove(name).unwrap_or_default();
        ensure!(paragraph.len() > 200, "RUNBOOK.md has no paragraph on {name}");
        let annotations = &alert["annotations"];
        ensure!(!text(annotations, "summary").is_empty(), "{name} says nothing");
        let place = format!("config/prometheus/RUNBOOK.md#{}", name.to_lowercase());
        ensure!(text(annotations, "runbook") == place, "the runbook of {name} is {place}");
        let severity = text(&alert["labels"], "severity");
        ensure!(["critical", "warning"].contains(&severity), "{name} is {severity:?}");
    }
    ensure!(paragraphs.is_empty(), "no alerts: {:?}", paragraphs.keys());
    Ok(())
}

/// What dashboards and rules ask for: each expression, with where it stands.
fn expressions() -> anyhow::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for alert in alerts()? {
        all.push((text(&alert, "alert").to_owned(), text(&alert, "expr").to_owned()));
    }
    for file in std::fs::read_dir(config().join("grafana"))? {
        let board: Value = serde_json::from_slice(&std::fs::read(file?.path())?)?;
        let panels = list(&board, "panels");
        ensure!(panels.len() > 10, "the panels were not understood");
        for panel in panels {
            let place = format!("{}: {}", text(&board, "title"), text(panel, "title"));
            let targets = list(panel, "targets");
            ensure!(!targets.is_empty(), "{place} asks for nothing");
            for target in targets {
                // As Grafana does with All.
                let expression = text(target, "expr").replace("$instance", ".*");
                ensure!(!expression.is_empty(), "{place} asks for nothing");
                all.push((place.clone(), expression));
            }
        }
    }
    ensure!(all.len() > 60, "the dashboards were not understood");
    Ok(all)
}

/// A metric, and the labels that an expression names of it.
type Asked = (String, BTreeSet<String>);

const QUOTE: char = '\u{22}';

/// Takes an expression apart: its metrics, each with the labels in its braces, and the labels that
/// it sorts by.
fn names(expression: &str) -> (Vec<Asked>, BTreeSet<String>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut asked, mut by, mut rest) = (Vec::new(), BTreeSet::new(), expression);
    while let Some(start) = rest.find(is_word) {
        let before = rest[..start].chars().next_back();
        rest = &rest[start..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        rest = behind;
        let inside = |behind: &str, close| {
            let inside = behind[1..].split(close).next().unwrap_or_default();
            inside
                .split(',')
                .map(|part| part.trim().chars().take_while(|c| is_word(*c)).collect::<String>())
                .collect::<Vec<_>>()
        };
        if word == "by" {
            by.extend(inside(rest.trim_start(), ')'));
            rest = &rest[rest.find(')').unwrap_or(0)..];
        } else if word.starts_with("anbox_stream_") || word.starts_with("process_") || word == "up"
        {
            let mut labels = BTreeSet::new();
            if rest.starts_with('{') {
                labels.extend(inside(rest, '}'));
                rest = &rest[rest.find('}').unwrap_or(0)..];
            }
            asked.push((word.to_owned(), labels));
        } else if before == Some(QUOTE) {
            rest = &rest[rest.find(QUOTE).map_or(rest.len(), |quote| quote + 1)..];
        }
    }
    (asked, by)
}

#[test]
fn an_expression_is_taken_apart_into_metrics_and_labels() {
    let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let (asked, by) =
        names(r#"sum by (job, le) (rate(anbox_stream_x_total{a="up,{b",c=~"d|e"}[5m])) > up"#);
    assert_eq!(by, labels(&["job", "le"]));
    let names: Vec<_> = asked.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["anbox_stream_x_total", "up"]);
    assert!(asked[0].1.is_superset(&labels(&["a", "c"])), "{asked:?}");
}

/// Plays the programs of an installation, whose commands find the services by themselves.
const INSTALLED: &str = r#"
stream_agent() { "$agent" "$@" --socket "$agent_socket"; }
stream_gateway() {
  case $2 in
    attenuate) "$gateway" "$@" ;;
    *) "$gateway" "$@" --socket "$gateway_socket" ;;
  esac
}
"#;

/// Makes the tokens of the agent and of the gateway with the commands of prometheus.yml, as they
/// stand there.
async fn tokens(stack: &Stack, dir: &Path) -> anyhow::Result<[String; 2]> {
    let file = std::fs::read_to_string(config().join("prometheus/prometheus.yml"))?;
    let set_in = file.lines().filter_map(|line| line.strip_prefix("#   "));
    let commands: Vec<_> = set_in.map(|line| line.trim().to_owned() + "\n").collect();
    let at = commands.iter().position(|line| line.starts_with("stream-gateway"));
    let (of_agent, of_gateway) = commands.split_at(at.context("a command of the gateway")?);
    let run = async |commands: &[String]| {
        // A shell takes no dash in the name of a function.
        let commands = commands.concat().replace("stream-", "stream_");
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-euc", &format!("{INSTALLED}{commands}")]).current_dir(dir);
        shell.env("agent", env!("CARGO_BIN_EXE_stream-agent"));
        shell.env("gateway", env!("CARGO_BIN_EXE_stream-gateway"));
        shell.env("agent_socket", stack.nodes.agent_socket());
        shell.env("gateway_socket", stack.nodes.admin_socket());
        let output = shell.kill_on_drop(true).output().await?;
        ensure!(output.status.success(), "{commands}: {output:?}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    Ok([run(of_agent).await?, run(of_gateway).await?])
}

/// A Prometheus that scrapes both services.
struct Prometheus {
    port: u16,
    client: reqwest::Client,
    _process: Process,
}

impl Prometheus {
    /// Starts one with the scrape configuration of the reference, but for what every site has of
    /// its own: addresses, tokens and certificates.
    async fn start(stack: &Stack, dir: &Path) -> anyhow::Result<Self> {
        let mut config = yaml("prometheus.yml")?;
        let (agent, gateway) = (stack.nodes.agent_url(), stack.nodes.gateway_url());
        let made = tokens(stack, dir).await?;
        let reached = [(agent, &made[0]), (gateway, &made[1])];
        let jobs = config["scrape_configs"].as_array_mut().context("scrape_configs")?;
        ensure!(jobs.len() == reached.len(), "two jobs");
        for (job, (url, token)) in jobs.iter_mut().zip(reached) {
            let name = text(job, "job_name").to_owned();
            std::fs::write(dir.join(format!("{name}.token")), format!("root={token}"))?;
            // Certificates of tests are for no address.
            job["tls_config"] = json!({ "insecure_skip_verify": true });
            let target = url.rsplit('/').next().context("an address")?;
            job["static_configs"] = json!([{ "targets": [target] }]);
        }
        config["rule_files"] = json!([crate::prometheus::config().join("prometheus/alerts.yml")]);
        config["global"] = json!({ "scrape_interval": "1s", "evaluation_interval": "1s" });
        let file = dir.join("prometheus.yml");
        std::fs::write(&file, config.to_string())?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let program = find("prometheus").context("the package prometheus is missing")?;
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", dir.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let process = Process::start("prometheus", &program, &arguments, &dir.join("log"))?;
        // It speaks no TLS, but the library wants to know how it would.
        let tls = client_config(&Trust::Pins(vec!["0".repeat(64).parse()?]), None)?;
        let client =
            reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?;
        Ok(Self { port, client, _process: process })
    }

    /// Asks its API; returns the data of a good answer, `None` for another one.
    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Option<Value>> {
        let host = format!("127.0.0.1:{}", self.port);
        let mut url = reqwest::Url::parse(&["http:", "", &host, "api/v1", path].join("/"))?;
        url.query_pairs_mut().extend_pairs(query);
        let Ok(answer) = self.client.get(url).send().await else { return Ok(None) };
        // While it reads its store it says so in plain text.
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(None);
        }
        let answer: Value = serde_json::from_str(&answer.text().await?)?;
        Ok((answer["status"] == "success").then(|| answer["data"].clone()))
    }

    /// Returns the labels that each series of a metric has, in one set.
    async fn labels(&self, metric: &str) -> anyhow::Result<BTreeSet<String>> {
        let series = self.ask("series", &[("match[]", metric)]).await?.unwrap_or_default();
        let series = series.as_array().into_iter().flatten().filter_map(Value::as_object);
        Ok(series.flat_map(|labels| labels.keys().cloned()).collect())
    }

    /// Returns what is asked for and not there.
    async fn missing(&self) -> anyhow::Result<Vec<String>> {
        let mut missing = Vec::new();
        for (place, expression) in expressions()? {
            let (asked, by) = names(&expression);
            ensure!(!asked.is_empty(), "{place} asks for no metric: {expression}");
            let mut found = BTreeSet::new();
            for (metric, labels) in asked {
                let has = self.labels(&metric).await?;
                if has.is_empty() {
                    missing.push(format!("{place}: {metric}"));
                }
                let lacks = labels.difference(&has).filter(|_| !has.is_empty());
                missing.extend(lacks.map(|label| format!("{place}: {metric}{{{label}}}")));
                found.extend(has);
            }
            missing.extend(by.difference(&found).map(|label| format!("{place}: by {label}")));
        }
        Ok(missing)
    }
}

#[test]
fn a_real_prometheus_finds_all_that_dashboards_and_alerts_ask_for() {
    run_flow(async || {
        let behaviour = Behaviour { transport: Transport::Socket, ..Behaviour::default() };
        let launcher = simulated_instances_with(behaviour);
        let stack = Stack::start(Options { coturn: true, launcher, ..Options::default() }).await?;
        let dir = tempfile::tempdir()?;
        let prometheus = Prometheus::start(&stack, dir.path()).await?;

        // A session that is made, joined and ended, and some who are turned away.
        let client = stack.client()?;
        let created = client.create(APP, Screen::default()).await?;
        let viewer = Viewer::connect(&created, vec![stack.nodes.gateway_pin()?]).await?;
        viewer.wait_frames(1, STEP_TIMEOUT).await?;
        let account = (stack.nodes.gateway_url(), stack.nodes.gateway_pin()?);
        let account = Http::new(&account.0, Some(&stack.token), account.1)?;
        // With its session ends the socket over which the client tells it.
        eventually("told of the first frame", async || {
            let page = account.get("/metrics").await?.body;
            let told = |text: &str| text.contains("client_first_frame_duration_seconds_count{");
            Ok(page.as_str().is_some_and(told).then_some(()))
        })
        .await?;
        becomes(&client, &created.id, "active").await?;
        client.delete(&created.id).await?;
        becomes(&client, &created.id, "terminated").await?;
        for (url, pin) in [
            (stack.nodes.agent_url(), stack.nodes.agent_pin()?),
            (stack.nodes.gateway_url(), stack.nodes.gateway_pin()?),
        ] {
            let host = url.rsplit('/').next().context("an address")?;
            ensure!(Http::new(&url, Some("none"), pin)?.get("/metrics").await?.status == 401);
            ensure!(connect(host, stack.ams.fingerprint()).await.is_err(), "another certificate");
        }

        let last = std::cell::RefCell::new(Vec::new());
        let complete = eventually("complete", async || {
            let missing = prometheus.missing().await?;
            last.replace(missing);
            Ok(last.borrow().is_empty().then_some(()))
        });
        complete.await.with_context(|| format!("missing: {:#?}", last.borrow()))?;
        for (place, expression) in expressions()? {
            let answer = prometheus.ask("query", &[("query", &expression)]).await?;
            ensure!(answer.is_some(), "{place}: Prometheus does not take {expression}");
        }

        let told = prometheus.ask("targets/metadata", &[]).await?.context("metadata")?;
        let faults = faults(told.as_array().context("a list")?);
        ensure!(faults.is_empty(), "{faults:#?}");
        let firing = [("query", r#"ALERTS{alertstate="firing"}"#)];
        let firing = prometheus.ask("query", &firing).await?.context("an answer")?;
        ensure!(list(&firing, "result").is_empty(), "a stack that is well: {firing}");
        stack.stop().await;
        Ok(())
    });
}

/// Returns what is wrong with metrics as Prometheus knows them: each says in words what it is, and
/// its name ends in its unit, or in `_total` where it only grows.
fn faults(metadata: &[Value]) -> Vec<String> {
    let ours = metadata.iter().filter(|one| text(one, "metric").starts_with("anbox_stream_"));
    let ours: Vec<_> = ours.collect();
    let mut faults = Vec::new();
    if ours.len() < 60 {
        faults.push(format!("only {} metrics", ours.len()));
    }
    for one in ours {
        let (name, kind, help) = (text(one, "metric"), text(one, "type"), text(one, "help"));
        let has_unit = name.ends_with("_seconds") || name.ends_with("_bytes");
        let is_named = match kind {
            "histogram" => has_unit,
            // OpenMetrics tells a counter without its suffix.
            "counter" => !has_unit,
            // What there is of something has no unit; `_total` are names that clients know.
            "gauge" => !name.ends_with("_total") || name.ends_with("s_total"),
            _ => false,
        };
        if !is_named {
            faults.push(format!("{name} is a {kind}"));
        }
        if help.len() < 10 || !help.starts_with(char::is_uppercase) {
            faults.push(format!("{name} says {help:?}"));
        }
    }
    faults
}

#[test]
fn a_metric_without_words_or_unit_is_a_fault() {
    let metric = |name: &str, kind: &str, help: &str| json!({ "metric": format!("anbox_stream_x_{name}"), "type": kind, "help": help });
    let mut metrics = vec![metric("wait_seconds", "histogram", "How long it took."); 60];
    assert!(faults(&metrics).is_empty());
    metrics.push(metric("wait", "histogram", "How long it took."));
    metrics.push(metric("wait_seconds", "gauge", ""));
    metrics.push(metric("wait_seconds", "counter", "How long it took."));
    assert_eq!(faults(&metrics).len(), 3, "{:?}", faults(&metrics));
    assert_eq!(faults(&metrics[..5]).len(), 1);
}

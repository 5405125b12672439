//! The stack as a test suite of somebody else's client meets it: one command, one file of
//! variables.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Answer, Http, STEP_TIMEOUT, eventually, run_flow, stream_dev};
use anyhow::Context;
use reqwest::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stream_dev::env_file::EnvFile;
use stream_pki::{Identity, Trust, client_config};
use stream_protocol::Screen;
use stream_simulators::client::{ClientConfig, Gateway, Relaying, Viewer};
use tokio::process::{Child, Command};

/// Longer than keys and all parts take.
const START: Duration = Duration::from_secs(120);

const PAGE: &str = "https://client.example:8443";
const CAR: &str = "streaming-sdk-e2e-tests_AAOS";
const PHONE: &str = "streaming-sdk-e2e-tests_AOSP";

/// A stack started with one command, and what its file says.
struct Up {
    child: Child,
    file: PathBuf,
    variables: BTreeMap<String, String>,
    _dir: tempfile::TempDir,
}

impl Up {
    async fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("stack.env");
        // As one that was killed has left it.
        let mut left = EnvFile::claim(&file)?;
        left.write(&[("ASG_API_URL", "https://127.0.0.1:1".to_owned())])?;
        let mut child = Command::new(stream_dev())
            .arg("up")
            .args(arguments)
            .arg("--env")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        // That it is there says that all is ready.
        let written = async {
            loop {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                if text.contains("ASG_API_TOKEN") {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let text = tokio::select! {
            text = tokio::time::timeout(START, written) => text.context("never ready")?,
            ended = child.wait() => anyhow::bail!("it ended: {}", ended?),
        };
        let assignments = text.lines().filter_map(|line| line.split_once('='));
        let variables = assignments.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Self { child, file, variables: variables.collect(), _dir: dir })
    }

    fn get(&self, name: &str) -> anyhow::Result<&str> {
        let value = self.variables.get(name).with_context(|| format!("no {name} in the file"))?;
        Ok(value)
    }

    /// A client of AMS with the pair of the file.
    fn ams(&self) -> anyhow::Result<Ams> {
        let pair =
            Identity::load(self.get("AMS_API_CERTIFICATE")?, self.get("AMS_API_CERTIFICATE_KEY")?)?;
        let pins = Trust::Pins(vec![self.get("STREAM_AMS_SHA256")?.parse()?]);
        let tls = client_config(&pins, Some(&pair))?;
        let http = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?;
        Ok(Ams { http, base: self.get("AMS_API_URL")?.to_owned() })
    }

    /// A client of the gateway with the token of the file.
    fn gateway(&self) -> anyhow::Result<Http> {
        let pin = self.get("STREAM_GATEWAY_SHA256")?.parse()?;
        Http::new(self.get("ASG_API_URL")?, Some(self.get("ASG_API_TOKEN")?), pin)
    }

    /// Interrupts it as Ctrl-C does, and sees it end in order.
    async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().context("it runs")?.to_string();
        let sent = std::process::Command::new("kill").args(["-s", "INT", &pid]).status()?;
        anyhow::ensure!(sent.success(), "kill: {sent}");
        let ended = tokio::time::timeout(START, self.child.wait()).await??;
        assert_eq!(ended.code(), Some(0));
        assert!(!self.file.exists(), "the file outlives its stack");
        Ok(())
    }
}

struct Ams {
    http: reqwest::Client,
    base: String,
}

impl Ams {
    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request = match body {
            Some(body) => request.body(body.to_string()),
            None => request,
        };
        let answer = request.send().await?;
        anyhow::ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        Ok(answer.json().await?)
    }

    async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let all = self.send(Method::GET, &format!("{path}?recursion=1"), None).await?;
        Ok(all["metadata"].as_array().context("a list")?.clone())
    }

    /// Launches an instance in the way of the public end-to-end tests, and returns the id of its
    /// session once it runs.
    async fn stream(&self, application: &str) -> anyhow::Result<String> {
        let body = json!({
            "app_id": application,
            "app_version": -1,
            "config": {
                "display": { "width": 720, "height": 1280, "fps": 60, "density": 240 },
                "enable_streaming": true,
                "platform": "webrtc",
            },
            "no_start": false,
        });
        self.send(Method::POST, "/1.0/instances", Some(body)).await?;
        eventually("running with a session", async || {
            let instances = self.list("/1.0/instances").await?;
            let one = instances.iter().find(|one| one["app_id"] == application).context("one")?;
            anyhow::ensure!(one["status"] != "error", "{one}");
            let mut tags = one["tags"].as_array().context("tags")?.iter().filter_map(Value::as_str);
            let session = tags.find_map(|tag| tag.strip_prefix("session="));
            Ok(session.filter(|_| one["status"] == "running").map(str::to_owned))
        })
        .await
    }
}

#[test]
fn a_suite_finds_in_one_file_all_it_needs_to_stream_from_ams_and_join_at_the_gateway() {
    run_flow(async || {
        let car = format!("{CAR}=jammy:aaos15:amd64");
        let applications = ["--application", &car, "--application", PHONE];
        // Of the loopback, though no certificate that is not made for it names it.
        let listen = ["--listen", "127.0.0.2", "--origin", PAGE];
        let up = Up::start(&[applications.as_slice(), &listen].concat()).await?;
        assert!(up.get("ASG_API_URL")?.starts_with("https://127.0.0.2:"));
        for inner in ["AMS_API_URL", "STREAM_AGENT_URL", "STREAM_NATS_URL"] {
            assert!(up.get(inner)?.contains("://127.0.0.1:"), "{inner}");
        }
        assert!(up.get("STREAM_TURN_URL")?.starts_with("turn:127.0.0.2:"));
        for file in ["STREAM_GATEWAY_CERTIFICATE", "STREAM_NATS_CA", "STREAM_NATS_TOKEN_FILE"] {
            assert!(Path::new(up.get(file)?).is_file(), "{file}");
        }

        let ams = up.ams()?;
        let applications = ams.list("/1.0/applications").await?;
        let shown = |name: &str| {
            let one = applications.iter().find(|one| one["name"] == name)?;
            Some([&one["status"], &one["parent_image_variant"]].map(Value::to_string))
        };
        let ready = |variant: &str| Some(["ready", variant].map(|word| format!("\"{word}\"")));
        assert_eq!((shown(CAR), shown(PHONE)), (ready("aaos"), ready("android")));
        let id = applications.iter().find(|one| one["name"] == CAR).context("an application")?;
        let session = ams.stream(id["id"].as_str().context("its id")?).await?;

        // Between AMS and the report of the instance lies a moment.
        let gateway = up.gateway()?;
        let path = format!("/1.0/sessions/{session}/join");
        let joined = eventually("joined", async || {
            let body = json!({ "disconnect_clients": true });
            let answer: Answer = gateway.send(Method::POST, &path, Some(body)).await?;
            Ok((answer.status == StatusCode::OK).then_some(answer.body))
        })
        .await?;
        assert_eq!(joined["status"], "success");
        let url = joined["metadata"]["url"].as_str().context("a URL")?;
        assert!(url.starts_with("wss://127.0.0.2:"), "{url}");
        assert!(joined["metadata"]["stun_servers"].is_array(), "{joined}");

        // In the query, a page cannot set headers of; without any it is refused.
        let nobody = gateway.with(None);
        let token = up.get("ASG_API_TOKEN")?;
        let by_query = nobody.get(&format!("/1.0/sessions/{session}?api_token={token}")).await?;
        assert_eq!(by_query.status, StatusCode::OK, "{by_query:?}");
        assert_eq!(nobody.get(&path.replace("/join", "")).await?.status, StatusCode::UNAUTHORIZED);

        // By the name that it is called by, as a program with the certificate checks it.
        let trust = Trust::from_ca_file(up.get("STREAM_GATEWAY_CERTIFICATE")?)?;
        let tls = client_config(&trust, None)?;
        let page = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?;
        for (origin, is_allowed) in [(PAGE, true), ("https://other.example", false)] {
            let answer = page
                .request(Method::OPTIONS, format!("{}/1.0/sessions/", up.get("ASG_API_URL")?))
                .header(ORIGIN, origin)
                .header(ACCESS_CONTROL_REQUEST_METHOD, "POST")
                .header(ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type")
                .send()
                .await?;
            let allowed = answer.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(allowed.is_some_and(|allowed| allowed == origin), is_allowed, "{origin}");
            assert_eq!(allowed.is_some(), is_allowed, "{origin}");
        }
        up.stop().await
    });
}

#[test]
fn a_stack_may_listen_on_one_address_with_all_its_parts() {
    run_flow(async || {
        // That it is ready says that the services have found NATS there, by its certificate.
        let up = Up::start(&["--listen", "127.0.0.3", "--listen-all"]).await?;
        for part in ["AMS_API_URL", "ASG_API_URL", "STREAM_AGENT_URL", "STREAM_NATS_URL"] {
            assert!(up.get(part)?.contains("://127.0.0.3:"), "{part}");
        }
        let application = up.ams()?.list("/1.0/applications").await?;
        let id = application.first().context("an application")?["id"].clone();
        up.ams()?.stream(id.as_str().context("its id")?).await?;
        up.stop().await
    });
}

/// Returns the address by which others of its network reach this machine. Nothing is sent.
fn own_address() -> anyhow::Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // Set aside for documentation (RFC 5737): nobody has it.
    socket.connect("198.51.100.1:9").context("this machine is in no network")?;
    Ok(socket.local_addr()?.ip())
}

#[test]
fn a_stack_on_an_address_of_the_network_streams_to_it_directly_and_by_its_relay() {
    run_flow(async || {
        let address = own_address()?;
        assert!(!address.is_loopback(), "{address}");
        let up = Up::start(&["--listen", &address.to_string()]).await?;
        let pin = up.get("STREAM_GATEWAY_SHA256")?.parse()?;
        let gateway = Gateway::new(&ClientConfig {
            gateway: up.get("ASG_API_URL")?.to_owned(),
            token: up.get("ASG_API_TOKEN")?.to_owned(),
            pins: vec![pin],
            screen: Screen::default(),
        })?;
        let listed = up.gateway()?.get("/1.0/applications").await?.success()?;
        let app = listed[0]["name"].as_str().context("an application")?.to_owned();
        for relaying in [Relaying::Never, Relaying::Only] {
            let created = gateway.create(&app, Screen::default()).await?;
            assert!(created.url.starts_with(&format!("wss://{address}:")), "{}", created.url);
            let servers = serde_json::to_string(&created.stun_servers)?;
            assert!(servers.contains(&format!("turn:{address}:")), "another relay");
            assert!(!servers.contains("127.0.0.1"), "one that nobody else reaches");
            let viewer = Viewer::connect_over(&created, vec![pin], relaying).await?;
            viewer.wait_frames(5, STEP_TIMEOUT).await?;
            viewer.disconnect().await;
            gateway.delete(&created.id).await?;
        }
        up.stop().await
    });
}

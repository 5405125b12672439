//! The agent that AMS asks for sessions: `agent.api.*` in the configuration of AMS, and who keeps
//! it right.

use std::fs;
use std::path::Path;
use std::process::Output;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stream_agent::program;
use stream_dev::in_process::{Options, Stack};
use stream_dev::keys::{KeyStore, Pair, write_secret};
use stream_pki::{Authority, Fingerprint, KeyPairPem, PairSlot, PairStore, write_new};
use stream_protocol::TokenKind;
use stream_simulators::ams;
use stream_tokens::Mint;
use toml::{Table, toml};

use crate::certificates::signed_and_dated;
use crate::support::{APP, Http, STEP_TIMEOUT, eventually, light_instances, run_flow, user_of_ams};

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");

const URL: &str = "agent.api.url";
const TOKEN: &str = "agent.api.token";
const FINGERPRINT: &str = "agent.api.fingerprint";

/// A stack whose AMS asks an agent for the sessions of what it launches.
struct AskingAms {
    stack: Stack,
    user: reqwest::Client,
}

impl AskingAms {
    async fn start(options: Options) -> anyhow::Result<Self> {
        let stack = Stack::start(Options { launcher: light_instances(), ..options }).await?;
        let user = user_of_ams(&stack)?;
        Ok(Self { stack, user })
    }

    /// Runs `stream-agent ams configure`.
    async fn configure(&self, words: &[&str]) -> anyhow::Result<Output> {
        let mut command = tokio::process::Command::new(AGENT);
        command.args(["ams", "configure", "--config"]).arg(self.stack.nodes.dir.join("agent.toml"));
        let output = command.args(words).kill_on_drop(true).output();
        Ok(tokio::time::timeout(STEP_TIMEOUT, output).await??)
    }

    /// Runs it and returns what it says: which of the three are set, and which stay.
    async fn configured(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = self.configure(words).await?;
        ensure!(output.status.success(), "{output:?}");
        let token = self.item(TOKEN).await?;
        let said = said(&output);
        ensure!(!token.is_empty() && !said.contains(&token), "the token is told: {said}");
        Ok(said)
    }

    /// Runs it and returns why it is refused.
    async fn refused(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = self.configure(words).await?;
        ensure!(output.status.code() == Some(1), "{output:?}");
        Ok(said(&output))
    }

    fn set(&self, name: &str, value: &str) -> anyhow::Result<()> {
        self.stack.ams.configure(name, value).map_err(anyhow::Error::msg)
    }

    async fn item(&self, name: &str) -> anyhow::Result<String> {
        let url = format!("{}/1.0/config", self.stack.nodes.ams_url());
        let answer: Value = self.user.get(url).send().await?.json().await?;
        let value = answer["metadata"]["config"][name].as_str();
        Ok(value.context("a value")?.to_owned())
    }

    /// Waits until AMS expects the certificate with `pin` of its agent.
    async fn expects(&self, pin: Fingerprint) -> anyhow::Result<()> {
        let pin = pin.to_string();
        let is_known = async || Ok((self.item(FINGERPRINT).await? == pin).then_some(()));
        eventually("ams expects another certificate", is_known).await
    }

    /// Waits until the agent shows the certificate with `pin`, and no other.
    async fn shows(&self, pin: Fingerprint) -> anyhow::Result<()> {
        let is_shown = async || {
            let stranger = Http::new(&self.stack.nodes.agent_url(), None, pin)?;
            Ok(stranger.get("/1.0/health/live").await.ok().map(drop))
        };
        eventually("the agent shows another certificate", is_shown).await
    }

    /// Waits until AMS has refused to be told of a certificate.
    async fn has_refused(&self, pin: Fingerprint) -> anyhow::Result<()> {
        let monitor = Mint::new(TokenKind::Monitor, "test");
        let token = self.stack.agent.tokens.mint(monitor).await?.token.to_string();
        let agent = Http::new(&self.stack.nodes.agent_url(), Some(&token), pin)?;
        eventually("ams has refused", async || {
            let page = agent.get("/metrics").await?;
            let page = page.body.as_str().context("text")?.to_owned();
            let count =
                r#"ams_call_duration_seconds_count{call="pin_agent",outcome="unreachable"}"#;
            Ok(page.contains(count).then_some(()))
        })
        .await
    }

    /// Has AMS launch an instance that streams; returns why it has no session, or `None`.
    async fn streams(&self) -> anyhow::Result<Option<String>> {
        let config = json!({ "enable_streaming": true, "platform": "webrtc" });
        let body = json!({ "app_id": APP, "app_version": -1, "config": config });
        let url = format!("{}/1.0/instances", self.stack.nodes.ams_url());
        let before: Vec<_> = self.stack.ams.instances().into_iter().map(|one| one.id).collect();
        let launched = self.user.post(url).json(&body).send().await?;
        ensure!(launched.status().is_success(), "{launched:?}");
        let is_decided = |one: &&ams::Instance| {
            let has_session = one.tags.iter().any(|tag| tag.starts_with("session="));
            !before.contains(&one.id) && (has_session || !one.error_message.is_empty())
        };
        let decided = |all: &[ams::Instance]| all.iter().any(|one| is_decided(&one));
        let all = self.stack.ams.wait_until(decided, STEP_TIMEOUT).await?;
        let instance = all.iter().find(is_decided).context("an instance")?;
        Ok(Some(instance.error_message.clone()).filter(|why| !why.is_empty()))
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Which of the three are said to be set.
fn set(said: &str) -> Vec<&str> {
    let names = [URL, TOKEN, FINGERPRINT];
    let told = |name: &&str, what: &str| said.contains(&format!("{name} {what}"));
    names.iter().for_each(|name| {
        assert!(told(name, "is set now") != told(name, "stays as it is"), "{name}: {said}");
    });
    names.into_iter().filter(|name| told(name, "is set now")).collect()
}

#[test]
fn ams_is_told_whom_to_ask_and_of_what_is_right_already_nothing_changes() {
    run_flow(async || {
        let asking = AskingAms::start(Options::default()).await?;
        let nodes = &asking.stack.nodes;
        assert_eq!(set(&asking.configured(&[]).await?), [URL, TOKEN, FINGERPRINT]);
        assert_eq!(asking.item(URL).await?, nodes.agent_url());
        assert_eq!(asking.item(FINGERPRINT).await?, nodes.agent_pin()?.to_string());
        assert_eq!(asking.streams().await?, None);

        let token = asking.item(TOKEN).await?;
        assert_eq!(set(&asking.configured(&[]).await?), [""; 0]);
        asking.set(FINGERPRINT, &"ab".repeat(32))?;
        let why = asking.streams().await?.context("it has a session")?;
        assert!(why.contains("not the pinned one"), "{why}");
        assert_eq!(set(&asking.configured(&[]).await?), [FINGERPRINT]);
        assert_eq!(asking.item(TOKEN).await?, token);
        assert_eq!(set(&asking.configured(&["--new-token"]).await?), [TOKEN]);
        assert_ne!(asking.item(TOKEN).await?, token);
        assert_eq!(asking.streams().await?, None);

        let file = nodes.dir.join("ams.token");
        write_secret(&file, format!("{token}\n"))?;
        let file = file.to_str().context("a path")?;
        assert_eq!(set(&asking.configured(&["--token-file", file]).await?), [TOKEN]);
        assert_eq!(asking.item(TOKEN).await?, token);
        asking.stack.stop().await;
        Ok(())
    });
}

#[test]
fn nothing_changes_at_an_ams_that_asks_another_agent_or_does_not_trust_this_one() {
    run_flow(async || {
        let asking = AskingAms::start(Options::default()).await?;
        let nodes = &asking.stack.nodes;
        let other = "https://agent-2.example.org:9033";
        asking.set(URL, other)?;
        let why = asking.refused(&[]).await?;
        assert!(why.contains("ams asks the agent at https://agent-2.example.org:9033"), "{why}");
        let why = asking.refused(&["--fingerprint", &"ab".repeat(32)]).await?;
        assert!(why.contains("--fingerprint is for balancers"), "{why}");
        assert_eq!([asking.item(URL).await?, asking.item(TOKEN).await?], [other, ""]);
        assert_eq!(set(&asking.configured(&["--replace"]).await?), [URL, TOKEN, FINGERPRINT]);
        assert_eq!(asking.item(URL).await?, nodes.agent_url());

        asking.set(FINGERPRINT, "")?;
        asking.stack.ams.distrust(nodes.ams_client_pin()?);
        let why = asking.refused(&[]).await?;
        assert!(why.contains("does not trust our client certificate"), "{why}");
        asking.stack.ams.trust(nodes.ams_client_pin()?);
        assert_eq!(asking.item(FINGERPRINT).await?, "");

        // A token is made by the service alone.
        asking.set(TOKEN, "")?;
        asking.stack.agent.stop().await;
        let why = asking.refused(&[]).await?;
        assert!(why.contains("the service makes the token: start it"), "{why}");
        assert_eq!(asking.item(FINGERPRINT).await?, "");
        Ok(())
    });
}

/// Puts into `dir` the pair of a server as `init` makes it: due to be replaced by the next one,
/// which was known for long enough. Returns their fingerprints, and keys of `agent.toml`.
fn due(dir: &Path) -> anyhow::Result<([Fingerprint; 2], Table)> {
    let (keys, authority) = (KeyStore::shared()?, Authority::generate("site")?);
    write_new(dir.join("ca.crt"), authority.certificate_pem().as_bytes(), 0o644)?;
    write_new(dir.join("ca.key"), authority.key_pem().as_bytes(), 0o600)?;
    let store = PairStore::at(dir.join("state"));
    let made = |slot, name: &str, days| {
        let key = fs::read_to_string(keys.pair(name)?.key)?;
        let certificate = signed_and_dated(&authority, &key, days)?;
        store.store(slot, &KeyPairPem { certificate, key: key.into() })?;
        store.load(slot)?.map(|pair| pair.fingerprint()).context("a pair")
    };
    let pins = [
        made(PairSlot::Present, "agent", [-700, 100])?,
        made(PairSlot::Next, "agent-next", [-100, 700])?,
    ];
    let files = ["server.crt", "server.key", "next.crt", "next.key"].map(|name| dir.join(name));
    store.link(PairSlot::Present, &files[0], &files[1])?;
    store.link(PairSlot::Next, &files[2], &files[3])?;
    let [certificate, key, next, next_key] = files.map(|file| file.display().to_string());
    let keys = toml! {
        tls.certificate = certificate
        tls.key = key
        tls.next_certificate = next
        tls.next_key = next_key
        // What is shown is shown because it was to be, and not because somebody looked.
        tls.reload_s = 3600
    };
    Ok((pins, keys))
}

#[test]
fn ams_is_told_the_next_certificate_before_the_agent_that_it_asks_shows_it() {
    run_flow(async || {
        let dir = tempfile::tempdir()?;
        let ([present, next], keys) = due(dir.path())?;
        let asking = AskingAms::start(Options { agent: keys, ..Options::default() }).await?;
        let (ams, agent) = (&asking.stack.ams, &asking.stack.agent);
        assert_eq!(set(&asking.configured(&[]).await?), [URL, TOKEN, FINGERPRINT]);
        asking.expects(present).await?;
        assert_eq!(asking.streams().await?, None);

        // An AMS that cannot be told goes on as before.
        let client = asking.stack.nodes.ams_client_pin()?;
        ams.distrust(client);
        program::Service::reload(agent).await;
        asking.has_refused(present).await?;
        ams.trust(client);
        asking.expects(present).await?;
        assert_eq!(asking.streams().await?, None);

        program::Service::reload(agent).await;
        asking.shows(next).await?;
        asking.expects(next).await?;
        assert_eq!(asking.streams().await?, None);

        // It was told of another one, which never came to be shown.
        asking.set(FINGERPRINT, &"ab".repeat(32))?;
        assert!(agent.supervisor.crash("pki"));
        asking.expects(next).await?;
        assert_eq!(asking.streams().await?, None);

        // Somebody else replaces the files.
        let Pair { certificate, key } = KeyStore::shared()?.pair("agent-2")?;
        let [certificate, key] = [certificate, key].map(fs::read_to_string);
        let pair = KeyPairPem { certificate: certificate?, key: key?.into() };
        PairStore::at(dir.path().join("state")).store(PairSlot::Present, &pair)?;
        program::Service::reload(agent).await;
        asking.expects(KeyStore::shared()?.pair("agent-2")?.identity()?.fingerprint()).await?;
        assert_eq!(asking.streams().await?, None);
        asking.stack.stop().await;
        Ok(())
    });
}

#[test]
fn an_agent_that_ams_does_not_ask_or_that_a_balancer_hides_is_renewed_and_tells_nothing() {
    run_flow(async || {
        for is_hidden in [true, false] {
            let dir = tempfile::tempdir()?;
            let ([_, next], mut keys) = due(dir.path())?;
            if is_hidden {
                keys.extend(toml! { agent.pin = false });
            }
            let asking = AskingAms::start(Options { agent: keys, ..Options::default() }).await?;
            let others = Fingerprint([0xab; 32]);
            let url = match is_hidden {
                true => asking.stack.nodes.agent_url(),
                false => "https://agent-2.example.org:9033".to_owned(),
            };
            asking.set(URL, &url)?;
            asking.set(FINGERPRINT, &others.to_string())?;
            program::Service::reload(&asking.stack.agent).await;
            asking.shows(next).await?;
            asking.expects(others).await?;
            asking.stack.stop().await;
        }
        Ok(())
    });
}

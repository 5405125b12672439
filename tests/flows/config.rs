//! The files under config/: they load, and what they say of defaults is true.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;
use stream_agent::agent::AgentConfig;
use stream_agent::gateway::GatewayConfig;
use stream_agent::init::{self, SealingKey};

const AGENT: &str = include_str!("../../config/agent.toml");
const GATEWAY: &str = include_str!("../../config/gateway.toml");

/// A node that `init` has prepared, and a configuration that names its files.
struct Node {
    dir: tempfile::TempDir,
    program: &'static str,
    config: PathBuf,
}

impl Node {
    fn agent() -> Self {
        Self::prepare(env!("CARGO_BIN_EXE_stream-agent"), "stream-agent", AGENT)
    }

    fn gateway() -> Self {
        Self::prepare(env!("CARGO_BIN_EXE_stream-gateway"), "stream-gateway", GATEWAY)
    }

    fn prepare(program: &'static str, name: &str, reference: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("node");
        stream_dev::keys::KeyStore::shared().unwrap().install(&home, "agent").unwrap();
        let host = ["localhost".to_owned()];
        match name {
            "stream-agent" => drop(init::agent(&home, &host, None).unwrap()),
            _ => drop(init::gateway(&home, &host, None).unwrap()),
        }
        // What NATS brings along.
        std::fs::copy(home.join("server.crt"), home.join("nats-ca.crt")).unwrap();
        stream_dev::keys::write_secret(home.join("nats.token"), "a-token-of-sixteen-or-more\n")
            .unwrap();
        let text = reference
            .replace(&format!("/etc/{name}"), home.to_str().unwrap())
            .replace(&format!("/run/{name}"), dir.path().join("run").to_str().unwrap());
        let config = dir.path().join("config.toml");
        std::fs::write(&config, text).unwrap();
        Self { dir, program, config }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("node")
    }

    fn check(&self) -> Output {
        let config = ["check-config", "--config", self.config.to_str().unwrap()];
        Command::new(self.program).args(config).output().unwrap()
    }

    /// Checks the configuration after `old` was replaced by `new` in it.
    fn check_with(&self, old: &str, new: &str) -> Output {
        let text = std::fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(old), "the reference has no {old}");
        std::fs::write(&self.config, text.replace(old, new)).unwrap();
        self.check()
    }
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let sentence = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(sentence.trim_end().lines().count(), 1, "one sentence: {sentence}");
    sentence
}

#[test]
fn both_references_pass_the_check_in_an_initialised_directory() {
    for node in [Node::agent(), Node::gateway()] {
        let output = node.check();
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_file_and_line() {
    let node = Node::agent();
    let sentence = refusal(&node.check_with("[api]\n", "[api]\nlisten_on = \"0.0.0.0:1\"\n"));
    let line = AGENT.lines().position(|line| line == "[api]").unwrap() + 2;
    let place = format!("{}:{line}:", node.config.display());
    assert!(sentence.contains(&place), "{sentence} does not say {place}");
    assert!(sentence.contains("listen_on"), "{sentence}");
}

#[test]
fn a_wrong_type_is_refused_with_file_and_line() {
    let node = Node::gateway();
    let sentence = refusal(&node.check_with("#workers = 2", "workers = \"two\""));
    let line = GATEWAY.lines().position(|line| line == "#workers = 2").unwrap() + 1;
    assert!(sentence.contains(&format!("{}:{line}:", node.config.display())), "{sentence}");
}

#[test]
fn instances_are_not_kept_for_longer_than_their_sessions_are_known() {
    let node = Node::agent();
    let week = "failed_instance_s = 604801";
    let sentence = refusal(&node.check_with("#failed_instance_s = 3600", week));
    assert!(sentence.contains("failed_instance_s is 604801, and at most 604800"), "{sentence}");
    let line = AGENT.lines().position(|line| line == "#failed_instance_s = 3600").unwrap() + 1;
    assert!(sentence.contains(&format!("{}:{line}:", node.config.display())), "{sentence}");
    let none = node.check_with(week, "failed_instance_s = 0");
    assert!(none.status.success(), "{none:?}");
}

#[test]
fn faults_are_allowed_by_one_value_only() {
    for node in [Node::agent(), Node::gateway()] {
        let debug = |value: &str| format!("[debug]\nfault_injection = {value}\n\n[tls]\n");
        let sentence = refusal(&node.check_with("[tls]\n", &debug("\"yes\"")));
        assert!(sentence.contains("yes_for_test_purposes_only"), "{sentence}");
        let output = node.check_with("\"yes\"", "\"yes_for_test_purposes_only\"");
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn a_missing_secret_file_is_named() {
    let node = Node::agent();
    let secret = node.home().join("sealing.key");
    std::fs::remove_file(&secret).unwrap();
    let sentence = refusal(&node.check());
    assert!(sentence.contains(secret.to_str().unwrap()), "{sentence}");
}

#[test]
fn a_variable_holds_over_the_file_and_is_named_when_it_is_wrong() {
    let node = Node::gateway();
    let token = node.dir.path().join("other.token");
    stream_dev::keys::write_secret(&token, "another-token-of-sixteen\n").unwrap();
    let run = |words: &[&str], name: &str, value: &Path| {
        let mut command = Command::new(node.program);
        command.args(words).arg("--config").arg(&node.config).env(name, value).output().unwrap()
    };
    let name = "STREAM__NATS__TOKEN";
    assert!(run(&["check-config"], name, &token).status.success());
    let sentence = refusal(&run(&["check-config"], name, Path::new("/none")));
    assert!(sentence.starts_with(&format!("error: {name}: ")), "{sentence}");
    let sentence = refusal(&run(&["check-config"], "STREAM__NATS__TOKENS", &token));
    assert!(sentence.contains("STREAM__NATS__TOKENS: unknown field"), "{sentence}");

    let shown = run(&["config", "show"], name, &token);
    assert!(shown.status.success(), "{shown:?}");
    let shown = String::from_utf8(shown.stdout).unwrap();
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    let told = line("token = ");
    assert!(told.contains(token.to_str().unwrap()) && told.ends_with("# STREAM__NATS__TOKEN"));
    let number = GATEWAY.lines().position(|line| line.starts_with("servers = ")).unwrap() + 1;
    let origin = format!("# {}:{number}", node.config.display());
    assert!(line("servers = ").ends_with(&origin), "{shown}");
    assert!(line("workers = 2").ends_with("# default"), "{shown}");
    // What is printed is a configuration that means the same.
    let again: GatewayConfig = toml::from_str(&shown).unwrap();
    assert_eq!(again.nats.token.as_deref(), Some(&*token));
    assert!(!shown.contains("another-token"), "a secret is printed");
}

#[test]
fn nobody_who_stops_reading_ends_a_command_in_the_middle() {
    let node = Node::agent();
    let config = node.config.to_str().unwrap();
    let home = node.home();
    for words in [&["config", "show", "--config", config][..], &["init", "--dir", path(&home)]] {
        let mut command = Command::new(node.program);
        command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = command.spawn().unwrap();
        drop(running.stdout.take());
        let output = running.wait_with_output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("panicked") && !said.contains("error"), "{said}");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn an_empty_secret_file_is_named() {
    let node = Node::gateway();
    let secret = node.home().join("root.key");
    std::fs::write(&secret, "").unwrap();
    let sentence = refusal(&node.check());
    assert!(sentence.contains(secret.to_str().unwrap()), "{sentence}");
    assert!(sentence.contains("empty"), "{sentence}");
}

#[test]
fn a_secret_that_everybody_may_read_is_refused_with_the_remedy() {
    let node = Node::gateway();
    for name in ["sealing.key", "root.key", "server.key", "nats.token"] {
        let secret = node.home().join(name);
        let set_mode = |mode| std::fs::set_permissions(&secret, Permissions::from_mode(mode));
        set_mode(0o644).unwrap();
        let sentence = refusal(&node.check());
        let remedy = format!("`chmod 0640 {}`", secret.display());
        assert!(sentence.contains("0644") && sentence.contains(&remedy), "{sentence}");
        set_mode(0o640).unwrap();
        assert!(node.check().status.success(), "{name}");
    }
}

#[test]
fn a_node_joins_with_a_sealing_key_that_only_its_owner_can_read() {
    let first = Node::gateway();
    let (key, home) = (first.home().join("sealing.key"), first.dir.path().join("second"));
    stream_dev::keys::KeyStore::shared().unwrap().install(&home, "gateway").unwrap();
    let join = || {
        let key = SealingKey::read(&key)?;
        init::gateway(&home, &["localhost".to_owned()], Some(&key))
    };
    let set_mode = |mode| std::fs::set_permissions(&key, Permissions::from_mode(mode));
    set_mode(0o644).unwrap();
    let refused = format!("{:#}", join().unwrap_err());
    assert!(refused.contains("0644") && refused.contains("chmod"), "{refused}");
    assert!(!home.join("sealing.key").exists());
    set_mode(0o600).unwrap();
    join().unwrap();
    assert_eq!(std::fs::read(home.join("sealing.key")).unwrap(), std::fs::read(&key).unwrap());
}

#[test]
fn init_keeps_what_exists_and_leaves_nothing_half_written() {
    let node = Node::agent();
    let before = contents(&node.home());
    let again = Command::new(node.program)
        .args(["init", "--dir", node.home().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(again.status.success(), "{again:?}");
    assert_eq!(contents(&node.home()), before);

    std::fs::remove_file(node.home().join("server.key")).unwrap();
    let half = Command::new(node.program)
        .args(["init", "--dir", node.home().to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(half.status.code(), Some(1), "a certificate without its key is not repaired");
    assert!(String::from_utf8_lossy(&half.stderr).contains("server.key"));
}

fn contents(dir: &Path) -> BTreeSet<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

/// The optional keys stand commented out with their defaults: with the comments lifted the file
/// must mean the same.
#[test]
fn the_commented_defaults_are_the_defaults() {
    same_with_comments_lifted::<AgentConfig>(AGENT);
    same_with_comments_lifted::<GatewayConfig>(GATEWAY);
}

fn same_with_comments_lifted<C: for<'de> Deserialize<'de> + std::fmt::Debug>(text: &str) {
    let mut lifted = 0;
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        // A comment for people begins with a space.
        Some(key) if !key.is_empty() && !key.starts_with(' ') => {
            lifted += 1;
            key
        }
        _ => line,
    });
    let all = lines.collect::<Vec<_>>().join("\n");
    assert!(lifted > 5, "no commented keys were found");
    let plain: C = toml::from_str(text).unwrap();
    let spelt_out: C = toml::from_str(&all).unwrap();
    assert_eq!(format!("{plain:?}"), format!("{spelt_out:?}"));
}

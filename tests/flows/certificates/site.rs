//! A site that has no certificates from outside: it makes an authority, and renews what that signs.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use anyhow::{Context, ensure};
use serde_json::Value;
use stream_agent::init;
use stream_pki::{
    ClientCertificates, Fingerprint, Identity, Trust, client_config, create_private_dir,
    server_config,
};
use stream_supervisor::Supervisor;
use stream_tls::CertificateReloader;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::browser::run_script;
use crate::support::run_flow;

const GATEWAY: &str = env!("CARGO_BIN_EXE_stream-gateway");
const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");
const REFERENCE: &str = include_str!("../../../config/gateway.toml");

fn pki(program: &str, words: &[&str], home: &Path) -> anyhow::Result<Output> {
    let mut command = Command::new(program);
    Ok(command.arg("pki").args(words).arg("--dir").arg(home).output()?)
}

fn said(output: &Output) -> anyhow::Result<String> {
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout.clone())?)
}

fn openssl_verifies(home: &Path, certificate: &str, name: &str) -> anyhow::Result<()> {
    let mut command = Command::new("openssl");
    command.args(["verify", "-x509_strict", "-CAfile", "ca.crt", "-verify_hostname", name]);
    let output = command.arg(certificate).current_dir(home).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

fn shown(home: &Path, stem: &str) -> anyhow::Result<Fingerprint> {
    let file = |end: &str| home.join(format!("{stem}.{end}"));
    Ok(Identity::load(file("crt"), file("key"))?.fingerprint())
}

/// Whether a client that trusts the authority is served under the name.
async fn is_served(reloader: &CertificateReloader, home: &Path) -> anyhow::Result<()> {
    let trust = Trust::from_ca_file(home.join("ca.crt"))?;
    let connector = TlsConnector::from(Arc::new(client_config(&trust, None)?));
    let config = server_config(&reloader.identity(), ClientCertificates::Ignored);
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from("gw.example.org")?;
    let accepted = TlsAcceptor::from(config);
    let (connected, _) = tokio::join!(connector.connect(name, ours), accepted.accept(theirs));
    connected.map(drop).context("not served")
}

#[test]
fn a_site_of_its_own_makes_renews_and_lists_its_certificates() {
    run_flow(async || {
        let dir = tempfile::tempdir()?;
        let home = dir.path().join("node");
        let hosts = ["gw.example.org".to_owned(), "127.0.0.1".to_owned()];
        let files = init::gateway(&home, &hosts, None)?;
        ensure!(files.iter().any(|file| file.path.ends_with("ca.crt") && file.made), "{files:?}");
        let again = init::gateway(&home, &hosts, None)?;
        ensure!(again.iter().all(|file| !file.made), "{again:?}");
        openssl_verifies(&home, "server.crt", "gw.example.org")?;

        let file = |name: &str| home.join(name);
        std::fs::copy(file("ca.crt"), file("nats-ca.crt"))?;
        stream_dev::keys::write_secret(file("nats.token"), "a-token-of-sixteen-or-more\n")?;
        let text = REFERENCE
            .replace("/etc/stream-gateway", home.to_str().context("a path")?)
            .replace("/run/stream-gateway", dir.path().join("run").to_str().context("a path")?);
        let config = dir.path().join("gateway.toml");
        std::fs::write(&config, text)?;
        let status = || -> anyhow::Result<Vec<Value>> {
            let mut command = Command::new(GATEWAY);
            command.args(["pki", "status", "--json", "--config"]).arg(&config);
            Ok(serde_json::from_str(&said(&command.output()?)?)?)
        };
        let row = |rows: &[Value], of: &str| {
            rows.iter().find(|row| row["use"] == of).cloned().with_context(|| format!("no {of}"))
        };
        let before = shown(&home, "server")?;
        let rows = status()?;
        let server = row(&rows, "server")?;
        ensure!(server["fingerprint"] == before.to_string(), "{server}");
        ensure!(server["days_left"].as_i64().is_some_and(|days| days <= 824), "{server}");
        ensure!(server["renewed_at"].is_string(), "{server}");
        row(&rows, "authority")?;
        row(&rows, "nats ca")?;

        // A service that runs follows.
        let supervisor = Supervisor::default();
        let tls: stream_tls::Config = serde_json::from_value(serde_json::json!({
            "certificate": file("server.crt"), "key": file("server.key"), "reload_s": 3600,
        }))?;
        let reloader = CertificateReloader::start(tls, &supervisor)?;
        is_served(&reloader, &home).await?;
        let told = said(&pki(GATEWAY, &["renew"], &home)?)?;
        let after = shown(&home, "server")?;
        ensure!(after != before && told.contains(&after.to_string()), "{told}");
        ensure!(reloader.reload().await?, "nothing was taken up");
        ensure!(reloader.identity().current().fingerprint() == after);
        is_served(&reloader, &home).await?;
        openssl_verifies(&home, "server.crt", "gw.example.org")?;

        said(&pki(GATEWAY, &["issue", "nats", "--host", "nats.example.org"], &home)?)?;
        openssl_verifies(&home, "nats.crt", "nats.example.org")?;
        let refused = pki(GATEWAY, &["issue", "nats", "--host", "x"], &home)?;
        ensure!(refused.status.code() == Some(1), "{refused:?}");
        let why = String::from_utf8(refused.stderr)?;
        ensure!(why.contains("is there already"), "{why}");
        supervisor.stop();
        Ok(())
    });
}

#[test]
fn a_pinned_pair_is_renewed_by_one_that_is_known_before() {
    let renewed = || -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let home = dir.path().join("node");
        create_private_dir(&home)?;
        // As an earlier version has made them: plain files, without an authority.
        let keys = stream_dev::keys::KeyStore::shared()?;
        keys.pair("agent")?.copy(&home, "server")?;
        let refused = pki(AGENT, &["renew"], &home)?;
        let why = String::from_utf8(refused.stderr)?;
        ensure!(refused.status.code() == Some(1) && why.contains("`pki init`"), "{why}");
        said(&pki(AGENT, &["init"], &home)?)?;
        let before = shown(&home, "server")?;
        let told = said(&pki(AGENT, &["renew"], &home)?)?;
        ensure!(shown(&home, "server")? == before, "{told}");
        let next = shown(&home, "server-next")?;
        ensure!(told.contains(&next.to_string()) && told.contains("not presented yet"), "{told}");
        let told = said(&pki(AGENT, &["renew"], &home)?)?;
        ensure!(shown(&home, "server")? == next, "{told}");
        ensure!(shown(&home, "server-next")? != next, "{told}");
        Ok(())
    };
    renewed().expect("it is renewed");
}

#[test]
fn browsers_take_what_init_makes_once_they_trust_its_authority() {
    let taken = || -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let home = dir.path().join("node");
        let mut init = Command::new(GATEWAY);
        said(&init.args(["init", "--host", "localhost", "--dir"]).arg(&home).output()?)?;
        run_script("trusted", ["ca.crt", "server.crt", "server.key"].map(|name| home.join(name)))
    };
    taken().expect("they take it");
}

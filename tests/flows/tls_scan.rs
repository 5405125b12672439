//! What scanners of TLS find on everything that listens: TLS 1.3 and nothing older, RSA-4096, and
//! no finding that is not in the list of those that are meant.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use serde::Deserialize;
use stream_dev::in_process::{Options, Stack};
use tokio::process::Command;

use crate::support::run_flow;

/// Something that listens.
struct Listener {
    name: &'static str,
    /// Host and port.
    address: String,
    /// What vouches for its certificate.
    authority: PathBuf,
}

/// A finding that is meant.
struct Accepted {
    id: &'static str,
    /// Where; everywhere if empty.
    listeners: &'static [&'static str],
    /// What the finding has in it.
    says: &'static str,
    #[expect(dead_code, reason = "for people")]
    why: &'static str,
}

const ACCEPTED: [Accepted; 7] = [
    Accepted {
        id: "engine_problem",
        listeners: &[],
        says: "No engine or ",
        why: "said of the openssl of this machine, not of the listener",
    },
    Accepted {
        id: "cert_revocation",
        listeners: &[],
        says: "Neither CRL nor OCSP URI provided",
        why: "trust is private, by pins and by authorities of one's own: what is not to be trusted \
              any more is taken from there, and nobody is asked about it",
    },
    Accepted {
        id: "DNS_CAArecord",
        listeners: &[],
        says: "",
        why: "no public authority issues for these names",
    },
    Accepted {
        id: "cert_validityPeriod",
        listeners: &[],
        says: "days",
        why: "the keys of tests are made once, and live for as long as the checkout does",
    },
    Accepted {
        id: "sessionresumption_ticket",
        listeners: &["gateway", "agent", "ams"],
        says: "check failed because of connect problem",
        why: "the scanner asks for a ticket and hangs up before the server could send one; that \
              resumption works is a flow of its own, `tickets`",
    },
    Accepted {
        id: "BREACH",
        listeners: &["gateway"],
        says: "only supplied '/' tested",
        why: "only the files of the page are compressed: they are the same for everybody, hold no \
              secret, and nothing of a request is in them",
    },
    Accepted {
        id: "TLS_session_ticket",
        listeners: &["nats"],
        says: "valid for 604800 seconds",
        why: "how long a ticket lives is not for nats-server's configuration to say; resumption \
              skips no login",
    },
];

/// A line of testssl's report.
#[derive(Debug, Deserialize)]
struct Finding {
    id: String,
    severity: String,
    finding: String,
}

impl Finding {
    fn is_accepted(&self, listener: &str) -> bool {
        ACCEPTED.iter().any(|accepted| {
            let is_here = accepted.listeners.is_empty() || accepted.listeners.contains(&listener);
            accepted.id == self.id && is_here && self.finding.contains(accepted.says)
        })
    }
}

/// Runs a scanner, which may end as it likes: what it found is in its report.
async fn run(program: &str, arguments: &[&str], at: &Listener) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).arg(&at.address).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await;
    let output = output.with_context(|| format!("{program}: scripts/test installs it"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Checks which protocols, ciphers and keys sslscan is offered.
async fn sslscan(at: &Listener) -> anyhow::Result<()> {
    let report = run("sslscan", &["--no-colour", "--xml=-"], at).await?;
    let all = |element: &str| {
        let begins = format!("<{element} ");
        let lines = report.lines().map(str::trim).filter(move |line| line.starts_with(&begins));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let enabled: Vec<_> =
        all("protocol").into_iter().filter(|line| line.contains("enabled=\"1\"")).collect();
    let offered = ["<protocol type=\"tls\" version=\"1.3\" enabled=\"1\" />"];
    ensure!(enabled == offered, "{}: {report}", at.name);
    ensure!(all("protocol").len() == 6, "{}: it asked for older ones: {report}", at.name);
    let ciphers = all("cipher");
    let is_good = |cipher: &String| cipher.contains("sslversion=\"TLSv1.3\" bits=");
    ensure!(!ciphers.is_empty() && ciphers.iter().all(is_good), "{}: {report}", at.name);
    ensure!(report.contains("type=\"RSA\" bits=\"4096\""), "{}: {report}", at.name);
    ensure!(!report.contains("vulnerable=\"1\""), "{}: {report}", at.name);
    Ok(())
}

/// Checks what testssl finds. Left out are what concerns TLS 1.2 and older alone (ciphers one by
/// one), simulations of clients, and headers of HTTP, which tests of the gateway look at.
async fn testssl(at: &Listener, dir: &Path) -> anyhow::Result<()> {
    let report = dir.join(format!("{}.json", at.name));
    let file = report.to_str().context("a path")?;
    let authority = at.authority.to_str().context("a path")?;
    let quiet = ["--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none"];
    let checks = ["--protocols", "--server-defaults", "--vulnerable"];
    let arguments = [&quiet[..], &checks, &["--add-ca", authority, "--jsonfile", file]].concat();
    let said = run("testssl", &arguments, at).await?;
    let text = std::fs::read_to_string(&report).with_context(|| format!("{}: {said}", at.name))?;
    let findings: Vec<Finding> = serde_json::from_str(&text).context("testssl's report")?;
    let bad: Vec<_> = findings
        .iter()
        .filter(|finding| !["OK", "INFO", "DEBUG"].contains(&finding.severity.as_str()))
        .filter(|finding| !finding.is_accepted(at.name))
        .collect();
    ensure!(bad.is_empty(), "{}: {bad:#?}", at.name);
    for (id, says) in [
        ("SSLv2", "not offered"),
        ("SSLv3", "not offered"),
        ("TLS1", "not offered"),
        ("TLS1_1", "not offered"),
        ("TLS1_2", "not offered"),
        ("TLS1_3", "offered"),
        ("cert_keySize", "RSA 4096 bits"),
        ("cert_chain_of_trust", "passed"),
        ("ROBOT", "not vulnerable"),
        // The last one: it has come to its end.
        ("scanTime", ""),
    ] {
        let found = findings.iter().find(|finding| finding.id == id);
        let found = found.with_context(|| format!("{}: no {id}: {said}", at.name))?;
        ensure!(found.finding.starts_with(says), "{}: {found:?}", at.name);
    }
    Ok(())
}

#[test]
fn scanners_find_nothing_that_is_not_meant_on_anything_that_listens() {
    run_flow(async || {
        // They come from one address, and connect all the time.
        let limits = toml::toml! {
            http.full_handshakes_per_second = 10_000
            http.handshakes_per_address = 10_000
        };
        let options = Options { agent: limits.clone(), gateway: limits, ..Options::default() };
        let stack = Stack::start(options).await?;
        let nodes = &stack.nodes;
        let listener = |name, address: std::net::SocketAddr, authority: &Path| Listener {
            name,
            address: address.to_string(),
            authority: authority.to_owned(),
        };
        let nats = (std::net::Ipv4Addr::LOCALHOST, stack.nats.port()).into();
        let listeners = [
            listener("gateway", nodes.gateway_address(), &nodes.gateway_pair().certificate),
            listener("agent", nodes.agent_address(), &nodes.agent_pair().certificate),
            listener("ams", nodes.ams_address(), &nodes.ams.certificate),
            listener("nats", nats, &stack.nats.ca()),
        ];
        let dir = tempfile::tempdir()?;
        let begun = Instant::now();
        try_join_all(listeners.iter().map(sslscan)).await?;
        println!("sslscan: {:?}", begun.elapsed());
        try_join_all(listeners.iter().map(|at| testssl(at, dir.path()))).await?;
        println!("both: {:?}", begun.elapsed());
        Ok(())
    });
}

#[test]
fn a_finding_that_is_not_in_the_list_is_not_accepted() {
    let finding = |id: &str, text: &str| Finding {
        id: id.to_owned(),
        severity: "HIGH".to_owned(),
        finding: text.to_owned(),
    };
    let ticket = finding("TLS_session_ticket", "valid for 604800 seconds (>daily)");
    assert!(ticket.is_accepted("nats") && !ticket.is_accepted("gateway"));
    assert!(!finding("cert_chain_of_trust", "failed").is_accepted("nats"));
    assert!(!finding("BREACH", "potentially VULNERABLE, '/1.0' tested").is_accepted("gateway"));
}

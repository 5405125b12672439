//! What a token costs: to mint it, to verify it, and to read it first.
//!
//! The floor of a verification is the chain of HMACs itself, over the same texts and by the same
//! crate. The peer is the Go library, which takes its times itself; it derives its key anew each
//! time, since it has no other way.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use stream_macaroon::{Key, Macaroon};

use super::report::{Figure, Report, Samples};

const ROUNDS: usize = 400;

/// Tokens in one round of one side: few enough to be done before something else gets the processor.
const TOKENS: u32 = 200;

/// Verifying is to cost little more than its HMACs.
const FLOOR: f64 = 1.3;

/// Three times as fast as Go.
const GO: f64 = 1.0 / 3.0;

const LOCATION: &str = "anbox-stream-agent";
const IDENTIFIER: &str = "1.k7Qx0d-R.Zm9vYmFyYmF6cXV4.socket.0123456789abcdefghij";

const CAVEATS: [&str; 8] = [
    "allow signal.read signal.write",
    "declared session 0123456789abcdefghij",
    "declared role control",
    "declared generation 7",
    "time-before 2030-01-01T00:00:00Z",
    "allow signal.read",
    "declared role control",
    "time-before 2029-01-01T00:00:00Z",
];

/// The root key: no secret, and as long as one.
const ROOT_KEY: [u8; 64] = *b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub(super) fn run() -> anyhow::Result<Report> {
    let mut go = Go::start()?;
    let two = ["mint, 2 caveats", "verify, 2 caveats", "read, 2 caveats"];
    let eight = ["mint, 8 caveats", "verify, 8 caveats", "read, 8 caveats"];
    let figures = [measure(&mut go, &CAVEATS[..2], two)?, measure(&mut go, &CAVEATS, eight)?];
    Ok(Report::new(figures.into_iter().flatten().collect()))
}

fn measure(
    go: &mut Go,
    caveats: &[&str],
    [mint_name, verify_name, read_name]: [&'static str; 3],
) -> anyhow::Result<[Figure; 3]> {
    let key = Key::derive(&ROOT_KEY);
    let derived = hmac(b"macaroons-key-generator", &ROOT_KEY);
    let token = mint(&key, caveats);
    let read = Macaroon::decode(&token)?;
    let (mut minted, mut verified, mut both) =
        (Samples::default(), Samples::default(), Samples::default());
    let (mut chained, mut go_minted, mut go_verified) =
        (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        minted.push(each(|| drop(black_box(mint(&key, black_box(caveats))))));
        chained.push(each(|| {
            black_box(chain(black_box(&derived), caveats));
        }));
        verified.push(each(|| black_box(&read).verify(&key).expect("our own token")));
        both.push(each(|| {
            let read = Macaroon::decode(black_box(&token)).expect("our own token");
            read.verify(&key).expect("our own token");
        }));
        let (mint, verify) = go.bench(caveats, &token)?;
        go_minted.push(mint);
        go_verified.push(verify);
    }
    let library = "gopkg.in/macaroon.v2, from text";
    Ok([
        Figure::nanoseconds(mint_name, &minted, (library, &go_minted), GO),
        Figure::nanoseconds(verify_name, &verified, ("its HMACs alone", &chained), FLOOR),
        Figure::nanoseconds(read_name, &both, (library, &go_verified), GO),
    ])
}

/// The time that one of many takes.
fn each(mut work: impl FnMut()) -> Duration {
    let started = Instant::now();
    (0..TOKENS).for_each(|_| work());
    started.elapsed() / TOKENS
}

fn mint(key: &Key, caveats: &[&str]) -> String {
    let mut macaroon = Macaroon::new(key, LOCATION, IDENTIFIER);
    caveats.iter().for_each(|caveat| macaroon.add_first_party(caveat));
    macaroon.encode()
}

fn chain(key: &[u8; 32], caveats: &[&str]) -> [u8; 32] {
    let start = hmac(key, IDENTIFIER.as_bytes());
    caveats.iter().fold(start, |signature, caveat| hmac(&signature, caveat.as_bytes()))
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// The Go library in a process of its own; it ends with its input.
struct Go {
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Go {
    fn start() -> anyhow::Result<Self> {
        let checkout = stream_dev::checkout();
        let program = checkout.join("target/bench/go-macaroon");
        let built = Command::new("go")
            .args(["build", "-o"])
            .args([program.as_path(), Path::new("./tests/interop/macaroon")])
            .current_dir(checkout)
            .envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", "")])
            .status()
            .context("there is no Go: install golang-go and golang-gopkg-macaroon.v2-dev")?;
        ensure!(built.success(), "the Go program does not build");
        let mut child = Command::new(program)
            .env("GOMAXPROCS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take().context("its input")?;
        let from = BufReader::new(child.stdout.take().context("its output")?).lines();
        Ok(Self { to, from, _child: child })
    }

    /// Returns what it takes to mint a token, and to read and verify `token`.
    fn bench(&mut self, caveats: &[&str], token: &str) -> anyhow::Result<(Duration, Duration)> {
        let question = json!({
            "op": "bench", "rounds": TOKENS, "root_key": ROOT_KEY_BASE64, "location": LOCATION,
            "identifier": IDENTIFIER, "caveats": caveats, "token": token,
        });
        writeln!(self.to, "{question}")?;
        let answer = self.from.next().context("the Go program ended")??;
        let answer: Value = serde_json::from_str(&answer)?;
        ensure!(answer["error"].is_null(), "the Go program: {}", answer["error"]);
        let time = |name: &str| answer[name].as_f64().map(|ns| Duration::from_secs_f64(ns / 1e9));
        Ok((time("mint_ns").context("a time")?, time("verify_ns").context("a time")?))
    }
}

/// [`ROOT_KEY`] as Go reads it.
const ROOT_KEY_BASE64: &str = "\
    MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJj\
    ZGVmMDEyMzQ1Njc4OWFiY2RlZg==";

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn all_sides_do_the_same_work() {
        assert_eq!(STANDARD.decode(ROOT_KEY_BASE64).expect("base64"), ROOT_KEY);
        let token = mint(&Key::derive(&ROOT_KEY), &CAVEATS);
        let bytes = URL_SAFE_NO_PAD.decode(token).expect("base64");
        let derived = hmac(b"macaroons-key-generator", &ROOT_KEY);
        // A macaroon ends with its signature.
        assert!(bytes.ends_with(&chain(&derived, &CAVEATS)));
    }
}

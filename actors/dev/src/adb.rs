//! `stream-dev adb`: the ADB of an instance on a port of this machine.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Args;
use stream_pki::Fingerprint;
use stream_simulators::client::serve_adb;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Where `stream-dev up --env` writes the fingerprint of its gateway.
const FINGERPRINT: &str = "STREAM_GATEWAY_SHA256";

/// What `--help` tells besides the options.
pub const HELP: &str = "\
With a stack of `stream-dev up --env stack.env` and the id of a session that is active:

  set -a; . ./stack.env; set +a
  curl --cacert $STREAM_GATEWAY_CERTIFICATE -H \"Authorization: Macaroon root=$ASG_API_TOKEN\" \
-d '{\"type\":\"adb\"}' $ASG_API_URL/1.0/sessions/ID/share

answers a share, whose `url` is that of the bridge:

  stream-dev adb 'URL' --listen 127.0.0.1:6555

  # in another terminal
  adb connect 127.0.0.1:6555
  adb -s 127.0.0.1:6555 shell echo hello

An operator makes the URL with `stream-gateway session share ID --type adb`. The simulated device \
knows `echo`, and of any other command that it is not supported.

The bridge ends, and `adb` is cut off, when the share ends or is deleted, when its URL is connected \
anew, and with the session. Whoever reaches the port has the shell: nobody is asked for a key.";

/// The options of `stream-dev adb`.
#[derive(Args, Debug)]
pub struct Options {
    /// The URL of a share of type adb. Holds a token: quote it, and show it to nobody.
    #[arg(value_name = "URL")]
    share: String,
    /// Where `adb connect` finds the device; port 0 takes a free one, which is printed. Not 5555 to
    /// 5585: there adb looks for emulators of its own, and would take the one connection.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6555")]
    listen: SocketAddr,
    /// The certificate of the gateway, SHA-256 of the DER; may be repeated. Without it, that in the
    /// variable STREAM_GATEWAY_SHA256.
    #[arg(long, value_name = "SHA-256")]
    fingerprint: Vec<Fingerprint>,
}

/// Serves until the connection ends, or until SIGINT or SIGTERM. Fails when the gateway refuses,
/// when the port is taken, and with the reason for which the connection has ended.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let Options { share, listen, fingerprint } = options;
    let pins = if fingerprint.is_empty() { vec![fingerprint_of_stack()?] } else { fingerprint };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
    let address = listener.local_addr()?;
    let ready = || println!("adb connect {address}");
    tokio::select! {
        ended = serve_adb(&share, pins, listener, ready) => Ok(ended?),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

fn fingerprint_of_stack() -> anyhow::Result<Fingerprint> {
    let text = std::env::var(FINGERPRINT).with_context(|| {
        format!("whose certificate is it? --fingerprint SHA-256, or the variable {FINGERPRINT}")
    })?;
    text.parse().with_context(|| format!("the variable {FINGERPRINT}"))
}

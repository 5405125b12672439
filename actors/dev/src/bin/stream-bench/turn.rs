//! What a TURN credential costs, and the request that an instance gets its own by.
//!
//! The floor of a credential is one HMAC-SHA1 over its user name with the secret, and nothing more;
//! the floor of the request is one that the agent answers without asking anybody, over the same
//! connection.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use stream_dev::ams::APPLICATION;
use stream_dev::coturn::Coturn;
use stream_dev::in_process::{Options, Stack};
use stream_pki::{Trust, client_config};
use stream_protocol::{SessionId, Userdata};
use stream_simulators::ams::scripted_instances;
use stream_turn::{Peer, Signer};
use tokio::sync::mpsc;

use super::report::{Figure, Report, Samples};

const ROUNDS: usize = 50;

/// Credentials in one round of one side.
const CREDENTIALS: u32 = 10_000;

/// Requests in one round of one side, one after the other.
const REQUESTS: u32 = 40;

/// To write down name and password is to cost little beside signing.
const CREDENTIAL: f64 = 1.5;

/// The request checks a token and reads the session's document from NATS.
const REQUEST: f64 = 0.2;

const BOOT_WITHIN: Duration = Duration::from_secs(30);

/// No secret, and as long as one.
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const EXPIRY: u64 = 1_700_003_600;

pub(super) async fn run() -> anyhow::Result<Report> {
    let credential = credential();
    Ok(Report::new(vec![credential, request().await?]))
}

fn credential() -> Figure {
    let (mut ours, mut bare) = (Samples::default(), Samples::default());
    let (signer, session) = (Signer::new(SECRET), SessionId::random());
    let username = signer.session(&session, Peer::Client, EXPIRY).username;
    for _ in 0..ROUNDS {
        ours.push(each(|| {
            black_box(signer.session(black_box(&session), Peer::Client, black_box(EXPIRY)));
        }));
        bare.push(each(|| {
            let secret = black_box(SECRET.as_bytes());
            let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("any length is fine");
            mac.update(black_box(username.as_bytes()));
            black_box(mac.finalize());
        }));
    }
    Figure::nanoseconds("credential", &ours, ("a bare HMAC-SHA1", &bare), CREDENTIAL)
}

/// The time that one of many takes.
fn each(mut work: impl FnMut()) -> Duration {
    let started = Instant::now();
    (0..CREDENTIALS).for_each(|_| work());
    started.elapsed() / CREDENTIALS
}

async fn request() -> anyhow::Result<Figure> {
    let (told, mut boots) = mpsc::unbounded_channel();
    let stack = Stack::start(Options {
        coturn: Coturn::find().is_some(),
        launcher: scripted_instances(told),
        ..Options::default()
    });
    let stack = stack.await?;
    stack.client()?.create(APPLICATION, Default::default()).await?;
    let boot = tokio::time::timeout(BOOT_WITHIN, boots.recv()).await?;
    let userdata: Userdata =
        serde_json::from_str(&boot.context("no instance has booted")?.user_data)?;

    let tls = client_config(&Trust::Pins(vec![stack.nodes.agent_pin()?]), None)?;
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?;
    let Userdata { agent_url, session_id, token, .. } = userdata;
    let ice = client.post(format!("{agent_url}/1.0/sessions/{session_id}/ice-servers"));
    let ice = ice.header("Authorization", format!("Macaroon root={token}")).build()?;
    let floor = client.get(format!("{agent_url}/1.0")).build()?;
    let (mut ours, mut bare) = (Samples::default(), Samples::default());
    // The first of each opens the connection and warms up what is behind it.
    per_second(&client, &ice).await?;
    per_second(&client, &floor).await?;
    for _ in 0..ROUNDS {
        ours.push_number(per_second(&client, &ice).await?);
        bare.push_number(per_second(&client, &floor).await?);
    }
    stack.stop().await;
    let other = ("GET /1.0 on the same connection", bare.median());
    Ok(Figure::higher("ice-servers", "1/s", ours.median(), other, REQUEST))
}

async fn per_second(client: &reqwest::Client, request: &reqwest::Request) -> anyhow::Result<f64> {
    let started = Instant::now();
    for _ in 0..REQUESTS {
        let request = request.try_clone().context("a request without a stream")?;
        client.execute(request).await?.error_for_status()?.bytes().await?;
    }
    Ok(f64::from(REQUESTS) / started.elapsed().as_secs_f64())
}

//! How long until a session is created, until its first picture, and from a tap to its picture.
//!
//! The floor of the pictures is the same two peers with the same codec, connected by two channels
//! in memory: no gateway, no NATS, no agent. The floor of a creation is one question to the gateway
//! over the same connection, for which it asks NATS once.

use std::time::{Duration, Instant};

use stream_dev::ams::APPLICATION;
use stream_dev::processes::{Options, Services};
use stream_dev::workdir::Workdir;
use stream_pki::{Fingerprint, random_bytes};
use stream_simulators::client::{Gateway, Milestone, Viewer};
use stream_simulators::instance::{Peer, PeerOptions};
use tokio::sync::mpsc;

use super::report::{Figure, Report, Samples};

const ROUNDS: usize = 20;

/// A creation writes a document, asks an agent over NATS and has AMS launch an instance: that is
/// to cost no more than four plain questions.
const CREATION: f64 = 4.0;

/// Beside the same handshakes there is the creation, the start of an instance and three signals
/// each way through NATS.
const FIRST_FRAME: f64 = 3.0;

/// Media goes straight from peer to peer: nothing of ours is between a tap and its picture.
const TAP: f64 = 1.5;

/// Far more than anything here takes.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

const STATUS_POLL: Duration = Duration::from_millis(10);

/// Where the taps go, in pixels of the stream: nothing else is drawn there.
const TAPS: [(usize, usize); 5] = [(48, 328), (176, 328), (304, 328), (432, 328), (560, 328)];

/// From one picture to the next.
const PICTURE: Duration = Duration::from_nanos(33_333_333);

/// Signals on their way between two peers in memory.
const QUEUE: usize = 64;

#[derive(Default)]
struct Times {
    first_frame: Samples,
    tap: Samples,
}

pub(super) async fn run() -> anyhow::Result<Report> {
    let workdir = Workdir::new(None)?;
    let measured = async {
        let mut services =
            Services::start(workdir.dir(), &workdir.keys, &Options::default()).await?;
        let (gateway, pin) = (services.client()?, services.nodes.gateway_pin()?);
        services.while_alive(measure(&gateway, pin)).await
    };
    let measured = measured.await;
    workdir.end(measured)
}

async fn measure(gateway: &Gateway, pin: Fingerprint) -> anyhow::Result<Report> {
    let (mut creation, mut round_trip) = (Samples::default(), Samples::default());
    let (mut ours, mut floor) = (Times::default(), Times::default());
    // The first of each pays for what later ones find warm: connections, tables, pages.
    session(gateway, pin, &mut Samples::default(), &mut Times::default()).await?;
    direct(&mut Times::default()).await?;
    for round in 1..=ROUNDS {
        let asked = Instant::now();
        gateway.status().await?;
        round_trip.push(asked.elapsed());
        session(gateway, pin, &mut creation, &mut ours).await?;
        direct(&mut floor).await?;
        eprintln!("round {round} of {ROUNDS}");
    }
    let direct = "the same peers connected in memory";
    Ok(Report::new(vec![
        Figure::time(
            "creation",
            &creation,
            ("GET /1.0/status on the same connection", &round_trip),
            CREATION,
        ),
        Figure::time("first frame", &ours.first_frame, (direct, &floor.first_frame), FIRST_FRAME),
        Figure::time("tap to picture", &ours.tap, (direct, &floor.tap), TAP),
    ]))
}

/// A session through all hops, from the request on.
async fn session(
    gateway: &Gateway,
    pin: Fingerprint,
    creation: &mut Samples,
    times: &mut Times,
) -> anyhow::Result<()> {
    let asked = Instant::now();
    let created = gateway.create(APPLICATION, Default::default()).await?;
    creation.push(asked.elapsed());
    let viewer = Viewer::connect(&created, vec![pin]).await?;
    watch(viewer, asked, times).await?;
    gateway.delete(&created.id).await?;
    ended(gateway, &created.id).await
}

/// Returns once a deleted session has ended, so that its end is no load on what comes next.
async fn ended(gateway: &Gateway, id: &str) -> anyhow::Result<()> {
    loop {
        match gateway.get(id).await {
            Ok(session) if session.status == "terminated" => return Ok(()),
            Ok(session) if session.status == "error" => anyhow::bail!(session.status_message),
            Ok(_) => tokio::time::sleep(STATUS_POLL).await,
            Err(error) if error.status() == Some(404) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Measures the same two peers with nothing between them.
async fn direct(times: &mut Times) -> anyhow::Result<()> {
    let asked = Instant::now();
    let (to_instance, from_client) = mpsc::channel(QUEUE);
    let (to_client, from_instance) = mpsc::channel(QUEUE);
    let _instance = Peer::start(PeerOptions::default(), from_client, to_client)?;
    watch(Viewer::over(from_instance, to_instance)?, asked, times).await
}

async fn watch(viewer: Viewer, asked: Instant, times: &mut Times) -> anyhow::Result<()> {
    let first = viewer.wait_event(Milestone::FirstFrame, STEP_TIMEOUT).await?;
    times.first_frame.push(first - asked);
    viewer.wait_event(Milestone::ControlOpen, STEP_TIMEOUT).await?;
    for (x, y) in TAPS {
        // Else every tap would come right after a picture, and wait for all of the next one.
        tokio::time::sleep(PICTURE.mul_f64(f64::from(random_bytes::<1>()[0]) / 255.0)).await;
        let tapped = Instant::now();
        viewer.tap(x as f64, y as f64, STEP_TIMEOUT).await?;
        viewer.wait_mark(x, y, STEP_TIMEOUT).await?;
        times.tap.push(tapped.elapsed());
    }
    viewer.disconnect().await;
    Ok(())
}

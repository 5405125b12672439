//! Instance and viewer with real media over loopback, their signals carried in memory.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stream_protocol::Role;
use stream_simulators::client::{Milestone, Viewer, ViewerError, ViewerEvent};
use stream_simulators::instance::{Peer, PeerOptions, PeerState};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Far more than anything here takes; only a failure waits for it.
const SOON: Duration = Duration::from_secs(30);

const QUEUE: usize = 64;

/// A viewer and the instance's peer that serves it.
fn pair() -> Result<(Viewer, Peer)> {
    let (to_instance, from_viewer) = mpsc::channel(QUEUE);
    let (to_viewer, from_instance) = mpsc::channel(QUEUE);
    let peer = Peer::start(PeerOptions::default(), from_viewer, to_viewer)?;
    Ok((Viewer::over(from_instance, to_instance)?, peer))
}

async fn reaches(peer: &Peer, state: PeerState) -> Result<()> {
    let mut states = peer.state();
    timeout(SOON, states.wait_for(|now| *now == state)).await.context("in time")??;
    Ok(())
}

/// A peer whose client is played by the test.
struct Played {
    peer: Peer,
    to_instance: mpsc::Sender<String>,
    from_instance: mpsc::Receiver<String>,
}

impl Played {
    fn start() -> Result<Self> {
        Self::start_with(PeerOptions::default())
    }

    fn start_with(options: PeerOptions) -> Result<Self> {
        let (to_instance, from_client) = mpsc::channel(QUEUE);
        let (to_client, from_instance) = mpsc::channel(QUEUE);
        Ok(Self { peer: Peer::start(options, from_client, to_client)?, to_instance, from_instance })
    }

    async fn say(&self, message: Value) -> Result<()> {
        Ok(self.to_instance.send(message.to_string()).await?)
    }

    async fn hear(&mut self) -> Result<Value> {
        let text = timeout(SOON, self.from_instance.recv()).await?.context("the peer ended")?;
        Ok(serde_json::from_str(&text)?)
    }

    async fn offered(&mut self, settings: Value) -> Result<String> {
        use base64::Engine;
        self.say(settings).await?;
        let offer = self.hear().await?;
        ensure!(offer["type"] == "offer", "{offer}");
        let sdp = offer["sdp"].as_str().context("an sdp")?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(sdp)?;
        let candidate = self.hear().await?;
        ensure!(candidate["type"] == "candidate", "{candidate}");
        Ok(String::from_utf8(bytes)?)
    }
}

fn settings(video: bool, speaker: bool, microphone: bool) -> Value {
    json!({
        "type": "settings", "api_version": 2, "data_channels": [], "enable_video": video,
        "enable_speaker": speaker, "enable_microphone": microphone, "enable_camera": false,
    })
}

/// What a browser of protocol version 1 offers, as far as it matters: it wants a picture in one of
/// `codecs`, and sound.
fn browser_offer(codecs: &[&str]) -> String {
    let payloads: Vec<_> = (96..).take(codecs.len()).map(|n: u8| n.to_string()).collect();
    let maps: String = std::iter::zip(&payloads, codecs)
        .map(|(payload, codec)| format!("a=rtpmap:{payload} {codec}/90000\r\n"))
        .collect();
    let common = "c=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\n\
        a=fingerprint:sha-256 12:12:12:12:12:12:12:12:12:12:12:12:12:12:12:12:\
        12:12:12:12:12:12:12:12:12:12:12:12:12:12:12:12\r\na=setup:actpass\r\na=rtcp-mux\r\n";
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{common}a=mid:0\r\na=recvonly\r\n\
         a=rtpmap:111 opus/48000/2\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF {}\r\n{common}a=mid:1\r\na=recvonly\r\n{maps}",
        payloads.join(" ")
    )
}

fn encoded(sdp: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(sdp)
}

fn decoded(message: &Value) -> Result<String> {
    use base64::Engine;
    let text = message["sdp"].as_str().context("an sdp")?;
    Ok(String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text)?)?)
}

#[tokio::test]
async fn before_version_2_the_client_makes_the_offer() -> Result<()> {
    let h264 = browser_offer(&["H264"]).replace(
        "a=rtpmap:96",
        "a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
         a=rtpmap:96",
    );
    for settings in [Some(json!({"type": "settings", "api_version": 1})), None] {
        let mut client = Played::start()?;
        if let Some(settings) = settings {
            client.say(settings).await?;
        }
        client.say(json!({"type": "offer", "sdp": encoded(&h264), "dataChannels": []})).await?;
        let answer = client.hear().await?;
        ensure!(answer["type"] == "answer", "{answer}");
        let sdp = decoded(&answer)?;
        ensure!(sdp.matches("a=sendonly").count() == 2 && sdp.contains("H264/90000"), "{sdp}");
        ensure!(client.hear().await?["type"] == "candidate");
        reaches(&client.peer, PeerState::Connecting).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_old_instance_answers_as_old_ones_do() -> Result<()> {
    let mut client = Played::start_with(PeerOptions { api_version: 1, ..PeerOptions::default() })?;
    client.say(json!({"type": "discover"})).await?;
    ensure!(client.hear().await?["max_api_version"] == 1);
    client.say(settings(true, true, false)).await?;
    let said = client.hear().await?;
    ensure!(said["type"] == "error" && said["code"] == 5, "{said}");

    // Version 0 knows nothing but the offer.
    let mut client = Played::start_with(PeerOptions { api_version: 0, ..PeerOptions::default() })?;
    client.say(json!({"type": "discover"})).await?;
    client.say(settings(true, true, false)).await?;
    client.say(json!({"type": "offer", "sdp": encoded(&browser_offer(&["VP8"]))})).await?;
    let answer = client.hear().await?;
    ensure!(answer["type"] == "answer", "the first that is heard: {answer}");
    Ok(())
}

#[tokio::test]
async fn a_client_without_a_common_codec_is_told_so_and_the_next_one_is_served() -> Result<()> {
    let mut client = Played::start()?;
    client.say(json!({"type": "offer", "sdp": encoded(&browser_offer(&["AV1"]))})).await?;
    let said = client.hear().await?;
    ensure!(said["type"] == "error" && said["code"] == 5, "{said}");
    let message = said["message"].as_str().context("a message")?;
    ensure!(message.contains("H264") && message.contains("the client AV1"), "{message}");
    client.offered(settings(true, true, false)).await?;
    Ok(())
}

#[tokio::test]
async fn the_codec_that_a_client_prefers_is_offered_first() -> Result<()> {
    let mut client = Played::start()?;
    let first = |sdp: &str| {
        let maps = ["H264/90000", "VP8/90000"].map(|codec| (sdp.find(codec), codec));
        maps.into_iter().filter(|(at, _)| at.is_some()).min().map(|(_, codec)| codec)
    };
    for (preferred, expected) in [("VP8", "VP8/90000"), ("H264", "H264/90000")] {
        let mut settings = settings(true, true, false);
        settings["video"] = json!({ "preferred_decoder_codecs": ["AV1", preferred] });
        let sdp = client.offered(settings).await?;
        ensure!(first(&sdp) == Some(expected), "{sdp}");
    }
    Ok(())
}

#[tokio::test]
async fn candidates_may_come_before_their_description() -> Result<()> {
    let options = PeerOptions { candidates_first: true, ..PeerOptions::default() };
    let (to_instance, from_viewer) = mpsc::channel(QUEUE);
    let (to_viewer, mut from_instance) = mpsc::channel(QUEUE);
    let (relayed, to_client) = mpsc::channel(QUEUE);
    let _peer = Peer::start(options, from_viewer, to_viewer)?;
    let viewer = Viewer::over(to_client, to_instance)?;
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let text = timeout(SOON, from_instance.recv()).await?.context("the peer ended")?;
        heard.push(serde_json::from_str::<Value>(&text)?["type"].clone());
        relayed.send(text).await?;
    }
    ensure!(heard == ["resp:discover", "candidate", "offer"], "{heard:?}");
    viewer.wait_event(Milestone::FirstFrame, SOON).await?;
    Ok(())
}

#[tokio::test]
async fn who_came_to_view_sees_the_picture_and_changes_nothing() -> Result<()> {
    let (to_instance, from_viewer) = mpsc::channel(QUEUE);
    let (to_viewer, from_instance) = mpsc::channel(QUEUE);
    let views = PeerOptions { role: Role::View, ..PeerOptions::default() };
    let _peer = Peer::start(views, from_viewer, to_viewer)?;
    let viewer = Viewer::over(from_instance, to_instance)?;
    viewer.wait_event(Milestone::ControlOpen, SOON).await?;
    viewer.tap(320.0, 180.0, SOON).await?;
    // A mark would stay in the picture for longer than these are shown.
    let seen = viewer.frames();
    for n in 1..=20 {
        viewer.wait_frames(seen + n, SOON).await?;
        let picture = viewer.frame().context("a picture")?;
        ensure!(!picture.is_marked(320, 180), "the tap is marked");
    }
    Ok(())
}

#[tokio::test]
async fn a_viewer_gets_pictures_that_change_and_sound() -> Result<()> {
    let (mut viewer, peer) = pair()?;
    viewer.wait_frames(30, SOON).await?;
    reaches(&peer, PeerState::Streaming).await?;
    let offer = viewer.wait_event(Milestone::OfferReceived, SOON).await?;
    let connected = viewer.wait_event(Milestone::IceConnected, SOON).await?;
    let first = viewer.wait_event(Milestone::FirstFrame, SOON).await?;
    ensure!(offer <= connected && connected <= first);
    viewer.wait_event(Milestone::Audio, SOON).await?;

    let mut digests = Vec::new();
    while digests.len() < 30 {
        let event = timeout(SOON, viewer.next_event()).await?.context("the stream ended")?;
        if let (_, ViewerEvent::Frame { n, digest }) = event {
            digests.push(digest);
            ensure!(n == digests.len() as u64);
        }
    }
    digests.sort_unstable();
    digests.dedup();
    ensure!(digests.len() == 30, "every picture shows another time: {}", digests.len());
    Ok(())
}

#[tokio::test]
async fn a_tap_is_marked_where_it_was() -> Result<()> {
    let (viewer, _peer) = pair()?;
    viewer.wait_event(Milestone::FirstFrame, SOON).await?;
    let before = viewer.frame().context("a picture")?;
    ensure!(!before.is_marked(200, 320));
    viewer.tap(200.0, 320.0, SOON).await?;
    viewer.wait_mark(200, 320, SOON).await?;
    let after = viewer.frame().context("a picture")?;
    ensure!(!after.is_marked(500, 40), "only there");
    Ok(())
}

#[tokio::test]
async fn media_goes_on_when_nobody_signals_any_more() -> Result<()> {
    let (to_instance, mut from_viewer) = mpsc::channel(QUEUE);
    let (to_viewer, from_instance) = mpsc::channel(QUEUE);
    let (relayed, from_relay) = mpsc::channel(QUEUE);
    let _peer = Peer::start(PeerOptions::default(), from_relay, to_viewer)?;
    let viewer = Viewer::over(from_instance, to_instance)?;
    // The viewer hangs up once it is connected.
    while let Some(text) = timeout(SOON, from_viewer.recv()).await? {
        relayed.send(text).await?;
    }
    drop(relayed);
    let seen = viewer.frames();
    viewer.wait_frames(seen + 10, SOON).await?;
    Ok(())
}

#[tokio::test]
async fn a_disconnect_frees_the_peer_for_the_next_stream() -> Result<()> {
    let (viewer, peer) = pair()?;
    viewer.wait_event(Milestone::ControlOpen, SOON).await?;
    reaches(&peer, PeerState::Streaming).await?;
    timeout(SOON, viewer.disconnect()).await?;
    reaches(&peer, PeerState::Waiting).await
}

#[tokio::test]
async fn a_new_generation_replaces_the_peer() -> Result<()> {
    let (old, replaced) = pair()?;
    old.wait_frames(1, SOON).await?;
    drop(replaced);
    old.wait_event(Milestone::Closed, SOON).await?;
    let after_the_end = old.wait_frames(u64::MAX, SOON).await;
    ensure!(matches!(after_the_end, Err(ViewerError::Closed(_))));

    let (new, _peer) = pair()?;
    new.wait_frames(5, SOON).await?;
    Ok(())
}

#[tokio::test]
async fn the_instance_says_what_it_speaks() -> Result<()> {
    let mut client = Played::start()?;
    client.say(json!({"type": "discover"})).await?;
    let said = client.hear().await?;
    ensure!(
        said == json!({
            "type": "resp:discover", "max_api_version": 2, "capabilities": [], "fps": 30,
        }),
        "{said}"
    );
    client.say(json!({"type": "settings", "api_version": 3})).await?;
    let said = client.hear().await?;
    ensure!(said["type"] == "error" && said["code"] == 5, "{said}");
    Ok(())
}

#[tokio::test]
async fn the_offer_holds_what_the_settings_ask_for() -> Result<()> {
    let mut client = Played::start()?;
    let sdp = client.offered(settings(true, true, false)).await?;
    ensure!(sdp.matches("m=").count() == 3, "{sdp}");
    ensure!(sdp.contains("m=video") && sdp.contains("m=audio") && sdp.contains("m=application"));
    ensure!(sdp.matches("a=sendonly").count() == 2, "{sdp}");
    ensure!(sdp.contains("a=msid:video video") && sdp.contains("a=msid:audio audio"), "{sdp}");

    let sdp = client.offered(settings(false, true, true)).await?;
    ensure!(!sdp.contains("m=video") && sdp.contains("a=sendrecv"), "{sdp}");

    let sdp = client.offered(settings(false, false, false)).await?;
    ensure!(sdp.matches("m=").count() == 1 && sdp.contains("m=application"), "{sdp}");
    Ok(())
}

#[tokio::test]
async fn a_client_that_answers_nonsense_does_not_harm_the_next() -> Result<()> {
    let mut client = Played::start()?;
    client.offered(settings(true, true, false)).await?;
    client.say(json!({"type": "candidate", "candidate": "bm9uZQ==", "sdpMid": "0"})).await?;
    client.say(json!({"type": "answer", "sdp": "bm9uc2Vuc2U="})).await?;
    reaches(&client.peer, PeerState::Waiting).await?;
    let said = client.hear().await?;
    ensure!(said["type"] == "error" && said["code"] == 5, "{said}");
    client.say(json!({"type": "dance"})).await?;
    client.to_instance.send("[".into()).await?;
    client.offered(settings(true, true, false)).await?;
    reaches(&client.peer, PeerState::Connecting).await
}

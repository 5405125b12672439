use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use str0m::format::Codec;
use str0m::media::{KeyframeRequestKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::net::UdpSocket;
use tokio::time;

use super::{MediaError, VideoCodec};
use crate::signaling::{Base64, TrickledCandidate};

/// How long saying the end may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Larger than any datagram of a path that carries WebRTC.
const MAX_DATAGRAM: usize = 2000;

/// At most one key frame is asked for in this time.
const KEY_FRAME_REQUEST_INTERVAL: Duration = Duration::from_millis(500);

/// Constrained baseline at level 3.1, the H.264 that every browser decodes.
const H264_PROFILE: u32 = 0x42_e01f;

/// One WebRTC connection and the UDP socket it owns. Whoever changes the connection calls
/// [`Connection::poll`] until it is idle, and then [`Connection::wait`]s.
pub(crate) struct Connection {
    rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    datagram: Vec<u8>,
    last_received: Instant,
    key_frame_requested: Option<Instant>,
}

/// What the connection has to say.
pub(crate) enum PollResult {
    Event(Box<Event>),
    /// Nothing, unless something arrives or this moment comes.
    Idle(Instant),
}

/// What ended a wait.
enum Arrival {
    Datagram(usize, SocketAddr),
    Timeout,
}

impl Connection {
    /// Opens a socket and a connection that knows no other side yet: Opus, data channels, and for
    /// pictures `codecs`, the best first.
    pub(crate) async fn open(codecs: &[VideoCodec]) -> Result<Self, MediaError> {
        // Both ends and the relay between them run on one machine.
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = socket.local_addr()?;
        let mut config = RtcConfig::new().clear_codecs().enable_opus(true, false);
        for codec in codecs {
            let config = config.codec_config();
            match codec {
                VideoCodec::H264 => {
                    config.add_h264(108.into(), Some(109.into()), true, H264_PROFILE);
                }
                VideoCodec::Vp8 => config.enable_vp8(true),
            }
        }
        let mut rtc = config.build(Instant::now());
        let candidate = host(address)?;
        rtc.add_local_candidate(candidate);
        Ok(Self {
            rtc,
            socket,
            address,
            datagram: vec![0; MAX_DATAGRAM],
            last_received: Instant::now(),
            key_frame_requested: None,
        })
    }

    /// The connection. A change wants a [`Connection::poll`] until idle before the next one.
    pub(crate) fn rtc(&mut self) -> &mut Rtc {
        &mut self.rtc
    }

    /// The message that tells the other side where this one is reached.
    pub(crate) fn candidate(&self, mid: &str) -> Result<TrickledCandidate, MediaError> {
        Ok(TrickledCandidate {
            candidate: Base64(host(self.address)?.to_sdp_string()),
            sdp_mid: Some(mid.to_owned()),
            sdp_m_line_index: Some(0),
        })
    }

    /// Asks the other side for a key frame of its media `mid`, unless it was asked just now.
    pub(crate) fn ask_for_key_frame(&mut self, mid: Mid) {
        let now = Instant::now();
        if self.key_frame_requested.is_some_and(|at| now < at + KEY_FRAME_REQUEST_INTERVAL) {
            return;
        }
        self.key_frame_requested = Some(now);
        if let Some(mut writer) = self.rtc.writer(mid)
            && let Err(error) = writer.request_keyframe(None, KeyframeRequestKind::Pli)
        {
            log::debug!(error:%; "cannot ask for a key frame");
        }
    }

    /// When the other side was heard last.
    pub(crate) fn last_received(&self) -> Instant {
        self.last_received
    }

    /// Sends what the connection wants sent, up to its next event or until it is idle.
    pub(crate) async fn poll(&mut self) -> Result<PollResult, MediaError> {
        loop {
            match self.rtc.poll_output()? {
                Output::Event(event) => return Ok(PollResult::Event(Box::new(event))),
                Output::Timeout(until) => return Ok(PollResult::Idle(until)),
                Output::Transmit(datagram) => {
                    let sent = self.socket.send_to(&datagram.contents, datagram.destination).await;
                    // A network may lose any datagram; the connection knows how to live with it.
                    if let Err(error) = sent {
                        log::debug!(error:%; "datagram lost");
                    }
                }
            }
        }
    }

    /// Waits for a datagram or for `until`, and gives it to the connection. Loses nothing when
    /// the wait is given up.
    pub(crate) async fn wait(&mut self, until: Instant) -> Result<(), MediaError> {
        let arrival = tokio::select! {
            received = self.socket.recv_from(&mut self.datagram) => {
                let (length, from) = received?;
                Arrival::Datagram(length, from)
            }
            () = time::sleep_until(until.into()) => Arrival::Timeout,
        };
        let now = Instant::now();
        let (length, from) = match arrival {
            Arrival::Datagram(length, from) => (length, from),
            Arrival::Timeout => return Ok(self.rtc.handle_input(Input::Timeout(now))?),
        };
        let bytes = &self.datagram[..length];
        let Ok(receive) = Receive::new(Protocol::Udp, from, self.address, bytes) else {
            return Ok(());
        };
        let input = Input::Receive(now, receive);
        if self.rtc.accepts(&input) {
            self.last_received = now;
            self.rtc.handle_input(input)?;
        }
        Ok(())
    }

    /// Tells the other side that this is the end, without waiting for its answer.
    pub(crate) async fn close(mut self) {
        // A connection that is still being made cannot be closed: first it has to get that far. And
        // what is queued goes out before the end is said.
        let until = Instant::now() + CLOSE_TIMEOUT;
        let mut closing = false;
        while self.rtc.is_alive() && Instant::now() < until {
            closing = closing || self.rtc.close().is_ok();
            let gone_on = match self.poll().await {
                Ok(PollResult::Event(_)) => Ok(()),
                Ok(PollResult::Idle(wake)) => self.wait(wake.min(until)).await,
                Err(error) => Err(error),
            };
            if gone_on.is_err() {
                return;
            }
        }
    }
}

/// Reads a candidate of the other side; `None` for one that cannot be used here, such as a name
/// only its own network resolves.
pub(crate) fn parse_candidate(message: &TrickledCandidate) -> Option<Candidate> {
    match Candidate::from_sdp_string(&message.candidate.0) {
        Ok(candidate) => Some(candidate),
        Err(error) => {
            log::debug!(error:%; "candidate ignored");
            None
        }
    }
}

/// The payload type agreed on for `codec`, if any.
pub(crate) fn payload_type(
    writer: &str0m::media::Writer<'_>,
    codec: Codec,
) -> Option<str0m::media::Pt> {
    writer.payload_params().find(|params| params.spec().codec == codec).map(|params| params.pt())
}

fn host(address: SocketAddr) -> Result<Candidate, MediaError> {
    let candidate = Candidate::host(address, Protocol::Udp);
    candidate.map_err(|error| MediaError::Stream(error.into()))
}

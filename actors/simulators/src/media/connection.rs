use std::future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::Poll;
use std::time::{Duration, Instant};

use str0m::format::Codec;
use str0m::media::{KeyframeRequestKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig, RtcError};
use stream_protocol::error_chain;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::time;

use super::allocation::Allocation;
use super::{MediaError, Paths, Relaying, VideoCodec};
use crate::signaling::{Base64, TrickledCandidate};

/// How long saying the end may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Larger than any datagram of a path that carries WebRTC.
const MAX_DATAGRAM: usize = 2000;

/// At most one key frame is asked for in this time.
const KEY_FRAME_REQUEST_INTERVAL: Duration = Duration::from_millis(500);

/// Constrained baseline at level 3.1, the H.264 that every browser decodes.
const H264_PROFILE: u32 = 0x42_e01f;

/// One WebRTC connection and the UDP sockets it owns. Whoever changes the connection calls
/// [`Connection::poll`] until it is idle, and then [`Connection::wait`]s.
pub(crate) struct Connection {
    rtc: Rtc,
    hosts: Vec<Host>,
    relay: Option<Allocation>,
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

/// A socket of this machine that the other side may send to.
struct Host {
    socket: UdpSocket,
    address: SocketAddr,
}

/// What ended a wait.
enum Arrival {
    /// So many bytes, from where and to which of our addresses.
    Datagram(usize, SocketAddr, SocketAddr),
    Timeout,
}

impl Connection {
    /// Opens sockets for `paths` and a connection that knows no other side yet: Opus, data
    /// channels, and for pictures `codecs`, the best first.
    pub(crate) async fn open(codecs: &[VideoCodec], paths: &Paths) -> Result<Self, MediaError> {
        // Both ends and the relay between them may run on one machine.
        let loopback = Ipv4Addr::LOCALHOST.into();
        let mut hosts = Vec::new();
        for ip in paths.hosts(loopback) {
            let socket = UdpSocket::bind((ip, 0)).await?;
            hosts.push(Host { address: socket.local_addr()?, socket });
        }
        let relay = match paths.relaying {
            Relaying::Never => None,
            Relaying::Also | Relaying::Only => {
                allocate(paths, paths.address.unwrap_or(loopback)).await
            }
        };
        if hosts.is_empty() && relay.is_none() {
            return Err(MediaError::NoRelay);
        }
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
        for candidate in candidates(&hosts, relay.as_ref())? {
            rtc.add_local_candidate(candidate);
        }
        Ok(Self {
            rtc,
            hosts,
            relay,
            datagram: vec![0; MAX_DATAGRAM],
            last_received: Instant::now(),
            key_frame_requested: None,
        })
    }

    /// The connection. A change wants a [`Connection::poll`] until idle before the next one.
    pub(crate) fn rtc(&mut self) -> &mut Rtc {
        &mut self.rtc
    }

    /// The messages that tell the other side where this one is reached, at least one.
    pub(crate) fn candidates(&self, mid: &str) -> Result<Vec<TrickledCandidate>, MediaError> {
        let candidates = candidates(&self.hosts, self.relay.as_ref())?.into_iter();
        let message = |candidate: Candidate| TrickledCandidate {
            candidate: Base64(candidate.to_sdp_string()),
            sdp_mid: Some(mid.to_owned()),
            sdp_m_line_index: Some(0),
        };
        Ok(candidates.map(message).collect())
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
                    let (from, to) = (datagram.source, datagram.destination);
                    let host = self.hosts.iter().find(|host| host.address == from);
                    match (host, &mut self.relay) {
                        // A network may lose any datagram; the connection can live with it.
                        (Some(host), _) => {
                            if let Err(error) = host.socket.send_to(&datagram.contents, to).await {
                                log::debug!(error:%; "datagram lost");
                            }
                        }
                        (None, Some(relay)) => relay.send(to, &datagram.contents),
                        (None, None) => log::debug!(address:% = from; "no socket sends from it"),
                    }
                }
            }
        }
    }

    /// Waits for a datagram or for `until`, and gives it to the connection. Loses nothing when
    /// the wait is given up.
    pub(crate) async fn wait(&mut self, until: Instant) -> Result<(), MediaError> {
        let due = self.relay.as_ref().map_or(until, |relay| relay.due().min(until));
        let mut relayed = vec![0; if self.relay.is_some() { MAX_DATAGRAM } else { 0 }];
        let arrival = tokio::select! {
            received = receive(&self.hosts, &mut self.datagram) => {
                let (length, from, to) = received?;
                Arrival::Datagram(length, from, to)
            }
            received = receive_relayed(&mut self.relay, &mut relayed) => {
                let (length, from, to) = received?;
                self.datagram[..length].copy_from_slice(&relayed[..length]);
                Arrival::Datagram(length, from, to)
            }
            () = time::sleep_until(due.into()) => Arrival::Timeout,
        };
        if let Some(relay) = &mut self.relay {
            relay.keep();
        }
        let now = Instant::now();
        let (length, from, to) = match arrival {
            Arrival::Datagram(length, from, to) => (length, from, to),
            Arrival::Timeout => return Ok(self.rtc.handle_input(Input::Timeout(now))?),
        };
        let bytes = &self.datagram[..length];
        let Ok(receive) = Receive::new(Protocol::Udp, from, to, bytes) else {
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
                break;
            }
        }
        if let Some(relay) = self.relay {
            relay.release();
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

/// Returns what came of sending media. While there is no way to the other side some of it is kept,
/// and the rest refused: that is lost, as on a bad way, and no failure of the stream.
pub(crate) fn sent(written: Result<(), RtcError>) -> Result<(), MediaError> {
    match written {
        Err(RtcError::WriteWithoutPoll) => Ok(()),
        written => Ok(written?),
    }
}

/// Where the other side reaches us, the best first.
fn candidates(hosts: &[Host], relay: Option<&Allocation>) -> Result<Vec<Candidate>, MediaError> {
    let hosts = hosts.iter().map(|host| Candidate::host(host.address, Protocol::Udp));
    let relay =
        relay.map(|relay| Candidate::relayed(relay.relayed(), relay.local(), Protocol::Udp));
    let candidates = hosts.chain(relay).collect::<Result<_, _>>();
    candidates.map_err(|error| MediaError::Stream(error.into()))
}

/// Returns an address at a relay, if one gives it: without, what goes straight goes on.
async fn allocate(paths: &Paths, from: IpAddr) -> Option<Allocation> {
    match Allocation::open(&paths.servers, from).await {
        Ok(Some(relay)) => {
            log::info!(address:% = relay.relayed(); "media may be relayed");
            Some(relay)
        }
        Ok(None) => {
            log::warn!("there is no relay over UDP among the ICE servers");
            None
        }
        Err(error) => {
            log::warn!(error:% = error_chain(&error); "media is not relayed");
            None
        }
    }
}

/// Waits for a datagram at one of `hosts`: how long it is, from where, and to which of them.
async fn receive(hosts: &[Host], buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, SocketAddr)> {
    future::poll_fn(|context| {
        for host in hosts {
            let mut read = ReadBuf::new(buffer);
            if let Poll::Ready(received) = host.socket.poll_recv_from(context, &mut read) {
                let from = received?;
                return Poll::Ready(Ok((read.filled().len(), from, host.address)));
            }
        }
        Poll::Pending
    })
    .await
}

/// Waits for a datagram through the relay; for ever without one.
async fn receive_relayed(
    relay: &mut Option<Allocation>,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr, SocketAddr)> {
    let Some(relay) = relay else { return future::pending().await };
    let (length, from) = relay.receive(buffer).await?;
    Ok((length, from, relay.relayed()))
}

//! The faults that a timeline shows, by what its steps say, and the remedy of each. Pure.
//!
//! The words are those of whoever writes the step, in this house or AMS. The flow `explain` makes
//! each of the faults and holds the words against what is written.

use std::fmt;

use stream_protocol::{Hop, NO_ROOM};

use crate::timeline::Step;

/// What can go wrong with a session. Displays as the word that scripts read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    AgentDrained,
    AgentGone,
    AmsAway,
    AmsFull,
    BootTooSlow,
    CertificateExpired,
    ClientLeft,
    ClientLost,
    ClientNeverCame,
    ClientReplaced,
    ClockOff,
    CredentialExpired,
    Ended,
    Failed,
    GatewayEnded,
    IdleEnd,
    ImageMissing,
    InstanceDied,
    InstanceNeverCame,
    NatsCut,
    NatsFull,
    NoCommonCodec,
    NoAgent,
    RelayDead,
    RelaySecretWrong,
    ShareEnded,
    SignalRefused,
    TokenExpired,
    TokenRevoked,
    TurnedAway,
    ViewerWaits,
    WrongPin,
    WrongSession,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AgentDrained => "agent_drained",
            Self::AgentGone => "agent_gone",
            Self::AmsAway => "ams_away",
            Self::AmsFull => "ams_full",
            Self::BootTooSlow => "boot_too_slow",
            Self::CertificateExpired => "certificate_expired",
            Self::ClientLeft => "client_left",
            Self::ClientLost => "client_lost",
            Self::ClientNeverCame => "client_never_came",
            Self::ClientReplaced => "client_replaced",
            Self::ClockOff => "clock_off",
            Self::CredentialExpired => "credential_expired",
            Self::Ended => "ended",
            Self::Failed => "failed",
            Self::GatewayEnded => "gateway_ended",
            Self::IdleEnd => "idle_end",
            Self::ImageMissing => "image_missing",
            Self::InstanceDied => "instance_died",
            Self::InstanceNeverCame => "instance_never_came",
            Self::NatsCut => "nats_cut",
            Self::NatsFull => "nats_full",
            Self::NoCommonCodec => "no_common_codec",
            Self::NoAgent => "no_agent",
            Self::RelayDead => "relay_dead",
            Self::RelaySecretWrong => "relay_secret_wrong",
            Self::ShareEnded => "share_ended",
            Self::SignalRefused => "signal_refused",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::TurnedAway => "turned_away",
            Self::ViewerWaits => "viewer_waits",
            Self::WrongPin => "wrong_pin",
            Self::WrongSession => "wrong_session",
        })
    }
}

impl Fault {
    /// Returns what to do about it, as a sentence for an operator.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::AgentDrained => {
                "nothing, if the drain was meant; else take it back: stream-agent drain --cancel"
            }
            Self::AgentGone => {
                "start the agent or look into its log; another of its cluster takes over meanwhile"
            }
            Self::AmsAway => {
                "look whether AMS runs and the agent reaches it: stream-agent check-config, and \
                 ams.url, ams.fingerprint and the trust of the agent's certificate at AMS"
            }
            Self::AmsFull => "end sessions, add a node to AMS, or let agents take fewer sessions",
            Self::BootTooSlow => "look at the load of the AMS nodes, or raise agent.boot_timeout_s",
            Self::CertificateExpired => "renew the certificate that the line names, then reload",
            Self::ClientLeft => {
                "nothing, if it meant to; the instance cannot tell that from a stream that broke"
            }
            Self::ClientLost => "look at the client's network: it went away without a word",
            Self::ClientNeverCame => {
                "look at the client: it has joined, and its stream was never connected"
            }
            Self::ClientReplaced => {
                "nothing, if one client is meant at a time; on_conflict: reject keeps the first"
            }
            Self::ClockOff => "set the clock of the machine by NTP",
            Self::CredentialExpired => {
                "have the client come sooner, join again or renew (?renew=true), or raise \
                 turn.lifetime_s"
            }
            Self::Ended => "nothing: somebody wanted the end",
            Self::Failed => "read the step above, and the log of the unit that tells it",
            Self::GatewayEnded => "nothing: the client comes back to another gateway",
            Self::IdleEnd => "nothing, if nobody was to come; else raise idle_time_min",
            Self::ImageMissing => {
                "see what AMS has (amc application list), and publish the application or version"
            }
            Self::InstanceDied => "see what the instance says at AMS: amc show, and its logs",
            Self::InstanceNeverCame => {
                "look whether instances reach the agent: agent.url, firewalls between them"
            }
            Self::NatsCut => "look at nats-server and the network between it and this unit",
            Self::NatsFull => {
                "make room on the disk of NATS, or raise max_file_store; see nats stream list"
            }
            Self::NoCommonCodec => {
                "have client and image share a codec: H.264 or VP8 in the browser and in the image"
            }
            Self::NoAgent => "look whether agents run and have places: stream-gateway session list",
            Self::RelayDead => "start the relay or mend the way to it: stream-agent turn probe",
            Self::RelaySecretWrong => {
                "have relay and agents share one secret: stream-agent turn probe, turn rotate"
            }
            Self::ShareEnded => "make another share, or give it a longer life",
            Self::SignalRefused => "look at the client: it does not keep to the protocol",
            Self::TokenExpired => "have the client join again for a fresh token",
            Self::TokenRevoked => "nothing, if it was meant; else make another token or account",
            Self::TurnedAway => "see what the client asked for: the line says why it was refused",
            Self::ViewerWaits => {
                "nothing: it watches as soon as nobody controls the session; joining to control \
                 takes it over at once"
            }
            Self::WrongPin => {
                "compare the certificate of the agent with what instances pin: restart the agent \
                 after a renewal, and look for another server at agent.url"
            }
            Self::WrongSession => "look at the client: it mixes up the tokens of two sessions",
        }
    }
}

/// How much a step says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Weight {
    /// It ended something.
    Cause,
    /// It may follow from something else, or be as it should.
    Hint,
}

/// What a step is a sign of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sign {
    pub(crate) fault: Fault,
    pub(crate) weight: Weight,
}

/// Signs by their hop and by what the text has in it, the special ones first. `true` takes only
/// steps that failed.
const CAUSES: &[(Hop, bool, &str, Fault)] = &[
    (Hop::Place, true, "AMS is away", Fault::AmsAway),
    (Hop::Place, true, "", Fault::NoAgent),
    (Hop::Launch, true, NO_ROOM, Fault::AmsFull),
    (Hop::Launch, true, "no suitable node", Fault::AmsFull),
    (Hop::Launch, true, "expired", Fault::CertificateExpired),
    (Hop::Launch, true, "ams knows no such", Fault::ImageMissing),
    (Hop::Launch, true, "image", Fault::ImageMissing),
    (Hop::Launch, true, "ams is away", Fault::AmsAway),
    (Hop::Launch, true, "no answer in time", Fault::AmsAway),
    (Hop::Launch, true, "", Fault::Failed),
    (Hop::Boot, true, "CertificateExpired", Fault::CertificateExpired),
    (Hop::Boot, true, "TLS handshakes", Fault::WrongPin),
    (Hop::Boot, true, "AMS is still starting it", Fault::BootTooSlow),
    (Hop::Boot, true, "has not reached", Fault::InstanceNeverCame),
    (Hop::Boot, true, "never said that it runs", Fault::BootTooSlow),
    (Hop::Boot, true, "", Fault::InstanceDied),
    (Hop::Answer, true, "codec", Fault::NoCommonCodec),
    (Hop::Answer, true, "", Fault::SignalRefused),
    (Hop::Socket, false, "another client has joined", Fault::ClientReplaced),
    (Hop::Socket, false, "heard no more", Fault::ClientLost),
    (Hop::Socket, false, "share has ended", Fault::ShareEnded),
    (Hop::Socket, false, "token revoked", Fault::TokenRevoked),
    (Hop::Socket, false, "token has ended", Fault::TokenExpired),
    (Hop::Socket, false, "gateway is restarting", Fault::GatewayEnded),
    (Hop::Socket, false, "signal", Fault::SignalRefused),
    (Hop::Socket, false, "message", Fault::SignalRefused),
    (Hop::Socket, false, "frame is broken", Fault::SignalRefused),
    (Hop::Socket, false, "NATS", Fault::NatsCut),
    (Hop::Refusal, false, "token has expired", Fault::TokenExpired),
    (Hop::Refusal, false, "token is revoked", Fault::TokenRevoked),
    (Hop::Refusal, false, "of another session", Fault::WrongSession),
    (Hop::Refusal, false, "", Fault::TurnedAway),
    (Hop::Owner, false, "which is draining", Fault::AgentDrained),
    (Hop::Owner, false, "gives no sign of life", Fault::AgentGone),
    (Hop::Nats, true, "", Fault::NatsCut),
    (Hop::End, false, "no client", Fault::IdleEnd),
    (Hop::End, true, "", Fault::Failed),
];

/// Those that say less.
const HINTS: &[(Hop, bool, &str, Fault)] = &[
    (Hop::Wait, false, "", Fault::ViewerWaits),
    (Hop::Client, false, "has left", Fault::ClientLeft),
    (Hop::Client, false, "did not come", Fault::ClientNeverCame),
    (Hop::End, false, "its client has left", Fault::ClientLeft),
    (Hop::End, false, "", Fault::Ended),
];

/// What a client that connects makes past.
const PAST: [Fault; 3] = [Fault::ClientLeft, Fault::ClientNeverCame, Fault::ViewerWaits];

impl Sign {
    /// Whether `step` makes it a thing of the past.
    pub(crate) fn is_past_with(self, step: &Step) -> bool {
        let connects = step.hop == Hop::Client && step.text.contains("is connected");
        connects && PAST.contains(&self.fault)
    }

    /// Returns what `step` is a sign of, if of anything.
    pub(crate) fn of(step: &Step) -> Option<Self> {
        let among = |signs: &[(Hop, bool, &str, Fault)]| {
            let is = |(hop, failed, words, _): &&(Hop, bool, &str, Fault)| {
                *hop == step.hop && (step.failed || !failed) && step.text.contains(words)
            };
            signs.iter().find(is).map(|(.., fault)| *fault)
        };
        let of = |weight| move |fault| Self { fault, weight };
        among(CAUSES).map(of(Weight::Cause)).or_else(|| among(HINTS).map(of(Weight::Hint)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(hop: Hop, failed: bool, text: &str) -> Option<Fault> {
        let text = text.to_owned();
        let (at_ms, unit) = (1, String::new());
        let (took_ms, until, request) = (None, None, None);
        let step = Step { at_ms, took_ms, until, hop, unit, text, failed, count: 1, request };
        Sign::of(&step).map(|sign| sign.fault)
    }

    #[test]
    fn the_special_comes_before_the_general_and_what_went_well_is_no_sign() {
        let slow = "it did not get ready in time: AMS is still starting it, it has not reached it";
        assert_eq!(sign(Hop::Boot, true, slow), Some(Fault::BootTooSlow));
        assert_eq!(sign(Hop::Boot, true, "no graphics"), Some(Fault::InstanceDied));
        assert_eq!(sign(Hop::Boot, false, "the instance is running"), None);
        assert_eq!(sign(Hop::Socket, false, "client 0: the socket is open"), None);
        assert_eq!(sign(Hop::End, false, "deleted by account demo"), Some(Fault::Ended));
        assert_eq!(sign(Hop::End, true, "the session is error"), Some(Fault::Failed));
    }

    #[test]
    fn who_leaves_is_not_lost_and_who_waits_is_not_turned_away() {
        assert_eq!(sign(Hop::Client, false, "client 2 has left"), Some(Fault::ClientLeft));
        assert_eq!(sign(Hop::End, false, "its client has left"), Some(Fault::ClientLeft));
        assert_eq!(sign(Hop::Client, false, "client 2 did not come"), Some(Fault::ClientNeverCame));
        let lost = "client 2: the client is heard no more";
        assert_eq!(sign(Hop::Socket, false, lost), Some(Fault::ClientLost));
        assert_eq!(sign(Hop::Wait, false, "account demo waits: …"), Some(Fault::ViewerWaits));
        let away = "account demo was turned away: session has ended";
        assert_eq!(sign(Hop::Refusal, false, away), Some(Fault::TurnedAway));
    }
}

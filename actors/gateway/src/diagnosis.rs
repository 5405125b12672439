//! What went wrong with a session, and what to do about it: what its timeline, its document and the
//! present state of what it depends on make together. Pure.

use serde::{Deserialize, Serialize};
use stream_protocol::{AgentOverview, Hop, RelayOverview, RelayState, SessionDocument, Timestamp};

use crate::signs::{Fault, Sign, Weight};
use crate::timeline::Step;

/// What is to be said first of a session.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verdict {
    /// What went wrong, in one word; `None` where nothing did.
    pub fault: Option<String>,
    /// Where in the life of the session it came about.
    pub hop: Hop,
    /// When it did, Unix time in milliseconds; `None` for what is so now and was not noted before.
    pub at_ms: Option<u64>,
    /// What happened, as whoever noticed it says.
    pub text: String,
    /// What to do about it; empty where nothing is to be done.
    pub remedy: String,
}

/// All that there is to judge by.
#[derive(Default)]
pub(crate) struct Facts<'a> {
    /// `None` once it is gone.
    pub(crate) document: Option<&'a SessionDocument>,
    pub(crate) steps: &'a [Step],
    pub(crate) at: Timestamp,
    /// Why NATS stores nothing now.
    pub(crate) store: Option<String>,
    /// Whether the agent that owns the session gives a sign of life.
    pub(crate) owner_present: bool,
    /// What that agent says of itself, if it answers.
    pub(crate) overview: Option<AgentOverview>,
    /// What it finds of its relays, if it was asked and has any.
    pub(crate) relays: Vec<RelayOverview>,
}

impl Facts<'_> {
    /// Whether the session lives, and is to go on.
    fn lives(&self) -> bool {
        self.document.is_some_and(|document| !document.is_over())
    }

    /// Whether a client has begun to signal and there is no stream to it now.
    pub(crate) fn waits_for_media(&self) -> bool {
        let signals = |step: &Step| matches!(step.hop, Hop::Answer | Hop::Offer | Hop::Socket);
        let has_none = self.document.is_some_and(|document| document.idle.is_some());
        self.lives() && has_none && self.steps.iter().any(signals)
    }
}

/// Names what went wrong: what stops everything now, else the last thing that surely did, else what
/// is so now and may have, else what may be no fault at all.
pub(crate) fn diagnose(facts: &Facts) -> Verdict {
    stopped(facts)
        .or_else(|| noted(facts, Weight::Cause))
        .or_else(|| without_media(facts))
        .or_else(|| clock(facts))
        .or_else(|| noted(facts, Weight::Hint))
        .unwrap_or_else(|| well(facts))
}

/// What keeps a session that lives from going on.
fn stopped(facts: &Facts) -> Option<Verdict> {
    if let Some(why) = &facts.store {
        return Some(now(Fault::NatsFull, Hop::Nats, why.clone()));
    }
    let owner = facts.document?.owner.as_ref()?;
    if facts.lives() && !facts.owner_present {
        let text = format!("agent {owner}, which owns the session, gives no sign of life");
        return Some(now(Fault::AgentGone, Hop::Owner, text));
    }
    None
}

/// The last step of this weight that still holds. Where a session has failed, what follows from
/// that is left out.
fn noted(facts: &Facts, weight: Weight) -> Option<Verdict> {
    let mut found: Option<(&Step, Sign)> = None;
    for step in facts.steps {
        found = found.filter(|(_, sign)| !sign.is_past_with(step));
        let Some(sign) = Sign::of(step).filter(|sign| sign.weight == weight) else { continue };
        let follows = step.hop == Hop::End
            && found.as_ref().is_some_and(|(before, _)| before.failed && step.failed);
        if !follows {
            found = Some((step, sign));
        }
    }
    let (step, sign) = found?;
    Some(Verdict {
        fault: Some(sign.fault.to_string()),
        hop: step.hop,
        at_ms: Some(step.at_ms),
        text: step.text.clone(),
        remedy: sign.fault.remedy().to_owned(),
    })
}

/// Why there may be no stream, as far as relays and credentials tell.
fn without_media(facts: &Facts) -> Option<Verdict> {
    if !facts.waits_for_media() {
        return None;
    }
    let ends = facts.steps.iter().rev().filter(|step| step.hop == Hop::Ice);
    let mut ends = ends.filter_map(|step| Some((step, step.until?)));
    if let Some((step, until)) = ends.find(|(step, _)| step.text.starts_with("client "))
        && until <= facts.at
    {
        let text = format!("{} until {until}, and was not connected by then", step.text);
        let at_ms = Some(until.as_unix() * 1000);
        return Some(Verdict { at_ms, ..now(Fault::CredentialExpired, Hop::Ice, text) });
    }
    if facts.relays.is_empty() || facts.relays.iter().any(|relay| relay.cause.is_empty()) {
        return None;
    }
    let worst = facts.relays.iter().max_by_key(|relay| relay.state != RelayState::Good)?;
    let RelayOverview { server, transport, cause, .. } = worst;
    let fault = match cause.as_str() {
        cause if cause.contains("expired") => Fault::CertificateExpired,
        cause if cause.contains("401") || cause.contains("signed with the secret") => {
            Fault::RelaySecretWrong
        }
        _ => Fault::RelayDead,
    };
    Some(now(fault, Hop::Ice, format!("relay {server} over {transport}: {cause}")))
}

/// A clock that is wrong, by which tokens and credentials end.
fn clock(facts: &Facts) -> Option<Verdict> {
    let alerts = facts.overview.as_ref().map(|overview| &overview.alerts)?;
    let alert = alerts.iter().find(|alert| alert.starts_with("the clock of this system"))?;
    let owner = facts.document?.owner.as_ref()?;
    Some(now(Fault::ClockOff, Hop::Owner, format!("agent {owner}: {alert}")))
}

/// Nothing is known to be wrong: how far the session has come.
fn well(facts: &Facts) -> Verdict {
    let last = facts.steps.last();
    let text = match (facts.document, last) {
        (None, None) => "nothing is known of this session any more".to_owned(),
        (None, Some(_)) => "the session has ended, and its record is gone".to_owned(),
        (Some(document), _) => {
            format!("nothing is known to be wrong, the session is {}", document.status)
        }
    };
    let (hop, at_ms) = last.map_or((Hop::Note, None), |step| (step.hop, Some(step.at_ms)));
    Verdict { fault: None, hop, at_ms, text, remedy: String::new() }
}

fn now(fault: Fault, hop: Hop, text: String) -> Verdict {
    let remedy = fault.remedy().to_owned();
    Verdict { fault: Some(fault.to_string()), hop, at_ms: None, text, remedy }
}

#[cfg(test)]
mod tests {
    use stream_protocol::{Idle, Status};

    use super::*;

    fn step(at_ms: u64, hop: Hop, failed: bool, text: &str) -> Step {
        let (text, unit) = (text.to_owned(), "agent-1".to_owned());
        let (took_ms, until, request) = (None, None, None);
        Step { at_ms, took_ms, until, hop, unit, text, failed, count: 1, request }
    }

    fn running() -> SessionDocument {
        let idle = Idle {
            since: 100.into(),
            generation: 0,
            left: false,
            answered: true,
            dismissed: false,
        };
        let owner = "a".parse().ok();
        let sample = SessionDocument::sample();
        SessionDocument { status: Status::Active, owner, idle: Some(idle), ..sample }
    }

    fn verdict(facts: &Facts) -> (Option<String>, Hop) {
        let Verdict { fault, hop, .. } = diagnose(facts);
        (fault, hop)
    }

    fn named(fault: Fault, hop: Hop) -> (Option<String>, Hop) {
        (Some(fault.to_string()), hop)
    }

    #[test]
    fn what_follows_from_a_failure_is_not_its_cause() {
        let steps = [
            step(1, Hop::Create, false, "account demo asks"),
            step(2, Hop::Launch, true, "the launch failed: ams is away: refused"),
            step(3, Hop::End, true, "AMS is away"),
            step(4, Hop::End, true, "the session is error"),
        ];
        let facts = Facts { steps: &steps, ..Facts::default() };
        assert_eq!(verdict(&facts), named(Fault::AmsAway, Hop::Launch));
        assert_eq!(diagnose(&facts).at_ms, Some(2));
    }

    #[test]
    fn what_was_so_until_a_client_connected_is_said_no_more() {
        let mut steps = vec![
            step(1, Hop::Client, false, "client 0 is connected"),
            step(2, Hop::Wait, false, "share s waits: a controlling client is there"),
            step(3, Hop::Client, false, "client 0 has left"),
        ];
        let judged = |steps: &[Step]| verdict(&Facts { steps, ..Facts::default() });
        assert_eq!(judged(&steps[..2]), named(Fault::ViewerWaits, Hop::Wait));
        assert_eq!(judged(&steps), named(Fault::ClientLeft, Hop::Client));
        steps.push(step(4, Hop::Client, false, "client 1 is connected"));
        assert_eq!(judged(&steps), (None, Hop::Client));
        // A network that breaks is worth a look, also when it has come back.
        steps[2] = step(3, Hop::Socket, false, "client 0: the client is heard no more");
        assert_eq!(judged(&steps), named(Fault::ClientLost, Hop::Socket));
    }

    #[test]
    fn what_stops_everything_now_comes_first_and_a_session_that_is_over_needs_no_agent() {
        let (document, steps) = (running(), [step(1, Hop::Owner, false, "which is draining")]);
        let facts = || Facts { document: Some(&document), steps: &steps, ..Facts::default() };
        assert_eq!(verdict(&facts()), named(Fault::AgentGone, Hop::Owner));
        let present = Facts { owner_present: true, ..facts() };
        assert_eq!(verdict(&present), named(Fault::AgentDrained, Hop::Owner));
        let full = Facts { store: Some("no room".to_owned()), ..facts() };
        assert_eq!(verdict(&full), named(Fault::NatsFull, Hop::Nats));
        let over = SessionDocument { status: Status::Terminated, ..running() };
        let facts = Facts { document: Some(&over), ..Facts::default() };
        assert_eq!(diagnose(&facts).fault, None);
    }

    #[test]
    fn without_a_stream_relays_and_credentials_are_looked_at_and_with_one_they_are_not() {
        let document = running();
        let mut steps = vec![
            step(1, Hop::Ice, false, "client 0 has TURN credentials"),
            step(2, Hop::Answer, false, "from client 0 to the instance"),
        ];
        steps[0].until = Some(500.into());
        let relay = |cause: &str| RelayOverview {
            pool: "default".into(),
            server: "turn:a".into(),
            state: RelayState::Withheld,
            transport: "udp".into(),
            binding_us: None,
            allocate_us: None,
            cause: cause.into(),
        };
        let judged = |document: &SessionDocument, at: u64, relays: &[RelayOverview]| {
            let (at, relays) = (at.into(), relays.to_vec());
            let document = Some(document);
            let facts = Facts { document, steps: &steps, at, relays, ..Facts::default() };
            verdict(&Facts { owner_present: true, ..facts })
        };
        let expired = named(Fault::CredentialExpired, Hop::Ice);
        assert_eq!(judged(&document, 500, &[]), expired);
        let dead = relay("binding: it does not answer in time");
        let refused = relay("allocation: it refuses: 401 Unauthorized");
        let at_ice = |fault| named(fault, Hop::Ice);
        assert_eq!(judged(&document, 499, std::slice::from_ref(&dead)), at_ice(Fault::RelayDead));
        assert_eq!(judged(&document, 499, &[refused]), at_ice(Fault::RelaySecretWrong));
        assert_eq!(judged(&document, 499, &[relay(""), dead.clone()]).0, None, "one works");
        let streams = SessionDocument { idle: None, ..running() };
        assert_eq!(judged(&streams, 500, &[dead]).0, None);
    }
}

//! Who is the client of each session, as clients know it themselves, and what must hold of that: a
//! second view beside leases and documents, which gateways go by.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use stream_protocol::subjects::Bucket;
use stream_protocol::{DesiredState, OnConflict};

use crate::history::History;
use crate::judge::document;
use crate::store::Change;

/// How long it may take until a gateway notices that a client has left: one that is silent for so
/// long is gone, and what was under way then is done.
const NOTICED: Duration = Duration::from_secs(25);

/// How long it may take until a client is told that it has no place any more.
const TOLD: Duration = Duration::from_secs(40);

/// Whose socket is open for so long has a lease.
const SETTLED: Duration = Duration::from_secs(10);

/// How long it may take from the document that names a client until that is told of it.
const ABOUT_TO_COME: Duration = Duration::from_secs(40);

/// What is written within this time may have been under way at once.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Who stands for all servers.
const SERVER: &str = "the server";

#[derive(Default)]
pub(crate) struct Seats {
    sessions: BTreeMap<String, Session>,
    /// When a unit was last cut off, stood still, or got no answer.
    disturbed: BTreeMap<String, Duration>,
}

#[derive(Default)]
struct Session {
    /// The generation that is the client, as it is stored, and since when.
    present: (u64, Duration),
    /// Since when it ends.
    ending_since: Option<Duration>,
    seats: BTreeMap<u64, Seat>,
    /// The generation that the lease is for, and since when.
    lease: (u64, Duration),
}

/// The socket of one generation.
struct Seat {
    unit: String,
    opened: Duration,
    /// When the client closed it, was silent from, or lost it.
    left: Option<Duration>,
}

impl Seats {
    /// Something happens to `unit` that may keep it from what it has to do in time.
    pub(crate) fn disturb(&mut self, unit: &str, now: Duration) {
        let at = self.disturbed.entry(unit.to_owned()).or_default();
        *at = now.max(*at);
    }

    pub(crate) fn disturb_server(&mut self, now: Duration) {
        self.disturb(SERVER, now);
    }

    fn is_calm(&self, unit: &str, since: Duration) -> bool {
        let calm = |unit: &str| self.disturbed.get(unit).is_none_or(|at| *at < since);
        calm(unit) && calm(SERVER)
    }

    pub(crate) fn on_opened(&mut self, now: Duration, of: (&str, u64), unit: &str) {
        let (session, generation) = of;
        let seat = Seat { unit: unit.to_owned(), opened: now, left: None };
        self.session(session).seats.insert(generation, seat);
    }

    pub(crate) fn on_left(&mut self, now: Duration, (session, generation): (&str, u64)) {
        if let Some(seat) = self.session(session).seats.get_mut(&generation) {
            seat.left.get_or_insert(now);
        }
    }

    pub(crate) fn on_change(
        &mut self,
        now: Duration,
        unit: &str,
        change: &Change,
        history: &mut History,
    ) {
        match change.bucket {
            Bucket::Clients => self.on_lease(now, unit, change, history),
            Bucket::Sessions => self.on_document(now, unit, change, history),
            _ => {}
        }
    }

    fn on_lease(&mut self, now: Duration, unit: &str, change: &Change, history: &mut History) {
        let Some(generation) = change.after.as_deref().and_then(holder) else { return };
        let Some(session) = self.sessions.get(&change.key) else { return };
        let (key, (present, entered)) = (&change.key, session.present);
        let gone = match session.seats.get(&generation) {
            Some(seat) => seat.left,
            None => (generation == present).then_some(entered + ABOUT_TO_COME),
        };
        let noticed = now.saturating_sub(NOTICED);
        if gone.is_some_and(|at| at < noticed) && self.is_calm(unit, noticed) {
            let how = format_args!("{unit} holds that of {key} for {generation}, which is gone");
            history.violated(now, "no slot is held by nobody", how);
        }
        let ((leased, since), is_there) =
            (session.lease, |one| session.seats.get(&one).is_some_and(|seat| seat.left.is_none()));
        let stands = change.before.is_some() && since + AT_ONCE < now;
        if stands && leased > generation && is_there(leased) {
            let how = format_args!("{unit} gives that of {key} from {leased} to {generation}");
            history.violated(now, "no slot goes back to a client before", how);
        }
        if leased != generation {
            self.session(key).lease = (generation, now);
        }
    }

    fn on_document(&mut self, now: Duration, unit: &str, change: &Change, history: &mut History) {
        let after = change.after.as_ref().and_then(document);
        let is_ending = after.as_ref().is_none_or(|after| {
            after.status.is_final() || after.desired.state == DesiredState::Terminated
        });
        let session = self.session(&change.key);
        session.ending_since = match is_ending {
            true => session.ending_since.or(Some(now)),
            false => None,
        };
        let Some(after) = after else { return };
        let (before, _) = session.present;
        if change.before.is_none() {
            session.present = (after.generation, now);
        }
        if after.generation <= before {
            return;
        }
        session.present = (after.generation, now);
        let Some(seat) = self.sessions[&change.key].seats.get(&before) else { return };
        let was_there = seat.left.is_none() && seat.opened + SETTLED < now;
        let since = now.saturating_sub(NOTICED);
        let is_calm = self.is_calm(&seat.unit, since) && self.is_calm(unit, since);
        if was_there && is_calm && after.request.on_conflict == OnConflict::Reject {
            let how = format_args!("{unit} replaces client {before} of {}", change.key);
            history.violated(now, "who holds the slot is not replaced", how);
        }
    }

    /// A client is told by its gateway that it has to go.
    pub(crate) fn on_dismissed(
        &mut self,
        now: Duration,
        (session, generation): (&str, u64),
        why: &str,
        history: &mut History,
    ) {
        let one = self.session(session);
        let has_reason = match why {
            "another client has joined the session" => one.present.0 > generation,
            "token revoked" | "the token has ended" => one.ending_since.is_some(),
            _ if why.starts_with("session ") => one.ending_since.is_some(),
            // Its gateway has troubles of its own.
            _ => true,
        };
        if !has_reason {
            let how = format_args!("client {generation} of {session} is told \"{why}\"");
            history.violated(now, "nobody is thrown out without a reason", how);
        }
    }

    /// The socket of a client is open, and it hears what is said there.
    pub(crate) fn on_served(
        &mut self,
        now: Duration,
        (session, generation): (&str, u64),
        history: &mut History,
    ) {
        let Some(one) = self.sessions.get(session) else { return };
        let Some(seat) = one.seats.get(&generation) else { return };
        let replaced = (one.present.0 > generation).then_some(one.present.1);
        let lost = replaced.into_iter().chain(one.ending_since).min();
        let told = now.saturating_sub(TOLD);
        if lost.is_some_and(|at| at.max(seat.opened) < told) && self.is_calm(&seat.unit, told) {
            let how =
                format_args!("client {generation} of {session} has a socket at {}", seat.unit);
            history.violated(now, "who has no place any more is told", how);
        }
    }

    fn session(&mut self, id: &str) -> &mut Session {
        self.sessions.entry(id.to_owned()).or_default()
    }
}

/// Returns the generation that a lease is for.
fn holder(lease: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(lease).ok()?["generation"].as_u64()
}

//! What must hold whatever happens. Judged on each change as it is stored, beside what is true in
//! the world at that moment and what no unit knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Arguments;
use std::time::Duration;

use bytes::Bytes;
use stream_protocol::subjects::{AgentOp, AgentRequest, Bucket};
use stream_protocol::{
    ClientIce, Cursor, DesiredState, Launch, LoggedSignal, Presence, RefusalCode, Reply,
    SessionDocument, Status, Versioned,
};

use crate::ams::{Ams, Instance};
use crate::history::History;
use crate::store::{Change, Store};

/// How long an agent without a sign of life counts as being there; as its configuration has it.
pub(crate) const LEASE_S: u64 = 10;

/// Who is not there for so long has left: half a lease, less what a record may go late by.
const MISSED: Duration = Duration::from_millis(LEASE_S * 500 - 500);

/// Who looks may act on what it has seen so long ago: a look is good for half a lease, and what is
/// written then may be under way for as long.
const STALE: Duration = Duration::from_secs(LEASE_S);

/// How long it may take until all units know that a token is revoked.
pub(crate) const REVOKED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Judge {
    sessions: BTreeMap<String, Truth>,
    /// Since when an agent is not there, or from when to when it was not last.
    absences: BTreeMap<String, (Duration, Option<Duration>)>,
    /// Who drains, or said so last.
    draining: BTreeSet<String>,
    /// When a unit last got no answer.
    unanswered: BTreeMap<String, Duration>,
}

/// What is so of a session, whatever its document says.
#[derive(Default)]
struct Truth {
    /// The generation whose client is connected, as the instance has told.
    connected: Option<u64>,
    /// The last one that was stored.
    generation: u64,
    /// Whether somebody wanted it to end.
    end_wanted: bool,
    /// Whether the client knows that it was created.
    is_created: bool,
    /// Whether the instance said that it failed or stopped.
    is_down: bool,
    /// Whether its instance has said that it runs: until then its token opens a report at most.
    has_run: bool,
    ended_at: Option<Duration>,
    /// How many signals of its instance are stored, and how many were read.
    signals: (u64, u64),
    /// Up to which one their reader may have missed some, as it was told.
    missed: u64,
    /// Whether it begins with the first that is kept, and has read none since.
    resumes: bool,
    /// Which unit let a client in last, and when.
    joined: Option<(String, Duration)>,
}

impl Judge {
    /// The instance has told that the client of `generation` is connected, or that none is.
    pub(crate) fn set_connected(&mut self, session: &str, generation: Option<u64>) {
        self.truth(session).connected = generation;
    }

    /// The generation whose client is connected.
    pub(crate) fn connected(&self, session: &str) -> Option<u64> {
        self.sessions.get(session)?.connected
    }

    pub(crate) fn want_end(&mut self, session: &str) {
        self.truth(session).end_wanted = true;
    }

    pub(crate) fn set_created(&mut self, session: &str) {
        self.truth(session).is_created = true;
    }

    pub(crate) fn set_down(&mut self, session: &str, is_down: bool) {
        self.truth(session).is_down = is_down;
    }

    /// When a session has ended; `None` while it has not.
    pub(crate) fn ended_at(&self, session: &str) -> Option<Duration> {
        self.sessions.get(session)?.ended_at
    }

    /// The generation of a session, as it is stored.
    pub(crate) fn generation(&self, session: &str) -> u64 {
        self.sessions.get(session).map_or(0, |truth| truth.generation)
    }

    pub(crate) fn note_unanswered(&mut self, unit: &str, now: Duration) {
        self.unanswered.insert(unit.to_owned(), now);
    }

    /// The server has lost what it had in memory.
    pub(crate) fn forget_presences(&mut self, store: &Store, now: Duration) {
        for (agent, _) in store.values(Bucket::Agents) {
            self.absences.insert(agent.clone(), (now, None));
        }
    }

    /// A join that was begun at `since` has failed at `unit`.
    pub(crate) fn on_failed_join(
        &mut self,
        (since, now): (Duration, Duration),
        unit: &str,
        session: &str,
        history: &mut History,
    ) {
        // What a unit has had no answer to may be done all the same.
        if self.unanswered.get(unit).is_some_and(|at| *at >= since) {
            return;
        }
        if let Some((who, at)) = &self.truth(session).joined
            && who == unit
            && *at >= since
        {
            let how = format_args!("{unit} refused a join of {session} and changed its client");
            history.violated(now, "a failed join throws nobody out", how);
        }
    }

    pub(crate) fn on_change(
        &mut self,
        now: Duration,
        unit: &str,
        change: &Change,
        ams: &Ams,
        history: &mut History,
    ) {
        let Change { bucket, key, before, after, revision } = change;
        if *bucket != Bucket::Sessions {
            history.note(now, format_args!("{unit} writes {} {key} {revision}", bucket.name()));
        }
        match bucket {
            Bucket::Agents => self.on_presence(now, key, after.as_deref()),
            Bucket::Sessions => {
                let before = before.as_ref().and_then(document);
                let after = after.as_ref().and_then(document);
                let told = after.as_ref().map_or("removed".to_owned(), short);
                history.note(now, format_args!("{unit} writes session {key} {revision}: {told}"));
                if let (Some(before), Some(after)) = (before, after) {
                    let view = View { now, unit, before: &before, after: &after };
                    self.on_document(&view, ams, history);
                }
            }
            _ => {}
        }
    }

    fn on_presence(&mut self, now: Duration, agent: &str, presence: Option<&[u8]>) {
        let said = presence.and_then(|value| Versioned::<Presence>::decode(value).ok());
        match said {
            Some(said) if said.draining => drop(self.draining.insert(agent.to_owned())),
            Some(_) => drop(self.draining.remove(agent)),
            None => {}
        }
        let is_there = presence.is_some();
        let absence = self.absences.entry(agent.to_owned()).or_insert((now, None));
        match (is_there, absence.1) {
            (true, None) => absence.1 = Some(now),
            (false, Some(_)) => *absence = (now, None),
            _ => {}
        }
    }

    fn on_document(&mut self, view: &View<'_>, ams: &Ams, history: &mut History) {
        let View { now, unit, before, after } = *view;
        let id = after.id.as_str();
        let mut broken = |promise, how: Arguments<'_>| history.violated(now, promise, how);
        if after.generation < before.generation || after.generation > before.generation + 1 {
            let (from, to) = (before.generation, after.generation);
            broken("generations grow one by one", format_args!("{id}: from {from} to {to}"));
        }
        if before.is_over() && !after.is_over() {
            broken("an end is an end", format_args!("{id} is {} again", after.status));
        }
        if let (Some(owner), Some(next)) = (&before.owner, &after.owner)
            && owner != next
            // An instance that starts again has its session served by whom it tells.
            && !before.status.is_final()
            && !self.has_left(owner.as_str(), now)
        {
            let how = format_args!("{next} takes {id} from {owner}, which is there");
            broken("sessions are taken from those who have left", how);
        }
        let truth = self.truth(id);
        truth.generation = after.generation;
        truth.has_run |= after.status == Status::Active;
        let is_watched = truth.connected == Some(after.generation);
        let was_alive = matches!(before.status, Status::Created | Status::Active);
        let becomes_idle = before.idle.is_none() && after.idle.is_some();
        if is_watched && becomes_idle && before.status == Status::Active {
            let how = format_args!("{unit} marks {id}, whose client {} is there", after.generation);
            broken("nobody is marked idle who is watched", how);
        }
        if was_alive && !matches!(after.status, Status::Created | Status::Active) {
            let instance = after.instance_id.as_ref().and_then(|id| ams.instances.get(id));
            if let Some(why) = truth.judge_end(before, after, instance, (is_watched, now)) {
                let cause = after.last_cause();
                let how = format_args!("{unit} ends {id}, \"{cause}\", but {why}");
                broken("nothing ends without a reason", how);
            }
        }
        let is_ordered = before.desired.state == DesiredState::Running
            && after.desired.state == DesiredState::Terminated;
        if was_alive
            && is_ordered
            && truth.is_created
            && !truth.end_wanted
            && after.status != Status::Terminating
        {
            let how = format_args!("{unit} orders the end of {id}, which nobody wants");
            broken("nothing ends without a reason", how);
        }
        if after.generation > before.generation && after.desired.client.is_some() {
            truth.joined = Some((unit.to_owned(), now));
        }
        match after.is_over() {
            true => drop(truth.ended_at.get_or_insert(now)),
            false => truth.ended_at = None,
        }
    }

    /// Whether an agent was missed for long enough, a moment ago at the latest, or drains.
    fn has_left(&self, agent: &str, now: Duration) -> bool {
        if self.draining.contains(agent) {
            return true;
        }
        let Some((from, until)) = self.absences.get(agent) else { return true };
        let until = until.unwrap_or(now);
        until + STALE >= now && until.saturating_sub(*from) >= MISSED
    }

    /// AMS has launched an instance.
    pub(crate) fn on_launch(&mut self, now: Duration, id: &str, ams: &Ams, history: &mut History) {
        let Some(session) = ams.instances.get(id).and_then(Instance::session) else { return };
        let of_session = |one: &&Instance| one.is_alive() && one.session() == Some(session);
        let count = ams.instances.values().filter(of_session).count();
        if count > 1 {
            let how = format_args!("{session} has {count}");
            history.violated(now, "a session has one instance", how);
        }
        self.truth(session).is_down = false;
    }

    /// AMS is asked to delete an instance.
    pub(crate) fn on_deletion(
        &mut self,
        now: Duration,
        id: &str,
        (store, ams): (&Store, &Ams),
        history: &mut History,
    ) {
        let Some(instance) = ams.instances.get(id).filter(|one| one.is_alive()) else { return };
        let Some(session) = instance.session() else { return };
        let Some(entry) = store.read(Bucket::Sessions, session) else { return };
        let Some(document) = document(&entry.value) else { return };
        let lives = matches!(document.status, Status::Created | Status::Active)
            && document.desired.state == DesiredState::Running;
        let is_its = match &document.instance_id {
            Some(own) => own == id,
            None => {
                document.instance_name.as_ref().is_some_and(|own| own.as_str() == instance.name)
            }
        };
        if lives && is_its {
            let how = format_args!("{id} of {session}, which is {}", document.status);
            history.violated(now, "no instance of a live session is deleted", how);
        }
    }

    /// A unit answers a request.
    pub(crate) fn on_answer(
        &mut self,
        now: Duration,
        (unit, subject): (&str, &str),
        (question, answer): (&Bytes, &[u8]),
        store: &Store,
        history: &mut History,
    ) {
        let Ok(AgentRequest::Agent { op: AgentOp::Launch, agent }) = subject.parse() else {
            return history.note(now, format_args!("{unit} answers on {subject}"));
        };
        let refusal = match Reply::<ClientIce>::decode(answer) {
            Ok(_) => return history.note(now, format_args!("{unit} has launched")),
            Err(refusal) => refusal,
        };
        history.note(now, format_args!("{unit} refuses a launch: {refusal}"));
        let Ok(Launch { session, .. }) = Versioned::decode(question) else { return };
        let stored = store.read(Bucket::Sessions, session.as_str());
        let Some(document) = stored.and_then(|entry| document(&entry.value)) else { return };
        let lives = matches!(document.status, Status::Created | Status::Active)
            && document.desired.state == DesiredState::Running;
        let is_others = document.owner.as_ref().is_some_and(|owner| *owner != agent);
        let absence = self.absences.get(agent.as_str());
        let was_there = absence.is_some_and(|(from, until)| {
            until.is_some_and(|until| until + STALE < now || until <= *from)
        });
        if refusal.code == RefusalCode::Conflict && lives && is_others && was_there {
            let how = format_args!("{unit} refuses {session}, which lives: {refusal}");
            history.violated(now, "a drain harms no launch", how);
        }
    }

    /// An agent has accepted the token of an instance. When nobody knows the session any more, it
    /// opens nothing.
    pub(crate) fn on_accepted(
        &mut self,
        now: Duration,
        (unit, session): (&str, &str),
        store: &Store,
        history: &mut History,
    ) {
        if let Some(ended) = self.ended_at(session)
            && ended + REVOKED_WITHIN < now
            && store.read(Bucket::Sessions, session).is_some()
            && self.truth(session).has_run
        {
            let how = format_args!("{unit} takes the token of {session}");
            history.violated(now, "a revoked token opens nothing", how);
        }
    }

    /// The next signal of an instance is stored: returns its number.
    pub(crate) fn next_signal(&self, session: &str) -> u64 {
        self.sessions.get(session).map_or(0, |truth| truth.signals.0) + 1
    }

    pub(crate) fn signal_stored(&mut self, session: &str, number: u64) {
        self.truth(session).signals.0 = number;
    }

    /// The reader of what an instance signals is told that the log does not reach back to it.
    pub(crate) fn on_history_gone(
        &mut self,
        now: Duration,
        (session, cursor): (&str, Option<Cursor>),
        store: &Store,
        history: &mut History,
    ) {
        let first = store.reach().first;
        if cursor.is_none_or(|cursor| cursor.sequence + 1 >= first) {
            let how = format_args!("{session} after {cursor:?}, and the log begins at {first}");
            history.violated(now, "what the log keeps is not gone", how);
        }
        self.begin_reading(session);
    }

    /// The reader of what an instance signals has no cursor: it begins with the first one kept.
    pub(crate) fn begin_reading(&mut self, session: &str) {
        self.truth(session).resumes = true;
    }

    /// Signals of an instance were read, or none.
    pub(crate) fn on_page(
        &mut self,
        now: Duration,
        (session, signals): (&str, &[LoggedSignal]),
        store: &Store,
        history: &mut History,
    ) {
        let truth = self.truth(session);
        if truth.resumes {
            // One more may be stored and not acknowledged.
            truth.missed = truth.signals.0 + 1;
        }
        for LoggedSignal { signal, .. } in signals {
            let (number, read) = (number(signal.as_str()), truth.signals.1);
            let is_kept = |one: u64| store.keeps(session, &signal_of(one));
            let skips = !truth.resumes || (read + 1..number).any(is_kept);
            if number != read + 1 && skips {
                let how = format_args!("{session}: {number} after {read}");
                history.violated(now, "signals come once and in order", how);
            }
            (truth.signals.1, truth.resumes) = (number, false);
        }
    }

    /// Nothing is signalled any more, and all was read.
    pub(crate) fn on_silence(&mut self, now: Duration, session: &str, history: &mut History) {
        let Truth { signals: (stored, read), missed, .. } = *self.truth(session);
        if read.max(missed) < stored {
            let how = format_args!("{session}: {read} of {stored} were read");
            history.violated(now, "no signal is lost", how);
        }
    }

    /// All is quiet, and has been for long.
    pub(crate) fn on_end(
        &mut self,
        now: Duration,
        (store, ams): (&Store, &Ams),
        history: &mut History,
    ) {
        for (key, value) in store.values(Bucket::Sessions) {
            match document(value) {
                Some(document) if document.is_over() => {}
                Some(document) => {
                    let how = format_args!("{key} is {}", short(&document));
                    history.violated(now, "every session ends", how);
                }
                None => history.violated(now, "every session ends", format_args!("{key}")),
            }
        }
        for instance in ams.instances.values() {
            let session = instance.session().unwrap_or_default();
            let how = format_args!("{} of {session} is there", instance.id);
            history.violated(now, "every instance goes", how);
        }
        for (key, _) in store.values(Bucket::Clients) {
            let how = format_args!("the one of {key}");
            history.violated(now, "no slot is held by nobody", how);
        }
    }

    fn truth(&mut self, session: &str) -> &mut Truth {
        self.sessions.entry(session.to_owned()).or_default()
    }
}

/// A change of a document, as it is judged.
#[derive(Clone, Copy)]
struct View<'a> {
    now: Duration,
    unit: &'a str,
    before: &'a SessionDocument,
    after: &'a SessionDocument,
}

impl Truth {
    /// Says why the cause of an end is none, if so.
    fn judge_end(
        &self,
        before: &SessionDocument,
        after: &SessionDocument,
        instance: Option<&Instance>,
        (is_watched, now): (bool, Duration),
    ) -> Option<&'static str> {
        let cause = after.last_cause();
        let begins = |start: &str| cause.starts_with(start);
        if before.desired.state == DesiredState::Terminated || self.end_wanted {
            return None;
        }
        if begins("its client has left") || begins("no client ") {
            return is_watched.then_some("it has a client");
        }
        if begins("the instance did not get ready in time") {
            let is_late = before.status == Status::Created && before.deadline.is_some();
            return (!is_late).then_some("it did");
        }
        if begins("no agent took the session") {
            return before.owner.is_some().then_some("an agent has it");
        }
        if begins("the instance ") {
            let works = |one: &Instance| one.is_alive() && one.changed + STALE < now;
            return (!self.is_down && instance.is_some_and(works)).then_some("it works");
        }
        if begins("deleted by ") {
            return Some("nobody has deleted it");
        }
        None
    }
}

/// Returns the signal of an instance that has this number.
pub(crate) fn signal_of(number: u64) -> String {
    format!(r#"{{"type":"candidate","n":{number}}}"#)
}

fn number(signal: &str) -> u64 {
    let digits = signal.chars().filter(char::is_ascii_digit).collect::<String>();
    digits.parse().unwrap_or(0)
}

pub(crate) fn document(value: &Bytes) -> Option<SessionDocument> {
    Versioned::decode(value).ok()
}

fn short(document: &SessionDocument) -> String {
    let owner = document.owner.as_ref().map_or("nobody", |owner| owner.as_str());
    let instance = document.instance_id.as_deref().unwrap_or("no instance");
    let idle = if document.idle.is_some() { "idle" } else { "watched" };
    let wanted = match document.desired.state {
        DesiredState::Running => "",
        DesiredState::Terminated => ", to end",
    };
    format!(
        "{} of {owner}, {instance}, client {} {idle}{wanted}: {}",
        document.status,
        document.generation,
        document.last_cause()
    )
}

//! How long a session may be without a client, see [session life][life]. Pure.
//!
//! [life]: stream_protocol::manual::wire#session-life
//!
//! Only the instance knows whether its client is there: clients close their socket as soon as the
//! stream is connected. Time without a client is counted from the start, from every departure, and
//! anew from a join, since whoever joins needs a while to connect. A session that nothing else ends
//! must see its first client in time: whoever asked for it may have gone before it was there.

use stream_protocol::{ClientReport, ClientState, Idle, SessionDocument, Status, Timestamp};

use crate::transition::{InvalidTransition, NextAction};

/// How long the client of a session that is not joinable may be away until it counts as having
/// left: a broken network may heal.
const RECONNECT_GRACE_S: u64 = 30;

/// How long a client that is named may take to connect. Its gateway, which otherwise sees it leave,
/// may have died; by then no token opens a socket for it any more.
const CLIENT_TIMEOUT_S: u64 = 300;

/// Begins to count: the instance runs and has no client yet.
pub(crate) fn restart(document: &mut SessionDocument, now: Timestamp) {
    document.idle = Some(idle_since(document, now));
}

fn idle_since(document: &SessionDocument, now: Timestamp) -> Idle {
    let generation = document.generation;
    Idle { since: now, generation, left: false, answered: false, dismissed: false }
}

/// Takes what the instance says of its client. Clients that were replaced meanwhile do not count.
pub(crate) fn on_report(
    document: &mut SessionDocument,
    report: &ClientReport,
    now: Timestamp,
) -> Result<(), InvalidTransition> {
    if document.status != Status::Active {
        return Err(InvalidTransition(format!("session is {}", document.status)));
    }
    if report.generation != document.generation {
        return Ok(());
    }
    match (report.client, &document.idle) {
        (ClientState::Connected, _) => {
            (document.idle, document.connected) = (None, Some(report.generation));
        }
        // Said again, it is no new departure.
        (ClientState::Disconnected, Some(idle)) if idle.left || !idle.answered => {}
        (ClientState::Disconnected, _) => {
            document.idle = Some(Idle { left: true, ..idle_since(document, now) });
        }
    }
    Ok(())
}

/// Notes that the instance and the client of `generation` have answered each other, unless another
/// client has joined since.
pub(crate) fn on_answer(document: &mut SessionDocument, generation: u64, now: Timestamp) {
    let Some(idle) = document.idle.as_mut().filter(|_| document.generation == generation) else {
        return;
    };
    if idle.generation != generation {
        *idle = Idle { since: now, generation, left: false, answered: false, dismissed: false };
    }
    idle.answered = true;
}

/// Whether a client that joins may be a second one where one is the most, as far as only the
/// signals of the session tell: no instance has to report its clients.
pub(crate) fn is_first_in_doubt(document: &SessionDocument) -> bool {
    let runs = document.status == Status::Active;
    runs && !document.request.joinable && !document.client_has_come()
}

/// What is due because nobody is there.
pub(crate) fn next_action(document: &SessionDocument, now: Timestamp) -> NextAction {
    if document.status != Status::Active {
        return NextAction::None;
    }
    let told = document.idle.as_ref().map(|idle| idle.generation).or(document.connected);
    if told.is_some_and(|generation| generation != document.generation) {
        return NextAction::RestartIdleTimer;
    }
    let Some(idle) = &document.idle else { return NextAction::None };
    let away = now.secs_since(idle.since);
    let request = &document.request;
    if idle.left && !request.joinable && away >= RECONNECT_GRACE_S {
        return NextAction::BeginEnd { cause: "its client has left".to_owned(), failed: false };
    }
    if must_come(document, idle, away) || must_be_dismissed(document, idle, away) {
        return NextAction::CheckClient;
    }
    let minutes = request.idle_time_min;
    if minutes > 0 && away >= minutes.saturating_mul(60) {
        let cause = format!("no client was there for {minutes} minutes");
        return NextAction::BeginEnd { cause, failed: false };
    }
    NextAction::None
}

/// Whether a first client should have come by now.
fn must_come(document: &SessionDocument, idle: &Idle, away: u64) -> bool {
    let first = document.request.first_client_s;
    first > 0 && !idle.left && !idle.answered && away >= first
}

/// Whether the client that is named should have come by now.
fn must_be_dismissed(document: &SessionDocument, idle: &Idle, away: u64) -> bool {
    let waits = !idle.left && !idle.answered && !idle.dismissed;
    waits && document.desired.client.is_some() && away >= CLIENT_TIMEOUT_S
}

/// What becomes of a session whose instance has answered no client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Absence {
    /// Its first client has come, or may still come.
    None,
    /// It ends, since its first client has not come in time.
    End,
    /// It goes on without the client it names.
    Dismiss,
}

/// Returns what is due when the instance has answered no client.
pub(crate) fn absence(document: &SessionDocument, now: Timestamp) -> Absence {
    let idle =
        document.idle.as_ref().filter(|_| next_action(document, now) == NextAction::CheckClient);
    match idle {
        None => Absence::None,
        Some(idle) if must_come(document, idle, now.secs_since(idle.since)) => Absence::End,
        Some(_) => Absence::Dismiss,
    }
}

/// Names the client of the present generation no more, once.
pub(crate) fn dismiss(document: &mut SessionDocument) {
    document.desired.client = None;
    if let Some(idle) = document.idle.as_mut() {
        idle.dismissed = true;
    }
}

#[cfg(test)]
mod tests {
    use stream_protocol::{Client, Request, Role, SessionId};

    use super::*;
    use crate::session::end_without_client;

    fn active(joinable: bool, idle_time_min: u64) -> SessionDocument {
        let request = Request { joinable, idle_time_min, ..Request::for_app("clock") };
        let mut document = SessionDocument::new(SessionId::random(), request, 0.into(), 60.into());
        document.status = Status::Active;
        restart(&mut document, 1000.into());
        document
    }

    fn report(document: &mut SessionDocument, client: ClientState, generation: u64, now: u64) {
        on_report(document, &ClientReport { client, generation }, now.into()).unwrap();
    }

    fn ends(document: &SessionDocument, now: u64) -> bool {
        matches!(next_action(document, now.into()), NextAction::BeginEnd { failed: false, .. })
    }

    #[test]
    fn a_session_nobody_joins_ends_after_its_idle_time() {
        let document = active(true, 2);
        assert!(!ends(&document, 1119) && ends(&document, 1120));
        assert!(!ends(&active(true, 0), u64::MAX), "0 is never");
    }

    #[test]
    fn every_departure_restarts_the_time_and_a_client_stops_it() {
        let mut document = active(true, 2);
        for since in [2000, 5000] {
            report(&mut document, ClientState::Connected, 0, since - 500);
            assert!(!ends(&document, since + 999));
            report(&mut document, ClientState::Disconnected, 0, since);
            report(&mut document, ClientState::Disconnected, 0, since + 60);
            assert!(!ends(&document, since + 119) && ends(&document, since + 120));
        }
    }

    #[test]
    fn a_session_that_is_not_joinable_ends_when_its_client_has_left_and_not_before_it_came() {
        let mut document = active(false, 0);
        assert!(!ends(&document, u64::MAX), "it has not come yet");
        report(&mut document, ClientState::Connected, 0, 2000);
        report(&mut document, ClientState::Disconnected, 0, 3000);
        assert!(
            !ends(&document, 3000 + RECONNECT_GRACE_S - 1)
                && ends(&document, 3000 + RECONNECT_GRACE_S)
        );
        report(&mut document, ClientState::Connected, 0, 3010);
        assert!(!ends(&document, u64::MAX), "it is back");
    }

    #[test]
    fn a_client_that_has_not_come_cannot_leave() {
        let mut document = active(false, 0);
        let before = document.clone();
        report(&mut document, ClientState::Disconnected, 0, 1010);
        assert_eq!(document, before);
    }

    #[test]
    fn a_session_whose_client_never_comes_ends_unless_its_instance_answered_one() {
        let mut document = active(false, 0);
        document.request.first_client_s = 300;
        assert_eq!(next_action(&document, 1299.into()), NextAction::None);
        assert_eq!(next_action(&document, 1300.into()), NextAction::CheckClient);
        let mut answered = document.clone();
        on_answer(&mut answered, 0, 1100.into());
        assert_eq!(next_action(&answered, u64::MAX.into()), NextAction::None, "one came");
        end_without_client(&mut answered, 1300.into());
        assert_eq!(answered.status, Status::Active);
        report(&mut answered, ClientState::Disconnected, 0, 2000);
        assert!(ends(&answered, 2000 + RECONNECT_GRACE_S), "and left");

        let mut connected = document.clone();
        report(&mut connected, ClientState::Connected, 0, 1299);
        end_without_client(&mut connected, 1300.into());
        assert_eq!(connected.status, Status::Active, "it came at the last moment");

        end_without_client(&mut document, 1300.into());
        assert_eq!(document.status, Status::Terminating);
        assert_eq!(document.last_cause(), "no client came within 300 seconds");
    }

    #[test]
    fn a_client_that_is_named_and_does_not_come_is_dismissed_once() {
        let named = |document: &mut SessionDocument| {
            let screen = document.request.screen;
            document.desired.client = Some(Client { screen, role: Role::Control });
        };
        let mut document = active(true, 0);
        document.desired.client = None;
        assert_eq!(next_action(&document, u64::MAX.into()), NextAction::None, "none is named");
        named(&mut document);
        assert_eq!(next_action(&document, 1299.into()), NextAction::None);
        assert_eq!(next_action(&document, 1300.into()), NextAction::CheckClient);

        let mut answered = document.clone();
        on_answer(&mut answered, 0, 1100.into());
        assert_eq!(next_action(&answered, 9000.into()), NextAction::None, "it streams");
        let mut left = document.clone();
        report(&mut left, ClientState::Connected, 0, 1100);
        report(&mut left, ClientState::Disconnected, 0, 1200);
        assert_eq!(next_action(&left, 9000.into()), NextAction::None, "the instance knows");

        end_without_client(&mut document, 1300.into());
        assert_eq!((document.status, document.desired.client), (Status::Active, None));
        named(&mut document);
        assert_eq!(next_action(&document, 9000.into()), NextAction::None, "it has a socket");
        document.generation = 1;
        restart(&mut document, 9000.into());
        assert_eq!(next_action(&document, 9300.into()), NextAction::CheckClient, "another");
    }

    #[test]
    fn a_replaced_client_that_leaves_does_not_count_and_who_joins_gets_the_time_anew() {
        let mut document = active(true, 1);
        report(&mut document, ClientState::Connected, 0, 1010);
        document.generation = 1;
        report(&mut document, ClientState::Disconnected, 0, 1020);
        assert_eq!(document.idle, None);
        report(&mut document, ClientState::Disconnected, 1, 1030);
        document.generation = 2;
        assert_eq!(next_action(&document, 9999.into()), NextAction::RestartIdleTimer);
        restart(&mut document, 9999.into());
        assert!(!ends(&document, 10_058) && ends(&document, 10_059));
    }

    #[test]
    fn who_joins_a_client_that_is_there_and_goes_before_it_is_connected_leaves_nobody() {
        let mut document = active(true, 1);
        report(&mut document, ClientState::Connected, 0, 1010);
        assert_eq!(next_action(&document, u64::MAX.into()), NextAction::None);
        document.generation = 1;
        assert_eq!(next_action(&document, 1020.into()), NextAction::RestartIdleTimer);
        restart(&mut document, 1020.into());
        assert!(!ends(&document, 1079) && ends(&document, 1080));

        report(&mut document, ClientState::Connected, 1, 1030);
        assert_eq!(next_action(&document, u64::MAX.into()), NextAction::None, "it came");
        let of_an_older_agent = SessionDocument { connected: None, generation: 2, ..document };
        assert_eq!(next_action(&of_an_older_agent, u64::MAX.into()), NextAction::None);
    }

    #[test]
    fn an_answer_counts_for_the_client_that_got_it_and_for_no_later_one() {
        let mut document = active(false, 0);
        assert!(is_first_in_doubt(&document));
        document.generation = 1;
        on_answer(&mut document, 0, 1100.into());
        assert!(is_first_in_doubt(&document), "it joined since");
        // Before its time has begun to count.
        on_answer(&mut document, 1, 1200.into());
        let counted = document.idle.as_ref().map(|idle| (idle.generation, idle.since));
        assert_eq!(counted, Some((1, 1200.into())));
        assert!(document.client_has_come() && !is_first_in_doubt(&document));
        assert!(!is_first_in_doubt(&active(true, 0)), "others may join all the same");
    }

    #[test]
    fn only_active_sessions_have_clients() {
        let mut document = active(true, 1);
        document.status = Status::Terminating;
        let report = ClientReport { client: ClientState::Connected, generation: 0 };
        assert!(on_report(&mut document, &report, 1001.into()).is_err());
        assert_eq!(next_action(&document, u64::MAX.into()), NextAction::None);
    }
}

//! One stream of events.

use std::collections::{BTreeSet, HashSet};
use std::convert::Infallible;
use std::fmt::Write;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{Bytes, Data};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use serde_json::{Value, json};
use stream_bridge::MARKER_TTL;
use stream_http::PollPlace;
use stream_protocol::subjects::Bucket;
use stream_protocol::{Op, Refusal, SessionId, ShareId, Timestamp};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};

use super::event_id::EventId;
use crate::agent_view::AgentView;
use crate::agents;
use crate::auth::Caller;
use crate::relay_view::RelayView;
use crate::relays;
use crate::sessions::endpoints::SessionView;
use crate::shares::endpoints::ShareView;
use crate::state::State;
use crate::views::{News, SessionIndex, Subscription};

/// How long after an event its id is good: the store tells no more what was removed before.
const GOOD_FOR: Duration = MARKER_TTL.checked_div(2).unwrap();

/// Of more changes than this, a client is told to list anew.
const MAX_CHANGES: usize = 1_000;

/// How often shares, agents and relays are looked at, which nobody publishes.
const LOOK: Duration = Duration::from_millis(500);

/// How long nothing is sent before a comment is, so that those on the way keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What is still to be told to a client.
pub(super) struct EventStream {
    state: Data<State>,
    caller: Caller,
    _place: PollPlace,
    sessions: Subscription,
    shares: Subscription,
    /// How far the client knows everything.
    id: EventId,
    /// What is sent before anything else.
    first: Option<Bytes>,
    /// The agents as they were told last.
    agents: Arc<Vec<AgentView>>,
    /// The relays as they were told last.
    relays: Arc<Vec<RelayView>>,
    /// The sessions that a client knows who sees only its own.
    known: HashSet<SessionId>,
    look: Interval,
    end: LocalBoxFuture<'static, ()>,
}

impl EventStream {
    /// Begins a stream behind the event of `last`, or with the advice to list anew.
    pub(super) async fn open(
        state: Data<State>,
        caller: Caller,
        place: PollPlace,
        last: Option<EventId>,
    ) -> Result<Self, Refusal> {
        // Before anything is read: what changes from here on is told in any case.
        let (sessions, shares) = state.views.subscribe();
        // A session that is gone does not say any more whose it was: who sees only its own, and was
        // away, lists anew.
        let last = last.filter(|_| caller.sees_only_its_own().is_none());
        let missed = match last {
            Some(last) => missed(&state, last).await?,
            None => None,
        };
        state.views.sessions(|_| ()).await?;
        state.views.follow_shares(Instant::now()).await?;
        let (of_sessions, of_shares) = (sessions.take(), shares.take());
        let id = EventId {
            at: state.bridge.now(),
            sessions: of_sessions.position,
            shares: of_shares.position,
        };
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = Box::pin(end(state.clone(), caller.claims.clone(), caller.end()));
        let mut stream = Self {
            state,
            caller,
            _place: place,
            sessions,
            shares,
            id,
            first: None,
            agents: Arc::default(),
            relays: Arc::default(),
            known: HashSet::new(),
            look,
            end,
        };
        let mut events = Events::default();
        match missed {
            Some((sessions, shares)) => {
                stream.tell_sessions(&of_sessions.and(sessions), &mut events);
                stream.tell_shares(&of_shares.and(shares), &mut events);
            }
            None => stream.reset(&mut events),
        }
        stream.first = Some(events.finish(&stream.id));
        Ok(stream)
    }

    /// Returns what is to be sent next, and the rest.
    pub(super) async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if let Some(first) = self.first.take() {
            return Some((Ok(first), self));
        }
        let silence = sleep(KEEP_ALIVE);
        tokio::pin!(silence);
        loop {
            let mut events = Events::default();
            tokio::select! {
                biased;
                () = &mut self.end => return None,
                news = self.sessions.next() => self.tell_sessions(&news, &mut events),
                news = self.shares.next() => self.tell_shares(&news, &mut events),
                _ = self.look.tick() => self.look(&mut events).await,
                () = &mut silence => {
                    return Some((Ok(Bytes::from_static(b": still here\n\n")), self));
                }
            }
            if !events.is_empty() {
                self.id.at = self.state.bridge.now();
                return Some((Ok(events.finish(&self.id)), self));
            }
        }
    }

    fn may(&self, op: Op) -> bool {
        self.caller.claims.restrictions.allows(op)
    }

    /// Has the client list anew, from what is in memory by now.
    fn reset(&mut self, events: &mut Events) {
        if let Some(account) = self.caller.sees_only_its_own() {
            self.known = self.state.views.peek_sessions(|sessions| {
                let own = sessions.of_account(account.id()).filter(|session| session.is_listed);
                own.map(|session| session.id.clone()).collect()
            });
        }
        events.push("reset", &json!({}));
    }

    fn tell_sessions(&mut self, news: &News, events: &mut Events) {
        self.id.sessions = news.position;
        if !self.may(Op::SessionRead) {
            return;
        }
        let Some(changed) = &news.changed else { return self.reset(events) };
        let account = self.caller.sees_only_its_own();
        let (caller, known) = (&self.caller, &mut self.known);
        self.state.views.peek_sessions(|sessions| {
            for id in ids::<SessionId>(changed) {
                let row = sessions.find(&id).filter(|session| session.is_listed);
                let row = row.filter(|session| {
                    account.is_none_or(|account| account.is(session.made_by.as_ref()))
                });
                match row {
                    Some(session) => {
                        if account.is_some() {
                            known.insert(id);
                        }
                        events.push("session", &SessionView::of(session, caller));
                    }
                    // Who sees only its own is told of nobody else's.
                    None if account.is_none() || known.remove(&id) => {
                        events.push("session.removed", &json!({ "id": id }));
                    }
                    None => {}
                }
            }
        });
    }

    fn tell_shares(&mut self, news: &News, events: &mut Events) {
        self.id.shares = news.position;
        if !self.may(Op::ShareRead) {
            return;
        }
        let Some(changed) = &news.changed else { return self.reset(events) };
        let views = &self.state.views;
        let shares: Vec<_> = views.peek_shares(|shares| {
            ids::<ShareId>(changed).map(|id| (shares.find(id.as_str()).cloned(), id)).collect()
        });
        let now = self.state.bridge.now();
        let is_seen = |sessions: &SessionIndex, session: &SessionId| {
            let account = self.caller.sees_only_its_own();
            let session = sessions.find(session);
            session.is_some_and(|it| account.is_none_or(|own| own.is(it.made_by.as_ref())))
        };
        for (share, id) in shares {
            let open = share.filter(|share| !share.is_over(now));
            let seen = open.as_ref().is_some_and(|share| {
                views.peek_sessions(|sessions| is_seen(sessions, &share.session_id))
            });
            match open {
                Some(share) if seen => events.push("share", &ShareView::of(&share, None)),
                // The name of a share opens nothing and tells nothing.
                None => events.push("share.removed", &json!({ "id": id })),
                Some(_) => {}
            }
        }
    }

    /// Has the shares read on, and tells which agents and relays are others than before.
    async fn look(&mut self, events: &mut Events) {
        // While NATS is away nothing is known to have changed.
        let since = Instant::now().checked_sub(LOOK).unwrap_or_else(Instant::now);
        let _ = self.state.views.follow_shares(since).await;
        if self.may(Op::AgentRead)
            && let Ok(agents) = agents::latest(&self.state).await
        {
            let key = |agent: &AgentView| json!({ "name": agent.name() });
            events.push_others("agent", mem::replace(&mut self.agents, agents), &self.agents, key);
        }
        if self.may(Op::RelayRead)
            && let Some(relays) = relays::peek(&self.state)
        {
            let key = |relay: &RelayView| {
                let (pool, server) = relay.key();
                json!({ "pool": pool, "server": server })
            };
            events.push_others("relay", mem::replace(&mut self.relays, relays), &self.relays, key);
        }
    }
}

/// Returns the keys of sessions and of shares that have changed since the event of `last`; `None`
/// when that cannot be told.
async fn missed(
    state: &State,
    last: EventId,
) -> Result<Option<(BTreeSet<String>, BTreeSet<String>)>, Refusal> {
    let now = state.bridge.now();
    if now.secs_since(last.at) >= GOOD_FOR.as_secs() || last.at.secs_since(now) > 1 {
        return Ok(None);
    }
    let mut missed = [BTreeSet::new(), BTreeSet::new()];
    let buckets = [(Bucket::Sessions, last.sessions), (Bucket::Shares, last.shares)];
    for (keys, (bucket, position)) in missed.iter_mut().zip(buckets) {
        let continuity = state.bridge.continuity(bucket).await?;
        if continuity.created_at != position.created_at {
            return Ok(None);
        }
        let note = |key: &str, _| {
            keys.insert(key.to_owned());
        };
        state.bridge.keys(bucket, position.revision, note).await?;
        if keys.len() > MAX_CHANGES {
            return Ok(None);
        }
    }
    let [sessions, shares] = missed;
    Ok(Some((sessions, shares)))
}

fn ids<T: std::str::FromStr>(keys: &BTreeSet<String>) -> impl Iterator<Item = T> {
    keys.iter().filter_map(|key| key.parse().ok())
}

/// Returns when no more is to be told: the gateway stops or drains, or the token is no longer good.
async fn end(state: Data<State>, claims: stream_tokens::Claims, until: Option<Timestamp>) {
    let mut closing = state.closing.clone();
    let mut orders = state.drain.watch();
    let expired = async {
        match until {
            Some(until) => {
                sleep(Duration::from_secs(until.secs_since(state.bridge.now()))).await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = closing.wait_for(|closing| *closing) => {}
        _ = orders.wait_for(Option::is_some) => {}
        () = state.tokens.revoked(&claims) => {}
        () = expired => {}
    }
}

/// Events as they are written.
#[derive(Default)]
struct Events(String);

impl Events {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, name: &str, row: &impl Serialize) {
        match serde_json::to_string(row) {
            // No line ends in JSON. Writing to a text cannot fail.
            Ok(row) => drop(write!(self.0, "event: {name}\ndata: {row}\n\n")),
            Err(error) => log::error!(name, error:%; "an event cannot be written"),
        }
    }

    /// Tells which rows of `now` are not as they were, and which are gone: those by their key.
    fn push_others<T: PartialEq + Serialize>(
        &mut self,
        kind: &str,
        before: Arc<Vec<T>>,
        now: &Arc<Vec<T>>,
        key: impl Fn(&T) -> Value,
    ) {
        if Arc::ptr_eq(&before, now) {
            return;
        }
        for row in now.iter().filter(|row| !before.contains(row)) {
            self.push(kind, row);
        }
        let there: Vec<_> = now.iter().map(&key).collect();
        for gone in before.iter().map(key).filter(|key| !there.contains(key)) {
            self.push(&format!("{kind}.removed"), &gone);
        }
    }

    /// Returns all with their id, which the last one carries: who was told a part is told it again.
    fn finish(mut self, id: &EventId) -> Bytes {
        if self.0.ends_with("\n\n") {
            self.0.pop();
            let _ = write!(self.0, "id: {id}\n\n");
        }
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_rows_that_nobody_publishes_is_told_what_differs_and_what_is_gone() {
        let mut events = Events::default();
        let key = |row: &(&str, u32)| json!({ "name": row.0 });
        let before = Arc::new(vec![("a", 1), ("b", 1), ("c", 1)]);
        events.push_others("row", Arc::clone(&before), &before, key);
        assert!(events.is_empty());
        let now = Arc::new(vec![("d", 1), ("b", 2), ("a", 1)]);
        events.push_others("row", before, &now, key);
        let told: Vec<_> = events.0.split_terminator("\n\n").collect();
        assert_eq!(
            told,
            [
                "event: row\ndata: [\"d\",1]",
                "event: row\ndata: [\"b\",2]",
                "event: row.removed\ndata: {\"name\":\"c\"}",
            ]
        );
    }
}

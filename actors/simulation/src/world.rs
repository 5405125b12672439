//! What all units of a simulation share: the server, AMS, chance, and what has happened so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use stream_bridge::simulation::Published;
use stream_bridge::{BridgeError, IncomingRequest};
use stream_protocol::subjects::{Bucket, LIVE};
use stream_supervisor::Recipient;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::ams::Ams;
use crate::chance::{Chance, Noise};
use crate::history::History;
use crate::judge::Judge;
use crate::seats::Seats;
use crate::store::{Change, MAX_LAG, Store};

/// The world, as many tasks hold it.
pub(crate) type Shared = Arc<Mutex<World>>;

/// When the simulated world begins, in Unix seconds.
const BEGIN: u64 = 1_800_000_000;

/// A unit, by the order in which they were started.
pub(crate) type UnitId = usize;

pub(crate) struct World {
    begin: Instant,
    pub(crate) chance: Chance,
    pub(crate) noise: Noise,
    pub(crate) store: Store,
    /// Whether several servers keep what is stored.
    pub(crate) is_replicated: bool,
    pub(crate) ams: Ams,
    pub(crate) history: History,
    pub(crate) judge: Judge,
    pub(crate) seats: Seats,
    pub(crate) links: Vec<Link>,
    served: Vec<Served>,
    followers: Vec<Follower>,
    /// Nothing is stored before: there is no leader.
    pub(crate) leaderless_until: Duration,
    /// The generation whose client is there, by session.
    pub(crate) clients: BTreeMap<String, u64>,
    /// The sessions that clients know of.
    pub(crate) sessions: Vec<String>,
    /// Those that somebody joins now.
    pub(crate) joining: BTreeSet<String>,
    /// By how much the clock of the server is off.
    clock_error: (Duration, Duration),
}

/// The connection of one unit to the server.
pub(crate) struct Link {
    pub(crate) unit: String,
    pub(crate) is_alive: bool,
    pub(crate) is_connected: bool,
    pub(crate) connected_since: Instant,
    pub(crate) connects: u64,
    /// Who hears of a connect, each on a channel of its own: of several that wait on one, the order
    /// is not always the same.
    hear_connects: Vec<watch::Sender<u64>>,
    /// The unit dies with the call of this number, before or after it has acted.
    pub(crate) dies_at: Option<(u32, bool)>,
}

struct Served {
    link: UnitId,
    subject: String,
    group: Option<&'static str>,
    to: Recipient<IncomingRequest>,
}

struct Follower {
    link: UnitId,
    subject: String,
    to: mpsc::UnboundedSender<Published>,
}

impl World {
    pub(crate) fn new(seed: u64, verbose: bool) -> Self {
        Self {
            begin: Instant::now(),
            chance: Chance::new(seed),
            noise: Noise::QUIET,
            store: Store::new(SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN)),
            is_replicated: false,
            ams: Ams::default(),
            history: History::new(verbose),
            judge: Judge::default(),
            seats: Seats::default(),
            links: Vec::new(),
            served: Vec::new(),
            followers: Vec::new(),
            leaderless_until: Duration::ZERO,
            clients: BTreeMap::new(),
            sessions: Vec::new(),
            joining: BTreeSet::new(),
            clock_error: (Duration::ZERO, Duration::ZERO),
        }
    }

    /// Ends the world, and returns what has happened.
    pub(crate) fn end(&mut self) -> History {
        // They hold what holds the world.
        self.served.clear();
        self.followers.clear();
        std::mem::replace(&mut self.history, History::new(false))
    }

    /// How long the world exists.
    pub(crate) fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The time of the server, which need not be right.
    pub(crate) fn server_time(&self) -> SystemTime {
        let (ahead, behind) = self.clock_error;
        let day = Duration::from_secs(BEGIN + 24 * 3600);
        SystemTime::UNIX_EPOCH + (day + self.now() + ahead).saturating_sub(behind)
    }

    /// How far the server lags that happens to answer what any may answer.
    pub(crate) fn lag(&mut self) -> Duration {
        match self.is_replicated && self.chance.happens(self.noise.lag) {
            true => self.chance.millis(1, MAX_LAG.as_millis() as u64),
            false => Duration::ZERO,
        }
    }

    /// Has another server lead, whose clock is another.
    pub(crate) fn elect(&mut self, after: Duration) {
        self.leaderless_until = self.now() + after;
        self.seats.disturb_server(self.leaderless_until);
        let error = self.chance.millis(0, 3000);
        let is_ahead = self.chance.happens(500);
        self.clock_error = if is_ahead { (error, Duration::ZERO) } else { (Duration::ZERO, error) };
        self.note(format_args!("another server leads, in {after:?}"));
    }

    /// The client of this generation is not there any more.
    pub(crate) fn drop_client(&mut self, session: &str, generation: u64) {
        if self.clients.get(session) == Some(&generation) {
            self.clients.remove(session);
        }
    }

    pub(crate) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        let now = self.now();
        self.history.note(now, what);
    }

    /// Adds the connection of a unit that starts.
    pub(crate) fn connect(&mut self, unit: &str) -> UnitId {
        self.links.push(Link {
            unit: unit.to_owned(),
            is_alive: true,
            is_connected: true,
            connected_since: Instant::now(),
            connects: 1,
            hear_connects: Vec::new(),
            dies_at: None,
        });
        self.links.len() - 1
    }

    /// Cuts a unit off, or lets it connect again.
    pub(crate) fn set_connected(&mut self, id: UnitId, is_connected: bool) {
        let link = &mut self.links[id];
        if !link.is_alive || link.is_connected == is_connected {
            return;
        }
        link.is_connected = is_connected;
        if is_connected {
            link.connected_since = Instant::now();
            link.connects += 1;
            let count = link.connects;
            link.hear_connects.retain(|hears| hears.send(count).is_ok());
        }
        let unit = link.unit.clone();
        self.disturb(&unit);
        let what = if is_connected { "is connected" } else { "is cut off" };
        self.note(format_args!("{unit} {what}"));
    }

    /// Something keeps `unit` from what it has to do.
    pub(crate) fn disturb(&mut self, unit: &str) {
        let now = self.now();
        self.seats.disturb(unit, now);
    }

    /// Ends the connection of a unit for good.
    pub(crate) fn kill(&mut self, id: UnitId) {
        let link = &mut self.links[id];
        (link.is_alive, link.is_connected) = (false, false);
        let unit = link.unit.clone();
        self.served.retain(|served| served.link != id);
        self.followers.retain(|follower| follower.link != id);
        self.note(format_args!("{unit} dies"));
    }

    /// Counts the connects of a unit from now on.
    pub(crate) fn connects(&mut self, id: UnitId) -> watch::Receiver<u64> {
        let link = &mut self.links[id];
        link.hear_connects.retain(|hears| !hears.is_closed());
        let (sender, receiver) = watch::channel(link.connects);
        link.hear_connects.push(sender);
        receiver
    }

    /// Counts a call of a unit; returns whether it dies with it, and whether after it has acted.
    pub(crate) fn count_call(&mut self, id: UnitId) -> Option<bool> {
        let (left, after) = self.links[id].dies_at.as_mut()?;
        *left = left.saturating_sub(1);
        (*left == 0).then_some(*after)
    }

    pub(crate) fn check_connected(&self, id: UnitId) -> Result<(), BridgeError> {
        match self.links[id].is_connected {
            true => Ok(()),
            false => Err(BridgeError::Disconnected("the server cannot be reached".to_owned())),
        }
    }

    pub(crate) fn serve(
        &mut self,
        link: UnitId,
        subject: String,
        group: Option<&'static str>,
        to: Recipient<IncomingRequest>,
    ) {
        self.stop_serving(link, &subject);
        self.served.push(Served { link, subject, group, to });
    }

    pub(crate) fn stop_serving(&mut self, link: UnitId, subject: &str) {
        self.served.retain(|served| served.link != link || served.subject != subject);
    }

    pub(crate) fn follow(
        &mut self,
        link: UnitId,
        subject: String,
    ) -> mpsc::UnboundedReceiver<Published> {
        let (to, published) = mpsc::unbounded_channel();
        self.followers.push(Follower { link, subject, to });
        published
    }

    /// Returns those who get a request on `subject`: one of each group.
    pub(crate) fn responders(
        &mut self,
        subject: &str,
    ) -> Vec<(UnitId, Recipient<IncomingRequest>)> {
        let reached = |served: &&Served| {
            self.links[served.link].is_connected && matches(&served.subject, subject)
        };
        let all: Vec<_> = self.served.iter().filter(reached).collect();
        let (grouped, alone): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|served| served.group.is_some());
        let mut chosen: Vec<_> =
            alone.iter().map(|served| (served.link, served.to.clone())).collect();
        if !grouped.is_empty() {
            let one = grouped[self.chance.below(grouped.len())];
            chosen.push((one.link, one.to.clone()));
        }
        chosen
    }

    /// Has those records go whose time has come.
    pub(crate) fn advance(&mut self) {
        let changes = self.store.advance(self.now());
        changes.into_iter().for_each(|change| self.on_change("the server", change));
    }

    /// Judges what `unit` has changed, and publishes it.
    pub(crate) fn on_change(&mut self, unit: &str, change: Change) {
        let now = self.now();
        let Self { judge, seats, history, ams, .. } = self;
        judge.on_change(now, unit, &change, ams, history);
        seats.on_change(now, unit, &change, history);
        let Change { bucket, key, revision, .. } = change;
        if matches!(
            bucket,
            Bucket::KeysAgent | Bucket::KeysGateway | Bucket::Revoked | Bucket::Sessions
        ) {
            let subject = format!("{LIVE}.kv.{}.{key}", bucket.name());
            let payload = Bytes::new();
            self.publish(&Published { subject, sequence: revision, previous: 0, payload });
        }
    }

    /// Tells those who follow its subject.
    pub(crate) fn publish(&mut self, published: &Published) {
        let Self { followers, links, chance, noise, .. } = self;
        followers.retain(|follower| {
            let link = &links[follower.link];
            if !link.is_connected || !matches(&follower.subject, &published.subject) {
                return !follower.to.is_closed();
            }
            chance.happens(noise.missed_hint) || follower.to.send(published.clone()).is_ok()
        });
    }
}

/// Whether `pattern`, which may hold `*` and end in `>`, is about `subject`.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_one_word_or_for_all_that_follow() {
        assert!(matches("a.b", "a.b") && !matches("a.b", "a.c"));
        assert!(matches("a.*", "a.b") && !matches("a.*", "a.b.c") && !matches("a.*", "a"));
        assert!(matches("a.>", "a.b.c") && !matches("a.>", "a"));
    }
}

//! Clients: they create sessions, join them, and leave or delete them.

use std::time::Duration;

use serde_json::{Value, json};
use stream_supervisor::spawn_detached;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::ams::APP;
use crate::guest::{Guest, Parting};
use crate::listener::listen;
use crate::units::Units;
use crate::world::{Shared, World};

/// How long a client waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// A session that a client asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub(crate) joinable: bool,
    /// Whether a second client is refused while there is one.
    pub(crate) rejects: bool,
    /// Whether the client comes at all.
    pub(crate) comes: bool,
    pub(crate) stays: Duration,
    /// How it gives its socket up, and after how long at the earliest.
    pub(crate) parting: Parting,
    pub(crate) parts_after: Duration,
    pub(crate) end: End,
}

/// What a client does in the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Leaves,
    Deletes,
}

/// All clients, which share one account.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) world: Shared,
    pub(crate) units: Units,
    pub(crate) token: String,
    /// Until when signals are read.
    pub(crate) listen_until: Instant,
}

impl Clients {
    /// Creates a session, and does with it what the visit says.
    pub(crate) async fn create(self, visit: Visit) {
        let Visit { joinable, rejects, comes, .. } = visit;
        let mut body = json!({"app": APP, "joinable": joinable});
        if joinable {
            body["idle_time_min"] = json!(1);
        }
        if rejects {
            body["on_conflict"] = json!("reject");
        }
        let Some((_, 201, answer)) = self.call("POST", "/1.0/sessions".to_owned(), body).await
        else {
            return;
        };
        let Some(id) = answer["metadata"]["id"].as_str().map(str::to_owned) else { return };
        {
            let mut world = self.world.lock();
            world.note(format_args!("a client has {id}"));
            world.judge.set_created(&id);
            world.sessions.push(id.clone());
        }
        if let Ok(session) = id.parse() {
            let (world, units) = (self.world.clone(), self.units.clone());
            spawn_detached("a listener", listen(world, units, session, self.listen_until));
        }
        let url = answer["metadata"]["url"].as_str().unwrap_or_default();
        self.stay((&id, 0), Some(url).filter(|_| comes), visit).await;
    }

    /// Is there as the client of this generation, and does in the end what the visit says. It does
    /// not come without a URL.
    async fn stay(&self, (id, generation): (&str, u64), url: Option<&str>, visit: Visit) {
        let Visit { stays, parting, parts_after, end, .. } = visit;
        let (now, until) = (Instant::now(), Instant::now() + stays);
        if let Some(url) = url {
            let (Self { world, units, .. }, parting) = (self, (parting, now + parts_after));
            let guest = Guest { world, units, session: id, generation, url, parting };
            guest.stay(until).await;
            self.world.lock().drop_client(id, generation);
        }
        sleep_until(until).await;
        self.end(id, generation, end).await;
    }

    /// Joins one of the sessions there are, and does with it what the visit says.
    pub(crate) async fn join(self, visit: Visit) {
        let (id, since) = {
            let mut world = self.world.lock();
            let count = world.sessions.len();
            let at = world.chance.below(count);
            let Some(id) = world.sessions.get(at).cloned() else { return };
            (id, world.now())
        };
        // Two at once would make it unclear whose refusal it was.
        if !self.world.lock().joining.insert(id.clone()) {
            return;
        }
        let joined = self.call("POST", format!("/1.0/sessions/{id}/join"), json!({})).await;
        let (generation, url) = {
            let mut world = self.world.lock();
            world.joining.remove(&id);
            let now = world.now();
            match joined {
                Some((_, 200, answer)) => {
                    let url = answer["metadata"]["url"].as_str().unwrap_or_default();
                    let World { judge, .. } = &mut *world;
                    let generation = judge.generation(&id);
                    world.note(format_args!("a client joins {id} as {generation}: {}", url.len()));
                    (generation, url.to_owned())
                }
                Some((gateway, status, answer)) => {
                    let why = answer["error"].as_str().unwrap_or_default();
                    world.note(format_args!("{gateway} refuses to join {id}: {status} {why}"));
                    let World { judge, history, .. } = &mut *world;
                    return judge.on_failed_join((since, now), &gateway, &id, history);
                }
                None => return,
            }
        };
        self.stay((&id, generation), Some(&url), visit).await;
    }

    async fn end(&self, id: &str, generation: u64, end: End) {
        {
            let mut world = self.world.lock();
            world.drop_client(id, generation);
            world.note(format_args!("client {generation} of {id}: {end:?}"));
        }
        if end != End::Deletes {
            return;
        }
        self.world.lock().judge.want_end(id);
        for _ in 0..5 {
            match self.call("DELETE", format!("/1.0/sessions/{id}"), Value::Null).await {
                Some((_, 200..500, _)) => return,
                _ => sleep(Duration::from_secs(2)).await,
            }
        }
    }

    /// Has a gateway answer; returns which one, and what.
    async fn call(
        &self,
        method: &'static str,
        path: String,
        body: Value,
    ) -> Option<(String, u16, Value)> {
        let gateway = self.units.any_gateway()?;
        let body = Some(body).filter(|body| !body.is_null());
        let answer = gateway.call(method, path.clone(), &self.token, body);
        let (status, answer) = timeout(ANSWER_TIMEOUT, answer).await.ok()??;
        let name = gateway.name.clone();
        self.world.lock().note(format_args!("{name}: {method} {path} {status}"));
        Some((name, status, answer))
    }
}

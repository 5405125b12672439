//! AMS as a unit reaches it: what it answers, and how it fails and lies.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};
use stream_ams::AmsError;
use stream_ams::simulated_ams::SimulatedAms;
use stream_supervisor::LocalBoxFuture;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::ams::{APP, CLUSTER, ERROR, Instance};
use crate::world::{Shared, UnitId, World};

/// So many of 1,000 launches take long to be answered.
const LONG_LAUNCHES: u16 = 150;

/// AMS as one unit reaches it.
#[derive(Clone)]
pub(crate) struct AmsOfUnit {
    world: Shared,
    unit: UnitId,
}

/// How one request goes wrong, if it does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wrong {
    Nothing,
    /// It is done, and answered with an error.
    FailsAfter,
    /// It fails, and nothing is done.
    FailsBefore,
    /// It is busy.
    Busy,
    /// It says that it has done what it has not; a list lacks one.
    Lies,
    /// It takes long.
    Slow,
}

impl AmsOfUnit {
    pub(crate) fn new(world: &Shared, unit: UnitId) -> Self {
        Self { world: Arc::clone(world), unit }
    }

    fn draw(world: &mut World) -> Wrong {
        if !world.chance.happens(world.noise.ams) {
            return Wrong::Nothing;
        }
        match world.chance.below(5) {
            0 => Wrong::FailsAfter,
            1 => Wrong::FailsBefore,
            2 => Wrong::Busy,
            3 => Wrong::Lies,
            _ => Wrong::Slow,
        }
    }
}

impl SimulatedAms for AmsOfUnit {
    fn ask(
        &self,
        method: &str,
        url: &Url,
        body: Option<&Value>,
    ) -> LocalBoxFuture<'static, Result<(u16, Value), AmsError>> {
        let (this, method, url) = (self.clone(), method.to_owned(), url.clone());
        let body = body.cloned().unwrap_or(Value::Null);
        Box::pin(async move {
            let (fate, wrong, dies) = {
                let mut world = this.world.lock();
                let noise = world.noise;
                let dies = world.count_call(this.unit);
                (world.chance.fate(noise), AmsOfUnit::draw(&mut world), dies)
            };
            sleep(fate.there).await;
            if wrong == Wrong::Slow {
                let more = this.world.lock().chance.millis(1000, 14_000);
                sleep(more).await;
            }
            let die = async || {
                this.world.lock().kill(this.unit);
                pending::<()>().await;
            };
            if dies == Some(false) {
                die().await;
            }
            let answer = {
                let mut world = this.world.lock();
                let is_mute = world.now() < world.ams.mute_until;
                if is_mute || !world.links[this.unit].is_alive {
                    None
                } else {
                    Some(answer(&mut world, this.unit, &method, &url, &body, wrong))
                }
            };
            if dies == Some(true) {
                die().await;
            }
            let Some(answer) = answer else { return pending().await };
            let answer = match answer {
                Answer::Now(status, body) => (status, body),
                Answer::Later { after, status, body } => {
                    sleep(after).await;
                    (status, body)
                }
            };
            sleep(fate.back).await;
            Ok(answer)
        })
    }

    fn events(&self) -> mpsc::UnboundedReceiver<String> {
        let (sender, events) = mpsc::unbounded_channel();
        self.world.lock().ams.listeners.push(sender);
        events
    }
}

enum Answer {
    Now(u16, Value),
    /// It is done, and takes a while to be answered.
    Later {
        after: Duration,
        status: u16,
        body: Value,
    },
}

fn sync(metadata: Value) -> Value {
    json!({"type": "sync", "status": "Success", "status_code": 200, "metadata": metadata})
}

fn refused(code: u16, error: &str) -> Answer {
    Answer::Now(code, json!({"type": "error", "error": error, "error_code": code}))
}

fn answer(
    world: &mut World,
    unit: UnitId,
    method: &str,
    url: &Url,
    body: &Value,
    wrong: Wrong,
) -> Answer {
    let path: Vec<_> = url.path().split('/').filter(|part| !part.is_empty()).skip(1).collect();
    let by = world.links[unit].unit.clone();
    match wrong {
        Wrong::FailsBefore => return refused(500, "it failed"),
        Wrong::Busy => return refused(503, "it is busy"),
        _ => {}
    }
    let now = world.now();
    let done = match (method, path.as_slice()) {
        ("GET", []) => Answer::Now(
            200,
            sync(json!({
                "auth": "trusted", "cluster_id": CLUSTER, "cluster_name": CLUSTER,
            })),
        ),
        ("GET", ["applications"]) => {
            let versions = json!([{"number": 0, "published": true}]);
            let app = json!({"id": APP, "name": APP, "status": "ready", "versions": versions});
            Answer::Now(200, sync(json!([app])))
        }
        ("GET", ["images"]) => Answer::Now(200, sync(json!([]))),
        ("POST", ["instances"]) => {
            let time = world.server_time().duration_since(std::time::UNIX_EPOCH);
            let launched = world.ams.launch(body, (now, time.unwrap_or_default().as_secs()));
            match launched {
                Ok(id) => {
                    world.note(format_args!("{by} launches {id} as {}", body["name"]));
                    let World { judge, ams, history, .. } = world;
                    judge.on_launch(now, &id, ams, history);
                    let resources = json!({"instances": [format!("/1.0/instances/{id}")]});
                    let body = json!({
                        "type": "async", "status_code": 100, "operation": "/1.0/operations/launch",
                        "metadata": {"id": "launch", "status_code": 103, "resources": resources},
                    });
                    // Until it has found a machine.
                    let is_long = world.chance.happens(LONG_LAUNCHES);
                    let after = world.chance.millis(20, if is_long { 10_000 } else { 300 });
                    Answer::Later { after, status: 202, body }
                }
                Err(409) => refused(409, "the name is taken"),
                Err(code) => refused(code, "there is none"),
            }
        }
        ("GET", ["instances"]) => {
            let tag = url.query_pairs().find(|(key, _)| key == "tags").map(|(_, tag)| tag);
            let mut listed: Vec<_> = world
                .ams
                .instances
                .values()
                .filter(|one| tag.as_ref().is_none_or(|tag| one.tags.iter().any(|own| own == tag)))
                .map(written)
                .collect();
            if wrong == Wrong::Lies && !listed.is_empty() {
                let at = world.chance.below(listed.len());
                listed.remove(at);
            }
            Answer::Now(200, sync(Value::Array(listed)))
        }
        ("GET", ["instances", id]) => match world.ams.find(id) {
            Some(instance) => Answer::Now(200, sync(written(instance))),
            None => refused(404, "there is none"),
        },
        ("DELETE", ["instances", id]) => match world.ams.find(id).map(|one| one.id.clone()) {
            None => refused(404, "there is none"),
            Some(id) => {
                world.note(format_args!("{by} deletes {id}"));
                let World { judge, ams, history, store, .. } = &mut *world;
                judge.on_deletion(now, &id, (&*store, &*ams), history);
                if wrong != Wrong::Lies {
                    world.ams.remove(&id, now);
                }
                Answer::Now(
                    202,
                    json!({
                        "type": "async", "status_code": 100, "operation": "/1.0/operations/delete",
                        "metadata": {"id": "delete", "status_code": 103},
                    }),
                )
            }
        },
        ("GET", ["operations", _, "wait"]) => {
            let (after, body) = (world.chance.millis(10, 1500), sync(json!({"status_code": 200})));
            Answer::Later { after, status: 200, body }
        }
        _ => refused(404, "there is no such thing"),
    };
    match wrong {
        Wrong::FailsAfter => refused(500, "it failed in the end"),
        _ => done,
    }
}

fn written(instance: &Instance) -> Value {
    let Instance { id, name, status, tags, created_at, .. } = instance;
    json!({
        "id": id, "name": name, "status_code": status, "tags": tags, "created_at": created_at,
        "error_message": if *status == ERROR { "it does not boot" } else { "" },
    })
}

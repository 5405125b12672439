//! The lives of the instances: what a request sets off, and the operation that tells how it went.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::error::ApiError;
use super::instances::{self, Instance, NewInstance, Status, UserData};
use super::launcher::{Boot, stop_requested};
use super::operations::{Operation, Resources};
use super::service::{Run, Service, State};
use super::streaming;

/// How long the program of an instance may take to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// What a `PATCH` wants of an instance.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct InstancePatch {
    desired_status: Option<String>,
    config: Option<ConfigPatch>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigPatch {
    security: Option<SecurityPatch>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SecurityPatch {
    delete_protected: Option<bool>,
}

/// When an operation counts as done: as soon as it is on its way, or when it got there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Completion {
    Reached,
    Scheduled,
}

impl Service {
    /// Creates an instance and, unless the request says otherwise, boots it.
    pub(crate) fn launch(
        self: &Arc<Self>,
        request: NewInstance,
        done: Completion,
    ) -> Result<Operation, ApiError> {
        let now = OffsetDateTime::now_utc();
        let no_start = request.no_start;
        self.change(|state| {
            let State { instances, applications, images, .. } = state;
            let seconds = now.unix_timestamp();
            let instance = instances.create(request, applications, images, seconds)?;
            log::info!(instance:% = instance.id, name:% = instance.name; "instance is created");
            let on = one(&instance.id);
            let operation = state.operations.open("Creating instance", on, !no_start, now);
            if no_start {
                state.operations.finish(&operation.id, Ok(()), now);
            } else {
                self.begin(state, &instance.id, &operation, done);
            }
            state.operations.get(&operation.id).cloned()
        })
    }

    /// Stops the instances, by id or name, and removes them. Refuses all of them when one is
    /// unknown or protected.
    pub(crate) fn delete(
        self: &Arc<Self>,
        keys: &[String],
        force: bool,
    ) -> Result<Operation, ApiError> {
        let now = OffsetDateTime::now_utc();
        let (operation, ids) = self.change(|state| -> Result<_, ApiError> {
            let deletable = |key: &String| state.instances.deletable(key);
            let ids = keys.iter().map(deletable).collect::<Result<Vec<_>, _>>()?;
            let urls = ids.iter().map(|id| instances::url(id)).collect();
            let on = ("instances", urls);
            let operation = state.operations.open("Deleting instance", on, false, now);
            state.forced_deletions += u32::from(force);
            if !force && state.fault_injector.faults.failing_hook {
                let why = "the post-stop hook has failed".to_owned();
                state.operations.finish(&operation.id, Err(why), now);
                return Ok((operation, Vec::new()));
            }
            if state.fault_injector.lies() {
                state.operations.finish(&operation.id, Ok(()), now);
                return Ok((operation, Vec::new()));
            }
            if state.fault_injector.hangs() {
                return Ok((operation, Vec::new()));
            }
            for id in &ids {
                state.instances.advance(id, Status::Deleted);
                state.runs.get(id).inspect(|run| run.stop());
            }
            Ok((operation, ids))
        })?;
        if ids.is_empty() {
            return Ok(operation);
        }
        let (ams, id) = (Arc::clone(self), operation.id.clone());
        self.spawn(async move {
            sleep(ams.change(|state| state.fault_injector.faults.slow_delete)).await;
            ams.until(|state| !ids.iter().any(|id| state.runs.contains_key(id))).await;
            ams.change(|state| {
                ids.iter().for_each(|id| state.instances.remove(id));
                state.operations.finish(&id, Ok(()), OffsetDateTime::now_utc());
            });
            log::info!(instances:% = ids.join(" "); "instances are deleted");
        });
        Ok(operation)
    }

    /// Changes what an instance is to be. Refuses a status other than running or stopped, and to
    /// start what is not stopped.
    pub(crate) fn update(
        self: &Arc<Self>,
        key: &str,
        patch: InstancePatch,
        done: Completion,
    ) -> Result<Operation, ApiError> {
        let now = OffsetDateTime::now_utc();
        let protect = patch.config.and_then(|config| config.security?.delete_protected);
        self.change(|state| {
            let id = state.instances.find(key)?.id.clone();
            let run = state.runs.get(&id);
            let start = match patch.desired_status.as_deref().unwrap_or_default() {
                "" | "stopped" => false,
                "running" if run.is_some_and(Run::is_stopping) => {
                    return Err(ApiError::NotAllowed("starting an instance that is stopping"));
                }
                "running" => run.is_none(),
                _ => return Err(ApiError::Invalid("desired_status")),
            };
            if start {
                state.instances.restart(&id)?;
            }
            if let Some(protected) = protect {
                state.instances.protect(&id, protected);
            }
            let stop = patch.desired_status.as_deref() == Some("stopped");
            let operation = state.operations.open("Updating instance", one(&id), start, now);
            if start {
                self.begin(state, &id, &operation, done);
            } else if stop && let Some(run) = state.runs.get(&id) {
                run.stop();
                self.finish_when_stopped(state, &id, &operation, done);
            } else {
                state.operations.finish(&operation.id, Ok(()), now);
            }
            state.operations.get(&operation.id).cloned()
        })
    }

    /// Gives up a launch: its instance is stopped. Refuses any other operation.
    pub(crate) fn cancel(&self, operation: &str) -> Result<(), ApiError> {
        self.change(|state| {
            state.operations.cancel(operation, OffsetDateTime::now_utc())?;
            state.runs.values().filter(|run| run.launch == operation).for_each(Run::stop);
            Ok(())
        })
    }

    /// Returns an operation once it is final, or as it is after `limit`.
    pub(crate) async fn wait(&self, id: &str, limit: Duration) -> Result<Operation, ApiError> {
        let over = |state: &State| state.operations.get(id).map_or(true, Operation::is_final);
        // Out of time is an answer too: the operation tells that it still runs.
        let _ = timeout(limit, self.until(over)).await;
        self.read(|state| state.operations.get(id).cloned())
    }

    /// Stops every instance and waits for their programs, a few seconds at most.
    pub(crate) async fn stop_all(&self) {
        self.change(|state| state.runs.values().for_each(Run::stop));
        let gone = self.until(|state| state.runs.is_empty());
        if timeout(2 * STOP_DEADLINE, gone).await.is_err() {
            log::warn!("instances are left running behind the AMS simulator");
        }
    }

    fn begin(self: &Arc<Self>, state: &mut State, id: &str, launch: &Operation, done: Completion) {
        let (stop, stopping) = watch::channel(false);
        state.runs.insert(id.to_owned(), Run { stop, launch: launch.id.clone() });
        let (ams, id, launch) = (Arc::clone(self), id.to_owned(), launch.id.clone());
        self.spawn(async move {
            // A launcher is foreign code: its panic ends one instance and nothing else.
            let life = AssertUnwindSafe(ams.live(&id, &launch, done, stopping)).catch_unwind();
            let end = life.await.unwrap_or_else(|_| Err("the instance crashed".to_owned()));
            match &end {
                Ok(()) => log::info!(instance:% = id; "instance is stopped"),
                Err(cause) => log::warn!(instance:% = id, cause:%; "instance failed"),
            }
            ams.change(|state| {
                state.runs.remove(&id);
                state.instances.ended(&id, &end);
                // Only matters to a launch that still waits for the instance to run.
                let early = end.and(Err("instance stopped before it was running".to_owned()));
                state.operations.finish(&launch, early, OffsetDateTime::now_utc());
            });
        });
    }

    /// One life: a session from the agent if it streams, three steps to running, then until the
    /// program ends or is to stop.
    async fn live(
        &self,
        id: &str,
        launch: &str,
        done: Completion,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), String> {
        if let Some(instance) = self.read(|state| state.instances.without_session(id)) {
            tokio::select! {
                () = stop_requested(&mut stop) => return Ok(()),
                asked = self.join_session(&instance) => asked?,
            }
        }
        let step = self.boot / 3;
        for status in [Status::Prepared, Status::Started] {
            tokio::select! {
                () = stop_requested(&mut stop) => return Ok(()),
                () = sleep(step) => {}
            }
            if status == Status::Prepared {
                self.place(id)?;
            }
            self.reached(id, launch, status, done);
        }
        if self.change(|state| state.fault_injector.breaks_boot()) {
            return Err("the boot broke off".to_owned());
        }
        let (instance, UserData { from_launch, session }) =
            self.read(|state| (state.instances.find(id).cloned(), state.instances.user_data(id)));
        let (name, automotive) = instance
            .map(|instance| (instance.name, instance.image_variant == "aaos"))
            .unwrap_or_default();
        let user_data = session.unwrap_or_else(|| from_launch.clone());
        let boot = Boot {
            id: id.to_owned(),
            name,
            user_data,
            launch_user_data: from_launch,
            automotive,
            stop: stop.clone(),
        };
        let mut program = (self.launcher)(boot);
        tokio::select! {
            end = &mut program => return end,
            () = stop_requested(&mut stop) => {}
            () = sleep(step) => self.reached(id, launch, Status::Running, done),
        }
        tokio::select! {
            end = &mut program => return end,
            () = stop_requested(&mut stop) => {}
        }
        timeout(STOP_DEADLINE, program).await.unwrap_or_else(|_| {
            log::warn!(instance = id; "instance does not stop, it is given up");
            Ok(())
        })
    }

    /// Has the agent make a session for an instance. A refusal is the end of the launch.
    async fn join_session(&self, instance: &Instance) -> Result<(), String> {
        let agent = self.read(|state| state.settings.agent());
        let agent = agent.ok_or("stream agent: agent.api.* is not configured")?;
        let session = streaming::session(&agent, instance).await?;
        log::info!(session:% = session.id, instance:% = instance.id; "instance has a session");
        self.change(|state| {
            state.instances.give_session(&instance.id, &session.id, session.userdata);
        });
        Ok(())
    }

    /// Places an instance on the node; the room is taken in one step with the look for it.
    fn place(&self, id: &str) -> Result<(), String> {
        self.change(|state| {
            if state.instances.placed() >= self.capacity {
                return Err("no suitable node found: not enough resources".to_owned());
            }
            state.instances.advance(id, Status::Prepared);
            Ok(())
        })
    }

    fn reached(&self, id: &str, launch: &str, status: Status, done: Completion) {
        log::debug!(instance = id; "instance is {status}");
        let enough = match done {
            Completion::Reached => Status::Running,
            Completion::Scheduled => Status::Prepared,
        };
        self.change(|state| {
            state.instances.advance(id, status);
            if status >= enough {
                state.operations.finish(launch, Ok(()), OffsetDateTime::now_utc());
            }
        });
    }

    fn finish_when_stopped(
        self: &Arc<Self>,
        state: &mut State,
        id: &str,
        operation: &Operation,
        done: Completion,
    ) {
        if done == Completion::Scheduled {
            state.operations.finish(&operation.id, Ok(()), OffsetDateTime::now_utc());
            return;
        }
        let (ams, id, operation) = (Arc::clone(self), id.to_owned(), operation.id.clone());
        self.spawn(async move {
            ams.until(|state| !state.runs.contains_key(&id)).await;
            ams.change(|state| {
                state.operations.finish(&operation, Ok(()), OffsetDateTime::now_utc());
            });
        });
    }
}

fn one(instance: &str) -> Resources {
    ("instances", vec![instances::url(instance)])
}

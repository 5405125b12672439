//! The requests that every service answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stream_protocol::{Empty, Refusal, RefusalCode};
use stream_supervisor::{Drain, Supervisor};

use crate::{Debug, FaultInjection};

/// How often an actor may be made to fail with one request.
const MAX_TIMES: u32 = 10_000;

#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum BuiltinRequest {
    CancelDrain,
    Crash(InjectFault),
    Drain { deadline_s: Option<u64> },
    Draining,
    Status,
}

impl BuiltinRequest {
    /// The names of these requests; no handler of a service gets them.
    pub(crate) const OPS: [&str; 5] = ["cancel_drain", "crash", "drain", "draining", "status"];
}

/// What these requests act on.
#[derive(Clone)]
pub(crate) struct Dependencies {
    pub(crate) debug: Debug,
    /// How long a drain may take when the order does not say.
    pub(crate) drain_timeout: Duration,
    pub(crate) supervisor: Supervisor,
    pub(crate) drain: Drain,
}

/// How far a service has come with its drain.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DrainStatus {
    /// Seconds until it ends at the latest; `None` while it serves.
    pub left_s: Option<u64>,
    /// How many items it has still to hand over to others.
    pub left: usize,
}

/// Makes an actor fail on purpose.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct InjectFault {
    /// The name of the actor.
    pub actor: String,
    /// How it fails.
    pub fault: Fault,
    /// How often in a row it fails, 1 to 10,000.
    pub times: u32,
    /// Whether all restarts of the service are immediate from now on.
    #[serde(default, rename = "at_once")]
    pub no_backoff: bool,
}

/// How an actor fails.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It declares that it cannot go on.
    Error,
    /// It gives no answer until its deadline.
    Hang,
    /// It panics.
    Panic,
    /// It blocks its thread, which ends the service.
    Wedge,
}

impl From<Fault> for stream_supervisor::Fault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Error => Self::Error,
            Fault::Hang => Self::Hang,
            Fault::Panic => Self::Panic,
            Fault::Wedge => Self::Wedge,
        }
    }
}

/// Answers one of these requests.
pub(crate) fn answer(request: BuiltinRequest, deps: &Dependencies) -> Result<Value, Refusal> {
    let Dependencies { debug, drain_timeout, supervisor, drain } = deps;
    match request {
        BuiltinRequest::CancelDrain if !drain.cancel() => {
            Err(Refusal::new(RefusalCode::Conflict, "the service is not draining"))
        }
        BuiltinRequest::CancelDrain => Ok(json!(Empty {})),
        BuiltinRequest::Drain { deadline_s } => {
            drain.begin(deadline_s.map_or(*drain_timeout, Duration::from_secs));
            Ok(json!(Empty {}))
        }
        BuiltinRequest::Draining => {
            let left_s = drain.time_left().map(|left| left.as_secs());
            Ok(json!(DrainStatus { left_s, left: drain.remaining() }))
        }
        BuiltinRequest::Status => {
            let version = env!("CARGO_PKG_VERSION");
            Ok(json!({ "version": version, "actors": supervisor.status() }))
        }
        BuiltinRequest::Crash(crash) => {
            fail(&crash, *debug, supervisor)?;
            Ok(json!(Empty {}))
        }
    }
}

fn fail(crash: &InjectFault, debug: Debug, supervisor: &Supervisor) -> Result<(), Refusal> {
    let InjectFault { actor, fault, times, no_backoff } = crash;
    if debug.fault_injection != Some(FaultInjection::YesForTestPurposesOnly) {
        let sentence = "actors are made to fail only where the configuration has [debug] \
            fault_injection = \"yes_for_test_purposes_only\"";
        return Err(Refusal::new(RefusalCode::Conflict, sentence));
    }
    if !(1..=MAX_TIMES).contains(times) {
        let sentence = format!("an actor is made to fail 1 to {MAX_TIMES} times");
        return Err(Refusal::new(RefusalCode::Malformed, sentence));
    }
    if !supervisor.inject(actor, (*fault).into(), *times) {
        let names: Vec<_> = supervisor.status().iter().map(|it| it.name.to_owned()).collect();
        let sentence = format!("there is no actor {actor}: there are {}", names.join(", "));
        return Err(Refusal::new(RefusalCode::NotFound, sentence));
    }
    if *no_backoff {
        supervisor.disable_backoff();
    }
    log::warn!(actor:%, times; "an actor is made to fail on request of an operator");
    Ok(())
}

//! The actor `initiated`: creates the sessions of instances that AMS launched by itself.
//!
//! Asked by agents over NATS, on a subject that all gateways share: one of them gets each request.
//! Asks `bridge`. A restart loses the request in hand, which the agent repeats.

use std::time::Duration;

use stream_bridge::{Bridge, BridgeError, IncomingRequest};
use stream_protocol::subjects::{self, Bucket};
use stream_protocol::{
    AmsInstance, AmsSessionCreated, CreateAmsSession, Hop, OnConflict, Refusal, RefusalCode,
    Reply as Answer, Request, SessionDocument, SessionId, Status, TimelineEntry, Timestamp,
    Userdata, Versioned,
};
use stream_supervisor::{
    Context, Handler, Limits, LocalBoxFuture, Mode, Reply, RestartPolicy, Supervisor, Worker,
    retry_while,
};

use crate::error::bad_request;
use crate::sessions::idempotency;
use crate::sessions::launch::CLAIM_S;
use crate::sessions::request::MAX_EXTRA_DATA;

/// How often a session is read again that another gateway stores at the same time.
const MAX_CAS_ATTEMPTS: usize = 3;

/// Starts the actor under `supervisor`; it subscribes to requests in the background.
pub(crate) fn start(bridge: &Bridge, supervisor: &Supervisor) {
    let actor = Actor { bridge: bridge.clone() };
    supervisor.spawn(
        "initiated",
        Mode::KeepInFlight,
        RestartPolicy::default(),
        Limits::default(),
        move || actor.clone(),
    );
}

#[derive(Clone)]
struct Actor {
    bridge: Bridge,
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        let (bridge, requests) =
            (self.bridge.clone(), ctx.mailbox().recipient::<IncomingRequest>());
        ctx.spawn(async move {
            let subscribe = async || {
                let subject = subjects::GATEWAY_SESSIONS.to_owned();
                bridge.serve_in_group(subject, subjects::GATEWAYS, requests.clone()).await
            };
            // The bridge may be restarting; without a limit, no error ends this.
            let _ = retry_while(Duration::MAX, |_| true, subscribe).await;
        });
    }

    /// Leaves the group: the other gateways get the requests from now on.
    fn stopping(&mut self, _: &Context<Self>) -> Option<LocalBoxFuture<'static, ()>> {
        let bridge = self.bridge.clone();
        Some(Box::pin(async move {
            if let Err(error) = bridge.stop_serving(subjects::GATEWAY_SESSIONS).await {
                log::debug!(error:%; "requests of agents are not withdrawn");
            }
        }))
    }
}

impl Handler<IncomingRequest> for Actor {
    fn handle(&mut self, request: &IncomingRequest, _: &Context<Self>) -> Reply<()> {
        let (bridge, request) = (self.bridge.clone(), request.clone());
        Reply::later(async move {
            let answer = match Versioned::decode(&request.body) {
                Ok(initiate) => create(&bridge, initiate).await,
                Err(refusal) => Err(refusal),
            };
            request.answer(Answer::encode(answer)).await;
        })
    }
}

/// Creates the session of an instance, or finds the one that exists, and returns its userdata.
///
/// # Errors
///
/// Refuses `extra_data` that does not fit into userdata, and an instance whose session has ended
/// for good.
async fn create(bridge: &Bridge, initiate: CreateAmsSession) -> Result<AmsSessionCreated, Refusal> {
    let CreateAmsSession { cluster, region, instance } = initiate;
    let id = session_id(&cluster, &instance.id);
    let AmsInstance { id: instance, app, app_version, screen, extra_data } = instance;
    if extra_data.as_str().len() > MAX_EXTRA_DATA {
        return Err(bad_request(format!("extra_data has at most {MAX_EXTRA_DATA} bytes")));
    }
    let request = Request {
        app,
        app_version,
        region,
        screen,
        // Whoever launched the instance through AMS keeps it until they delete it.
        joinable: true,
        ephemeral: false,
        idle_time_min: 0,
        on_conflict: OnConflict::default(),
        first_client_s: 0,
        extra_data,
    };
    let now = bridge.now();
    let deadline = now.plus_secs(CLAIM_S);
    let fresh = SessionDocument::of_instance(id, (cluster, instance), request, now, deadline);
    let session = store(bridge, fresh).await?;
    let userdata = Userdata::draft(session.id.clone(), &session.request);
    Ok(AmsSessionCreated { session: session.id, userdata })
}

/// Stores `fresh` unless the session exists, and returns the document that is stored then.
async fn store(bridge: &Bridge, fresh: SessionDocument) -> Result<SessionDocument, Refusal> {
    let (bucket, key) = (Bucket::Sessions, fresh.id.as_str());
    for _ in 0..MAX_CAS_ATTEMPTS {
        let stored = match bridge.read::<SessionDocument>(bucket, key).await {
            Ok(None) => bridge.create(bucket, key, &fresh).await,
            Ok(Some(entry)) => match existing(&entry.value, bridge.now())? {
                Existing::Live | Existing::Ended => return Ok(entry.value),
                Existing::Unclaimed => bridge.update(bucket, key, &fresh, entry.revision).await,
            },
            Err(error) => Err(error),
        };
        match stored {
            Ok(_) => {
                let (id, instance) = (&fresh.id, fresh.instance_id.as_deref().unwrap_or_default());
                log::info!(session:% = id, instance; "session created for an instance of AMS");
                let text = format!("AMS has launched instance {instance} by itself");
                bridge.tell_timeline(id, vec![TimelineEntry::new(Hop::Create, text)]);
                return Ok(fresh);
            }
            // Another gateway was faster, for another agent or for the same that asked again.
            Err(BridgeError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::new(RefusalCode::Busy, "the session is just being created"))
}

/// The document of an earlier request for the same instance.
#[derive(Debug, PartialEq)]
enum Existing {
    /// The session has ended, and its instance is started again: the agent that asks has the
    /// session wait for it.
    Ended,
    /// The session waits for an agent, or has one.
    Live,
    /// No agent claimed the session in time, so AMS was never answered.
    Unclaimed,
}

fn existing(document: &SessionDocument, now: Timestamp) -> Result<Existing, Refusal> {
    match (document.status, &document.owner) {
        (Status::Created | Status::Active, _) => Ok(Existing::Live),
        (_, None) => Ok(Existing::Unclaimed),
        (_, Some(_)) if document.may_restart(now) => Ok(Existing::Ended),
        (_, Some(_)) => {
            let sentence = "the session of this instance has ended";
            Err(Refusal::new(RefusalCode::Conflict, sentence))
        }
    }
}

/// Returns the id of the session of an instance. Names of accounts have no space, so no account
/// can reach the id with an idempotency key of its own.
fn session_id(cluster: &str, instance: &str) -> SessionId {
    idempotency::id(&format!("ams {cluster}"), instance)
}

#[cfg(test)]
mod tests {
    use stream_protocol::KeptInstance;

    use super::*;

    fn document() -> SessionDocument {
        let request = Request { joinable: true, ephemeral: false, ..Request::for_app("clock") };
        let instance = ("c".to_owned(), "i".to_owned());
        SessionDocument::of_instance(
            session_id("c", "i"),
            instance,
            request,
            0.into(),
            CLAIM_S.into(),
        )
    }

    fn found(document: &SessionDocument) -> Result<Existing, Refusal> {
        existing(document, 10.into())
    }

    #[test]
    fn an_instance_has_one_session_and_no_other_instance_has_it() {
        assert_eq!(session_id("c", "i"), session_id("c", "i"));
        assert_ne!(session_id("c", "i"), session_id("c", "j"));
        assert_ne!(session_id("c", "i"), session_id("d", "i"));
    }

    #[test]
    fn a_session_that_lives_is_answered_again_and_one_that_ended_is_not_revived() {
        let owner = "a".parse().unwrap();
        assert_eq!(found(&document()), Ok(Existing::Live));
        let owned = SessionDocument { owner: Some(owner), status: Status::Active, ..document() };
        assert_eq!(found(&owned), Ok(Existing::Live));
        let ended = SessionDocument { status: Status::Terminated, ..owned };
        assert_eq!(found(&ended).unwrap_err().code, RefusalCode::Conflict);
    }

    #[test]
    fn a_session_whose_instance_is_started_again_is_answered_as_long_as_it_is_kept() {
        let (status, owner) = (Status::Terminated, "a".parse().ok());
        let kept = KeptInstance { since: 5.into(), restart_until: None, delete_at: None };
        let mut ended =
            SessionDocument { status, owner, kept_instance: Some(kept.clone()), ..document() };
        assert_eq!(found(&ended), Ok(Existing::Ended));
        let restart_until = Some(10.into());
        ended.kept_instance = Some(KeptInstance { restart_until, ..kept });
        assert_eq!(found(&ended).unwrap_err().code, RefusalCode::Conflict, "it is gone");
    }

    #[test]
    fn a_session_that_no_agent_took_is_made_anew() {
        let void = SessionDocument { status: Status::Error, ..document() };
        assert_eq!(found(&void), Ok(Existing::Unclaimed));
    }
}

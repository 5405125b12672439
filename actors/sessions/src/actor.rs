//! The actor: takes requests of gateways and of `api`, and keeps the sweep and presence going.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use stream_bridge::{Entry, IncomingRequest};
use stream_protocol::subjects::Bucket;
use stream_protocol::{
    AmsInstance, ClientIce, ClientReport, Empty, IceServer, Launch, Refusal, RefusalCode,
    Reply as Answer, Report, SessionDocument, SessionId, Terminate, Timestamp, Versioned, subjects,
};
use stream_supervisor::{Context, Handler, Reply, Worker};
use stream_turn::Peer;

use crate::context::{AgentContext, locked};
use crate::idle;
use crate::session::{self, InvalidTransition};
use crate::sweep::SWEEP_RETRY;
use crate::{Alert, SessionsError};

/// How long work may take that nobody waits for; what AMS is asked in it has deadlines of its own.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(3600);

/// The pause after a failed try to register for requests.
const SERVE_RETRY: Duration = Duration::from_millis(500);

pub(crate) struct Actor {
    pub(crate) context: Arc<AgentContext>,
}

impl Actor {
    pub(crate) fn new(context: Arc<AgentContext>) -> Self {
        Self { context }
    }
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        let (context, requests) =
            (Arc::clone(&self.context), ctx.mailbox().recipient::<IncomingRequest>());
        ctx.spawn(async move {
            let launch = subjects::launch(context.agent());
            while context.dependencies.bridge.serve(launch.clone(), requests.clone()).await.is_err()
            {
                tokio::time::sleep(SERVE_RETRY).await;
            }
        });
        let (context, me_too) = (Arc::clone(&self.context), ctx.mailbox().clone());
        ctx.spawn(async move {
            loop {
                let pause = me_too.ask(Sweep).await.unwrap_or(SWEEP_RETRY);
                // Earlier when others may have taken over what this unit had.
                let _ = tokio::time::timeout(pause, context.lease_expired.notified()).await;
            }
        });
        let (context, requests) =
            (Arc::clone(&self.context), ctx.mailbox().recipient::<IncomingRequest>());
        ctx.spawn(async move { context.run_takeover(requests).await });
        let context = Arc::clone(&self.context);
        ctx.spawn(async move { context.follow_instances().await });
        let context = Arc::clone(&self.context);
        ctx.spawn(async move { context.run_presence().await });
        let context = Arc::clone(&self.context);
        ctx.spawn(async move { context.run_renewal().await });
    }
}

/// Opens the session of an instance that AMS launched by itself, and returns it with what the
/// instance is to be told.
#[derive(Message)]
#[rtype(result = "Result<(SessionId, String), SessionsError>")]
pub(crate) struct InitiateSession(pub(crate) AmsInstance);

/// Reads the document of a session.
#[derive(Message)]
#[rtype(result = "Result<Entry<SessionDocument>, SessionsError>")]
pub(crate) struct Read(pub(crate) SessionId);

/// Ends a session that somebody wants to end.
#[derive(Message)]
#[rtype(result = "Result<(), SessionsError>")]
pub(crate) struct End {
    pub(crate) id: SessionId,
    pub(crate) cause: String,
}

/// Takes what an instance says of itself.
#[derive(Message)]
#[rtype(result = "Result<(), SessionsError>")]
pub(crate) struct TakeReport {
    pub(crate) id: SessionId,
    pub(crate) report: Report,
}

/// Takes what an instance says of its client.
#[derive(Message)]
#[rtype(result = "Result<(), SessionsError>")]
pub(crate) struct TakeClientReport {
    pub(crate) id: SessionId,
    pub(crate) report: ClientReport,
}

/// Mints ICE servers for the instance of a session, and for its client too if so wished.
#[derive(Message)]
#[rtype(result = "Result<Vec<IceServer>, SessionsError>")]
pub(crate) struct MintInstanceIce {
    pub(crate) id: SessionId,
    pub(crate) renew: bool,
}

/// Finishes the end of a session, if one has begun.
#[derive(Message)]
#[rtype(result = "()")]
struct FinishEnd(SessionId);

/// Looks at all sessions and instances and does what is due; answered with how long to wait until
/// the next time. As a message it is finished also when this state fails meanwhile: one that fails
/// again and again would never get through it.
#[derive(Message)]
#[rtype(result = "Duration")]
struct Sweep;

/// Asks how many sessions this unit serves.
#[derive(Message)]
#[rtype(result = "usize")]
pub(crate) struct CountOpen;

/// Asks what only an operator can settle.
#[derive(Message)]
#[rtype(result = "Vec<Alert>")]
pub(crate) struct ReadAlerts;

/// Asks how everything is that this unit depends on.
#[derive(Message)]
#[rtype(result = "Vec<(&'static str, Result<(), String>)>")]
pub(crate) struct AskReadiness;

impl Handler<IncomingRequest> for Actor {
    fn handle(&mut self, request: &IncomingRequest, ctx: &Context<Self>) -> Reply<()> {
        let (context, request) = (Arc::clone(&self.context), request.clone());
        let (requests, ctx) = (ctx.mailbox().recipient::<IncomingRequest>(), ctx.clone());
        Reply::later(async move {
            // `stream.v1.agent.<agent>.launch` or `stream.v1.session.<id>.<what>`
            let words: Vec<_> = request.subject.split('.').collect();
            match words.as_slice() {
                ["stream", "v1", "agent", _, "launch"] => {
                    let launched = match Versioned::decode(&request.body) {
                        Ok(Launch { session, placement }) => {
                            let launched =
                                context.handle_launch(&session, &placement, requests).await;
                            if launched.is_err() {
                                finish(&ctx, session);
                            }
                            launched
                        }
                        Err(refusal) => Err(refusal),
                    };
                    request.answer(Answer::encode(launched)).await;
                }
                ["stream", "v1", "session", id, what] => {
                    let Ok(id) = id.parse() else { return };
                    if context.on_session_request(&id, what, &request).await {
                        finish(&ctx, id);
                    }
                }
                _ => log::warn!("a request on subject {} is not ours", request.subject),
            }
        })
    }
}

/// Has an end finished that has begun, if one has. Whoever asked does not wait for AMS. As a message
/// of its own it is done also when this state fails meanwhile.
fn finish(ctx: &Context<Actor>, id: SessionId) {
    if let Err(error) = ctx.mailbox().tell(FinishEnd(id)) {
        log::debug!("an end is left to the next sweep: {error}");
    }
}

impl AgentContext {
    /// Answers a request for a session, and returns whether the session has begun to end.
    async fn on_session_request(
        &self,
        id: &SessionId,
        what: &str,
        request: &IncomingRequest,
    ) -> bool {
        match what {
            "ice" | "join" => {
                let minted = self.client_ice(id).await;
                let answer = minted.map_err(|error| error.refusal());
                request.answer(Answer::encode(answer)).await;
                false
            }
            "terminate" => {
                let begun = match Versioned::decode(&request.body) {
                    Ok(Terminate { cause }) => self.request_termination(id, &cause).await,
                    Err(refusal) => {
                        request.answer(Answer::<Empty>::encode(Err(refusal))).await;
                        return false;
                    }
                };
                let answer = begun.as_ref().map(|_| Empty {}).map_err(SessionsError::refusal);
                request.answer(Answer::encode(answer)).await;
                begun.is_ok()
            }
            other => {
                let refusal =
                    Refusal::new(RefusalCode::Malformed, format!("no such request: {other}"));
                request.answer(Answer::<Empty>::encode(Err(refusal))).await;
                false
            }
        }
    }

    async fn client_ice(&self, id: &SessionId) -> Result<ClientIce, SessionsError> {
        let document = self.read(id).await?.value;
        Ok(ClientIce { ice_servers: self.ice(&document, Peer::Client).await? })
    }

    pub(crate) async fn read(
        &self,
        id: &SessionId,
    ) -> Result<Entry<SessionDocument>, SessionsError> {
        let read = self.dependencies.bridge.read(Bucket::Sessions, id.as_str()).await?;
        read.ok_or(SessionsError::Bridge(stream_bridge::BridgeError::NotFound))
    }
}

impl Handler<InitiateSession> for Actor {
    fn handle(
        &mut self,
        InitiateSession(instance): &InitiateSession,
        ctx: &Context<Self>,
    ) -> Reply<Result<(SessionId, String), SessionsError>> {
        let (context, instance) = (Arc::clone(&self.context), instance.clone());
        let requests = ctx.mailbox().recipient::<IncomingRequest>();
        Reply::later(async move { context.initiate(instance, requests).await })
    }
}

impl Handler<Read> for Actor {
    fn handle(
        &mut self,
        Read(id): &Read,
        _: &Context<Self>,
    ) -> Reply<Result<Entry<SessionDocument>, SessionsError>> {
        let (context, id) = (Arc::clone(&self.context), id.clone());
        Reply::later(async move { context.read(&id).await })
    }
}

impl Handler<End> for Actor {
    fn handle(&mut self, end: &End, ctx: &Context<Self>) -> Reply<Result<(), SessionsError>> {
        let (context, ctx) = (Arc::clone(&self.context), ctx.clone());
        let End { id, cause } = end;
        let (id, cause) = (id.clone(), cause.clone());
        Reply::later(async move {
            context.request_termination(&id, &cause).await?;
            finish(&ctx, id);
            Ok(())
        })
    }
}

impl Handler<TakeReport> for Actor {
    fn handle(
        &mut self,
        take: &TakeReport,
        ctx: &Context<Self>,
    ) -> Reply<Result<(), SessionsError>> {
        let (context, ctx) = (Arc::clone(&self.context), ctx.clone());
        let TakeReport { id, report } = take;
        let (id, report) = (id.clone(), report.clone());
        Reply::later(async move {
            let changed = context.dependencies.bridge.change_session(&id, |document| {
                session::on_report(document, &report, Timestamp::now())
                    .map_err(|InvalidTransition(why)| SessionsError::Conflict(why))
            });
            let status = changed.await?.value.status;
            log::info!("session {id} is {status}: its instance reports {:?}", report.status);
            if status != stream_protocol::Status::Active {
                finish(&ctx, id);
            }
            Ok(())
        })
    }
}

impl Handler<TakeClientReport> for Actor {
    fn handle(
        &mut self,
        take: &TakeClientReport,
        _: &Context<Self>,
    ) -> Reply<Result<(), SessionsError>> {
        let context = Arc::clone(&self.context);
        let (id, report) = (take.id.clone(), take.report.clone());
        Reply::later(async move {
            let changed = context.dependencies.bridge.change_session(&id, |document| {
                idle::on_report(document, &report, Timestamp::now())
                    .map_err(|InvalidTransition(why)| SessionsError::Conflict(why))
            });
            changed.await.map(drop)
        })
    }
}

impl Handler<MintInstanceIce> for Actor {
    fn handle(
        &mut self,
        MintInstanceIce { id, renew }: &MintInstanceIce,
        _: &Context<Self>,
    ) -> Reply<Result<Vec<IceServer>, SessionsError>> {
        let (context, id, renew) = (Arc::clone(&self.context), id.clone(), *renew);
        Reply::later(async move {
            if renew {
                context.renew_now(&id).await?;
            }
            let document = context.read(&id).await?.value;
            context.ice(&document, Peer::Instance).await
        })
    }
}

impl Handler<FinishEnd> for Actor {
    const IDEMPOTENT: bool = true;

    fn timeout(_: &FinishEnd) -> Option<Duration> {
        Some(BACKGROUND_TIMEOUT)
    }

    fn handle(&mut self, FinishEnd(id): &FinishEnd, _: &Context<Self>) -> Reply<()> {
        let (context, id) = (Arc::clone(&self.context), id.clone());
        Reply::later(async move { context.finish_end(&id).await })
    }
}

impl Handler<Sweep> for Actor {
    fn timeout(_: &Sweep) -> Option<Duration> {
        Some(BACKGROUND_TIMEOUT)
    }

    fn handle(&mut self, _: &Sweep, ctx: &Context<Self>) -> Reply<Duration> {
        let (context, requests) =
            (Arc::clone(&self.context), ctx.mailbox().recipient::<IncomingRequest>());
        Reply::later(async move { context.try_sweep(&requests).await })
    }
}

impl Handler<CountOpen> for Actor {
    fn handle(&mut self, _: &CountOpen, _: &Context<Self>) -> Reply<usize> {
        self.context.serving().len().into()
    }
}

impl Handler<ReadAlerts> for Actor {
    fn handle(&mut self, _: &ReadAlerts, _: &Context<Self>) -> Reply<Vec<Alert>> {
        locked(&self.context.alerts).active().into()
    }
}

impl Handler<AskReadiness> for Actor {
    fn handle(
        &mut self,
        _: &AskReadiness,
        _: &Context<Self>,
    ) -> Reply<Vec<(&'static str, Result<(), String>)>> {
        let dependencies = self.context.dependencies.clone();
        let serves =
            if self.context.drain.is_draining() { Err("draining".to_owned()) } else { Ok(()) };
        Reply::later(async move {
            let said = |connected: bool, error: Option<String>| match connected {
                true => Ok(()),
                false => Err(error.unwrap_or_default()),
            };
            let (nats, ams) = (dependencies.bridge.status().await, dependencies.ams.status().await);
            let keys = dependencies.tokens.ready().await.map_err(|error| error.to_string());
            let relay_secret = dependencies.turn.ready().await.map_err(|error| error.to_string());
            let relays = dependencies.turn.relays().await.map_err(|error| error.to_string());
            vec![
                ("nats", said(nats.connected, nats.error)),
                ("ams", said(ams.connected, ams.error)),
                ("keys", keys),
                ("relay_secret", relay_secret),
                ("relays", relays),
                ("drain", serves),
            ]
        })
    }
}

//! The actor: owns the parts that a restart rebuilds, hands each loop the parts it uses, and
//! answers the messages of the handle.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use stream_bridge::{Entry, IncomingRequest};
use stream_protocol::subjects::{self, AgentOp};
use stream_protocol::{
    AmsInstance, ClientReport, IceServer, IceTerms, Report, SessionDocument, SessionId, Status,
};
use stream_supervisor::{AskError, Context, Handler, Reply, Worker};
use stream_turn::Peer;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::context::AgentContext;
use crate::endpoint_publisher::EndpointPublisher;
use crate::failure_detector::FailureDetector;
use crate::handover::Handover;
use crate::ice_renewal::{IceRenewal, issue_ice, renew_now};
use crate::launch::Launcher;
use crate::lost_instances::{FollowUp, LostInstances};
use crate::presence::{self, PresencePublisher};
use crate::processing::Processor;
use crate::reconciler::Reconciler;
use crate::session_cache::SessionCache;
use crate::shared::SharedState;
use crate::sweep::{SWEEP_RETRY, Sweep};
use crate::takeover::Takeover;
use crate::termination::Terminator;
use crate::{Alert, SessionsError, idle};

/// How long work may take that nobody waits for; each call to AMS in it has a deadline of its own.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(3600);

/// The pause after a failed try to subscribe to launch requests.
const SUBSCRIBE_RETRY: Duration = Duration::from_millis(500);

/// How long one look may take at what is still to be handed over.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) struct Actor {
    pub(crate) context: Arc<AgentContext>,
    pub(crate) shared: SharedState,
    cache: Rc<SessionCache>,
    reconciler: Rc<Reconciler>,
    failure_detector: Rc<RefCell<FailureDetector>>,
}

impl Actor {
    /// Builds the actor for its first start or a restart.
    pub(crate) fn new(context: Arc<AgentContext>, shared: SharedState) -> Self {
        shared.served.distrust();
        Self {
            context,
            shared,
            cache: Rc::default(),
            reconciler: Rc::default(),
            failure_detector: Rc::default(),
        }
    }

    pub(crate) fn terminator(&self) -> Rc<Terminator> {
        Rc::new(Terminator {
            context: Arc::clone(&self.context),
            cache: Rc::clone(&self.cache),
            served: self.shared.served.clone(),
            reconciler: Rc::clone(&self.reconciler),
        })
    }

    pub(crate) fn launcher(&self, ctx: &Context<Self>) -> Launcher {
        Launcher {
            context: Arc::clone(&self.context),
            served: self.shared.served.clone(),
            terminator: self.terminator(),
            requests: ctx.mailbox().recipient::<IncomingRequest>(),
        }
    }

    fn processor(&self, ctx: &Context<Self>) -> Processor {
        Processor {
            context: Arc::clone(&self.context),
            launcher: self.launcher(ctx),
            terminator: self.terminator(),
        }
    }

    fn handover(&self) -> Handover {
        Handover {
            context: Arc::clone(&self.context),
            cache: Rc::clone(&self.cache),
            served: self.shared.served.clone(),
        }
    }

    pub(crate) fn lost_instances(&self, ctx: &Context<Self>) -> LostInstances {
        LostInstances {
            context: Arc::clone(&self.context),
            served: self.shared.served.clone(),
            launcher: self.launcher(ctx),
            terminator: self.terminator(),
        }
    }

    fn sweep(&self, ctx: &Context<Self>) -> Sweep {
        Sweep {
            context: Arc::clone(&self.context),
            turn: Arc::clone(&self.shared.sweep_turn),
            cache: Rc::clone(&self.cache),
            failure_detector: Rc::clone(&self.failure_detector),
            reconciler: Rc::clone(&self.reconciler),
            handover: self.handover(),
            processor: self.processor(ctx),
            lost_instances: self.lost_instances(ctx),
        }
    }

    fn takeover(&self, ctx: &Context<Self>) -> Takeover {
        Takeover {
            context: Arc::clone(&self.context),
            cache: Rc::clone(&self.cache),
            failure_detector: Rc::clone(&self.failure_detector),
            processor: self.processor(ctx),
        }
    }

    fn publisher(&self, lease_expired: Rc<Notify>) -> PresencePublisher {
        PresencePublisher {
            context: Arc::clone(&self.context),
            served: self.shared.served.clone(),
            tracker: Arc::clone(&self.shared.presence),
            lease_expired,
        }
    }

    fn ice_renewal(&self) -> IceRenewal {
        IceRenewal { context: Arc::clone(&self.context), cache: Rc::clone(&self.cache) }
    }
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        let context = Arc::clone(&self.context);
        let requests = ctx.mailbox().recipient::<IncomingRequest>();
        ctx.spawn(async move {
            let launch = subjects::agent(context.agent(), AgentOp::Launch);
            while context.deps.bridge.serve(launch.clone(), requests.clone()).await.is_err() {
                context.deps.bridge.reached_within(SUBSCRIBE_RETRY).await;
            }
        });
        let lease_expired = Rc::new(Notify::new());
        let endpoints = EndpointPublisher::new(Arc::clone(&self.context));
        ctx.spawn(endpoints.run());
        let publisher = self.publisher(Rc::clone(&lease_expired));
        ctx.spawn(async move { publisher.run().await });
        let mailbox = ctx.mailbox().clone();
        ctx.spawn(async move {
            loop {
                let pause = mailbox.ask(RunSweep).await.unwrap_or(SWEEP_RETRY);
                // Earlier when others may have taken over what this agent had.
                let _ = timeout(pause, lease_expired.notified()).await;
            }
        });
        let takeover = self.takeover(ctx);
        ctx.spawn(async move { takeover.run().await });
        let (lost_instances, own) = (self.lost_instances(ctx), ctx.clone());
        let follow_up = move |session, next| queue_follow_up(&own, session, next);
        ctx.spawn(async move { lost_instances.follow_events(follow_up).await });
        let (cache, context) = (Rc::clone(&self.cache), Arc::clone(&self.context));
        ctx.spawn(async move { cache.keep_up(&context.deps.bridge).await });
        let ice_renewal = self.ice_renewal();
        ctx.spawn(async move { ice_renewal.run().await });
    }
}

/// Opens the session of an instance that AMS launched by itself. Answered with the session and the
/// userdata of the instance.
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

/// Takes what an instance reports of itself.
#[derive(Message)]
#[rtype(result = "Result<(), SessionsError>")]
pub(crate) struct TakeReport {
    pub(crate) id: SessionId,
    pub(crate) report: Report,
}

/// Takes what an instance reports of its client.
#[derive(Message)]
#[rtype(result = "Result<(), SessionsError>")]
pub(crate) struct TakeClientReport {
    pub(crate) id: SessionId,
    pub(crate) report: ClientReport,
}

/// Mints ICE servers for the instance of a session. With `renew` the client gets fresh ones too.
#[derive(Message)]
#[rtype(result = "Result<Vec<IceServer>, SessionsError>")]
pub(crate) struct MintInstanceIce {
    pub(crate) id: SessionId,
    pub(crate) renew: bool,
}

/// Does what is to be done next about a session that ends, or has lost its instance.
#[derive(Message)]
#[rtype(result = "()")]
struct TakeFollowUp(SessionId, FollowUp);

/// Looks at all sessions and instances and does what is due; answered with the pause until the next
/// time. Sent as a message so that a sweep in progress survives a restart of the actor: otherwise
/// an actor that keeps failing would never complete one.
#[derive(Message)]
#[rtype(result = "Duration")]
struct RunSweep;

/// Lets go of what others have taken; answered with how many sessions they are still to take.
#[derive(Message)]
#[rtype(result = "Result<usize, SessionsError>")]
pub(crate) struct HandOver;

/// Says that this agent is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WithdrawPresence;

/// Counts the sessions that this agent serves.
#[derive(Message)]
#[rtype(result = "usize")]
pub(crate) struct CountServed;

/// Reads the alerts that are active.
#[derive(Message)]
#[rtype(result = "Vec<Alert>")]
pub(crate) struct ReadAlerts;

/// Asks every dependency of this agent how it is.
#[derive(Message)]
#[rtype(result = "Vec<(&'static str, Result<(), String>)>")]
pub(crate) struct AskReadiness;

/// Queues the end of a session that has begun to end. Whoever asked does not wait for AMS, and the
/// message survives a restart of the actor.
pub(crate) fn queue_end(ctx: &Context<Actor>, id: SessionId) {
    queue_follow_up(ctx, id, FollowUp::FinishEnd);
}

pub(crate) fn queue_follow_up(ctx: &Context<Actor>, id: SessionId, follow_up: FollowUp) {
    if let Err(error) = ctx.mailbox().tell(TakeFollowUp(id, follow_up)) {
        log::debug!(error:%; "a session is left to the next sweep");
    }
}

impl Handler<InitiateSession> for Actor {
    fn handle(
        &mut self,
        InitiateSession(instance): &InitiateSession,
        ctx: &Context<Self>,
    ) -> Reply<Result<(SessionId, String), SessionsError>> {
        let (launcher, instance) = (self.launcher(ctx), instance.clone());
        Reply::later(async move { launcher.initiate(instance).await })
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
        let (terminator, ctx) = (self.terminator(), ctx.clone());
        let End { id, cause } = end;
        let (id, cause) = (id.clone(), cause.clone());
        Reply::later(async move {
            terminator.request_termination(&id, &cause).await?;
            queue_end(&ctx, id);
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
        let (launcher, ctx) = (self.launcher(ctx), ctx.clone());
        let TakeReport { id, report } = take;
        let (id, report) = (id.clone(), report.clone());
        Reply::later(async move {
            let document = launcher.take_report(&id, &report).await?;
            let (status, reported) = (document.status, report.status);
            log::info!(session:% = id, status:%, reported:?; "an instance reports");
            if status != Status::Active {
                queue_end(&ctx, id);
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
            let changed =
                context.change(&id, |document| idle::on_report(document, &report, context.now()));
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
                renew_now(&context, &id).await?;
            }
            let document = context.read(&id).await?.value;
            issue_ice(&context, &document, Peer::Instance, IceTerms::renewed()).await
        })
    }
}

impl Handler<TakeFollowUp> for Actor {
    const IDEMPOTENT: bool = true;

    fn timeout(_: &TakeFollowUp) -> Option<Duration> {
        Some(BACKGROUND_TIMEOUT)
    }

    fn handle(
        &mut self,
        TakeFollowUp(id, follow_up): &TakeFollowUp,
        ctx: &Context<Self>,
    ) -> Reply<()> {
        let (lost_instances, id, follow_up) = (self.lost_instances(ctx), id.clone(), *follow_up);
        Reply::later(async move {
            if let Err(error) = lost_instances.follow_up(&id, follow_up).await {
                let cause = error.sentence();
                log::warn!(session:% = id, cause:%; "a session is left to the next sweep");
            }
        })
    }
}

impl Handler<RunSweep> for Actor {
    fn timeout(_: &RunSweep) -> Option<Duration> {
        Some(BACKGROUND_TIMEOUT)
    }

    fn handle(&mut self, _: &RunSweep, ctx: &Context<Self>) -> Reply<Duration> {
        let sweep = self.sweep(ctx);
        Reply::later(async move { sweep.try_sweep().await })
    }
}

impl Handler<HandOver> for Actor {
    fn handle(&mut self, _: &HandOver, _: &Context<Self>) -> Reply<Result<usize, SessionsError>> {
        let handover = self.handover();
        Reply::later(async move {
            let looked = timeout(HANDOVER_TIMEOUT, handover.hand_over()).await;
            looked.unwrap_or(Err(AskError::TimedOut.into()))
        })
    }
}

impl Handler<WithdrawPresence> for Actor {
    const IDEMPOTENT: bool = true;

    fn handle(&mut self, _: &WithdrawPresence, _: &Context<Self>) -> Reply<()> {
        let (context, tracker) = (Arc::clone(&self.context), Arc::clone(&self.shared.presence));
        Reply::later(async move { presence::withdraw(&context, &tracker).await })
    }
}

impl Handler<CountServed> for Actor {
    fn handle(&mut self, _: &CountServed, _: &Context<Self>) -> Reply<usize> {
        self.shared.served.count().into()
    }
}

impl Handler<ReadAlerts> for Actor {
    fn handle(&mut self, _: &ReadAlerts, _: &Context<Self>) -> Reply<Vec<Alert>> {
        self.reconciler.alerts().into()
    }
}

impl Handler<AskReadiness> for Actor {
    fn handle(
        &mut self,
        _: &AskReadiness,
        _: &Context<Self>,
    ) -> Reply<Vec<(&'static str, Result<(), String>)>> {
        let deps = self.context.deps.clone();
        let serves = match self.context.drain.is_draining() {
            true => Err("draining".to_owned()),
            false => Ok(()),
        };
        Reply::later(async move {
            let state = |connected: bool, error: Option<String>| match connected {
                true => Ok(()),
                false => Err(error.unwrap_or_default()),
            };
            let (nats, ams) = (deps.bridge.status().await, deps.ams.status().await);
            let keys = deps.tokens.ready().await.map_err(|error| error.to_string());
            let relay_secret = deps.turn.ready().await.map_err(|error| error.to_string());
            let relays = deps.turn.relays().await.map_err(|error| error.to_string());
            vec![
                ("nats", state(nats.connected, nats.error)),
                ("ams", state(ams.connected, ams.error)),
                ("keys", keys),
                ("relay_secret", relay_secret),
                ("relays", relays),
                ("drain", serves),
            ]
        })
    }
}

#[cfg(test)]
mod tests;

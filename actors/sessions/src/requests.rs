//! Requests of gateways and other agents, which arrive through the bridge.

use std::rc::Rc;
use std::sync::Arc;

use stream_bridge::IncomingRequest;
use stream_protocol::subjects::{AgentOp, AgentRequest, SessionOp};
use stream_protocol::{
    ClientIce, Empty, IceTerms, Launch, Refusal, RefusalCode, Reply as Answer, SessionDocument,
    SessionId, Terminate, Versioned,
};
use stream_supervisor::{Context, Handler, Reply};
use stream_turn::Peer;

use crate::SessionsError;
use crate::actor::{Actor, queue_follow_up};
use crate::context::AgentContext;
use crate::ice_renewal::issue_ice;
use crate::idle;
use crate::launch::Launcher;
use crate::lost_instances::{FollowUp, LostInstances};
use crate::termination::Terminator;

/// Answers the requests of gateways and other agents.
struct GatewayRequests {
    context: Arc<AgentContext>,
    launcher: Launcher,
    terminator: Rc<Terminator>,
    lost_instances: LostInstances,
}

impl Handler<IncomingRequest> for Actor {
    fn handle(&mut self, request: &IncomingRequest, ctx: &Context<Self>) -> Reply<()> {
        let requests = GatewayRequests {
            context: Arc::clone(&self.context),
            launcher: self.launcher(ctx),
            terminator: self.terminator(),
            lost_instances: self.lost_instances(ctx),
        };
        let (request, ctx) = (request.clone(), ctx.clone());
        Reply::later(async move {
            if let Some((session, follow_up)) = requests.answer(&request).await {
                queue_follow_up(&ctx, session, follow_up);
            }
        })
    }
}

impl GatewayRequests {
    /// Answers a request. Returns the session with which more is to be done, and what.
    async fn answer(&self, request: &IncomingRequest) -> Option<(SessionId, FollowUp)> {
        match request.subject.parse() {
            Ok(AgentRequest::Agent { op: AgentOp::Launch, .. }) => {
                self.launch(request).await.map(|ending| (ending, FollowUp::FinishEnd))
            }
            Ok(AgentRequest::Session { session, op: SessionOp::Instance }) => {
                let looked = self.lost_instances.end_if_lost(&session).await;
                let answer = looked.as_ref().map(|_| Empty {}).map_err(SessionsError::refusal);
                request.answer(Answer::encode(answer)).await;
                looked.ok().flatten().map(|follow_up| (session, follow_up))
            }
            Ok(AgentRequest::Session { session, op: SessionOp::Ice }) => {
                let minted = self.ice(&session, request).await;
                request.answer(Answer::encode(minted)).await;
                None
            }
            Ok(AgentRequest::Session { session, op: SessionOp::Join }) => {
                let minted = self.join(&session, request).await;
                request.answer(Answer::encode(minted)).await;
                None
            }
            Ok(AgentRequest::Session { session, op: SessionOp::Terminate }) => {
                let begun = self.terminate(&session, request).await;
                let begins = begun.is_ok();
                request.answer(Answer::encode(begun.map(|()| Empty {}))).await;
                begins.then_some((session, FollowUp::FinishEnd))
            }
            Ok(AgentRequest::Agent { .. }) | Err(_) => {
                log::warn!(subject:% = request.subject; "a request is not ours");
                let why = format!("no such request: {}", request.subject);
                let refusal = Refusal::new(RefusalCode::Malformed, why);
                request.answer(Answer::<Empty>::encode(Err(refusal))).await;
                None
            }
        }
    }

    async fn launch(&self, request: &IncomingRequest) -> Option<SessionId> {
        let (launched, ending) = match Versioned::decode(&request.body) {
            Ok(Launch { session, .. }) if self.launcher.served.is_launching(&session) => {
                // Delivered twice. Whoever asked gets the answer to the first; another one before
                // it would have it look for another agent.
                log::warn!(session:% = session; "a launch is asked for while it is under way");
                return None;
            }
            Ok(Launch { session, placement, terms }) => {
                let launched = self.launcher.handle_launch(&session, &placement, terms).await;
                let ending = launched.is_err().then_some(session);
                (launched, ending)
            }
            Err(refusal) => (Err(refusal), None),
        };
        request.answer(Answer::encode(launched)).await;
        ending
    }

    async fn terminate(&self, id: &SessionId, request: &IncomingRequest) -> Result<(), Refusal> {
        let Terminate { cause } = Versioned::decode(&request.body)?;
        let begun = self.terminator.request_termination(id, &cause).await;
        begun.map_err(|error| error.refusal())
    }

    async fn ice(&self, id: &SessionId, request: &IncomingRequest) -> Result<ClientIce, Refusal> {
        let terms = Versioned::decode(&request.body)?;
        let minted = async { self.client_ice(&self.context.read(id).await?.value, terms).await };
        minted.await.map_err(|error| error.refusal())
    }

    async fn join(&self, id: &SessionId, request: &IncomingRequest) -> Result<ClientIce, Refusal> {
        let terms = Versioned::decode(&request.body)?;
        self.take_in(id, terms).await.map_err(|error| error.refusal())
    }

    /// Has the document say by the time of the answer whether a client has come, where that decides
    /// about the next one: the gateway judges the version that its join replaces.
    async fn take_in(&self, id: &SessionId, terms: IceTerms) -> Result<ClientIce, SessionsError> {
        let document = self.context.read(id).await?.value;
        let generation = document.generation;
        if idle::is_first_in_doubt(&document) && self.context.has_answered(&document).await? {
            let noted = self.context.change(id, |document| {
                idle::on_answer(document, generation, self.context.now());
                Ok(())
            });
            noted.await?;
        }
        self.client_ice(&document, terms).await
    }

    async fn client_ice(
        &self,
        document: &SessionDocument,
        terms: IceTerms,
    ) -> Result<ClientIce, SessionsError> {
        Ok(ClientIce {
            ice_servers: issue_ice(&self.context, document, Peer::Client, terms).await?,
        })
    }
}

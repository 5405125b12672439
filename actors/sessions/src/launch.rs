//! From a stored document to an instance that AMS has accepted.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use stream_ams::{AmsError, LaunchInstance};
use stream_bridge::IncomingRequest;
use stream_protocol::{
    ClientIce, MAX_USERDATA_BYTES, Refusal, RefusalCode, SessionDocument, SessionId, Status,
    Timestamp, TokenKind, Userdata,
};
use stream_supervisor::Recipient;
use stream_tokens::Mint;

use crate::SessionsError;
use crate::context::AgentContext;
use crate::ice_renewal::issue_ice;
use crate::served_sessions::ServedSessions;
use crate::session;
use crate::termination::Terminator;
use crate::transition::InvalidTransition;

/// How long a launch may take; whoever asks for one waits a little longer.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(13);

/// The most characters kept of a gateway's words on why it chose this agent.
const MAX_PLACEMENT_CHARS: usize = 300;

/// Claims sessions and launches their instances.
#[derive(Clone)]
pub(crate) struct Launcher {
    pub(crate) context: Arc<AgentContext>,
    pub(crate) served: ServedSessions,
    pub(crate) terminator: Rc<Terminator>,
    /// Where the requests for a served session go.
    pub(crate) requests: Recipient<IncomingRequest>,
}

impl Launcher {
    /// Claims the session, launches its instance and returns the ICE servers of its client. Returns
    /// as soon as AMS has accepted, before the instance boots.
    ///
    /// # Errors
    /// Refuses what cannot be claimed here. A launch that fails begins the end of the session, with
    /// the cause.
    pub(crate) async fn handle_launch(
        &self,
        id: &SessionId,
        placement: &str,
    ) -> Result<ClientIce, Refusal> {
        let Some(_under_way) = self.served.begin_launch(id) else {
            return Err(Refusal::new(
                RefusalCode::Unavailable,
                "the session is just being launched",
            ));
        };
        let claimed = self.claim(id, placement).await.map_err(|error| error.refusal())?;
        let launched = tokio::time::timeout(LAUNCH_TIMEOUT, self.launch_instance(&claimed)).await;
        let error = match launched.unwrap_or(Err(AmsError::TimedOut.into())) {
            Ok(ice) => return Ok(ice),
            Err(error) => error,
        };
        let cause = format!("the launch failed: {}", error.sentence());
        log::warn!("session {id} ends: {cause}");
        let ended = self.context.change(id, |document| {
            // An agent held up for longer than its lease has no say any more.
            if !session::is_owned_by(document, self.context.agent()) {
                return Err(InvalidTransition("session was taken over".to_owned()));
            }
            session::end(document, cause.clone(), true, Timestamp::now());
            Ok(())
        });
        if let Err(error) = ended.await {
            // If it is ours, the sweep finds it: it is claimed and gets no instance.
            log::warn!("session {id} is left to the sweep: {error}");
        }
        Err(error.refusal())
    }

    /// Repeats a launch that was cut off between the claim and the answer of AMS. The name stays,
    /// so AMS returns what the first try may have launched.
    pub(crate) async fn resume_launch(
        &self,
        document: &SessionDocument,
    ) -> Result<(), SessionsError> {
        let Some(_under_way) = self.served.begin_launch(&document.id) else { return Ok(()) };
        // The session may have ended while others were processed.
        let present = self.context.read(&document.id).await?.value;
        if session::needs_relaunch(&present, self.context.agent()) {
            log::info!("the launch of session {} is resumed", document.id);
            self.launch_instance(&present).await?;
        }
        Ok(())
    }

    /// Subscribes to the requests for a session.
    pub(crate) async fn serve(&self, id: &SessionId) -> Result<(), SessionsError> {
        self.served.serve(id, &self.context.deps.bridge, self.requests.clone()).await
    }

    async fn claim(
        &self,
        id: &SessionId,
        placement: &str,
    ) -> Result<SessionDocument, SessionsError> {
        if self.context.drain.is_draining() {
            return Err(SessionsError::draining());
        }
        if self.served.free_capacity(self.context.config.capacity) == 0 {
            return Err(SessionsError::full());
        }
        let cluster = self.context.cluster().await?;
        let claimed = self.context.change(id, |document| {
            let deadline = Timestamp::now().plus_secs(self.context.config.boot_timeout_s);
            session::claim(document, self.context.agent(), &cluster, deadline)?;
            // A gateway's words are bounded here.
            document.placement = placement.chars().take(MAX_PLACEMENT_CHARS).collect();
            Ok(())
        });
        claimed.await
    }

    async fn launch_instance(
        &self,
        document: &SessionDocument,
    ) -> Result<ClientIce, SessionsError> {
        let id = &document.id;
        // The session may be asked for from now on, also to end while it is launched.
        self.serve(id).await?;
        let Some(name) = document.instance_name.clone() else {
            let why = "the session was claimed without a launch".to_owned();
            return Err(SessionsError::Conflict(why));
        };
        let draft = Userdata::draft(id.clone(), &document.request);
        let launch = LaunchInstance {
            name: name.clone(),
            app: document.request.app.clone(),
            app_version: document.request.app_version,
            user_data: userdata(&self.context, draft).await?,
            tags: self.context.scope(&document.cluster).tags(id),
        };
        log::info!("session {id} is launched as {name}");
        let instance = self.context.deps.ams.launch(launch).await?;
        log::info!("session {id} is served by instance {instance}");
        let noted = self
            .context
            .change(id, |document| session::on_launched(document, self.context.agent(), &instance));
        let noted = noted.await;
        self.served.add_instance(instance.clone(), id.clone());
        // The session may have ended meanwhile, perhaps before AMS knew the name.
        let present = self.context.read(id).await?.value;
        if present.status.is_final() {
            self.terminator.delete_instance(&present).await?;
        } else if present.status == Status::Terminating {
            self.terminator.finish_end(id).await;
        }
        noted?;
        let ice_servers = issue_ice(&self.context, &present, stream_turn::Peer::Client).await?;
        Ok(ClientIce { ice_servers })
    }
}

/// Adds the address of this agent and a fresh token to a draft.
///
/// # Errors
/// Refuses userdata that is larger than AMS takes.
pub(crate) async fn userdata(
    context: &AgentContext,
    draft: Userdata,
) -> Result<String, SessionsError> {
    // It lives as long as its session.
    let mint = Mint::new(TokenKind::Instance, draft.session_id.to_string())
        .session(draft.session_id.clone());
    let token = context.deps.tokens.mint(mint);
    let fingerprint =
        context.config.pin.then(|| context.served.current().fingerprint().to_string());
    let userdata = Userdata {
        agent_url: context.config.url.clone(),
        token: token.await?.token.to_string(),
        fingerprints: fingerprint.into_iter().collect(),
        ..draft
    };
    let text = serde_json::to_string(&userdata).expect("userdata serializes");
    if text.len() > MAX_USERDATA_BYTES {
        let over = text.len() - MAX_USERDATA_BYTES;
        let why = format!("extra_data is {over} bytes too long for the instance's userdata");
        return Err(SessionsError::Malformed(why));
    }
    Ok(text)
}

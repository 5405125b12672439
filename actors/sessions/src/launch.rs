//! From a stored document to an instance that AMS has accepted.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use stream_ams::{AmsError, LaunchInstance};
use stream_bridge::IncomingRequest;
use stream_protocol::{
    AgentEndpoint, ClientIce, IceTerms, InstanceName, MAX_USERDATA_BYTES, Refusal, RefusalCode,
    SessionDocument, SessionId, Status, TokenKind, Userdata,
};
use stream_supervisor::Recipient;
use stream_tokens::Mint;

use crate::SessionsError;
use crate::context::AgentContext;
use crate::ice_renewal::issue_ice;
use crate::served_sessions::{LaunchRefusal, ServedSessions};
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
    /// Claims the session, launches its instance and returns the ICE servers of its client, on its
    /// `terms`. Returns as soon as AMS has accepted, before the instance boots.
    ///
    /// # Errors
    /// Refuses what cannot be claimed here. A launch that fails begins the end of the session, with
    /// the cause.
    pub(crate) async fn handle_launch(
        &self,
        id: &SessionId,
        placement: &str,
        terms: IceTerms,
    ) -> Result<ClientIce, Refusal> {
        let launch = self.try_launch(id, placement, terms);
        self.context.metrics.observe_launch(launch).await
    }

    async fn try_launch(
        &self,
        id: &SessionId,
        placement: &str,
        terms: IceTerms,
    ) -> Result<ClientIce, Refusal> {
        let capacity = self.context.config.capacity;
        let _under_way =
            self.served.begin_launch(id, capacity).map_err(|refusal| match refusal {
                LaunchRefusal::Full => SessionsError::full().refusal(),
                LaunchRefusal::UnderWay => {
                    Refusal::new(RefusalCode::Unavailable, "the session is just being launched")
                }
            })?;
        let claimed = self.claim(id, placement).await.map_err(|error| error.refusal())?;
        let launch = async {
            let launched = self.launch_instance(&claimed).await?;
            let peer = stream_turn::Peer::Client;
            let ice_servers = issue_ice(&self.context, &launched, peer, terms).await?;
            Ok(ClientIce { ice_servers })
        };
        let launched = tokio::time::timeout(LAUNCH_TIMEOUT, launch).await;
        let error = match launched.unwrap_or(Err(AmsError::TimedOut.into())) {
            Ok(ice) => return Ok(ice),
            Err(error) => error,
        };
        if let Err(error) = self.end_failed_launch(id, &error).await {
            // If it is ours, the sweep finds it: it is claimed and gets no instance.
            log::warn!(session:% = id, cause:% = error; "a failed launch is left to the sweep");
        }
        Err(error.refusal())
    }

    /// Begins the end of a session whose launch failed.
    async fn end_failed_launch(
        &self,
        id: &SessionId,
        error: &SessionsError,
    ) -> Result<(), SessionsError> {
        let cause = format!("the launch failed: {}", error.sentence());
        log::warn!(session:% = id, cause:%; "a session ends");
        let ended = self.context.change(id, |document| {
            // An agent held up for longer than its lease has no say any more.
            if !session::is_owned_by(document, self.context.agent()) {
                return Err(InvalidTransition("session was taken over".to_owned()));
            }
            if document.kept_instance.is_some() {
                // Whoever asked is refused, and so will not start it again.
                session::end_on_request(document, cause.clone(), self.context.now());
                return Ok(());
            }
            session::end(document, cause.clone(), true, self.context.now());
            document.launch_refused = error.is_transient();
            Ok(())
        });
        ended.await.map(drop)
    }

    /// Repeats a launch that was cut off between the claim and the answer of AMS. The name stays,
    /// so AMS returns what the first try may have launched.
    pub(crate) async fn resume_launch(
        &self,
        document: &SessionDocument,
    ) -> Result<(), SessionsError> {
        let id = &document.id;
        // It has its place already.
        let Ok(_under_way) = self.served.begin_launch(id, u32::MAX) else { return Ok(()) };
        // The session may have ended while others were processed.
        let present = self.context.read(id).await?.value;
        if !session::needs_relaunch(&present, self.context.agent()) {
            return Ok(());
        }
        log::info!(session:% = id; "a launch is resumed");
        match self.launch_instance(&present).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_transient() => Err(error),
            // AMS will say the same again: whoever waits learns why.
            Err(error) => self.end_failed_launch(id, &error).await,
        }
    }

    /// Subscribes to the requests for a session, and notes whether it takes a place.
    pub(crate) async fn serve(&self, document: &SessionDocument) -> Result<(), SessionsError> {
        let id = &document.id;
        self.served.serve(id, &self.context.deps.bridge, self.requests.clone()).await?;
        self.served.set_kept(id, document.status.is_final());
        Ok(())
    }

    async fn claim(
        &self,
        id: &SessionId,
        placement: &str,
    ) -> Result<SessionDocument, SessionsError> {
        if self.context.drain.is_draining() {
            return Err(SessionsError::draining());
        }
        let cluster = self.context.cluster().await?;
        let claimed = self.context.change(id, |document| {
            let deadline = self.context.now().plus_secs(self.context.config.boot_timeout_s);
            session::claim(document, self.context.agent(), &cluster, deadline)?;
            document.launch_region.clone_from(&self.context.config.region);
            // A session that begins later under the same id has another one.
            document.instance_token.get_or_insert_with(stream_tokens::token_id);
            // A gateway's words are bounded here.
            document.placement = placement.chars().take(MAX_PLACEMENT_CHARS).collect();
            Ok(())
        });
        claimed.await
    }

    async fn launch_instance(
        &self,
        document: &SessionDocument,
    ) -> Result<SessionDocument, SessionsError> {
        let id = &document.id;
        // The session may be asked for from now on, also to end while it is launched.
        self.serve(document).await?;
        self.context.arrivals.await_instance(id);
        let Some(name) = document.instance_name.clone() else {
            let why = "the session was claimed without a launch".to_owned();
            return Err(SessionsError::Conflict(why));
        };
        let draft = Userdata::draft(id.clone(), &document.request);
        let token_id = document.instance_token.as_deref();
        let launch = LaunchInstance {
            name: name.clone(),
            app: document.request.app.clone(),
            app_version: document.request.app_version,
            user_data: userdata(&self.context, draft, token_id).await?,
            tags: self.context.scope(&document.cluster).tags(id),
        };
        log::info!(session:% = id, instance:% = name; "an instance is launched");
        let instance = match self.launch_making_room(launch.clone()).await {
            Err(SessionsError::Ams(AmsError::NameTaken(taken))) => {
                self.launch_renamed(id, launch, &taken).await?
            }
            launched => launched?,
        };
        log::info!(session:% = id, instance:%; "ams has accepted the launch");
        let noted = self
            .context
            .change(id, |document| session::on_launched(document, self.context.agent(), &instance));
        let noted = noted.await;
        self.served.add_instance(instance.clone(), id.clone());
        let present = match &noted {
            Ok(document) => document.clone(),
            Err(_) => self.context.read(id).await?.value,
        };
        // The session may have ended meanwhile, perhaps before AMS knew the name.
        if present.is_over() {
            self.terminator.delete_instance(&present).await?;
        } else if present.status == Status::Terminating {
            self.terminator.finish_end(id).await;
        }
        noted
    }

    /// Launches an instance under another name than `taken`, which nobody can have given away. The
    /// name is written down before: whoever takes the session over goes on with it.
    async fn launch_renamed(
        &self,
        id: &SessionId,
        launch: LaunchInstance,
        taken: &InstanceName,
    ) -> Result<String, SessionsError> {
        log::warn!(session:% = id, instance:% = taken; "a foreign instance has the name");
        let renamed = self.context.change(id, |document| {
            session::rename_launch(document, self.context.agent(), taken, self.context.now())
        });
        let name = renamed.await?.instance_name.unwrap_or(launch.name);
        log::info!(session:% = id, instance:% = name; "an instance is launched");
        self.launch_making_room(LaunchInstance { name, ..launch }).await
    }

    /// Launches an instance. When AMS has no room, the instances that are kept give way.
    async fn launch_making_room(&self, launch: LaunchInstance) -> Result<String, SessionsError> {
        let ams = &self.context.deps.ams;
        match ams.launch(launch.clone()).await {
            Err(error) if error.is_want_of_room() && self.terminator.make_room().await? > 0 => {
                Ok(ams.launch(launch).await?)
            }
            launched => Ok(launched?),
        }
    }
}

/// Adds the address of this agent and a fresh token to a draft. The token has the id `token_id` if
/// one is given.
///
/// # Errors
/// Refuses userdata that is larger than AMS takes.
pub(crate) async fn userdata(
    context: &AgentContext,
    draft: Userdata,
    token_id: Option<&str>,
) -> Result<String, SessionsError> {
    // It is good as long as the instance is there.
    let mint = Mint::new(TokenKind::Instance, draft.session_id.to_string())
        .session(draft.session_id.clone());
    let token = match token_id {
        Some(id) => context.deps.tokens.mint_with_id(id, mint).await?,
        None => context.deps.tokens.mint(mint).await?,
    };
    let draft = Userdata { token: token.token.to_string(), ..draft };
    with_agents(draft, context.endpoints.list())
}

/// Adds as many `agents` as there is room for; the first one answers for the session.
fn with_agents(draft: Userdata, mut agents: Vec<AgentEndpoint>) -> Result<String, SessionsError> {
    let first = agents.first().cloned();
    let (agent_url, fingerprints) =
        first.map(|own| (own.url, own.fingerprints)).unwrap_or_default();
    agents.truncate(Userdata::MAX_AGENTS);
    let mut userdata = Userdata { agent_url, fingerprints, agents, ..draft };
    loop {
        let text = serde_json::to_string(&userdata).expect("userdata serializes");
        if text.len() <= MAX_USERDATA_BYTES {
            return Ok(text);
        }
        // The instance learns the others from the first one.
        if userdata.agents.pop().is_none() {
            let over = text.len() - MAX_USERDATA_BYTES;
            let why = format!("extra_data is {over} bytes too long for the instance's userdata");
            return Err(SessionsError::Malformed(why));
        }
    }
}

#[cfg(test)]
mod tests {
    use stream_protocol::{JsonText, Request};

    use super::*;

    #[test]
    fn userdata_names_as_many_agents_as_there_is_room_for() {
        let agents: Vec<_> = (0..6)
            .map(|n| AgentEndpoint {
                url: format!("https://{}.example:8443/{n}", "a".repeat(240)),
                fingerprints: vec!["ab".repeat(32); 2],
            })
            .collect();
        let named = |extra_bytes: usize| -> Result<Userdata, SessionsError> {
            let extra_data = JsonText::from(serde_json::json!("x".repeat(extra_bytes)));
            let request = Request { extra_data, ..Request::for_app("a") };
            let draft = Userdata::draft(SessionId::random(), &request);
            let draft = Userdata { token: "t".repeat(600), ..draft };
            let text = with_agents(draft, agents.clone())?;
            Ok(serde_json::from_str(&text).expect("userdata"))
        };
        let roomy = named(100).expect("userdata");
        assert_eq!(roomy.agents, agents[..Userdata::MAX_AGENTS]);
        assert_eq!(
            (&roomy.agent_url, &roomy.fingerprints),
            (&agents[0].url, &agents[0].fingerprints)
        );
        // All that a client may give along, beside URLs of the longest kind.
        let full = named(8 * 1024 - 2).expect("it fits");
        assert_eq!(full.agent_url, agents[0].url);
        assert!(full.agents.len() < Userdata::MAX_AGENTS);
        assert!(named(MAX_USERDATA_BYTES).is_err());
    }
}

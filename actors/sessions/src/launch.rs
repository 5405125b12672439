//! From a stored document to an instance that AMS has accepted.

use std::time::Duration;

use stream_ams::{AmsError, LaunchInstance};
use stream_bridge::IncomingRequest;
use stream_protocol::{
    ClientIce, MAX_USERDATA_BYTES, Refusal, RefusalCode, SessionDocument, SessionId, Status,
    Timestamp, TokenKind, Userdata, subjects,
};
use stream_supervisor::Recipient;
use stream_tokens::Mint;

use crate::SessionsError;
use crate::ams_initiated::{draining, full};
use crate::context::{AgentContext, locked};
use crate::session::{self, InvalidTransition};

/// How long a launch may take; whoever asks for one waits a little longer.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(13);

/// The most that is kept of why this unit was asked, in characters.
const MAX_PLACEMENT_CHARS: usize = 300;

impl AgentContext {
    /// Claims the session, launches its instance and returns the ICE servers of its client, without
    /// waiting for the boot. A launch that fails begins the end of the session, with the cause.
    pub(crate) async fn handle_launch(
        &self,
        id: &SessionId,
        placement: &str,
        requests: Recipient<IncomingRequest>,
    ) -> Result<ClientIce, Refusal> {
        let Some(_under_way) = self.begin_launch(id) else {
            return Err(Refusal::new(
                RefusalCode::Unavailable,
                "the session is just being launched",
            ));
        };
        let claimed = self.claim(id, placement).await.map_err(|error| error.refusal())?;
        let launched =
            tokio::time::timeout(LAUNCH_TIMEOUT, self.launch_instance(&claimed, requests)).await;
        let error = match launched.unwrap_or(Err(AmsError::TimedOut.into())) {
            Ok(ice) => return Ok(ice),
            Err(error) => error,
        };
        let cause = format!("the launch failed: {}", error.sentence());
        log::warn!("session {id} ends: {cause}");
        let ended = self.dependencies.bridge.change_session(id, |document| {
            // Who was held up for longer than it counts as there has no say any more.
            if !session::is_owned_by(document, self.agent()) {
                return Err(SessionsError::Conflict("session was taken over".to_owned()));
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

    /// Makes a launch again that was cut off between the claim and the answer of AMS. Its name is the
    /// same: what the first try may have launched is found, not doubled.
    pub(crate) async fn resume_launch(
        &self,
        document: &SessionDocument,
        requests: Recipient<IncomingRequest>,
    ) -> Result<(), SessionsError> {
        let Some(_under_way) = self.begin_launch(&document.id) else { return Ok(()) };
        // It may have ended while others were attended to.
        let present = self.read(&document.id).await?.value;
        if session::needs_relaunch(&present, self.agent()) {
            log::info!("the launch of session {} is resumed", document.id);
            self.launch_instance(&present, requests).await?;
        }
        Ok(())
    }

    async fn claim(
        &self,
        id: &SessionId,
        placement: &str,
    ) -> Result<SessionDocument, SessionsError> {
        if self.drain.is_draining() {
            return Err(draining());
        }
        if self.free_capacity() == 0 {
            return Err(full());
        }
        let cluster = self.dependencies.ams.cluster().await?.id;
        let changed = self.dependencies.bridge.change_session::<SessionsError>(id, |document| {
            let deadline = Timestamp::now().plus_secs(self.config.boot_timeout_s);
            session::claim(document, self.agent(), &cluster, deadline)
                .map_err(|InvalidTransition(why)| SessionsError::Conflict(why))?;
            // The words of a gateway: they are bounded.
            document.placement = placement.chars().take(MAX_PLACEMENT_CHARS).collect();
            Ok(())
        });
        Ok(changed.await?.value)
    }

    async fn launch_instance(
        &self,
        document: &SessionDocument,
        requests: Recipient<IncomingRequest>,
    ) -> Result<ClientIce, SessionsError> {
        let id = &document.id;
        // From now on the session may be asked for, also to end while it is launched.
        self.serve(id, requests).await?;
        let Some(name) = document.instance_name.clone() else {
            let why = "the session was claimed without a launch".to_owned();
            return Err(SessionsError::Conflict(why));
        };
        let draft = Userdata::draft(id.clone(), &document.request);
        let launch = LaunchInstance {
            name: name.clone(),
            app: document.request.app.clone(),
            app_version: document.request.app_version,
            user_data: self.userdata(draft).await?,
            tags: self.scope(&document.cluster).tags(id),
        };
        log::info!("session {id} is launched as {name}");
        let instance = self.dependencies.ams.launch(launch).await?;
        log::info!("session {id} is served by instance {instance}");
        let noted = self.dependencies.bridge.change_session(id, |document| {
            session::on_launched(document, self.agent(), &instance)
                .map_err(|InvalidTransition(why)| SessionsError::Conflict(why))
        });
        let noted = noted.await;
        locked(&self.instances).insert(instance.clone(), id.clone());
        // It may have ended meanwhile, perhaps before AMS knew the name.
        let present = self.read(id).await?.value;
        if present.status.is_final() {
            self.delete_instance(&present).await?;
        } else if present.status == Status::Terminating {
            self.finish_end(id).await;
        }
        noted?;
        let ice_servers = self.ice(&present, stream_turn::Peer::Client).await?;
        Ok(ClientIce { ice_servers })
    }

    /// Adds to a draft where this unit is, and a fresh token. Refuses what AMS would not take.
    pub(crate) async fn userdata(&self, draft: Userdata) -> Result<String, SessionsError> {
        let token = self.dependencies.tokens.mint(
            // It lives as long as its session.
            Mint::new(TokenKind::Instance, draft.session_id.to_string())
                .session(draft.session_id.clone()),
        );
        let fingerprint = self.config.pin.then(|| self.served.current().fingerprint().to_string());
        let userdata = Userdata {
            agent_url: self.config.url.clone(),
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

    /// Takes no requests for a session any more. What fails is done by the sweep, which finds the
    /// session still open.
    pub(crate) async fn stop_serving(&self, id: &SessionId) -> Result<(), SessionsError> {
        if self.serving().contains(id) {
            self.dependencies.bridge.stop_serving(&subjects::session_requests(id)).await?;
            self.serving().remove(id);
        }
        Ok(())
    }

    /// Takes the requests for a session; doing so twice is fine.
    pub(crate) async fn serve(
        &self,
        id: &SessionId,
        requests: Recipient<IncomingRequest>,
    ) -> Result<(), SessionsError> {
        if self.serving().insert(id.clone()) {
            let serve = self.dependencies.bridge.serve(subjects::session_requests(id), requests);
            if let Err(error) = serve.await {
                self.serving().remove(id);
                return Err(error.into());
            }
        }
        Ok(())
    }
}

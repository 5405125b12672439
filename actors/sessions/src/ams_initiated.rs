//! Sessions of instances that AMS launched by itself: AMS asks this unit, this unit the gateways.

use std::time::Duration;

use stream_bridge::{BridgeError, IncomingRequest};
use stream_protocol::{
    AmsInstance, AmsSessionCreated, CreateAmsSession, Refusal, RefusalCode, SessionId, Timestamp,
    Userdata, subjects,
};
use stream_supervisor::Recipient;

use crate::SessionsError;
use crate::context::{AgentContext, locked};
use crate::session::{self, InvalidTransition};

/// How long a gateway may take to store a session.
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(10);

impl AgentContext {
    /// Returns the session of an instance, and what the instance is to be told when it boots.
    /// Whichever unit is asked, and however often, it is the same session.
    pub(crate) async fn initiate(
        &self,
        instance: AmsInstance,
        requests: Recipient<IncomingRequest>,
    ) -> Result<(SessionId, String), SessionsError> {
        let id = instance.id.clone();
        if self.drain.is_draining() {
            return Err(draining());
        }
        if self.free_capacity() == 0 && !locked(&self.instances).contains_key(&id) {
            return Err(full());
        }
        let cluster = self.dependencies.ams.cluster().await?.id;
        let region = self.config.region.clone();
        let initiate = CreateAmsSession { cluster: cluster.clone(), region, instance };
        let subject = subjects::GATEWAY_SESSIONS.to_owned();
        let asked = self.dependencies.bridge.ask(subject, &initiate, GATEWAY_TIMEOUT);
        let AmsSessionCreated { session, userdata } = asked.await.map_err(no_gateway)?;

        let received = self.dependencies.bridge.change_session(&session, |document| {
            let deadline = Timestamp::now().plus_secs(self.config.boot_timeout_s);
            session::claim_ams_initiated(document, self.agent(), &cluster, deadline)
                .map_err(|InvalidTransition(why)| SessionsError::Conflict(why))
        });
        let document = received.await?.value;
        if self.answers_for(&document) {
            self.serve(&session, requests).await?;
            locked(&self.instances).insert(id.clone(), session.clone());
        }
        log::info!("session {session} serves instance {id}, which AMS launched");
        let userdata = Userdata { session_id: session.clone(), ..userdata };
        Ok((session, self.userdata(userdata).await?))
    }
}

/// This unit takes no more sessions.
pub(crate) fn full() -> SessionsError {
    let refusal = Refusal::new(RefusalCode::Busy, "this agent has no free capacity");
    BridgeError::Refused(refusal).into()
}

/// This unit is to end.
pub(crate) fn draining() -> SessionsError {
    let refusal = Refusal::new(RefusalCode::Draining, "this agent is draining");
    BridgeError::Refused(refusal).into()
}

fn no_gateway(error: BridgeError) -> BridgeError {
    match error {
        BridgeError::NoResponder => {
            Refusal::new(RefusalCode::Unavailable, "no gateway is there to store the session")
                .into()
        }
        error => error,
    }
}

//! Sessions of instances that AMS launched by itself: AMS asks this agent, this agent a gateway.

use std::time::Duration;

use stream_bridge::BridgeError;
use stream_protocol::{
    AmsInstance, AmsSessionCreated, CreateAmsSession, Refusal, RefusalCode, SessionId, Userdata,
    subjects,
};

use crate::SessionsError;
use crate::launch::{Launcher, userdata};
use crate::session;

/// How long a gateway may take to store a session.
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(10);

impl Launcher {
    /// Returns the session of an instance, and the userdata it gets when it boots. Every agent
    /// returns the same session however often it is asked.
    pub(crate) async fn initiate(
        &self,
        instance: AmsInstance,
    ) -> Result<(SessionId, String), SessionsError> {
        let context = &self.context;
        let id = instance.id.clone();
        if context.drain.is_draining() {
            return Err(SessionsError::draining());
        }
        let full = self.served.free_capacity(context.config.capacity) == 0;
        if full && self.served.session_of(&id).is_none() {
            return Err(SessionsError::full());
        }
        let cluster = context.cluster().await?;
        let region = context.config.region.clone();
        let initiate = CreateAmsSession { cluster: cluster.clone(), region, instance };
        let subject = subjects::GATEWAY_SESSIONS.to_owned();
        let asked = context.deps.bridge.ask(subject, &initiate, GATEWAY_TIMEOUT);
        let AmsSessionCreated { session, userdata: draft } = asked.await.map_err(no_gateway)?;

        let fresh_token = stream_tokens::token_id();
        let claimed = context.change(&session, |document| {
            let now = context.now();
            let times = (now, now.plus_secs(context.config.boot_timeout_s));
            let of = (context.agent(), id.as_str());
            session::claim_ams_initiated(document, of, &cluster, &fresh_token, times)
        });
        let document = claimed.await?;
        if context.answers_for(&document) {
            self.serve(&document).await?;
            context.arrivals.await_instance(&session);
            self.served.add_instance(id.clone(), session.clone());
        }
        log::info!(session:%, instance:% = id; "an instance that ams launched has its session");
        let draft = Userdata { session_id: session.clone(), ..draft };
        let token_id = document.instance_token.as_deref();
        Ok((session, userdata(context, draft, token_id).await?))
    }
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

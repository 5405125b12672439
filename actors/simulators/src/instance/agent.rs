//! The agent's API, as far as an instance's token opens it.

use std::time::Duration;

use reqwest::Method;
use stream_pki::Fingerprint;
use stream_protocol::{
    ClientReport, Commands, Cursor, IceServer, NewSignal, Report, SignalPage, Userdata,
};

use crate::https::{CallError, Https};

/// How long the agent may keep a question open until there is an answer.
const WAIT: Duration = Duration::from_secs(25);

/// What a call costs apart from that.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) struct Agent {
    https: Https,
    session: String,
}

impl Agent {
    pub(super) fn new(userdata: &Userdata, pins: Vec<Fingerprint>) -> Result<Self, CallError> {
        let https = Https::new(&userdata.agent_url, &userdata.token, pins)?;
        Ok(Self { https, session: format!("/1.0/sessions/{}", userdata.session_id) })
    }

    pub(super) async fn report(&self, report: &Report) -> Result<(), CallError> {
        let request = self.https.request(Method::PATCH, &self.session).json(report);
        self.https.send(request, CALL_TIMEOUT).await
    }

    /// Says whether the client is there.
    pub(super) async fn report_client(&self, report: &ClientReport) -> Result<(), CallError> {
        let request = self.https.request(Method::PATCH, &self.session).json(report);
        self.https.send(request, CALL_TIMEOUT).await
    }

    /// Returns what is wanted, as soon as it differs from revision `after`.
    pub(super) async fn commands(&self, after: Option<u64>) -> Result<Commands, CallError> {
        self.poll("commands", after.map(|after| after.to_string())).await
    }

    /// Returns the signals after `after`, as soon as there are any; without it, all of the present
    /// generation. Refused with 409 when some of them are no longer kept.
    pub(super) async fn signals(&self, after: Option<Cursor>) -> Result<SignalPage, CallError> {
        self.poll("signals", after.map(String::from)).await
    }

    /// Writes signals. Writing the same ones again is harmless.
    pub(super) async fn post(&self, signals: &[NewSignal]) -> Result<(), CallError> {
        let path = format!("{}/signals", self.session);
        let request = self.https.request(Method::POST, &path).json(signals);
        self.https.send(request, CALL_TIMEOUT).await
    }

    /// Returns fresh ICE servers.
    pub(super) async fn ice_servers(&self) -> Result<Vec<IceServer>, CallError> {
        let path = format!("{}/ice-servers", self.session);
        self.https.call(self.https.request(Method::POST, &path), CALL_TIMEOUT).await
    }

    /// Has the agent give both sides fresh ICE servers, since the client is not heard any more.
    pub(super) async fn renew_ice(&self) -> Result<(), CallError> {
        let path = format!("{}/ice-servers?renew=true", self.session);
        self.https.send(self.https.request(Method::POST, &path), CALL_TIMEOUT).await
    }

    async fn poll<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        after: Option<String>,
    ) -> Result<T, CallError> {
        let wait = WAIT.as_secs();
        // Numbers and cursors need no escaping.
        let after = after.map(|after| format!("after={after}&")).unwrap_or_default();
        let path = format!("{}/{what}?{after}wait={wait}", self.session);
        self.https.call(self.https.request(Method::GET, &path), WAIT + CALL_TIMEOUT).await
    }
}

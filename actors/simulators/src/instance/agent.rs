//! The agents' API, as far as an instance's token opens it. Whichever agent of the cluster answers
//! is asked; when it does not, the next one is.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Method;
use stream_protocol::{
    AgentEndpoint, ClientReport, Commands, Cursor, IceServer, NewSignal, Report, ShareId,
    SignalPage, Userdata,
};

use super::{InstanceError, pin};
use crate::https::{CallError, Https};

/// How long the agent may keep a question open until there is an answer.
const WAIT: Duration = Duration::from_secs(25);

/// What a call costs apart from that.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) struct Agent {
    session: String,
    token: String,
    known: Mutex<KnownAgents>,
}

/// The agents that are known, the one to ask first.
struct KnownAgents {
    agents: Vec<(AgentEndpoint, Arc<Https>)>,
    /// What the commands called them.
    version: Option<String>,
}

impl Agent {
    pub(super) fn new(userdata: &Userdata) -> Result<Self, InstanceError> {
        let Userdata { agent_url, token, fingerprints, agents, session_id, .. } = userdata;
        let (url, fingerprints) = (agent_url.clone(), fingerprints.clone());
        let first = AgentEndpoint { url, fingerprints };
        let others = agents.iter().filter(|agent| agent.url != first.url).cloned();
        let mut known = vec![(first.clone(), connect(&first, token)?)];
        for other in others {
            // One that cannot be used is no reason not to use the first.
            known.extend(connect(&other, token).ok().map(|https| (other, https)));
        }
        Ok(Self {
            session: format!("/1.0/sessions/{session_id}"),
            token: token.clone(),
            known: Mutex::new(KnownAgents { agents: known, version: None }),
        })
    }

    pub(super) async fn report(&self, report: &Report) -> Result<(), CallError> {
        self.send(|https| https.request(Method::PATCH, &self.session).json(report)).await
    }

    /// Says whether the client is there.
    pub(super) async fn report_client(&self, report: &ClientReport) -> Result<(), CallError> {
        self.send(|https| https.request(Method::PATCH, &self.session).json(report)).await
    }

    /// Returns what is wanted, as soon as it differs from revision `after`, and takes note of the
    /// agents that it names.
    pub(super) async fn commands(&self, after: Option<u64>) -> Result<Commands, CallError> {
        let version = self.known.lock().version.clone();
        let agents = version.map(|version| format!("agents={version}&")).unwrap_or_default();
        let after = after.map(|after| after.to_string());
        let commands: Commands = self.poll("commands", &agents, after).await?;
        self.learn(&commands);
        Ok(commands)
    }

    /// Returns the signals of the client, or of who uses ADB through `share`, after `after`, as
    /// soon as there are any; without it, all of the present generation. Refused with 409 when some
    /// of them are no longer kept.
    pub(super) async fn signals(
        &self,
        share: Option<&ShareId>,
        after: Option<Cursor>,
    ) -> Result<SignalPage, CallError> {
        let peer = share.map(|share| format!("peer={share}&")).unwrap_or_default();
        self.poll("signals", &peer, after.map(String::from)).await
    }

    /// Writes signals to the client, or to who uses ADB through `share`. Writing the same ones
    /// again is harmless.
    pub(super) async fn post(
        &self,
        share: Option<&ShareId>,
        signals: &[NewSignal],
    ) -> Result<(), CallError> {
        let peer = share.map(|share| format!("?peer={share}")).unwrap_or_default();
        let path = format!("{}/signals{peer}", self.session);
        self.send(|https| https.request(Method::POST, &path).json(signals)).await
    }

    /// Returns fresh ICE servers.
    pub(super) async fn ice_servers(&self) -> Result<Vec<IceServer>, CallError> {
        let path = format!("{}/ice-servers", self.session);
        let https = self.first();
        let asked = https.call(https.request(Method::POST, &path), CALL_TIMEOUT).await;
        self.heard(&https, asked)
    }

    /// Has the agent give both sides fresh ICE servers, since the client is not heard any more.
    pub(super) async fn renew_ice(&self) -> Result<(), CallError> {
        let path = format!("{}/ice-servers?renew=true", self.session);
        self.send(|https| https.request(Method::POST, &path)).await
    }

    async fn poll<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        query: &str,
        after: Option<String>,
    ) -> Result<T, CallError> {
        let wait = WAIT.as_secs();
        // Numbers, cursors and versions need no escaping.
        let after = after.map(|after| format!("after={after}&")).unwrap_or_default();
        let path = format!("{}/{what}?{after}{query}wait={wait}", self.session);
        let https = self.first();
        let asked = https.call(https.request(Method::GET, &path), WAIT + CALL_TIMEOUT).await;
        self.heard(&https, asked)
    }

    async fn send(
        &self,
        request: impl FnOnce(&Https) -> reqwest::RequestBuilder,
    ) -> Result<(), CallError> {
        let https = self.first();
        let sent = https.send(request(&https), CALL_TIMEOUT).await;
        self.heard(&https, sent)
    }

    /// Returns the agent to ask now.
    fn first(&self) -> Arc<Https> {
        Arc::clone(&self.known.lock().agents[0].1)
    }

    /// Takes the end of a call to `asked`: after one that it could not serve, the next one is
    /// asked.
    fn heard<T>(&self, asked: &Arc<Https>, end: Result<T, CallError>) -> Result<T, CallError> {
        if let Err(error) = &end
            && error.is_transient()
        {
            let mut known = self.known.lock();
            // Another call may have found out before.
            if known.agents.len() > 1 && Arc::ptr_eq(&known.agents[0].1, asked) {
                known.agents.rotate_left(1);
                log::info!(agent:% = known.agents[0].0.url; "another agent is asked");
            }
        }
        end
    }

    /// Takes the agents that the commands name; those that stay keep their connections.
    fn learn(&self, commands: &Commands) {
        let mut known = self.known.lock();
        let Commands { agents, agents_version, .. } = commands;
        if agents.is_empty() || known.version.as_ref() == Some(agents_version) {
            return;
        }
        let mut next = Vec::new();
        for endpoint in agents {
            let kept = known.agents.iter().find(|(known, _)| known == endpoint);
            let https = match kept {
                Some((_, https)) => Some(Arc::clone(https)),
                None => connect(endpoint, &self.token).ok(),
            };
            next.extend(https.map(|https| (endpoint.clone(), https)));
        }
        if !next.is_empty() {
            *known = KnownAgents { agents: next, version: Some(agents_version.clone()) };
        }
    }
}

/// Returns a client of one agent, which is told nothing until it has shown a certificate that is
/// named.
fn connect(endpoint: &AgentEndpoint, token: &str) -> Result<Arc<Https>, InstanceError> {
    let pins = endpoint.fingerprints.iter().map(|text| pin(text)).collect::<Result<Vec<_>, _>>()?;
    if pins.is_empty() {
        return Err(InstanceError::NoPin);
    }
    Https::new(&endpoint.url, token, pins).map(Arc::new).map_err(InstanceError::Agent)
}

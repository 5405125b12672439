//! The agents' API, as far as an instance's token opens it. Whichever agent of the cluster answers
//! is asked; when it does not, the next one is. Who calls does not know over which transport.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use stream_protocol::{
    AgentEndpoint, ClientReport, Commands, Cursor, IceServer, NewSignal, Report, ShareId,
    SignalPage, Userdata,
};

use super::InstanceError;
use super::sockets::{SocketCalls, Sockets};
use super::transport::{Route, Router, Transport};
use super::trust::AgentTrust;
use crate::https::{CallError, Https};

/// How long the agent may keep a question open until there is an answer.
const WAIT: Duration = Duration::from_secs(25);

const JSON: &str = "application/json";

/// What a call costs apart from that.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) struct Agent {
    session: String,
    token: String,
    trust: AgentTrust,
    router: Router,
    sockets: SocketCalls,
    known: Mutex<KnownAgents>,
}

/// The agents that are known, the one to ask first.
struct KnownAgents {
    agents: Vec<(AgentEndpoint, Arc<Https>)>,
    /// What the commands called them.
    version: Option<String>,
}

impl Agent {
    /// Returns the API of the agents that `userdata` names, and the sockets that calls of
    /// `transport` may take: they are carried while [`Sockets::run`] is polled.
    pub(super) fn new(
        userdata: &Userdata,
        trust: AgentTrust,
        transport: Transport,
    ) -> Result<(Self, Sockets), InstanceError> {
        let Userdata { agent_url, token, fingerprints, agents, session_id, .. } = userdata;
        let (url, fingerprints) = (agent_url.clone(), fingerprints.clone());
        let first = AgentEndpoint { url, fingerprints };
        let others = agents.iter().filter(|agent| agent.url != first.url).cloned();
        let mut known = vec![(first.clone(), trust.connect(&first, token)?)];
        for other in others {
            // One that cannot be used is no reason not to use the first.
            known.extend(trust.connect(&other, token).ok().map(|https| (other, https)));
        }
        let session = format!("/1.0/sessions/{session_id}");
        let router = Router::new(transport);
        let (sockets, calls) = Sockets::new(&session, &router);
        let known = Mutex::new(KnownAgents { agents: known, version: None });
        let token = token.clone();
        Ok((Self { session, token, trust, router, sockets: calls, known }, sockets))
    }

    pub(super) async fn report(&self, report: &Report) -> Result<(), CallError> {
        self.tell(&serde_json::to_string(report).expect("reports serialize")).await
    }

    /// Says whether the client is there.
    pub(super) async fn report_client(&self, report: &ClientReport) -> Result<(), CallError> {
        self.tell(&serde_json::to_string(report).expect("reports serialize")).await
    }

    /// Returns what is wanted, as soon as it differs from revision `after`, and takes note of the
    /// agents that it names.
    pub(super) async fn commands(&self, after: Option<u64>) -> Result<Commands, CallError> {
        loop {
            let version = self.known.lock().version.clone();
            let asked = match self.router.route() {
                Route::Rest => {
                    let known = version.map(|version| format!("agents={version}&"));
                    let after = after.map(|after| after.to_string());
                    self.poll("commands", &known.unwrap_or_default(), after).await.map(Some)
                }
                Route::Socket => {
                    let agent = self.first();
                    let asked = self.sockets.commands(&agent, after, version).await;
                    self.heard(&agent, asked)
                }
            };
            if let Some(commands) = self.answered(asked)? {
                self.learn(&commands);
                return Ok(commands);
            }
        }
    }

    /// Returns the signals of the client, or of who uses ADB through `share`, after `after`, as
    /// soon as there are any; without it, all of the present generation. Refused with 409 when some
    /// of them are no longer kept, or answered with a cursor before the first that is. Those of ADB
    /// go over REST, whatever the transport is.
    pub(super) async fn signals(
        &self,
        share: Option<&ShareId>,
        after: Option<Cursor>,
    ) -> Result<SignalPage, CallError> {
        let peer = share.map(|share| format!("peer={share}&")).unwrap_or_default();
        loop {
            let asked = match self.router.route() {
                Route::Socket if share.is_none() => {
                    let agent = self.first();
                    let asked = self.sockets.read(&agent, after).await;
                    self.heard(&agent, asked)
                }
                _ => self.poll("signals", &peer, after.map(String::from)).await.map(Some),
            };
            if let Some(page) = self.answered(asked)? {
                return Ok(page);
            }
        }
    }

    /// Writes signals to the client, or to who uses ADB through `share`. Writing the same ones
    /// again is harmless.
    pub(super) async fn post(
        &self,
        share: Option<&ShareId>,
        signals: &[NewSignal],
    ) -> Result<(), CallError> {
        let peer = share.map(|share| format!("?peer={share}")).unwrap_or_default();
        loop {
            let written = match self.router.route() {
                Route::Socket if share.is_none() => {
                    let agent = self.first();
                    let written = self.sockets.write(&agent, signals).await;
                    self.heard(&agent, written)
                }
                _ => {
                    let path = format!("{}/signals{peer}", self.session);
                    let post = |https: &Https| https.request(Method::POST, &path).json(signals);
                    self.send(post).await.map(Some)
                }
            };
            if let Some(()) = self.answered(written)? {
                return Ok(());
            }
        }
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

    /// Hands in a report, a JSON text. Reporting the same again is harmless.
    async fn tell(&self, report: &str) -> Result<(), CallError> {
        loop {
            let told = match self.router.route() {
                Route::Rest => {
                    let body = report.to_owned();
                    let patch = |https: &Https| https.request(Method::PATCH, &self.session);
                    self.send(|https| patch(https).header(CONTENT_TYPE, JSON).body(body))
                        .await
                        .map(Some)
                }
                Route::Socket => {
                    let agent = self.first();
                    let told = self.sockets.report(&agent, report).await;
                    self.heard(&agent, told)
                }
            };
            if let Some(()) = self.answered(told)? {
                return Ok(());
            }
        }
    }

    /// Takes note of a call's answer, if it has one: without, the transport has changed, and the
    /// call is made anew.
    fn answered<T>(&self, end: Result<Option<T>, CallError>) -> Result<Option<T>, CallError> {
        if matches!(end, Ok(Some(_))) {
            self.router.on_answered();
        }
        end
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
                None => self.trust.connect(endpoint, &self.token).ok(),
            };
            next.extend(https.map(|https| (endpoint.clone(), https)));
        }
        if !next.is_empty() {
            *known = KnownAgents { agents: next, version: Some(agents_version.clone()) };
        }
    }
}

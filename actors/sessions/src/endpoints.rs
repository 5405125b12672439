//! Where instances reach the agents of this cluster: what they are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use stream_pki::{ServerIdentity, sha256};
use stream_protocol::{AgentEndpoint, AgentId};
use tokio::sync::watch;

use crate::Config;

/// The endpoints that instances are told. Clones share what was heard; a restart of the actor keeps
/// it.
#[derive(Clone)]
pub(crate) struct Endpoints(Arc<Inner>);

struct Inner {
    url: String,
    /// Shows which certificate is checked at `url`, if one is.
    served: Option<ServerIdentity>,
    others: Mutex<BTreeMap<AgentId, AgentEndpoint>>,
    changed: watch::Sender<()>,
}

impl Endpoints {
    /// Begins with the endpoint of this agent alone.
    pub(crate) fn new(config: &Config, served: &ServerIdentity) -> Self {
        Self(Arc::new(Inner {
            url: config.url.clone(),
            served: config.pin.then(|| served.clone()),
            others: Mutex::default(),
            changed: watch::Sender::new(()),
        }))
    }

    /// Returns the endpoint of this agent, with the certificate that it shows now, and the next.
    pub(crate) fn own(&self) -> AgentEndpoint {
        let served = self.0.served.iter().flat_map(ServerIdentity::fingerprints);
        let fingerprints = served.map(|fingerprint| fingerprint.to_string()).collect();
        AgentEndpoint { url: self.0.url.clone(), fingerprints }
    }

    /// Returns all endpoints of the cluster, that of this agent first.
    pub(crate) fn list(&self) -> Vec<AgentEndpoint> {
        let others = self.0.others.lock().values().cloned().collect::<Vec<_>>();
        AgentEndpoint::merge([self.own()].into_iter().chain(others))
    }

    /// Returns a receiver that changes when there may be other endpoints than before.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Has everybody who watches look again.
    pub(crate) fn notify(&self) {
        self.0.changed.send_replace(());
    }

    /// Takes what the other agents of the cluster say.
    pub(crate) fn set_others(&self, others: BTreeMap<AgentId, AgentEndpoint>) {
        let mut known = self.0.others.lock();
        if *known != others {
            *known = others;
            drop(known);
            self.notify();
        }
    }
}

/// Returns a name for what `endpoints` say, by which an instance tells that it knows them.
pub(crate) fn version(endpoints: &[AgentEndpoint]) -> String {
    let mut sorted: Vec<_> = endpoints.iter().collect();
    // The same at each agent, though each begins with itself.
    sorted.sort_by(|one, other| one.url.cmp(&other.url));
    let text = serde_json::to_vec(&sorted).expect("endpoints serialize");
    let digest = sha256(&text);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> AgentEndpoint {
        AgentEndpoint { url: url.to_owned(), fingerprints: vec!["00".to_owned()] }
    }

    #[test]
    fn a_version_names_what_is_said_and_not_who_says_it() {
        let (a, b) = (endpoint("https://a"), endpoint("https://b"));
        let both = version(&[a.clone(), b.clone()]);
        assert_eq!(version(&[b.clone(), a.clone()]), both);
        assert_eq!(both.len(), 16);
        assert_ne!(version(std::slice::from_ref(&a)), both);
        let renewed = AgentEndpoint { fingerprints: vec!["01".to_owned()], ..b };
        assert_ne!(version(&[a, renewed]), both);
    }
}

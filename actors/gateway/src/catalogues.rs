//! What agents can launch, as far as this gateway has read it: a cache of their records.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::Mutex;
use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::Bucket;
use stream_protocol::{AgentId, CataloguePage, Presence};

/// More pages than any catalogue has.
const MAX_PAGES: usize = 1024;

/// The catalogues that were read. Clones share them. A gateway that starts reads anew.
#[derive(Clone, Default)]
pub(crate) struct Catalogues(Arc<Mutex<CatalogueMap>>);

/// The catalogues of some agents.
pub(crate) type CatalogueMap = HashMap<AgentId, Arc<Catalogue>>;

/// What one agent can launch.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    version: String,
    pub(crate) applications: BTreeSet<String>,
    images: BTreeSet<String>,
}

impl Catalogue {
    /// Whether the agent can launch `app`, an application or an image.
    pub(crate) fn offers(&self, app: &str) -> bool {
        self.applications.contains(app) || self.images.contains(app)
    }

    /// Puts pages together that belong to each other.
    fn join(pages: Vec<CataloguePage>) -> Option<Self> {
        let version = pages.first()?.version.clone();
        let mut catalogue = Self { version, ..Self::default() };
        for page in pages {
            if page.version != catalogue.version {
                return None;
            }
            catalogue.applications.extend(page.applications);
            catalogue.images.extend(page.images);
        }
        Some(catalogue)
    }

    #[cfg(test)]
    pub(crate) fn of_applications(names: &[&str]) -> Self {
        let applications = names.iter().map(|name| (*name).to_owned()).collect();
        Self { applications, ..Self::default() }
    }
}

impl Catalogues {
    /// Returns the catalogues of the agents that are `present`. Reads those that have changed; one
    /// that is just being written is as it was before, or missing.
    pub(crate) async fn of(&self, bridge: &Bridge, present: &[Presence]) -> CatalogueMap {
        let is_known = |presence: &&Presence| {
            let known = self.0.lock().get(&presence.agent).map(|known| known.version.clone());
            known.as_ref() == Some(&presence.catalogue)
        };
        let outdated = present.iter().filter(|presence| !is_known(presence));
        let reads =
            outdated.map(async |presence| (&presence.agent, read(bridge, &presence.agent).await));
        let reads = join_all(reads).await;
        let mut known = self.0.lock();
        for (agent, read) in reads {
            match read {
                Ok(Some(catalogue)) => drop(known.insert(agent.clone(), Arc::new(catalogue))),
                Ok(None) => {}
                Err(error) => log::debug!(agent:%, error:%; "a catalogue is not read"),
            }
        }
        let here: BTreeSet<_> = present.iter().map(|presence| &presence.agent).collect();
        known.retain(|agent, _| here.contains(agent));
        known.clone()
    }
}

/// Reads the catalogue of `agent`; `None` when not all of its pages are there.
async fn read(bridge: &Bridge, agent: &AgentId) -> Result<Option<Catalogue>, BridgeError> {
    let page = async |n| {
        let key = CataloguePage::key(agent, n);
        let read = bridge.read::<CataloguePage>(Bucket::Catalogues, &key).await?;
        Ok::<_, BridgeError>(read.map(|entry| entry.value))
    };
    let Some(first) = page(0).await? else { return Ok(None) };
    let mut pages = vec![first];
    for n in 1..pages[0].pages.min(MAX_PAGES) {
        match page(n).await? {
            Some(page) => pages.push(page),
            None => return Ok(None),
        }
    }
    Ok(Catalogue::join(pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_one_version_are_one_catalogue_and_others_are_none() {
        let names =
            |kind: &str| (0..200).map(|n| format!("{kind}-{n}-{}", "x".repeat(90))).collect();
        let (applications, images): (Vec<_>, Vec<_>) = (names("app"), names("image"));
        let mut pages = CataloguePage::split("v", &applications, &images);
        assert!(pages.len() > 2);
        let catalogue = Catalogue::join(pages.clone()).expect("a catalogue");
        for name in applications.iter().chain(&images) {
            assert!(catalogue.offers(name));
        }
        assert!(!catalogue.offers("app"));
        pages[1].version = "w".to_owned();
        assert!(Catalogue::join(pages).is_none(), "it is just being written");
        assert!(Catalogue::join(Vec::new()).is_none());
    }
}

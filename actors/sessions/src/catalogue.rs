//! What this agent can launch, told to the gateways in records of its own.

use std::sync::Arc;
use std::time::Duration;

use stream_protocol::CataloguePage;
use stream_protocol::subjects::Bucket;
use tokio::time::Instant;

use crate::context::AgentContext;

/// How often AMS is asked, beside each event that tells of a change: events get lost. How often the
/// records are stored, whether or not anything has changed: the store may have lost them.
const REFRESH: Duration = Duration::from_secs(60);

/// How long a record is kept that is not stored again.
const RECORD_TTL: Duration = Duration::from_secs(300);

/// The catalogue of this agent, as it was read and stored last. A restart reads and stores anew.
pub(crate) struct Catalogue {
    context: Arc<AgentContext>,
    names: Names,
    /// Empty before the first look.
    version: String,
    read_at: Option<Instant>,
    stored_at: Option<Instant>,
}

#[derive(Default, Eq, PartialEq)]
struct Names {
    applications: Vec<String>,
    images: Vec<String>,
}

impl Catalogue {
    pub(crate) fn new(context: Arc<AgentContext>) -> Self {
        let version = String::new();
        Self { context, names: Names::default(), version, read_at: None, stored_at: None }
    }

    /// Has AMS asked at the next look.
    pub(crate) fn invalidate(&mut self) {
        self.read_at = None;
    }

    /// Asks AMS and stores the records if it is time, and returns the version that is stored. While
    /// AMS tells nothing, what it told last is good.
    ///
    /// # Errors
    ///
    /// One sentence, when AMS was never asked with success, or the records cannot be stored.
    pub(crate) async fn publish(&mut self) -> Result<String, String> {
        if is_due(self.read_at) {
            match self.read().await {
                Ok(names) => self.set(names),
                Err(why) if self.version.is_empty() => return Err(why),
                Err(why) => log::debug!(cause:% = why; "the catalogue is the one of before"),
            }
        }
        if is_due(self.stored_at) {
            self.store().await?;
            self.stored_at = Some(Instant::now());
        }
        Ok(self.version.clone())
    }

    async fn read(&self) -> Result<Names, String> {
        let ams = &self.context.deps.ams;
        let applications = ams.applications().await.map_err(|error| error.to_string())?;
        let applications = applications.into_iter().map(|application| application.name).collect();
        let images = ams.images().await.map_err(|error| error.to_string())?;
        Ok(Names { applications, images })
    }

    fn set(&mut self, names: Names) {
        self.read_at = Some(Instant::now());
        if self.version.is_empty() || names != self.names {
            self.version = format!("{:016x}", u64::from_le_bytes(*stream_pki::random_bytes::<8>()));
            self.names = names;
            self.stored_at = None;
        }
    }

    async fn store(&self) -> Result<(), String> {
        let Names { applications, images } = &self.names;
        let (bridge, agent) = (&self.context.deps.bridge, self.context.agent());
        // The first page last: whoever sees it finds the others.
        let pages = CataloguePage::split(&self.version, applications, images);
        for (n, page) in pages.iter().enumerate().rev() {
            let key = CataloguePage::key(agent, n);
            let stored = bridge.put_with_ttl(Bucket::Catalogues, &key, page, RECORD_TTL).await;
            stored.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn is_due(last: Option<Instant>) -> bool {
    last.is_none_or(|last| last.elapsed() >= REFRESH)
}

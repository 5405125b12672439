//! The calls to AMS: each waits for a permit of the circuit breaker and has a deadline.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stream_protocol::Application;
use tokio::time::Instant;

use crate::circuit_breaker::{self, CallKind, CircuitBreaker};
use crate::connection::Connections;
use crate::error::AmsError;
use crate::hedge::hedged;
use crate::http::{self, RawResponse};
use crate::instance::{Instance, LaunchInstance, Raw};
use crate::response::{self, Image, ListedApplication, Operation, Server};
#[cfg(feature = "simulation")]
use crate::simulated_ams::SimulatedAms;
use crate::{Config, Deletion};

/// AMS is asked to wait for an operation for this much less than the request may take.
const WAIT_MARGIN: Duration = Duration::from_secs(1);

/// The most entries of a list that are asked for at once. An answer of that many is well below what
/// is read of one.
const PAGE: usize = 500;

/// The most entries of one list.
const MAX_LISTED: usize = 100_000;

/// How often a request that AMS refuses for now is repeated.
const REPEATS: u32 = 2;

/// AMS as one can call it; cheap to clone, clones share their connections.
#[derive(Clone)]
pub(crate) struct AmsClient {
    connections: Connections,
    breaker: Arc<CircuitBreaker>,
    base: Url,
    timeout: Duration,
    #[cfg(feature = "simulation")]
    simulated: Option<Arc<dyn SimulatedAms>>,
}

impl AmsClient {
    /// Reads the certificates. Refuses what cannot be used, as a sentence.
    pub(crate) fn new(config: &Config) -> Result<Self, AmsError> {
        let refused = |text: &str| AmsError::Config(format!("ams: {text}"));
        let base = Url::parse(&config.url)
            .ok()
            .filter(|url| url.scheme() == "https" && url.has_host())
            .filter(|url| url.query().is_none() && url.fragment().is_none())
            .ok_or_else(|| refused("url is not of the form https://HOST:PORT"))?;
        if !base.username().is_empty() || base.password().is_some() {
            return Err(refused("url holds a user name or password: only certificates are used"));
        }
        if !(1..=300).contains(&config.timeout_s) {
            return Err(refused("timeout_s is between 1 and 300"));
        }
        if !(1..=3600).contains(&config.reload_s) {
            return Err(refused("reload_s is between 1 and 3600"));
        }
        let timeout = Duration::from_secs(config.timeout_s);
        let connections = Connections::new(config)?;
        Ok(Self {
            connections,
            breaker: Arc::new(CircuitBreaker::new()),
            base,
            timeout,
            #[cfg(feature = "simulation")]
            simulated: None,
        })
    }

    /// Returns a client that asks `service` in the place of AMS.
    #[cfg(feature = "simulation")]
    pub(crate) fn of_simulated(&self, service: Arc<dyn SimulatedAms>) -> Self {
        let breaker = Arc::new(CircuitBreaker::new());
        Self { breaker, simulated: Some(service), ..self.clone() }
    }

    /// Returns what is asked in the place of AMS, if anything is.
    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(&self) -> Option<&Arc<dyn SimulatedAms>> {
        self.simulated.as_ref()
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    pub(crate) fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns what the server says of itself, also to somebody it does not trust.
    ///
    /// It is asked whatever happened before: what it answers tells how AMS is.
    pub(crate) async fn server_info(&self, timeout: Duration) -> Result<Server, AmsError> {
        let asked = self.send(Method::GET, self.url(&[]), None, timeout).await;
        match &asked {
            Ok(_) => self.breaker.answered(),
            Err(error) => self.breaker.failed(error),
        }
        asked?.open()?.read()
    }

    /// Returns what the server says of itself to somebody it trusts.
    ///
    /// # Errors
    ///
    /// [`AmsError::Unreachable`] when it does not trust us.
    pub(crate) async fn server(&self, timeout: Duration) -> Result<Server, AmsError> {
        let server = self.server_info(timeout).await?;
        if server.trusts_us() {
            return Ok(server);
        }
        Err(AmsError::Unreachable(format!(
            "it does not trust our client certificate: add {} to its trust store",
            self.connections.current().fingerprint
        )))
    }

    /// Launches an application, or an image when there is no application of that name.
    pub(crate) async fn launch(&self, launch: &LaunchInstance) -> Result<String, AmsError> {
        match self.create(launch, launch.body()).await {
            Err(AmsError::NotFound) if launch.app_version.is_none() => {
                let images = self.images().await?;
                let meant = |image: &&Image| image.name == launch.app || image.id == launch.app;
                let image = images.iter().find(meant).ok_or(AmsError::NotFound)?;
                self.create(launch, launch.body_of_image(&image.id)).await
            }
            launched => launched,
        }
    }

    /// Creates the instance and returns its id. One that has the name already is the one meant when
    /// it has the tags, too.
    async fn create(&self, launch: &LaunchInstance, body: Value) -> Result<String, AmsError> {
        let mut url = self.url(&["instances"]);
        url.query_pairs_mut().append_pair("no_wait", "true");
        let body = self.request(Method::POST, url, Some(body)).await?;
        let id = match body.open() {
            Ok(answer) => answer.read::<Operation>()?.instance().map(str::to_owned),
            Err(AmsError::Conflict) => None,
            Err(error) => return Err(error),
        };
        match id {
            Some(id) => Ok(id),
            // Also when AMS accepted and did not say which one it made.
            None => match self.instance(launch.name.as_str()).await? {
                Some(instance) if launch.has_made(&instance) => Ok(instance.id),
                Some(_) => Err(AmsError::NameTaken(launch.name.clone())),
                None => Err(AmsError::Conflict),
            },
        }
    }

    pub(crate) async fn delete(&self, id_or_name: &str, how: Deletion) -> Result<(), AmsError> {
        let Some(segment) = path_segment(id_or_name) else { return Ok(()) };
        match (self.end(segment, how).await, how) {
            (Err(why @ (AmsError::Refused { .. } | AmsError::NotDeleted)), Deletion::Graceful) => {
                log::info!(instance:% = segment, cause:% = why; "an instance is deleted by force");
                self.end(segment, Deletion::Forced).await
            }
            (ended, _) => ended,
        }
    }

    async fn end(&self, segment: &str, how: Deletion) -> Result<(), AmsError> {
        let url = self.url(&["instances", segment]);
        let force = json!({ "force": how == Deletion::Forced });
        let body = self.request(Method::DELETE, url, Some(force)).await?;
        let ended = match body.open() {
            Ok(answer) => match answer.operation() {
                Some(operation) => self.wait(operation).await,
                None => Ok(()),
            },
            Err(error) => Err(error),
        };
        match ended {
            // Of an operation AMS knows nothing any more either once it is long over.
            Ok(()) | Err(AmsError::NotFound) => {}
            Err(error) => return Err(error),
        }
        // An operation that ended well and an instance that is gone are two things.
        match self.instance(segment).await? {
            None => Ok(()),
            Some(_) => Err(AmsError::NotDeleted),
        }
    }

    pub(crate) async fn instance(&self, id_or_name: &str) -> Result<Option<Instance>, AmsError> {
        let Some(segment) = path_segment(id_or_name) else { return Ok(None) };
        let body = self.request(Method::GET, self.url(&["instances", segment]), None).await?;
        match body.open().and_then(|answer| answer.read::<Raw>()) {
            Ok(raw) => Ok(Some(raw.into())),
            Err(AmsError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn instances(&self, tag: &str) -> Result<Vec<Instance>, AmsError> {
        let mut url = self.url(&["instances"]);
        url.query_pairs_mut().append_pair("tags", tag);
        let all: Vec<Raw> = self.list(url).await?;
        // Checked here as well: an AMS that does not filter must not have others' instances
        // taken for ours.
        let ours = |instance: &Instance| instance.tags.iter().any(|own| own == tag);
        let mut ours: Vec<_> = all.into_iter().map(Instance::from).filter(ours).collect();
        // What goes between two pages moves the others, what comes may be on both.
        ours.sort_by(|one, other| one.id.cmp(&other.id));
        ours.dedup_by(|one, other| one.id == other.id);
        Ok(ours)
    }

    /// Reads a list, with whole entries, page by page: a large one fits into no single answer.
    async fn list<T: DeserializeOwned>(&self, url: Url) -> Result<Vec<T>, AmsError> {
        let mut all = Vec::new();
        while all.len() < MAX_LISTED {
            let mut page = url.clone();
            let (limit, offset) = (PAGE.to_string(), all.len().to_string());
            page.query_pairs_mut()
                .append_pair("recursion", "1")
                .append_pair("limit", &limit)
                .append_pair("offset", &offset);
            let answer = self.request(Method::GET, page, None).await?;
            let entries: Vec<T> = answer.open()?.read()?;
            // An AMS that knows no pages answers with all at once.
            let is_last = entries.len() != PAGE;
            all.extend(entries);
            if is_last {
                return Ok(all);
            }
        }
        Err(AmsError::Malformed(format!("a list of more than {MAX_LISTED} entries")))
    }

    pub(crate) async fn applications(&self) -> Result<Vec<Application>, AmsError> {
        let listed: Vec<ListedApplication> = self.list(self.url(&["applications"])).await?;
        Ok(response::streamable(listed))
    }

    /// Returns the images that can be launched; none from an AMS that has no such list.
    pub(crate) async fn images(&self) -> Result<Vec<Image>, AmsError> {
        let mut url = self.url(&["images"]);
        url.query_pairs_mut().append_pair("recursion", "1");
        let body = self.request(Method::GET, url, None).await?;
        let mut images: Vec<Image> = match body.open() {
            Ok(answer) => answer.read()?,
            Err(AmsError::NotFound) => Vec::new(),
            Err(error) => return Err(error),
        };
        images.retain(Image::is_there);
        images.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(images)
    }

    /// Waits until an operation has ended, within the deadline of one call.
    pub(crate) async fn wait(&self, operation: &str) -> Result<(), AmsError> {
        let segment = path_segment(operation)
            .ok_or_else(|| AmsError::Malformed("an operation without a proper id".to_owned()))?;
        let seconds = self.timeout.saturating_sub(WAIT_MARGIN).as_secs().max(1).to_string();
        let mut url = self.url(&["operations", segment, "wait"]);
        url.query_pairs_mut().append_pair("timeout", &seconds);
        let body = self.call(CallKind::LongPoll, Method::GET, url, None).await?;
        body.open()?.read::<Operation>()?.outcome()
    }

    pub(crate) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an https url has a path")
            .pop_if_empty()
            .push("1.0")
            .extend(path);
        url
    }

    /// Sends a request that AMS answers as soon as it can, as [`AmsClient::call`] does.
    pub(crate) async fn request(
        &self,
        method: Method,
        url: Url,
        body: Option<Value>,
    ) -> Result<RawResponse, AmsError> {
        self.call(CallKind::Immediate, method, url, body).await
    }

    /// Sends a request and repeats it while AMS refuses it for now, all within one deadline.
    ///
    /// # Errors
    ///
    /// Refuses at once while the circuit breaker is open. An answer of AMS is no error here,
    /// whatever it says.
    async fn call(
        &self,
        kind: CallKind,
        method: Method,
        url: Url,
        body: Option<Value>,
    ) -> Result<RawResponse, AmsError> {
        let deadline = Instant::now() + self.timeout;
        let mut attempt = 0;
        loop {
            let permit = self.breaker.acquire(kind, deadline).await?;
            let answered = match kind {
                CallKind::Immediate => {
                    self.request_hedged(&method, &url, body.as_ref(), deadline).await
                }
                // Its answer takes a while, whether AMS was mute in between or not.
                CallKind::LongPoll => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.send(method.clone(), url.clone(), body.as_ref(), left).await
                }
            };
            drop(permit);
            match &answered {
                // Also an answer that cannot be used is one.
                Ok(_) | Err(AmsError::Malformed(_)) => self.breaker.answered(),
                Err(error) => self.breaker.failed(error),
            }
            let answered = answered?;
            if !matches!(answered.status, 429 | 503) {
                return Ok(answered);
            }
            if let Some(asked) = answered.retry_after {
                self.breaker.pause(asked);
            }
            let delay = circuit_breaker::retry_delay(attempt, answered.retry_after);
            if attempt == REPEATS || Instant::now() + delay >= deadline {
                return Ok(answered);
            }
            tokio::time::sleep(delay).await;
            attempt += 1;
        }
    }

    /// Sends a request once, and once more when a *later* probe is answered first: AMS was mute in
    /// between and never answers the first one. Safe, because a launch carries a unique name and
    /// every other call is idempotent.
    async fn request_hedged(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
        deadline: Instant,
    ) -> Result<RawResponse, AmsError> {
        let attempt = || {
            let left = deadline.saturating_duration_since(Instant::now());
            self.send(method.clone(), url.clone(), body, left)
        };
        let mut is_hedged = false;
        let again = async || {
            if is_hedged {
                pending::<()>().await;
            }
            self.breaker.stalled().await;
            is_hedged = true;
        };
        hedged(attempt, again).await
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<RawResponse, AmsError> {
        #[cfg(feature = "simulation")]
        if let Some(service) = &self.simulated {
            let asked = service.ask(method.as_str(), &url, body);
            let answered = tokio::time::timeout(timeout, asked).await;
            return answered.unwrap_or(Err(AmsError::TimedOut)).map(RawResponse::simulated);
        }
        let connection = self.connections.current();
        let request = connection.client.request(method, url);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        http::send(request, timeout).await
    }
}

/// Returns `text` if it can be an id or a name of AMS. Anything else would name another object:
/// an empty text the whole collection.
fn path_segment(text: &str) -> Option<&str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (!text.is_empty() && text.len() <= 255 && text.bytes().all(plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::OnceLock;

    use stream_pki::Fingerprint;

    use super::*;

    fn identity() -> &'static stream_pki::KeyPairPem {
        static IDENTITY: OnceLock<stream_pki::KeyPairPem> = OnceLock::new();
        IDENTITY.get_or_init(|| stream_pki::self_signed("agent", &[]).expect("a key pair"))
    }

    fn config(directory: &Path) -> Config {
        let (certificate, key) = (directory.join("c.pem"), directory.join("k.pem"));
        std::fs::write(&certificate, &identity().certificate).expect("written");
        stream_pki::write_new(&key, identity().key.as_bytes(), 0o600).expect("written");
        let fingerprints = vec![Fingerprint([7; 32])];
        let url = "https://127.0.0.1:1/base/".to_owned();
        Config {
            url,
            certificate,
            key,
            fingerprints,
            pins: None,
            ca: None,
            timeout_s: 10,
            reload_s: 5,
        }
    }

    #[test]
    fn a_configuration_that_cannot_be_used_is_refused_with_a_sentence() {
        let directory = tempfile::tempdir().expect("a directory");
        let good = config(directory.path());
        assert!(AmsClient::new(&good).is_ok());
        let with_pins = |file: &str| Config {
            fingerprints: Vec::new(),
            pins: Some(directory.path().join(file)),
            ..good.clone()
        };
        for (bad, about) in [
            (Config { url: "http://ams:8444".into(), ..good.clone() }, "url"),
            (Config { url: "https://u:p@ams:8444".into(), ..good.clone() }, "password"),
            (Config { timeout_s: 0, ..good.clone() }, "timeout_s"),
            (Config { timeout_s: u64::MAX, ..good.clone() }, "timeout_s"),
            (Config { fingerprints: Vec::new(), ..good.clone() }, "fingerprint"),
            (Config { ca: Some("ca.pem".into()), ..good.clone() }, "one of fingerprints"),
            (Config { reload_s: 0, ..good.clone() }, "reload_s"),
            (with_pins("pins.missing"), "pins.missing"),
            (Config { key: "missing.pem".into(), ..good.clone() }, "missing.pem"),
        ] {
            let Err(AmsError::Config(text)) = AmsClient::new(&bad) else {
                panic!("{about} passed")
            };
            assert!(text.contains(about), "{text:?} does not speak of {about}");
        }
    }

    #[test]
    fn paths_are_built_under_the_base_and_what_is_no_id_never_becomes_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let client = AmsClient::new(&config(directory.path())).expect("a good configuration");
        let url = client.url(&["instances", "s-abc-1"]);
        assert_eq!(url.as_str(), "https://127.0.0.1:1/base/1.0/instances/s-abc-1");
        for text in ["", ".", "..", "a/b", "a?b", "a%2f", "é"] {
            assert_eq!(path_segment(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn an_ams_that_does_not_listen_is_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let client = AmsClient::new(&config(directory.path())).expect("a good configuration");
        assert!(matches!(client.server(client.timeout()).await, Err(AmsError::Unreachable(_))));
        assert!(
            matches!(client.delete("", Deletion::Graceful).await, Ok(())),
            "nothing was to be asked"
        );
    }
}

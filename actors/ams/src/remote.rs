//! The HTTP side: one request at a time, each under a deadline, answers of bounded size.

use std::error::Error;
use std::time::Duration;

use reqwest::{Client, Method, Url, redirect};
use serde_json::{Value, json};
use stream_pki::{Fingerprint, Identity, Trust, client_config, is_pin_mismatch};
use stream_protocol::Application;

use crate::Config;
use crate::error::{AmsError, chain};
use crate::instance::{Instance, LaunchInstance, Raw};
use crate::wire::{self, Listed, Operation, Server};

/// The largest answer that is read, in bytes: some 3,000 instances in one list.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// How much longer we wait for an operation than we ask AMS to, so that AMS answers first.
const WAIT_MARGIN: Duration = Duration::from_secs(1);

/// AMS as one can call it; cheap to clone, clones share their connections.
#[derive(Clone)]
pub(crate) struct Remote {
    client: Client,
    base: Url,
    timeout: Duration,
    /// Our own certificate, for the sentence about what AMS should trust.
    fingerprint: Fingerprint,
}

impl Remote {
    /// Reads the certificates. Refuses what cannot be used, as a sentence.
    pub(crate) fn new(config: &Config) -> Result<Self, AmsError> {
        let refused = |text: &str| AmsError::Config(format!("ams: {text}"));
        let unusable = |error: &dyn Error| refused(&chain(error));

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
        let trust = match &config.ca {
            Some(_) if !config.fingerprints.is_empty() => {
                return Err(refused("give either fingerprints or ca, not both"));
            }
            Some(ca) => Trust::from_ca_file(ca).map_err(|error| unusable(&error))?,
            None => Trust::Pins(config.fingerprints.clone()),
        };
        let identity =
            Identity::load(&config.certificate, &config.key).map_err(|error| unusable(&error))?;
        let tls = client_config(&trust, Some(&identity)).map_err(|error| unusable(&error))?;

        let timeout = Duration::from_secs(config.timeout_s);
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .https_only(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(timeout)
            .build()
            .map_err(|error| unusable(&error))?;
        Ok(Self { client, base, timeout, fingerprint: identity.fingerprint() })
    }

    /// Returns what the server says of itself; refuses when it does not trust us.
    pub(crate) async fn server(&self) -> Result<Server, AmsError> {
        let body = self.call(Method::GET, self.url(&[]), None).await?;
        let server: Server = body.open()?.read()?;
        if server.trusts_us() {
            return Ok(server);
        }
        Err(AmsError::Away(format!(
            "it does not trust our client certificate: add {} to its trust store",
            self.fingerprint
        )))
    }

    pub(crate) async fn launch(&self, launch: &LaunchInstance) -> Result<String, AmsError> {
        let mut url = self.url(&["instances"]);
        url.query_pairs_mut().append_pair("no_wait", "true");
        let body = self.call(Method::POST, url, Some(launch.body())).await?;
        let id = match body.open() {
            Ok(answer) => answer.read::<Operation>()?.instance().map(str::to_owned),
            Err(AmsError::Conflict) => None,
            Err(error) => return Err(error),
        };
        match id {
            Some(id) => Ok(id),
            // The name is ours alone: whoever has it is the instance meant. Also when AMS accepted
            // and did not say which one it made.
            None => match self.instance(launch.name.as_str()).await? {
                Some(instance) => Ok(instance.id),
                None => Err(AmsError::Conflict),
            },
        }
    }

    pub(crate) async fn delete(&self, id_or_name: &str) -> Result<(), AmsError> {
        let Some(segment) = segment(id_or_name) else { return Ok(()) };
        let url = self.url(&["instances", segment]);
        let body = self.call(Method::DELETE, url, Some(json!({ "force": true }))).await?;
        let ended = match body.open() {
            Ok(answer) => match answer.operation() {
                Some(operation) => self.wait(operation).await,
                None => Ok(()),
            },
            Err(error) => Err(error),
        };
        match ended {
            // Of an operation AMS knows nothing any more either once it is long over.
            Err(AmsError::NotFound) => Ok(()),
            ended => ended,
        }
    }

    pub(crate) async fn instance(&self, id_or_name: &str) -> Result<Option<Instance>, AmsError> {
        let Some(segment) = segment(id_or_name) else { return Ok(None) };
        let body = self.call(Method::GET, self.url(&["instances", segment]), None).await?;
        match body.open().and_then(|answer| answer.read::<Raw>()) {
            Ok(raw) => Ok(Some(raw.into())),
            Err(AmsError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn instances(&self, tag: &str) -> Result<Vec<Instance>, AmsError> {
        let mut url = self.url(&["instances"]);
        url.query_pairs_mut().append_pair("recursion", "1").append_pair("tags", tag);
        let body = self.call(Method::GET, url, None).await?;
        let all: Vec<Raw> = body.open()?.read()?;
        // Checked here as well: an AMS that does not filter must not have others' instances
        // taken for ours.
        let ours = |instance: &Instance| instance.tags.iter().any(|own| own == tag);
        Ok(all.into_iter().map(Instance::from).filter(ours).collect())
    }

    pub(crate) async fn applications(&self) -> Result<Vec<Application>, AmsError> {
        let mut url = self.url(&["applications"]);
        url.query_pairs_mut().append_pair("recursion", "1");
        let body = self.call(Method::GET, url, None).await?;
        Ok(wire::streamable(body.open()?.read::<Vec<Listed>>()?))
    }

    /// Waits until an operation has ended, within the deadline of one call.
    async fn wait(&self, operation: &str) -> Result<(), AmsError> {
        let segment = segment(operation)
            .ok_or_else(|| AmsError::Malformed("an operation without a proper id".to_owned()))?;
        let seconds = self.timeout.saturating_sub(WAIT_MARGIN).as_secs().max(1).to_string();
        let mut url = self.url(&["operations", segment, "wait"]);
        url.query_pairs_mut().append_pair("timeout", &seconds);
        let body = self.call(Method::GET, url, None).await?;
        body.open()?.read::<Operation>()?.outcome()
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an https url has a path")
            .pop_if_empty()
            .push("1.0")
            .extend(path);
        url
    }

    async fn call(
        &self,
        method: Method,
        url: Url,
        body: Option<Value>,
    ) -> Result<Answered, AmsError> {
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let text = format!("it is larger than {MAX_ANSWER_BYTES} bytes");
                return Err(AmsError::Malformed(text));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answered { status, body })
    }
}

/// An answer as it came.
struct Answered {
    status: u16,
    body: Vec<u8>,
}

impl Answered {
    fn open(&self) -> Result<wire::Answer<'_>, AmsError> {
        wire::open(self.status, &self.body)
    }
}

/// Says why there is no answer, as `what: detail`. Without the URL: the log line names AMS anyway.
fn failed(error: reqwest::Error) -> AmsError {
    let error = error.without_url();
    if is_pin_mismatch(&error) {
        let text = "its server certificate has none of the configured fingerprints: \
                    check that it is the right server, then correct the fingerprints";
        return AmsError::Away(text.to_owned());
    }
    if error.is_timeout() && !error.is_connect() {
        return AmsError::TimedOut;
    }
    // The outermost error only says that sending failed.
    let cause = error.source().map_or_else(|| chain(&error), chain);
    AmsError::Away(format!("it cannot be reached: {cause}"))
}

/// Returns `text` if it can be an id or a name of AMS. Anything else would name another object:
/// an empty text the whole collection.
fn segment(text: &str) -> Option<&str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (!text.is_empty() && text.len() <= 255 && text.bytes().all(plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::OnceLock;

    use super::*;

    fn identity() -> &'static stream_pki::KeyPairPem {
        static IDENTITY: OnceLock<stream_pki::KeyPairPem> = OnceLock::new();
        IDENTITY.get_or_init(|| stream_pki::self_signed("agent", &[]).expect("a key pair"))
    }

    fn config(directory: &Path) -> Config {
        let (certificate, key) = (directory.join("c.pem"), directory.join("k.pem"));
        std::fs::write(&certificate, &identity().certificate).expect("written");
        std::fs::write(&key, identity().key.as_bytes()).expect("written");
        let fingerprints = vec![Fingerprint([7; 32])];
        let url = "https://127.0.0.1:1/base/".to_owned();
        Config { url, certificate, key, fingerprints, ca: None, timeout_s: 10 }
    }

    #[test]
    fn a_configuration_that_cannot_be_used_is_refused_with_a_sentence() {
        let directory = tempfile::tempdir().expect("a directory");
        let good = config(directory.path());
        assert!(Remote::new(&good).is_ok());
        for (bad, about) in [
            (Config { url: "http://ams:8444".into(), ..good.clone() }, "url"),
            (Config { url: "https://u:p@ams:8444".into(), ..good.clone() }, "password"),
            (Config { timeout_s: 0, ..good.clone() }, "timeout_s"),
            (Config { timeout_s: u64::MAX, ..good.clone() }, "timeout_s"),
            (Config { fingerprints: Vec::new(), ..good.clone() }, "fingerprint"),
            (Config { ca: Some("ca.pem".into()), ..good.clone() }, "not both"),
            (Config { key: "missing.pem".into(), ..good.clone() }, "missing.pem"),
        ] {
            let Err(AmsError::Config(text)) = Remote::new(&bad) else { panic!("{about} passed") };
            assert!(text.contains(about), "{text:?} does not speak of {about}");
        }
    }

    #[test]
    fn paths_are_built_under_the_base_and_what_is_no_id_never_becomes_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let remote = Remote::new(&config(directory.path())).expect("a good configuration");
        let url = remote.url(&["instances", "s-abc-1"]);
        assert_eq!(url.as_str(), "https://127.0.0.1:1/base/1.0/instances/s-abc-1");
        for text in ["", ".", "..", "a/b", "a?b", "a%2f", "é"] {
            assert_eq!(segment(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn an_ams_that_does_not_listen_is_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let remote = Remote::new(&config(directory.path())).expect("a good configuration");
        assert!(matches!(remote.server().await, Err(AmsError::Away(_))));
        assert!(matches!(remote.delete("").await, Ok(())), "nothing was to be asked");
    }
}

//! What an operator has to know of AMS.

use std::time::{Duration, SystemTime};

use reqwest::Method;
use serde::Deserialize;

use crate::Config;
use crate::agent_api::AgentApi;
use crate::client::AmsClient;
use crate::error::AmsError;
use crate::probe::probe;
use crate::response::text;

/// AMS as an agent finds it.
#[derive(Clone, Debug)]
pub struct AmsReport {
    pub cluster: String,
    /// `None` where AMS does not tell it.
    pub version: Option<String>,
    /// By how much the clock of this system differs from what AMS says in `Date`, which is told to
    /// the second.
    pub clock_skew: Option<Duration>,
    /// How many applications can be streamed.
    pub applications: usize,
    /// How many images can be launched.
    pub images: usize,
    /// Whom AMS asks for sessions; `None` where it does not let us see that.
    pub agent: Option<AgentApi>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default, deserialize_with = "text")]
    version: String,
}

/// Looks at AMS once, and changes nothing there.
///
/// # Errors
///
/// Those of [`try_connect`](crate::try_connect).
pub async fn inspect(config: &Config) -> Result<AmsReport, AmsError> {
    let client = AmsClient::new(config)?;
    let server = probe(&client).await?;
    let answer = client.request(Method::GET, client.url(&["version"]), None).await?;
    let clock_skew = answer.date.map(|date| {
        let ahead = SystemTime::now().duration_since(date);
        // It is told to the second, of which it may be the end.
        ahead.unwrap_or_else(|behind| behind.duration())
    });
    let version = answer.open().and_then(|answer| answer.read::<Version>()).ok();
    let version = version.map(|Version { version }| version).filter(|text| !text.is_empty());
    let applications = client.applications().await?.len();
    let images = client.images().await?.len();
    let agent = client.agent_api().await.ok();
    let cluster = crate::Cluster::from(server).name;
    Ok(AmsReport { cluster, version, clock_skew, applications, images, agent })
}

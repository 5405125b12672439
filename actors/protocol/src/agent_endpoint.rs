use serde::{Deserialize, Serialize};

/// Where an instance reaches an agent, and what it checks there; see
/// [the way to an agent](crate::manual::wire#the-way-to-an-agent).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentEndpoint {
    /// `https://HOST:PORT` of the agent, or of the balancer before it.
    pub url: String,
    /// SHA-256 of the DER certificates that may be shown there, in hex. Empty when a balancer with
    /// a certificate of its own stands in front.
    pub fingerprints: Vec<String>,
}

impl AgentEndpoint {
    /// Returns one endpoint for each URL, in the order in which they come first: agents behind one
    /// balancer share it, and any of them may answer there. One without fingerprints has a
    /// certificate of another kind, so that none is to be checked there.
    pub fn merge(endpoints: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut merged: Vec<Self> = Vec::new();
        for endpoint in endpoints {
            let Some(known) = merged.iter_mut().find(|known| known.url == endpoint.url) else {
                merged.push(endpoint);
                continue;
            };
            if known.fingerprints.is_empty() || endpoint.fingerprints.is_empty() {
                known.fingerprints.clear();
                continue;
            }
            for fingerprint in endpoint.fingerprints {
                if !known.fingerprints.contains(&fingerprint) {
                    known.fingerprints.push(fingerprint);
                }
            }
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str, fingerprints: &[&str]) -> AgentEndpoint {
        let fingerprints = fingerprints.iter().map(|text| (*text).to_owned()).collect();
        AgentEndpoint { url: url.to_owned(), fingerprints }
    }

    #[test]
    fn agents_behind_one_balancer_are_one_endpoint() {
        let all = [
            endpoint("b", &["1"]),
            endpoint("a", &["2"]),
            endpoint("b", &["3", "1"]),
            endpoint("c", &["4"]),
            endpoint("c", &[]),
            endpoint("c", &["5"]),
        ];
        let merged = [endpoint("b", &["1", "3"]), endpoint("a", &["2"]), endpoint("c", &[])];
        assert_eq!(AgentEndpoint::merge(all), merged);
    }
}

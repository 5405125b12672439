//! AMS: what it has to launch, and whom it asks for sessions.

use stream_ams::{AgentApi, AmsReport};
use stream_pki::Fingerprint;

use super::Finding;

const AREA: &str = "ams";

/// Judges AMS from the agent at `own_url`, which shows AMS `own_fingerprint` where that is known.
pub(super) fn judge(
    report: &AmsReport,
    own_url: &str,
    own_fingerprint: Option<Fingerprint>,
) -> Vec<Finding> {
    let agent = report.agent.as_ref().and_then(|agent| of_agent(agent, own_url, own_fingerprint));
    std::iter::once(of_stock(report)).chain(agent).collect()
}

fn of_stock(report: &AmsReport) -> Finding {
    let AmsReport { cluster, version, applications, images, .. } = report;
    let version = version.as_deref().unwrap_or("of no known version");
    match applications + images {
        0 => Finding::warning(
            AREA,
            format!("AMS {version} has neither an application that is published nor an image"),
            "publish one: until then every session is refused",
        ),
        _ => Finding::good(
            AREA,
            format!("AMS {version}, cluster {cluster}, {applications} applications"),
        ),
    }
}

/// Judges what AMS knows of whom it asks for the sessions of what it launches itself.
fn of_agent(
    agent: &AgentApi,
    own_url: &str,
    own_fingerprint: Option<Fingerprint>,
) -> Option<Finding> {
    if agent.url.is_empty() {
        return None;
    }
    if !agent.names(own_url) {
        let url = &agent.url;
        return Some(Finding::good(AREA, format!("AMS asks the agent at {url} for sessions")));
    }
    let wrong = |why: String| {
        let what = format!("AMS asks this agent for sessions, and {why}");
        Finding::error(AREA, what, "`stream-agent ams configure` sets it right")
    };
    if !agent.has_token {
        return Some(wrong("has no token for it".to_owned()));
    }
    let finding = match (agent.fingerprint, own_fingerprint) {
        (None, _) => wrong("knows no fingerprint of its certificate".to_owned()),
        (Some(known), Some(own)) if known != own => {
            wrong(format!("expects the certificate {known}, where {own} is shown"))
        }
        _ => Finding::good(AREA, "AMS asks this agent for sessions"),
    };
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    const URL: &str = "https://agent-1.example.org:9033";
    const OWN: Fingerprint = Fingerprint([7; 32]);

    #[test]
    fn an_ams_without_anything_to_launch_is_told_of() {
        let report = AmsReport {
            cluster: "c".to_owned(),
            version: Some("1.28".to_owned()),
            clock_skew: None,
            applications: 0,
            images: 0,
            agent: Some(AgentApi::default()),
        };
        let found = judge(&report, URL, Some(OWN));
        assert_eq!((found.len(), found[0].severity), (1, Severity::Warning));
        let stocked = AmsReport { applications: 2, ..report };
        assert!(judge(&stocked, URL, Some(OWN))[0].what.contains("1.28"));
    }

    #[test]
    fn what_ams_knows_of_this_agent_is_held_against_what_it_shows() {
        let agent = |url: &str, pin: Option<u8>, has_token| {
            let fingerprint = pin.map(|byte| Fingerprint([byte; 32]));
            AgentApi { url: url.to_owned(), fingerprint, has_token }
        };
        let other = "https://agent-2.example.org:9033";
        let (good, error) = (Severity::Good, Severity::Error);
        for (agent, own, severity, words) in [
            (agent(other, Some(8), true), Some(OWN), good, "agent-2.example.org"),
            (agent(URL, Some(7), true), Some(OWN), good, "asks this agent"),
            (agent(URL, Some(8), true), None, good, "asks this agent"),
            (agent(URL, Some(8), true), Some(OWN), error, "0808"),
            (agent(URL, None, true), None, error, "no fingerprint"),
            (agent(URL, Some(7), false), Some(OWN), error, "no token"),
        ] {
            let found = of_agent(&agent, URL, own).expect("a finding");
            assert_eq!(found.severity, severity, "{found:?}");
            assert!(found.what.contains(words), "{found:?}");
        }
        assert_eq!(of_agent(&agent("", None, false), URL, Some(OWN)), None, "it asks nobody");
    }
}

//! All that is looked at beside each other, each within a time of its own: whatever hangs, there is
//! a report.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use stream_pki::Fingerprint;
use stream_protocol::subjects::NatsUser;
use tokio::time::timeout;

use super::files::SecretFile;
use super::unit::UnitPlace;
use super::{Finding, Severity, ams, clocks, files, nats, unit};
use crate::certificates::CertificateRow;

/// How long one thing may take. All are looked at beside each other.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

/// What a node is made of, as its configuration names it.
#[derive(Debug)]
pub struct Subject {
    /// What the program, its unit and its user are called.
    pub service: &'static str,
    pub nats: (NatsUser, stream_bridge::Config),
    pub ams: Option<AmsPlace>,
    pub secrets: Vec<SecretFile>,
    pub state: PathBuf,
    pub admin_socket: PathBuf,
    pub listen: SocketAddr,
    /// Whether it has relays; `None` for a service that needs none.
    pub has_relays: Option<bool>,
}

/// How a node is known to AMS.
#[derive(Debug)]
pub struct AmsPlace {
    pub config: stream_ams::Config,
    /// Where AMS finds this node.
    pub own_url: String,
    /// What AMS is shown there; `None` where that is a balancer's, or cannot be read.
    pub own_fingerprint: Option<Fingerprint>,
}

/// Looks at everything but what can be reached, which whoever asks tries.
pub async fn look(subject: &Subject) -> Vec<Finding> {
    let (nats, ams, unit) = tokio::join!(
        in_time("nats", of_nats(subject)),
        in_time("ams", of_ams(subject)),
        in_time("unit", of_unit(subject)),
    );
    let mut found = files::look(&subject.secrets, &subject.state);
    found.extend([nats, ams, unit].into_iter().flatten());
    found.extend(of_relays(subject));
    found
}

/// Returns what `check` finds, or that it found nothing in time.
pub async fn in_time(
    area: &'static str,
    check: impl Future<Output = Vec<Finding>>,
) -> Vec<Finding> {
    timeout(CHECK_TIMEOUT, check).await.unwrap_or_else(|_| {
        let what = format!("no answer within {} s", CHECK_TIMEOUT.as_secs());
        let remedy = "look whether something on the way drops packets instead of refusing them";
        vec![Finding::error(area, what, remedy)]
    })
}

/// Turns what came of trying the dependencies into findings.
pub fn by_tries(tried: Vec<(String, Result<String, String>)>) -> Vec<Finding> {
    let area = |name: &str| match name.split(' ').next() {
        Some("nats") => "nats",
        Some("ams") => "ams",
        _ => "relays",
    };
    // What is called as its area need not be called twice.
    let told = |name: &str, text: String| match name == area(name) {
        true => text,
        false => format!("{name}: {text}"),
    };
    let finding = |(name, tried): (String, Result<String, String>)| match tried {
        Ok(found) => Finding::good(area(&name), told(&name, found)),
        Err(why) => Finding::error(area(&name), told(&name, why), remedy_of(area(&name))),
    };
    tried.into_iter().map(finding).collect()
}

/// Where to look when the cause itself names nothing.
fn remedy_of(area: &str) -> &'static str {
    match area {
        "nats" => "start nats-server, or correct [nats]: `check-config --online` tries again",
        "ams" => "start AMS, correct [ams], or have it trust this node: `ams register`",
        _ => "start the relay, open its ports, or take it out of [turn]",
    }
}

pub fn of_certificates(rows: &[CertificateRow]) -> Vec<Finding> {
    let mut found: Vec<_> = rows.iter().filter_map(CertificateRow::finding).collect();
    let good = rows.iter().filter(|row| row.severity == Severity::Good);
    if let Some(days) = good.map(|row| row.days_left).min() {
        let what = format!("{} in use, the first ends in {days} days", rows.len());
        found.push(Finding::good("certificates", what));
    }
    found
}

async fn of_nats(subject: &Subject) -> Vec<Finding> {
    let (user, config) = subject.nats.clone();
    let replicas = config.replicas;
    // That it cannot be reached is told by whoever tried.
    let Ok(report) = stream_bridge::inspect(user, config).await else { return Vec::new() };
    let mut found = nats::judge(&report, replicas);
    found.extend(report.clock_skew.map(|skew| clocks::judge("NATS", skew, Duration::ZERO)));
    found
}

async fn of_ams(subject: &Subject) -> Vec<Finding> {
    let Some(place) = &subject.ams else { return Vec::new() };
    let Ok(report) = stream_ams::inspect(&place.config).await else { return Vec::new() };
    let mut found = ams::judge(&report, &place.own_url, place.own_fingerprint);
    // Told to the second, and read after the answer has come.
    let blur = Duration::from_secs(1);
    found.extend(report.clock_skew.map(|skew| clocks::judge("AMS", skew, blur)));
    found
}

async fn of_unit(subject: &Subject) -> Vec<Finding> {
    let Subject { service, admin_socket, listen, .. } = subject;
    unit::look(&UnitPlace { service, admin_socket, listen: *listen }).await
}

fn of_relays(subject: &Subject) -> Option<Finding> {
    let has_relays = subject.has_relays?;
    (!has_relays).then(|| {
        Finding::warning(
            "relays",
            "no relay is configured: clients behind most firewalls get no picture",
            "name coturn in [turn] servers",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_told_of_and_holds_up_nothing() {
        let found = in_time("nats", std::future::pending()).await;
        assert_eq!((found[0].severity, found[0].area), (Severity::Error, "nats"));
        assert!(found[0].what.contains("20 s"), "{found:?}");
    }

    #[test]
    fn what_was_tried_is_told_by_its_area() {
        let away = || Err("refused".to_owned());
        let tried = vec![
            ("nats".to_owned(), Ok("n1".to_owned())),
            ("ams".to_owned(), away()),
            ("relay turn:r:3478 over udp".to_owned(), away()),
        ];
        let found = by_tries(tried);
        let told: Vec<_> = found.iter().map(|one| (one.area, one.severity)).collect();
        let (good, error) = (Severity::Good, Severity::Error);
        assert_eq!(told, [("nats", good), ("ams", error), ("relays", error)]);
        assert!(found[1].remedy.contains("ams register") && found[2].remedy.contains("[turn]"));
    }
}

//! Files of certificates that cannot be used: every surface goes on with those before, says so in
//! its metrics, and takes the files up when they are good again.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use stream_dev::in_process::{Options, Stack};
use stream_dev::keys::{KeyStore, Pair, write_secret};
use stream_pki::Fingerprint;
use stream_protocol::TokenKind;
use stream_tokens::Mint;
use toml::toml;

use super::dated;
use crate::support::{Http, eventually, light_instances, run_flow};

/// What may become of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Damage {
    Half,
    Empty,
    Missing,
    Expired,
    NotYetValid,
    /// The key of another certificate, which is what a replacement looks like half way.
    ForeignKey,
    /// A key that everybody may read.
    OpenKey,
}

use Damage::{Empty, Expired, ForeignKey, Half, Missing, NotYetValid, OpenKey};

/// What is done to pairs, and to the files of authorities meanwhile.
const DAMAGES: [(Damage, Damage); 7] = [
    (Half, Half),
    (Empty, Missing),
    (Missing, Empty),
    (Expired, Expired),
    (NotYetValid, NotYetValid),
    (ForeignKey, Half),
    (OpenKey, Missing),
];

/// A certificate that a service uses, and its key where it is our own.
pub(super) struct Surface {
    pub(super) certificate: PathBuf,
    pub(super) key: Option<PathBuf>,
    good: [Vec<u8>; 2],
    /// A private key, for certificates with other dates.
    pub(super) signing_key: String,
}

impl Surface {
    pub(super) fn of(pair: &Pair) -> anyhow::Result<Self> {
        let good = [fs::read(&pair.certificate)?, fs::read(&pair.key)?];
        let signing_key = String::from_utf8(good[1].clone())?;
        let key = Some(pair.key.clone());
        Ok(Self { certificate: pair.certificate.clone(), key, good, signing_key })
    }

    pub(super) fn trusted(ca: &Path, signing_key: &str) -> anyhow::Result<Self> {
        let good = [fs::read(ca)?, Vec::new()];
        let signing_key = signing_key.to_owned();
        Ok(Self { certificate: ca.to_owned(), key: None, good, signing_key })
    }

    pub(super) fn spoil(&self, damage: Damage, foreign_key: &str) -> anyhow::Result<()> {
        let [certificate, key] = &self.good;
        let is_authority = self.key.is_none();
        let dated = |days| dated(&self.signing_key, is_authority, days);
        match (damage, &self.key) {
            (Half, _) => fs::write(&self.certificate, &certificate[..certificate.len() / 2])?,
            (Empty, _) => fs::write(&self.certificate, "")?,
            (Missing, _) => fs::remove_file(&self.certificate)?,
            (Expired, _) => fs::write(&self.certificate, dated([-9, -1])?)?,
            (NotYetValid, _) => fs::write(&self.certificate, dated([1, 9])?)?,
            (ForeignKey, Some(file)) => fs::write(file, foreign_key)?,
            (OpenKey, Some(file)) => fs::set_permissions(file, Permissions::from_mode(0o644))?,
            (ForeignKey | OpenKey, None) => anyhow::bail!("{damage:?} is about keys: {key:?}"),
        }
        Ok(())
    }

    pub(super) fn repair(&self) -> anyhow::Result<()> {
        let [certificate, key] = &self.good;
        if let Some(file) = &self.key {
            write_secret(file, key)?;
            fs::set_permissions(file, Permissions::from_mode(0o600))?;
        }
        Ok(fs::write(&self.certificate, certificate)?)
    }
}

/// Whoever reads the metrics of a service, over a new connection each time: it shows the
/// certificate of before.
struct Watcher {
    url: String,
    token: String,
    pin: Fingerprint,
    prefix: &'static str,
    uses: &'static [&'static str],
}

impl Watcher {
    async fn sees(&self, failed: bool) -> anyhow::Result<()> {
        let wanted = u8::from(failed);
        eventually(&format!("told as {wanted}"), async || {
            let client = Http::new(&self.url, Some(&self.token), self.pin)?;
            let page = client.get("/metrics").await?;
            let page = page.body.as_str().context("text")?.to_owned();
            let name = format!("{}_certificate_files_refused", self.prefix);
            let is_told = |of: &&str| {
                let line = format!("{name}{{use=\"{of}\"}} {wanted}");
                page.lines().any(|found| found == line)
            };
            Ok(self.uses.iter().all(is_told).then_some(()))
        })
        .await
    }
}

#[test]
fn bad_files_leave_what_is_in_use_and_are_told_until_they_are_good_again() {
    run_flow(async || {
        let (keys, dir) = (KeyStore::shared()?, tempfile::tempdir()?);
        let nats_client = keys.pair("ams-client")?.copy(dir.path(), "nats-client")?;
        let gateway_ca = dir.path().join("nats-ca.crt");
        fs::copy(keys.signed("nats")?.authority, &gateway_ca)?;
        let file = |path: &Path| path.display().to_string();
        let (certificate, key) = (file(&nats_client.certificate), file(&nats_client.key));
        let ca = file(&gateway_ca);
        let options = Options {
            launcher: light_instances(),
            agent: toml! {
                tls.reload_s = 1
                ams.reload_s = 1
                nats.certificate = certificate
                nats.key = key
            },
            gateway: toml! {
                tls.reload_s = 1
                nats.ca = ca
            },
            ..Options::default()
        };
        let stack = Stack::start(options).await?;
        let nodes = &stack.nodes;
        let minted = stack.agent.tokens.mint(Mint::new(TokenKind::Monitor, "watcher")).await?;
        let watchers = [
            Watcher {
                url: nodes.agent_url(),
                token: minted.token.to_string(),
                pin: nodes.agent_pin()?,
                prefix: "anbox_stream_agent",
                uses: &["server", "nats", "ams"],
            },
            Watcher {
                url: nodes.gateway_url(),
                token: stack.token.clone(),
                pin: nodes.gateway_pin()?,
                prefix: "anbox_stream_gateway",
                uses: &["server", "nats"],
            },
        ];
        let pairs = [nodes.agent_pair(), nodes.gateway_pair(), nodes.ams_client(), nats_client];
        let pairs = pairs.iter().map(Surface::of).collect::<anyhow::Result<Vec<_>>>()?;
        let trusted = Surface::trusted(&gateway_ca, &pairs[0].signing_key)?;
        let foreign_key = fs::read_to_string(keys.pair("agent-2")?.key)?;

        for (of_pairs, of_trust) in DAMAGES {
            log::info!("{of_pairs:?} pairs, {of_trust:?} trust");
            for pair in &pairs {
                pair.spoil(of_pairs, &foreign_key)?;
            }
            trusted.spoil(of_trust, &foreign_key)?;
            for watcher in &watchers {
                watcher.sees(true).await.with_context(|| format!("{of_pairs:?}, {of_trust:?}"))?;
            }
            for surface in pairs.iter().chain([&trusted]) {
                surface.repair()?;
            }
            for watcher in &watchers {
                watcher.sees(false).await.with_context(|| format!("after {of_pairs:?}"))?;
            }
        }
        // All of it goes on as before.
        stack.client()?.applications().await?;
        let restarts = stack.agent.supervisor.status();
        ensure!(restarts.iter().all(|actor| actor.restarts == 0), "{restarts:?}");
        stack.stop().await;
        Ok(())
    });
}

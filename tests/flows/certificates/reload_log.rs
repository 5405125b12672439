//! What the services say in their logs of files of certificates that cannot be used: which file,
//! and what is wrong with it, within ten seconds, as they are configured by default.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, ensure};
use serde_json::Value;
use stream_dev::in_process::{Options, Stack};
use stream_dev::keys::KeyStore;
use stream_dev::node_files::{NodeFiles, merge};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use toml::toml;

use super::reload::Damage::{self, Expired, ForeignKey, Half, NotYetValid};
use super::reload::Surface;
use crate::support::systemd::Systemd;
use crate::support::{eventually, light_instances, run_flow};

/// From the write of a file to the line about it.
const TOLD_WITHIN: Duration = Duration::seconds(10);

/// What is done to each file, and what is to be said of it.
const DAMAGES: [(Damage, &str); 4] = [
    (ForeignKey, "is not the key of the certificate in"),
    (Half, "PEM"),
    (Expired, "has expired on"),
    (NotYetValid, "is not valid before"),
];

struct Service {
    unit: Systemd,
    surfaces: Vec<Surface>,
}

impl Service {
    /// When the first line of its log since `written` names `file` and says what is wrong.
    fn told(
        &self,
        written: OffsetDateTime,
        file: &str,
        wrong: &str,
    ) -> anyhow::Result<Option<OffsetDateTime>> {
        for line in self.unit.log_text().lines() {
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let time = OffsetDateTime::parse(line["time"].as_str().context("a time")?, &Rfc3339)?;
            let is_loud = ["warn", "error"].iter().any(|level| line["level"] == *level);
            let line = line.to_string();
            if is_loud && time >= written && line.contains(file) && line.contains(wrong) {
                return Ok(Some(time));
            }
        }
        Ok(None)
    }
}

#[test]
fn a_bad_file_is_told_in_ten_seconds_with_its_name_and_what_is_wrong() {
    run_flow(async || {
        let keys = KeyStore::shared()?;
        let options = Options { launcher: light_instances(), ..Options::default() };
        let mut stack = Stack::start(options).await?;
        let agent = stack.nodes.join("agent-as-program", "agent-2", &keys)?;
        let gateway = stack.nodes.join_gateway("gateway-as-program", &keys)?;
        let nats_client = keys.pair("ams-client")?.copy(&agent.dir, "nats-client")?;
        let gateway_ca = gateway.dir.join("nats-ca.crt");
        fs::copy(keys.signed("nats")?.authority, &gateway_ca)?;
        let text = |path: &PathBuf| path.display().to_string();
        let (certificate, key) = (text(&nats_client.certificate), text(&nats_client.key));
        stack.config.override_agent(toml! {
            log.format = "json"
            nats.certificate = certificate
            nats.key = key
        });
        let ca = text(&gateway_ca);
        merge(
            &mut stack.config.gateway,
            toml! {
                log.format = "json"
                nats.ca = ca
            },
        );
        let unit = |program: &'static str, config: PathBuf, nodes: &NodeFiles| {
            Systemd::new(program, &config, &nodes.dir)
        };
        let config = agent.write_agent(&stack.config)?;
        let of_agent = unit(env!("CARGO_BIN_EXE_stream-agent"), config, &agent)?;
        let config = gateway.write_gateway(&stack.config)?;
        let of_gateway = unit(env!("CARGO_BIN_EXE_stream-gateway"), config, &gateway)?;
        let pairs = [agent.agent_pair(), agent.ams_client(), nats_client];
        let pairs = pairs.iter().map(Surface::of).collect::<anyhow::Result<Vec<_>>>()?;
        let served = Surface::of(&gateway.gateway_pair())?;
        let trusted = Surface::trusted(&gateway_ca, &served.signing_key)?;
        let mut services = [
            Service { unit: of_agent, surfaces: pairs },
            Service { unit: of_gateway, surfaces: vec![served, trusted] },
        ];
        for service in &mut services {
            service.unit.start().await?;
            let connected = || service.unit.log_text().contains("nats is connected");
            eventually("connected", async || Ok(connected().then_some(()))).await?;
        }

        let foreign_key = fs::read_to_string(keys.pair("agent")?.key)?;
        for (damage, wrong) in DAMAGES {
            // No authority has a key here.
            let applies = |surface: &&Surface| damage != ForeignKey || surface.key.is_some();
            let written = OffsetDateTime::from(SystemTime::now());
            // The log has no finer times.
            let written = written.replace_millisecond(written.millisecond())?;
            for service in &services {
                for surface in service.surfaces.iter().filter(applies) {
                    surface.repair()?;
                    surface.spoil(damage, &foreign_key)?;
                }
            }
            for service in &services {
                for surface in service.surfaces.iter().filter(applies) {
                    let file = text(&surface.certificate);
                    let told = eventually("told", async || service.told(written, &file, wrong));
                    let told = told.await.with_context(|| {
                        format!("{damage:?} {file}: {}", service.unit.log_text())
                    })?;
                    let after = told - written;
                    println!("{damage:?} {file}: told after {after}");
                    ensure!(after <= TOLD_WITHIN, "{damage:?} {file}: told after {after}");
                }
            }
        }
        for service in &mut services {
            service.unit.stop().await?;
        }
        stack.stop().await;
        Ok(())
    });
}

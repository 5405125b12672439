//! The AMS simulator of a stack, in this process or in one of its own.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use stream_pki::{Fingerprint, Identity};
use stream_simulators::ams::{Ams, Config, Launcher};

use super::site::Site;

/// The one application there is.
pub const APPLICATION: &str = "clock";

/// An AMS on the loopback.
pub struct Simulator {
    pub port: u16,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The client that may do everything.
    pub trust: Fingerprint,
    /// From the creation of an instance until it runs.
    pub boot: Duration,
}

impl Simulator {
    /// The AMS of `site`, which trusts the agent of `site`.
    pub fn of(site: &Site, boot: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            port: site.ams_port,
            certificate: site.ams.certificate.clone(),
            key: site.ams.key.clone(),
            trust: site.ams_client_pin()?,
            boot,
        })
    }

    /// Starts it here, with instances that run `launcher`; needs a running actix system.
    pub fn start(self, launcher: Launcher) -> anyhow::Result<Ams> {
        let config = Config {
            listen: (Ipv4Addr::LOCALHOST, self.port).into(),
            identity: Identity::load(&self.certificate, &self.key)?,
            trusted: vec![self.trust],
            trust_password: None,
            applications: vec![APPLICATION.to_owned()],
            boot: self.boot,
            capacity: 10_000,
            cluster_name: "dev".to_owned(),
        };
        Ams::start(config, launcher).context("the AMS simulator cannot listen")
    }
}

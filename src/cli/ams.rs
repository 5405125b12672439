//! What an operator does once with AMS, on the command line of the agent: have it trust this node,
//! and have it ask this node for sessions.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Deserialize;
use stream_ams::{Registered, register};
use stream_pki::{Identity, read_secret};

use super::configure_ams::Configure;
use crate::config;
use crate::output::say;

#[derive(Debug, Subcommand)]
pub enum Ams {
    /// Have AMS ask this agent for the sessions of instances that it launches itself with streaming
    /// on.
    ///
    /// Sets agent.api.url, agent.api.token and agent.api.fingerprint in the configuration of AMS,
    /// over a connection that is checked as the service checks it, and prints what was set and what
    /// stays. The service has to run: it makes the token, which is never printed. Run again, this
    /// sets what is wrong by then, and nothing else.
    ///
    /// When the certificate of the agent changes the service itself sets the fingerprint, as long
    /// as agent.api.url has the host and the port of its own `url`. Agents behind a balancer have
    /// one URL: run this on any of them, and give all of them one certificate.
    Configure(Configure),
    /// Have AMS trust the client certificate of this node.
    ///
    /// With a trust password this asks AMS itself, over a connection that is checked as the service
    /// checks it. Without one it prints what to run where AMS is. A certificate that is trusted
    /// already is left as it is.
    Register {
        /// File with the trust password, core.trust_password in the configuration of AMS.
        #[arg(long, value_name = "FILE")]
        trust_password_file: Option<PathBuf>,
        /// The configuration of the service; by default the one that `run` takes.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// The one section that matters here.
#[derive(Deserialize)]
struct Sections {
    ams: stream_ams::Config,
}

impl Ams {
    /// Runs the command and prints what came of it.
    ///
    /// # Errors
    ///
    /// The configuration cannot be used, or AMS does not answer or refuses.
    pub fn run(self, default_config: &Path) -> anyhow::Result<()> {
        let (trust_password_file, config) = match self {
            Self::Configure(configure) => return configure.run(default_config),
            Self::Register { trust_password_file, config } => (trust_password_file, config),
        };
        let path = config.as_deref().unwrap_or(default_config);
        let config = config::read::<Sections>(path, |sections| Ok(sections.ams.check()?))?.ams;
        let fingerprint = Identity::load(&config.certificate, &config.key)?.fingerprint();
        let Some(file) = trust_password_file else {
            say!("{}", by_hand(&config.certificate, &fingerprint.to_string()).trim_end());
            return Ok(());
        };
        let password = read_secret(&file, 1)?;
        let password = std::str::from_utf8(&password)
            .map_err(|_| anyhow::anyhow!("{}: a trust password is text", file.display()))?;
        match actix::System::new().block_on(register(&config, password))? {
            Registered::Added => say!("ams trusts this node now: {fingerprint}"),
            Registered::Already => say!("ams trusts this node already: {fingerprint}"),
        }
        Ok(())
    }
}

/// What to run on a machine whose `amc` may do everything.
fn by_hand(certificate: &Path, fingerprint: &str) -> String {
    let file = certificate.file_name().unwrap_or(certificate.as_os_str()).to_string_lossy();
    format!(
        "copy {} to a machine with amc and run there\n\n  \
         amc config trust add {file}\n\n\
         or, from AMS 1.28 on,\n\n  \
         amc auth identity create tls/stream-agent {file}\n\n\
         SHA-256 fingerprint of the certificate: {fingerprint}\n",
        certificate.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_to_run_by_hand_name_the_file_and_its_fingerprint() {
        let text = by_hand(Path::new("/etc/stream-agent/ams-client.crt"), "ab12");
        assert!(text.starts_with("copy /etc/stream-agent/ams-client.crt to"));
        assert!(text.contains("\n  amc config trust add ams-client.crt\n"), "{text}");
        assert!(text.ends_with(": ab12\n"));
    }
}

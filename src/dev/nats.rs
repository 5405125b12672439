//! A real nats-server: TLS 1.3 from the first byte, a token, JetStream on file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use stream_pki::{create_private_dir, random_text, write_new};

use super::keys::KeyStore;
use super::process::{self, Process};
use super::{ports, site};

const START_WITHIN: Duration = Duration::from_secs(20);

/// A running nats-server. Dropping it kills it.
pub struct Nats {
    program: PathBuf,
    dir: PathBuf,
    port: u16,
    process: Process,
}

impl Nats {
    /// Returns the nats-server to use: the one `NATS_SERVER` names, else the one in `PATH`, else
    /// the one that the scripts fetch.
    pub fn find() -> Option<PathBuf> {
        let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/nats-server");
        let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
        let candidates = [named, process::find("nats-server"), Some(fetched)];
        candidates.into_iter().flatten().find(|program| program.is_file())
    }

    /// Starts a server whose files are all in `dir`, and waits until it accepts connections.
    pub fn start(dir: &Path, keys: &KeyStore) -> anyhow::Result<Self> {
        let program = Self::find().context(
            "there is no nats-server: scripts/demo fetches one, or name it in NATS_SERVER",
        )?;
        create_private_dir(dir).with_context(|| format!("directory {}", dir.display()))?;
        let signed = keys.signed("nats")?;
        let pair = signed.pair.copy(dir, "server")?;
        std::fs::copy(&signed.authority, dir.join("ca.crt"))?;

        let (port, token) = (ports::free(), random_text(43));
        write_new(dir.join("token"), token.as_bytes(), 0o600)?;
        let text = format!(
            r#"listen: "127.0.0.1:{port}"
tls {{
  cert_file: {certificate}
  key_file: {key}
  min_version: "1.3"
  handshake_first: true
}}
authorization {{ token: "{token}" }}
jetstream {{
  store_dir: {store}
  max_file_store: 4GB
  max_memory_store: 256MB
}}
"#,
            certificate = site::quoted(&pair.certificate),
            key = site::quoted(&pair.key),
            store = site::quoted(&dir.join("store")),
            token = token.as_str(),
        );
        write_new(dir.join("nats.conf"), text.as_bytes(), 0o600)?;
        let process = run(&program, dir, port)?;
        Ok(Self { program, dir: dir.to_owned(), port, process })
    }

    pub fn url(&self) -> String {
        format!("tls://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of the authority that signed the server's.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    pub fn token(&self) -> PathBuf {
        self.dir.join("token")
    }

    /// How a bridge of a test reaches it.
    pub fn bridge(&self) -> stream_bridge::Config {
        stream_bridge::Config {
            servers: vec![self.url()],
            ca: self.ca(),
            token: Some(self.token()),
            credentials: None,
            certificate: None,
            key: None,
            replicas: 1,
        }
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills the server as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops the server in order.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts the server again, after [`Nats::kill`] or [`Nats::stop`], on the same port and store.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process.stop();
        self.process = run(&self.program, &self.dir, self.port)?;
        Ok(())
    }
}

fn run(program: &Path, dir: &Path, port: u16) -> anyhow::Result<Process> {
    let config = dir.join("nats.conf");
    let arguments = ["--config".as_ref(), config.as_os_str()];
    let mut process = Process::start("nats", program, &arguments, &dir.join("nats.log"))?;
    process.wait_for_port(port, START_WITHIN)?;
    Ok(process)
}

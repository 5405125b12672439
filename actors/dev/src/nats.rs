//! A real nats-server: TLS 1.3 from the first byte, a token or the users of the reference,
//! JetStream on file.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use stream_pki::{KeyPairPem, create_private_dir, random_text, write_new};
use stream_protocol::subjects::NatsUser;

use crate::keys::KeyStore;
use crate::nats_accounts::Users;
use crate::process::{self, Process};
use crate::{node_files, ports};

const START_WITHIN: Duration = Duration::from_secs(20);

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const NO_SERVER: &str =
    "there is no nats-server: scripts/demo fetches one, or name it in NATS_SERVER";

/// How long the server may take to tell its statistics.
const STATISTICS_TIMEOUT: Duration = Duration::from_secs(5);

/// A running nats-server. Dropping it kills it. One with least privilege panics then if it has
/// refused somebody something: a service needs no more than the reference permits.
pub struct Nats {
    program: PathBuf,
    dir: PathBuf,
    address: SocketAddr,
    /// The port of the loopback where the server tells its statistics.
    monitor: u16,
    process: Process,
    /// Those who may come in, where a token is not enough.
    users: Option<Users>,
}

/// How a server lets clients in.
#[derive(Clone, Default)]
pub struct ClientAuth {
    /// What its configuration says instead of a token.
    pub instead_of_token: Option<String>,
    /// The authority of the certificates that clients must show.
    pub clients: Option<PathBuf>,
}

/// What a server of a cluster knows of the others.
struct Member<'a> {
    name: String,
    /// Where the servers of the cluster listen for each other.
    ports: &'a [u16],
    own: usize,
}

impl Nats {
    /// Returns the nats-server to use: the one `NATS_SERVER` names, else the one in `PATH`, else
    /// the one that the scripts fetch.
    pub fn find() -> Option<PathBuf> {
        let fetched = crate::checkout().join(".tools/nats-server");
        let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
        let candidates = [named, process::find("nats-server"), Some(fetched)];
        candidates.into_iter().flatten().find(|program| program.is_file())
    }

    /// Starts a server whose files are all in `dir`, and waits until it accepts connections.
    pub fn start(dir: &Path, keys: &KeyStore) -> anyhow::Result<Self> {
        Self::start_with(dir, keys, &ClientAuth::default())
    }

    /// Starts a server as [`Nats::start`] does, that listens on `host`.
    pub fn start_on(dir: &Path, keys: &KeyStore, host: IpAddr) -> anyhow::Result<Self> {
        Self::open(dir, keys, &ClientAuth::default(), &random_text(43), host, None)
    }

    /// Starts a server that lets clients in as `auth` says, and waits until it accepts connections.
    pub fn start_with(dir: &Path, keys: &KeyStore, auth: &ClientAuth) -> anyhow::Result<Self> {
        Self::open(dir, keys, auth, &random_text(43), LOOPBACK, None)
    }

    /// Starts `count` servers that keep copies for each other, each with its files in a directory
    /// of its own in `dir`. They have one token.
    pub fn cluster(dir: &Path, keys: &KeyStore, count: usize) -> anyhow::Result<Vec<Self>> {
        create_private_dir(dir).with_context(|| format!("directory {}", dir.display()))?;
        let ports: Vec<_> = std::iter::repeat_with(ports::free).take(count).collect();
        let token = random_text(43);
        let server = |own| {
            let member = Member { name: format!("nats-{own}"), ports: &ports, own };
            let dir = dir.join(&member.name);
            Self::open(&dir, keys, &ClientAuth::default(), &token, LOOPBACK, Some(&member))
        };
        (0..count).map(server).collect()
    }

    /// Starts a server with the reference `nats-server-accounts.conf`, and waits until it accepts
    /// connections. Files, ports, the public nkeys and an operator are those of this server.
    pub fn start_least_privilege(dir: &Path, keys: &KeyStore) -> anyhow::Result<Self> {
        let program = Self::find().context(NO_SERVER)?;
        create_private_dir(dir).with_context(|| format!("directory {}", dir.display()))?;
        let signed = keys.signed("nats")?;
        signed.pair.copy(dir, "server")?;
        std::fs::copy(&signed.authority, dir.join("ca.crt"))?;
        let (port, monitor) = (ports::free(), ports::free());
        let users = Users::new(dir, keys)?;
        let text = users.configuration(dir, port, monitor)?;
        write_new(dir.join("nats.conf"), text.as_bytes(), 0o600)?;
        let address = SocketAddr::new(LOOPBACK, port);
        let process = run(&program, dir, address)?;
        let users = Some(users);
        Ok(Self { program, dir: dir.to_owned(), address, monitor, process, users })
    }

    fn open(
        dir: &Path,
        keys: &KeyStore,
        auth: &ClientAuth,
        token: &str,
        host: IpAddr,
        member: Option<&Member<'_>>,
    ) -> anyhow::Result<Self> {
        let program = Self::find().context(NO_SERVER)?;
        create_private_dir(dir).with_context(|| format!("directory {}", dir.display()))?;
        let signed = keys.signed("nats")?;
        let pair = signed.pair.copy(dir, "server")?;
        let ca = dir.join("ca.crt");
        std::fs::copy(&signed.authority, &ca)?;

        let (address, monitor) = (SocketAddr::new(host, ports::free_on(host)), ports::free());
        write_new(dir.join("token"), token.as_bytes(), 0o600)?;
        let authorization = match &auth.instead_of_token {
            Some(text) => text.clone(),
            None => format!("authorization {{ token: \"{token}\" }}"),
        };
        let clients = match &auth.clients {
            Some(authority) => {
                format!("ca_file: {}\n  verify: true", node_files::quoted(authority))
            }
            None => String::new(),
        };
        let identity = format!(
            r#"cert_file: {}
  key_file: {}
  min_version: "1.3""#,
            node_files::quoted(&pair.certificate),
            node_files::quoted(&pair.key),
        );
        let text = format!(
            r#"listen: "{address}"
http: "127.0.0.1:{monitor}"
tls {{
  {identity}
  handshake_first: true
  {clients}
}}
{authorization}
jetstream {{
  store_dir: {store}
  max_file_store: 4GB
  max_memory_store: 256MB
}}
{cluster}"#,
            store = node_files::quoted(&dir.join("store")),
            cluster = member.map(|member| member.section(&identity, &ca)).unwrap_or_default(),
        );
        write_new(dir.join("nats.conf"), text.as_bytes(), 0o600)?;
        let process = run(&program, dir, address)?;
        Ok(Self { program, dir: dir.to_owned(), address, monitor, process, users: None })
    }

    pub fn url(&self) -> String {
        format!("tls://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns what the server tells of itself under `path`: `varz` has its counters, `connz` those
    /// of each connection.
    pub fn statistics(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.monitor))?;
        stream.set_read_timeout(Some(STATISTICS_TIMEOUT))?;
        // Of this version a server ends the connection behind its answer.
        write!(stream, "GET /{path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("an answer of NATS")?;
        Ok(serde_json::from_str(body)?)
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
        self.bridge_as(NatsUser::Operator)
    }

    /// How a unit reaches it; with a token all are one.
    pub fn bridge_as(&self, user: NatsUser) -> stream_bridge::Config {
        let users = self.users.as_ref();
        stream_bridge::Config {
            servers: vec![self.url()],
            ca: self.ca(),
            token: users.is_none().then(|| self.token()),
            credentials: None,
            nkey: users.map(|users| users.nkey(user)),
            certificate: users.map(|users| users.client.certificate.clone()),
            key: users.map(|users| users.client.key.clone()),
            replicas: 1,
        }
    }

    /// Returns the lines of its log that say what it has refused to whom.
    pub fn violations(&self) -> Vec<String> {
        let text = std::fs::read(self.process.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().filter(|line| line.contains(" Violation")).map(str::to_owned).collect()
    }

    /// Lets the server refuse what it likes from now on.
    pub fn expect_violations(&mut self) {
        self.users.iter_mut().for_each(|users| users.may_be_refused = true);
    }

    /// How a bridge of a test reaches a cluster: any of its servers, each record on all of them.
    pub fn bridge_to(servers: &[Self]) -> stream_bridge::Config {
        stream_bridge::Config {
            servers: servers.iter().map(Self::url).collect(),
            replicas: servers.len(),
            ..servers[0].bridge()
        }
    }

    /// Gives the server another token from its next start on, and puts it into the file.
    pub fn change_token(&self) -> anyhow::Result<()> {
        let (file, new) = (self.token(), random_text(43));
        self.edit(&std::fs::read_to_string(&file)?, &new)?;
        Ok(std::fs::write(&file, new.as_bytes())?)
    }

    /// Gives a user of the reference another nkey: the seed into its file, the public key into the
    /// configuration, for the next start or reload. Returns the public key before.
    pub fn change_nkey(&mut self, user: NatsUser) -> anyhow::Result<String> {
        let users = self.users.as_mut().context("there is a token")?;
        let (before, new) = users.renew(user)?;
        self.edit(&before, &new)?;
        Ok(before)
    }

    /// Puts `new` for `old` into the configuration, for the next start or reload.
    pub fn edit(&self, old: &str, new: &str) -> anyhow::Result<()> {
        let config = self.dir.join("nats.conf");
        let text = std::fs::read_to_string(&config)?;
        anyhow::ensure!(text.contains(old), "{old:?} is not in its configuration");
        Ok(std::fs::write(&config, text.replace(old, new))?)
    }

    /// Has the server show the certificate of `pair`, from its next start on.
    pub fn change_certificate(&self, pair: &KeyPairPem) -> anyhow::Result<()> {
        std::fs::write(self.dir.join("server.crt"), &pair.certificate)?;
        Ok(std::fs::write(self.dir.join("server.key"), pair.key.as_bytes())?)
    }

    /// Has the running server read its configuration again.
    pub fn reload(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::HUP)
    }

    /// Has the server tell its clients to go elsewhere, and end when they have: the lame duck mode.
    pub fn retire(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::USR2)
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
        self.process = run(&self.program, &self.dir, self.address)?;
        Ok(())
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let is_strict = self.users.as_ref().is_some_and(|users| !users.may_be_refused);
        if is_strict && !std::thread::panicking() {
            let refused = self.violations();
            assert!(refused.is_empty(), "nats-server has refused:\n{}", refused.join("\n"));
        }
    }
}

impl Member<'_> {
    fn section(&self, identity: &str, ca: &Path) -> String {
        let routes = self.ports.iter().map(|port| format!("\"tls://127.0.0.1:{port}\""));
        format!(
            r#"server_name: {name}
cluster {{
  name: dev
  listen: "127.0.0.1:{port}"
  routes: [{routes}]
  tls {{
    {identity}
    ca_file: {ca}
    verify: true
  }}
}}
"#,
            name = self.name,
            port = self.ports[self.own],
            routes = routes.collect::<Vec<_>>().join(", "),
            ca = node_files::quoted(ca),
        )
    }
}

fn run(program: &Path, dir: &Path, address: SocketAddr) -> anyhow::Result<Process> {
    let config = dir.join("nats.conf");
    let arguments = ["--config".as_ref(), config.as_os_str()];
    let mut process = Process::start("nats", program, &arguments, &dir.join("nats.log"))?;
    process.wait_for_address(address, START_WITHIN)?;
    Ok(process)
}

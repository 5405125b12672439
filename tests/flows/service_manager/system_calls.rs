//! Both services from their start to their end, with a session in between, each seen by strace:
//! they ask the kernel for nothing that their units refuse.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rustix::process::{Signal, geteuid};
use stream_dev::in_process::{Options, Stack, wait_for_agent};
use stream_dev::node_files::{NodeFiles, StackConfig, merge};
use stream_protocol::Screen;
use stream_simulators::client::{ClientConfig, Gateway, Viewer};
use toml::toml;

use super::sandbox::{Sandbox, names};
use super::{AGENT, agent, gateway};
use crate::support::mounts::may_mount;
use crate::support::systemd::Systemd;
use crate::support::{APP, STEP_TIMEOUT, eventually, run_flow};

/// Whose processes have no right that is not everybody's; the test may be root.
const NOBODY: u32 = 65534;

/// What every program of ours asks for: a trace without it is none.
const SURELY: [&str; 8] =
    ["accept4", "clone3", "connect", "epoll_wait", "execve", "exit_group", "openat", "socket"];

/// A name with several addresses, among which the C library chooses.
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// Runs a command where the file before it is that of the hosts.
const WITH_HOSTS: &str = r#"mount --bind "$0" /etc/hosts; exec "$@""#;

/// Runs a command under strace, which stands beside it and not before it: the command has the id
/// that systemd knows, and that ends the name of the file before it.
const TRACED: &str = r#"exec strace -D -f -s 0 -o "$0.$$" "$@""#;

/// A service under strace, with what its unit says.
struct Traced {
    unit: Systemd,
    sandbox: Sandbox,
    trace: PathBuf,
}

impl Traced {
    /// Has `unit` run as the unit of `service` says, as far as a process can see it, and not as
    /// root.
    fn new(unit: Systemd, service: &str, dir: &Path) -> anyhow::Result<Self> {
        let program = dir.join(service);
        fs::copy(Path::new(AGENT).with_file_name(service), &program)?;
        let (sandbox, trace) = (Sandbox::of(service)?, dir.join("trace"));
        let mut wrapper = Vec::new();
        if may_mount("mount --bind /etc/hosts /etc/hosts") {
            let hosts = dir.join("hosts");
            fs::write(&hosts, HOSTS)?;
            wrapper.extend(["unshare", "--mount", "sh", "-euc", WITH_HOSTS].map(str::to_owned));
            wrapper.push(hosts.display().to_string());
        }
        wrapper.extend(["setpriv", "--no-new-privs"].map(str::to_owned));
        if geteuid().is_root() {
            wrapper.extend([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
            wrapper.extend(["--clear-groups", "--bounding-set=-all"].map(str::to_owned));
        }
        wrapper.extend(["sh", "-euc", TRACED].map(str::to_owned));
        wrapper.push(trace.display().to_string());
        let environment = sandbox.all("Environment").flat_map(str::split_whitespace);
        let environment = environment.filter_map(|pair| pair.split_once('='));
        let mut environment: Vec<_> =
            environment.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        environment.push(("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()));
        Ok(Self { unit: unit.run_by(wrapper, program, environment), sandbox, trace })
    }

    /// What was seen of the programs that have ended.
    fn seen(&self) -> anyhow::Result<Vec<String>> {
        let mut traces = Vec::new();
        for entry in fs::read_dir(self.trace.parent().context("a directory")?)? {
            let path = entry?.path();
            if path.file_stem() != self.trace.file_name() {
                continue;
            }
            let process = path.extension().and_then(OsStr::to_str).context("an id")?;
            let trace = fs::read_to_string(&path)?;
            let is_end = |line: &str| {
                let mut words = line.split_whitespace();
                words.next() == Some(process) && words.eq(["+++", "exited", "with", "0", "+++"])
            };
            if trace.lines().any(is_end) {
                traces.push(trace);
            }
        }
        Ok(traces)
    }

    /// Holds all that was seen of so many programs against the unit.
    async fn keeps_to_its_unit(&self, programs: usize) -> anyhow::Result<()> {
        let traces = eventually("the ends of the programs", async || {
            let seen = self.seen()?;
            Ok((seen.len() == programs).then_some(seen))
        });
        let trace = traces.await?.concat();
        let found = names(&trace)?;
        println!("{} calls of {} kinds: {found:?}", trace.lines().count(), found.len());
        let missing: Vec<_> = SURELY.iter().filter(|name| !found.contains(*name)).collect();
        ensure!(missing.is_empty(), "not in the trace: {missing:?}");
        let refused = self.sandbox.refused(&trace)?;
        ensure!(refused.is_empty(), "the unit refuses {refused:#?}");
        Ok(())
    }
}

/// Gives `nodes` all that its service reads, in a directory of its own, and by names that are
/// looked up.
fn own_files(stack: &Stack, nodes: &NodeFiles) -> anyhow::Result<StackConfig> {
    let mut config = stack.config.clone();
    let copy = |from: &Path, name: &str| {
        let to = nodes.dir.join(name);
        fs::copy(from, &to).with_context(|| format!("file {}", from.display()))?;
        anyhow::Ok(to)
    };
    config.nats.ca = copy(&stack.nats.ca(), "nats.ca")?;
    config.nats.token = Some(copy(&stack.nats.token(), "nats.token")?);
    for url in config.nats.servers.iter_mut().chain([&mut config.ams]) {
        *url = url.replace("127.0.0.1", "localhost");
    }
    // As the packages have it.
    let audit = nodes.dir.join("audit.log").display().to_string();
    let keys = toml! {
        audit.file = audit
        log.access = true
    };
    merge(&mut config.agent, keys.clone());
    merge(&mut config.gateway, keys);
    Ok(config)
}

/// Gives all in `dir` away, and lets its owner get there.
fn give_away(dir: &Path) -> anyhow::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        lchown(&path, Some(NOBODY), Some(NOBODY))?;
        if path.symlink_metadata()?.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        }
    }
    let mut above = dir.ancestors().skip(1).take_while(|above| *above != std::env::temp_dir());
    above.try_for_each(|above| Ok(fs::set_permissions(above, Permissions::from_mode(0o711))?))
}

#[test]
fn the_services_ask_the_kernel_for_nothing_that_their_units_refuse() {
    run_flow(async || {
        let options = Options { coturn: true, least_privilege: false, ..Options::default() };
        let mut stack = Stack::start(options).await?;
        let [(agent, agent_nodes), (gateway, gateway_nodes)] = [agent(&stack)?, gateway(&stack)?];
        let url = gateway.url()?;
        (stack.config.agents, stack.config.gateways) = (Some(agent.url()?), Some(url.clone()));
        agent_nodes.write_agent(&own_files(&stack, &agent_nodes)?)?;
        gateway_nodes.write_gateway(&own_files(&stack, &gateway_nodes)?)?;
        let mut agent = Traced::new(agent, "stream-agent", &agent_nodes.dir)?;
        let mut gateway = Traced::new(gateway, "stream-gateway", &gateway_nodes.dir)?;
        let pins = vec![gateway_nodes.gateway_pin()?];
        for nodes in [&agent_nodes, &gateway_nodes] {
            give_away(&nodes.dir)?;
        }
        // All that follows is done by those two.
        stack.gateway.stop().await;
        stack.agent.stop().await;
        agent.unit.start().await?;
        gateway.unit.start().await?;

        let client = Gateway::new(&ClientConfig {
            gateway: url,
            token: stack.token.clone(),
            pins: pins.clone(),
            screen: stream_simulators::SMALL_SCREEN,
        })?;
        wait_for_agent(&client).await?;
        let created = client.create(APP, Screen::default()).await?;
        let viewer = Viewer::connect(&created, pins).await?;
        viewer.wait_frames(5, STEP_TIMEOUT).await?;
        viewer.disconnect().await;

        let sockets = [agent_nodes.agent_socket(), gateway_nodes.admin_socket()];
        for (service, socket) in [&mut agent, &mut gateway].into_iter().zip(&sockets) {
            service.unit.forget();
            service.unit.signal(Signal::HUP)?;
            service.unit.wait_for("READY=1").await?;
            // ExecReload, which is held to the same.
            let words = ["reload", "--socket"].map(OsStr::new);
            service.unit.exec(&[&words[..], &[socket.as_os_str()]].concat()).await?;
        }

        client.delete(&created.id).await?;
        stack.ams.wait_until(|instances| instances.is_empty(), STEP_TIMEOUT).await?;
        for service in [&mut gateway, &mut agent] {
            service.unit.stop().await?;
            service.keeps_to_its_unit(2).await?;
        }
        Ok(())
    });
}

//! The Debian packages, made of the programs of this build: what is in them, and what they leave on
//! a system.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::mounts::may_mount;
use crate::support::stream_dev;
use anyhow::{Context, ensure};

const SERVICES: [&str; 2] = ["stream-agent", "stream-gateway"];

/// Makes a copy of this system, in the place of `/mnt`.
const COPY: &str = "mount -t tmpfs none /mnt && mkdir /mnt/upper /mnt/work /mnt/root && \
    mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root";

/// Installs the packages in `$1` over a copy of this system that nobody else sees, as an operator
/// does, and takes them away again.
const INSTALL: &str = r#"
set -eu
packages=$1
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
mkdir -p /mnt/root/packages
cp "$packages"/stream-gateway_*.deb "$packages"/stream-agent_*.deb /mnt/root/packages/
cat >/mnt/root/steps <<'EOF'
set -eu
dpkg --install /packages/*.deb >&2
for service in stream-agent stream-gateway; do
  stat -c '%U %a %n' /etc/$service /etc/$service/state /var/log/$service
  runuser -u $service -- $service --version >&2
done
# Twice: what is there stays.
stream-gateway init --host gateway.example.org >&2
stream-gateway init --host gateway.example.org | head -n 1 >&2
stat -L -c '%U %a %n' /etc/stream-gateway/server.key
runuser -u stream-gateway -- stream-gateway check-config 2>&1 || echo "code $?"
# For a user that is named, in another place.
init="stream-gateway init --host gateway.example.org"
$init --dir /srv/node --owner nobody >&2
stat -L -c '%U %a %n' /srv/node /srv/node/server.key /srv/node/ca.key
find /srv/node ! -user nobody -printf 'not given: %p\n'
$init --dir /srv/other --owner nobody-else 2>&1 || echo "refused with code $?"
dpkg --purge stream-agent stream-gateway >&2
for database in passwd group; do
  getent $database stream-agent stream-gateway || echo "nobody in $database"
done
EOF
chroot /mnt/root sh -eu /steps
rm -r /mnt/root/packages /mnt/root/steps
echo 'what is left:'
cd /mnt/upper
find . -name '*stream-*' ! -type c
"#;

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output: Output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Packs the programs of this build, without taking the time to make them small.
pub(crate) fn packages(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let programs = stream_dev();
    let programs = programs.parent().context("a directory")?;
    let mut script = Command::new("scripts/package");
    script.arg("--output").arg(dir).arg("--programs").arg(programs);
    script.current_dir(env!("CARGO_MANIFEST_DIR")).env("DPKG_DEB_COMPRESSOR_TYPE", "none");
    Ok(output(&mut script)?.lines().map(PathBuf::from).collect())
}

/// What the package at `path` holds, unpacked, with what dpkg is told in `DEBIAN`.
fn unpacked(path: &Path, to: &Path) -> anyhow::Result<String> {
    output(Command::new("dpkg-deb").arg("--raw-extract").arg(path).arg(to))?;
    output(Command::new("dpkg-deb").arg("--contents").arg(path))
}

#[test]
fn the_packages_hold_what_an_operator_needs() {
    checked().expect("good packages");
}

fn checked() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let packages = packages(dir.path())?;
    ensure!(packages.len() == 3, "{packages:?}");
    for package in &packages {
        let file = package.file_name().and_then(|name| name.to_str()).context("a name")?;
        let name = file.split('_').next().context("a name")?;
        let tree = dir.path().join(name);
        let contents = unpacked(package, &tree)?;
        ensure!(contents.lines().all(|line| line.contains(" root/root ")), "{contents}");
        ensure!(contents.lines().all(|line| !line.starts_with("drwxrwx")), "{contents}");
        let read = |path: &str| {
            std::fs::read_to_string(tree.join(path)).with_context(|| format!("{name}: {path}"))
        };
        let control = read("DEBIAN/control")?;
        ensure!(control.contains(concat!("Version: ", env!("CARGO_PKG_VERSION"))), "{control}");
        ensure!(control.contains("Depends: libc6 (>= 2."), "{control}");
        let copyright = read(&format!("usr/share/doc/{name}/copyright"))?;
        // The licences of what it is made of ask for their texts.
        for text in ["tokio ", "Permission is hereby granted", "rustls "] {
            ensure!(copyright.contains(text), "{name}: no {text} in its copyright");
        }
        let page = tree.join(format!("usr/share/man/man1/{name}.1.gz"));
        let page = output(Command::new("gzip").arg("-dc").arg(page))?;
        ensure!(page.contains(&format!(".TH {name} 1")), "{page}");
        let completions = tree.join(format!("usr/share/bash-completion/completions/{name}"));
        output(Command::new("bash").arg("-n").arg(completions))?;
        if !SERVICES.contains(&name) {
            ensure!(!tree.join("etc").exists(), "it is no service");
            continue;
        }
        let of_service = name.trim_start_matches("stream-");
        let config = format!("etc/{name}/{of_service}.toml");
        ensure!(read("DEBIAN/conffiles")? == format!("/{config}\n"));
        let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let reference = std::fs::read_to_string(reference.join(format!("{of_service}.toml")))?;
        let audit = "file = \"/var/log/";
        let reference = reference.replace(&format!("# {audit}"), audit);
        ensure!(read(&config)? == reference, "the configuration has its comments");
        ensure!(reference.lines().any(|line| line.starts_with(audit)), "no audit log");
        let unit = read(&format!("usr/lib/systemd/system/{name}.service"))?;
        let program = format!("ExecStart=/usr/bin/{name} run --config /{config}");
        ensure!(unit.lines().any(|line| line == program), "{unit}");
        read(&format!("usr/lib/systemd/system/{name}.socket"))?;
        for page in ["drain", "config-show", "reload"] {
            let page = tree.join(format!("usr/share/man/man1/{name}-{page}.1.gz"));
            ensure!(page.is_file(), "{page:?}");
        }
        for script in ["postinst", "prerm", "postrm"] {
            output(Command::new("sh").arg("-n").arg(tree.join("DEBIAN").join(script)))?;
            ensure!(!read(&format!("DEBIAN/{script}"))?.contains('@'), "{script}");
        }
    }
    Ok(())
}

#[test]
fn the_packages_are_installed_and_purged_they_leave_nothing() {
    if has_own_system() {
        let dir = tempfile::tempdir().expect("a directory");
        packages(dir.path()).expect("packages");
        installed(dir.path()).expect("an installation");
    }
}

/// Whether to go on with what takes a copy of this system.
pub(crate) fn has_own_system() -> bool {
    may_mount(COPY)
}

fn installed(packages: &Path) -> anyhow::Result<()> {
    let mut steps = Command::new("unshare");
    steps.args(["--mount", "sh", "-c", INSTALL, "sh"]).arg(packages);
    let said = output(&mut steps)?;
    let lines: Vec<_> = said.lines().collect();
    for line in [
        "stream-agent 700 /etc/stream-agent",
        "stream-agent 700 /etc/stream-agent/state",
        "stream-gateway 700 /etc/stream-gateway",
        "stream-gateway 700 /var/log/stream-gateway",
        "stream-gateway 600 /etc/stream-gateway/server.key",
        "code 78",
        "nobody 700 /srv/node",
        "nobody 600 /srv/node/server.key",
        "nobody 600 /srv/node/ca.key",
        "refused with code 1",
        "nobody in passwd",
        "nobody in group",
    ] {
        ensure!(lines.contains(&line), "no {line}: {said}");
    }
    ensure!(!said.contains("not given: "), "{said}");
    ensure!(said.contains("there is no user called nobody-else"), "{said}");
    // It is the operator's to bring.
    ensure!(said.contains("/etc/stream-gateway/nats"), "{said}");
    ensure!(lines.last() == Some(&"what is left:"), "{said}");
    Ok(())
}

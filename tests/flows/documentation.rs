//! What README.md and the pages beside it tell operators to run: every command, in order, on a
//! system of its own, which has everything that they say is there.

mod blocks;
mod cluster;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use blocks::{BEGINS, blocks, check};
use stream_dev::keys::KeyStore;
use stream_dev::nats::Nats;

use crate::package::{has_own_system, packages};
use crate::support::stream_dev;

/// Makes a copy of this system that nobody else sees, with a network of its own, in which all names
/// of the documentation are this machine. The packages are in `$1`, the steps in `$2`; AMS shows
/// `$4` and `$5`, and has the trust password that operators are said to have in a file.
const SURROUNDINGS: &str = r#"
set -eu
packages=$1 steps=$2 nats=$3 certificate=$4 key=$5
ip link set lo up
mount -t tmpfs none /mnt
root=/mnt/root checkout=/mnt/root/checkout
mkdir /mnt/upper /mnt/work $root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work $root
mount -t proc none $root/proc
mount --rbind /dev $root/dev
mount -t tmpfs none $root/run
names=$(grep -oh '[a-z0-9-]*\.example\.org' "$steps" | sort -u | tr '\n' ' ')
echo "127.0.0.1 localhost ams.example.org nats.example.org $names" >$root/etc/hosts
mkdir -p $checkout/target/debian $checkout/previous
cp "$packages"/*.deb $checkout/target/debian/
cp "$packages"/stream-agent_*.deb "$packages"/stream-gateway_*.deb $checkout/previous/
cp -r config $checkout/
install -m 0755 tests/interop/systemd/systemctl $root/usr/local/bin/systemctl
install -m 0755 "$nats" $root/usr/local/bin/nats-server
install -m 0600 "$certificate" "$key" $root/run/
install -m 0755 "$steps" $root/run/steps
printf %s "the trust password" | tee $checkout/ams.password >$root/root/ams.password
chmod 0600 $checkout/ams.password $root/root/ams.password
export HOME=/root PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
chroot $root sh -c 'dpkg --install /checkout/target/debian/stream-dev_*.deb' >/dev/null
chroot $root /usr/local/bin/systemctl manager >$root/run/manager.log 2>&1 &
chroot $root /usr/bin/stream-dev ams --trust-password "the trust password" \
  --certificate "/run/$(basename "$certificate")" --key "/run/$(basename "$key")" \
  >$root/run/ams.log 2>&1 &
until [ -S $root/run/systemd/private.sock ]; do sleep 0.05; done
chroot $root sh -eu /run/steps 2>&1 || {
  code=$?
  tail -n 20 $root/var/log/units/*.log $root/run/*.log
  exit $code
}
"#;

/// Whoever has a session waits until its instance runs.
const SESSION_RUNS: &str = r#"
session_runs() {
  tries=0
  until runuser -u stream-gateway -- stream-gateway session list | grep -q active; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || return 1
    sleep 0.1
  done
}
create_session() {
  tries=0
  until curl --silent --fail --cacert /etc/stream-gateway/ca.crt \
    -H "Authorization: Macaroon root=$1" -d '{"app": "clock"}' \
    https://stream.example.org:4000/1.0/sessions; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || return 1
    sleep 0.1
  done
  session_runs
}
"#;

/// Who has run both services, and has them start with the system, purges them: nothing is left but
/// what whoever plays systemd has made.
const PURGED: &str = r#"
for service in stream-agent stream-gateway; do
  systemctl is-active $service
  test -L /etc/systemd/system/multi-user.target.wants/$service.service
  test -L /etc/systemd/system/sockets.target.wants/$service.socket
  test -s /var/log/$service/audit.log
done
dpkg --purge stream-agent stream-gateway
for service in stream-agent stream-gateway; do
  for database in passwd group; do
    if getent $database $service; then exit 1; fi
  done
  for unit in $service.service $service.socket; do
    if systemctl is-active $unit; then exit 1; fi
  done
done
if find /etc /opt /run /srv /usr /var -xdev \
  \( -name '*stream-agent*' -o -name '*stream-gateway*' \) |
  grep -v -e '^/var/log/units/' -e '^/run/[^/]*\.notify$'; then exit 1; fi
"#;

/// A page, or a section of it, and what is to hold afterwards.
struct Page {
    file: &'static str,
    section: Option<&'static str>,
    /// Commands that fail unless the page has kept its promise.
    holds: &'static str,
}

/// In the order in which an operator comes to them.
const PAGES: [Page; 6] = [
    Page { file: ".github/operating/nats.md", section: None, holds: "test -s nats.token" },
    Page {
        file: "README.md",
        section: Some("## Running it for real"),
        holds: "session_runs; account=$token",
    },
    Page {
        file: "README.md",
        section: Some("### What changes while gateways run"),
        holds: "curl --silent --fail --cacert /etc/stream-gateway/ca.crt \
                -H \"Authorization: Macaroon root=$operator\" \
                https://stream.example.org:4000/1.0/config | grep '\"share.per_session\":\"2\"'",
    },
    Page {
        file: ".github/operating/upgrade.md",
        section: None,
        holds: "session_runs; create_session \"$account\"",
    },
    Page {
        file: ".github/operating/rotation.md",
        section: None,
        // The token before is good for a while, and so is every session.
        holds: "session_runs; create_session \"$account\"",
    },
    Page {
        file: ".github/operating/backup.md",
        section: None,
        holds: "runuser -u stream-gateway -- stream-gateway account list | grep second",
    },
];

/// Headings of README.md whose blocks other flows run: what the scripts there start, with what
/// takes the network away.
const ELSEWHERE: [(&str, &[&str]); 3] = [
    ("## Two commands", &["demo"]),
    ("### Testing a client against it", &["client_suite", "adb"]),
    // What runs this test.
    ("## How to check", &["documentation"]),
];

#[test]
fn no_block_of_commands_is_forgotten() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = Command::new("git").args(["ls-files", "*.md"]).current_dir(root).output();
    let listed = String::from_utf8(listed.expect("git runs").stdout).expect("paths");
    let mut found = 0;
    for file in listed.lines() {
        let text = std::fs::read_to_string(root.join(file)).expect("a page");
        for (line, heading) in headings_of_blocks(&text) {
            let is_run = PAGES.iter().any(|page| {
                page.file == file && page.section.is_none_or(|section| section == heading)
            });
            let flows = ELSEWHERE.iter().find(|(known, _)| *known == heading);
            let flows = flows.filter(|_| file == "README.md").map(|(_, flows)| *flows);
            for flow in flows.unwrap_or_default() {
                assert!(root.join(format!("tests/flows/{flow}.rs")).is_file(), "flow {flow}");
            }
            let is_known = is_run || file == cluster::PAGE || flows.is_some();
            assert!(is_known, "{file}:{line}: who runs this?");
            found += 1;
        }
    }
    assert!(found > 40, "the pages were not found: {found} blocks");
}

/// The line of each block of commands, and the heading above it.
fn headings_of_blocks(text: &str) -> Vec<(usize, &str)> {
    let (mut heading, mut is_inside, mut found) = ("", false, Vec::new());
    for (number, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(kind) => {
                is_inside = !is_inside;
                found.extend((is_inside && kind == "sh").then_some((number + 1, heading)));
            }
            None if !is_inside && line.starts_with('#') => heading = line,
            None => {}
        }
    }
    found
}

#[test]
fn every_command_does_what_the_documentation_says() {
    if has_own_system() {
        run().expect("documentation that is true");
    }
}

fn run() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut script, mut all) = (format!("{SESSION_RUNS}cd /checkout\n"), Vec::new());
    for Page { file, section, holds } in PAGES {
        let text = std::fs::read_to_string(root.join(file)).context(file)?;
        let found = blocks(file, &text, section)?;
        ensure!(!found.is_empty(), "{file} has no commands");
        for block in found {
            script.push_str(&format!("echo '{BEGINS} {}'\n{}\n", block.place, block.commands));
            all.push(block);
        }
        script.push_str(&format!("cd /checkout\necho '{BEGINS} after {file}'\n{holds}\n"));
    }
    script.push_str(&format!("echo '{BEGINS} after all'\n{PURGED}"));
    check(&all, &run_on_systems(SURROUNDINGS, &script)?)?;
    println!("{} blocks of commands", all.len());
    Ok(())
}

/// Runs a script that makes systems which nobody else sees and takes `steps` there; returns what it
/// says.
fn run_on_systems(script: &str, steps: &str) -> anyhow::Result<String> {
    let dir = tempfile::tempdir()?;
    packages(dir.path())?;
    let file = dir.path().join("steps");
    std::fs::write(&file, steps)?;
    let ams = KeyStore::shared()?.pair("ams")?;
    let mut systems = Command::new("unshare");
    systems.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c"]);
    systems.args([script, "sh"]).arg(dir.path()).arg(&file);
    systems.arg(Nats::find().context("scripts/test fetches nats-server")?);
    systems.args([&ams.certificate, &ams.key]).arg(stream_dev());
    let systems = systems.current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
    let said = String::from_utf8_lossy(&systems.stdout);
    let error = String::from_utf8_lossy(&systems.stderr);
    ensure!(systems.status.success(), "{}: {said}{error}", systems.status);
    Ok(said.into_owned())
}

//! What plays systemd where the documentation is run: a program in the place of a service finds
//! itself as shut in as the unit says.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use crate::package::has_own_system;

/// Starts the unit `$1` with `/probe` in the place of its program, on a copy of this system, and
/// says what that has found. What the probe tries everybody may do, were it not for the unit.
const SYSTEM: &str = r#"
set -eu
mount -t tmpfs none /mnt
root=/mnt/root
mkdir /mnt/upper /mnt/work $root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work $root
mount -t proc none $root/proc
mount --rbind /dev $root/dev
mount -t tmpfs none $root/run
mkdir -p $root/etc/systemd/system $root/etc/$1/state $root/home
install -m 0755 tests/interop/systemd/systemctl $root/usr/local/bin/systemctl
sed -e 's|^ExecStart=.*|ExecStart=/probe|' -e 's|^User=.*|User=nobody|' \
  -e 's|^Type=.*|Type=exec|' $UNPROTECTED config/systemd/$1.service \
  >$root/etc/systemd/system/$1.service
mkdir $root/open $root/run/open
: >$root/tmp/theirs
: >$root/home/theirs
chmod 0777 $root/open $root/run/open $root/home $root/etc/$1 $root/etc/$1/state
chmod 0666 $root/tmp/theirs
cat >$root/probe <<END
#!/bin/sh
may() { "\$@" >/dev/null 2>&1 && echo "may \$*" || echo "may not \$*"; }
may touch /etc/$1/state/file
may touch /run/$1/file
may touch /var/log/$1/file
may touch /tmp/file
may touch /open/file
may touch /run/open/file
may touch /etc/$1/file
may cat /tmp/theirs
may cat /home/theirs
may test -e /dev/null
may test -e /dev/ptmx
may test -e /proc/self
may test -e /proc/1
may test -e /proc/meminfo
umask
sed -n 's/^\(NoNewPrivs\|CapBnd\):\t/\1 /p' /proc/self/status
id -un
echo end
exec sleep 60
END
chmod 0755 $root/probe
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
chroot $root /usr/local/bin/systemctl manager 2>$root/run/manager.log &
until [ -S $root/run/systemd/private.sock ]; do sleep 0.05; done
log=$root/var/log/units/$1.service.log
chroot $root systemctl start $1 || { cat $root/run/manager.log $log >&2; exit 1; }
tries=0
until grep -qx end $log; do
  tries=$((tries + 1))
  [ $tries -lt 600 ] || { cat $log >&2; exit 1; }
  sleep 0.05
done
cat $log
"#;

/// What a probe in the place of `service` finds; without the lines of the unit that `sed` takes
/// out.
fn found(service: &str, sed: &str) -> anyhow::Result<Vec<String>> {
    let mut system = Command::new("unshare");
    system.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", SYSTEM, "sh", service]);
    system.env("UNPROTECTED", sed).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    let output = system.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

#[test]
fn who_plays_systemd_honours_what_the_units_protect() {
    if !has_own_system() {
        return;
    }
    for service in ["stream-agent", "stream-gateway"] {
        let at = |path: &str| path.replace('$', service);
        let found = found(service, "").expect("a unit that runs");
        let may = ["touch /etc/$/state/file", "touch /run/$/file", "touch /var/log/$/file"];
        let may = may.into_iter().chain(["touch /tmp/file", "test -e /dev/null"]);
        let may = may.chain(["test -e /proc/self"]).map(|what| format!("may {}", at(what)));
        let not = ["touch /open/file", "touch /run/open/file", "touch /etc/$/file"];
        let not = not.into_iter().chain(["cat /tmp/theirs", "cat /home/theirs"]);
        let not = not.chain(["test -e /dev/ptmx", "test -e /proc/1", "test -e /proc/meminfo"]);
        let not = not.map(|what| format!("may not {}", at(what)));
        let others = ["0077", "NoNewPrivs 1", "CapBnd 0000000000000000", "nobody"];
        for line in may.chain(not).chain(others.map(str::to_owned)) {
            assert!(found.contains(&line), "{service}: no {line}: {found:?}");
        }
    }
    // It is the unit that does it, not the system that it runs on.
    let found = found("stream-gateway", "-e /^Pr/d").expect("a unit that runs");
    for line in [
        "may touch /open/file",
        "may touch /run/open/file",
        "may cat /tmp/theirs",
        "may cat /home/theirs",
        "may test -e /proc/1",
        "may test -e /proc/meminfo",
    ] {
        assert!(found.iter().any(|found| found == line), "no {line}: {found:?}");
    }
}

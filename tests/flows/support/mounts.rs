//! Flows that mount: on systems of their own, on disks that are full.

use std::process::Command;

/// Says that nobody may mount here: what takes it is left out then.
const NO_MOUNTS: &str = "STREAM_TEST_NO_MOUNTS";

/// Whether to run a flow that mounts as the script `probe` does, where nobody else sees it. What is
/// left out is so because somebody has said so, never by itself.
///
/// # Panics
///
/// It cannot be mounted, and nobody has said so.
pub(crate) fn may_mount(probe: &str) -> bool {
    if std::env::var_os(NO_MOUNTS).is_some() {
        println!("left out: {NO_MOUNTS} is set");
        return false;
    }
    let tried = Command::new("unshare").args(["--mount", "sh", "-euc", probe]).output();
    let tried = tried.expect("unshare, which is part of every Linux");
    let said = String::from_utf8_lossy(&tried.stderr);
    assert!(
        tried.status.success(),
        "this test mounts, which takes root and a kernel that lets it: run it so, or set \
         {NO_MOUNTS}=1 to leave out what mounts: {said}"
    );
    true
}

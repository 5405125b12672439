//! Makes the secrets, keys and certificates of a node, once. What exists is left as it is, and
//! every file is written whole or not at all.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use stream_pki::{
    KeyPairPem, Seal, create_private_dir, random_text, read_secret, self_signed, write_new,
};

/// Secrets are only for the service itself.
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// One file of a node, and whether this run made it.
#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    pub what: &'static str,
    pub made: bool,
}

/// Makes what an agent needs in `dir`: `hosts` are the names and addresses that instances and AMS
/// reach it by, `join` is the sealing key of the first node. RSA keys take a few seconds each.
///
/// # Errors
///
/// A file cannot be written, `join` is no sealing key or not private, or `dir` is open to others or
/// belongs to another user.
pub fn agent(dir: &Path, hosts: &[String], join: Option<&Path>) -> anyhow::Result<Vec<File>> {
    let mut files = common(dir, hosts, "stream-agent", join)?;
    if join.is_none() {
        let what = "first TURN secret, shared with coturn";
        files.push(one_time_secret(dir, "turn.secret", "agent.turn", what)?);
    }
    let next = "next server certificate, which instances know ahead";
    files.extend(certificate(dir, "server-next", next, "stream-agent", hosts)?);
    let client = "client certificate for AMS, to be put into its trust store";
    files.extend(certificate(dir, "ams-client", client, "stream-agent", hosts)?);
    Ok(files)
}

/// Makes what a gateway needs in `dir`: `hosts` are the names and addresses that clients use,
/// `join` is the sealing key of the first node.
///
/// # Errors
///
/// Those of [`agent`].
pub fn gateway(dir: &Path, hosts: &[String], join: Option<&Path>) -> anyhow::Result<Vec<File>> {
    common(dir, hosts, "stream-gateway", join)
}

fn common(
    dir: &Path,
    hosts: &[String],
    name: &str,
    join: Option<&Path>,
) -> anyhow::Result<Vec<File>> {
    create_private_dir(dir).with_context(|| format!("directory {}", dir.display()))?;
    create_private_dir(dir.join("state")).context("directory state")?;
    let mut files = Vec::new();
    match join {
        // The record in NATS wins on further nodes: they need only the key that opens it.
        Some(key) => {
            // As the service will read it, so that a file it would refuse is refused here.
            let key = read_secret(key, Seal::MIN_KEY_BYTES).context("the file of --join")?;
            let what = "sealing key of the first node";
            files.push(write(dir.join("sealing.key"), what, &key, SECRET)?);
        }
        None => {
            files.push(secret(dir, "sealing.key", "sealing key, for further nodes", 64)?);
            let record = if name == "stream-agent" { "agent.root" } else { "gateway.root" };
            let what = "first root key of the tokens";
            files.push(one_time_secret(dir, "root.key", record, what)?);
        }
    }
    files.extend(certificate(dir, "server", "server certificate", name, hosts)?);
    Ok(files)
}

/// Makes a secret that the service removes once it is in NATS. Afterwards another one would only
/// mislead: the node remembers that it has seen `record`.
fn one_time_secret(
    dir: &Path,
    file: &str,
    record: &str,
    what: &'static str,
) -> anyhow::Result<File> {
    let is_stored = dir.join("state").join(format!("{record}.generation")).exists();
    let path = dir.join(file);
    if is_stored && !path.exists() {
        // Whoever has lost the store takes that memory away.
        let what = "is in NATS; should that be lost, remove its .generation in state/ and run this";
        return Ok(File { path, what, made: false });
    }
    secret(dir, file, what, 64)
}

fn secret(dir: &Path, file: &str, what: &'static str, len: usize) -> anyhow::Result<File> {
    write(dir.join(file), what, random_text(len).as_bytes(), SECRET)
}

/// A certificate and its key belong together: one without the other is an error, not a repair.
fn certificate(
    dir: &Path,
    stem: &str,
    what: &'static str,
    name: &str,
    hosts: &[String],
) -> anyhow::Result<[File; 2]> {
    let (public, private) = (dir.join(format!("{stem}.crt")), dir.join(format!("{stem}.key")));
    let (has_public, has_private) = (public.exists(), private.exists());
    if has_public != has_private {
        let (there, missing) = if has_public { (&public, &private) } else { (&private, &public) };
        anyhow::bail!(
            "{} exists without {}: remove it to have both made anew, or put the other back",
            there.display(),
            missing.display()
        );
    }
    if has_public {
        let file = |path, what| File { path, what, made: false };
        return Ok([file(public, what), file(private, "its key")]);
    }
    let KeyPairPem { certificate, key } = self_signed(name, hosts)?;
    // The key first: what is missing after a crash is then the half that tells.
    let private = write(private, "its key", key.as_bytes(), SECRET)?;
    Ok([write(public, what, certificate.as_bytes(), PUBLIC)?, private])
}

fn write(path: PathBuf, what: &'static str, bytes: &[u8], mode: u32) -> anyhow::Result<File> {
    match write_new(&path, bytes, mode) {
        Ok(()) => Ok(File { path, what, made: true }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(File { path, what, made: false })
        }
        Err(error) => Err(error).with_context(|| format!("file {}", path.display())),
    }
}

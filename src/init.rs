//! Makes the secrets, keys and certificates of a node, once. What exists is left as it is, and
//! every file is written whole or not at all. Certificates are links into the directory of the
//! state, where the service replaces them in time.

use std::path::Path;

use anyhow::Context;
use stream_pki::{
    CertificateRequest, PairSlot, PairStore, Purpose, Seal, create_private_dir, random_text,
    read_secret,
};
use zeroize::Zeroizing;

pub use crate::node_file::File;

use crate::authority;
use crate::node_file::{PUBLIC, SECRET, is_pair_there, write};

/// What opens the records in NATS; all units of a service have the same.
pub struct SealingKey(Zeroizing<Vec<u8>>);

impl SealingKey {
    /// Reads the file of the first node.
    ///
    /// # Errors
    ///
    /// It is no sealing key or not private, so that the service would refuse it as well.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        read_secret(path, Seal::MIN_KEY_BYTES).map(Self).context("the file of --join")
    }
}

/// Makes what an agent needs in `dir`: `hosts` are the names and addresses that instances and AMS
/// reach it by, `join` is the sealing key of the first node. RSA keys take a few seconds each.
///
/// # Errors
///
/// A file cannot be written, or `dir` is open to others or belongs to another user.
pub fn agent(dir: &Path, hosts: &[String], join: Option<&SealingKey>) -> anyhow::Result<Vec<File>> {
    let mut files = common(dir, hosts, "stream-agent", join)?;
    if join.is_none() {
        let what = "first TURN secret, shared with coturn";
        files.push(one_time_secret(dir, "turn.secret", "agent.turn", what)?);
    }
    let pairs = Pairs { dir, service: "stream-agent", hosts };
    let next = "next server certificate, which instances know ahead";
    pairs.make("server", PairSlot::Next, next, Purpose::Server, &mut files)?;
    let client = "client certificate for AMS, to be put into its trust store";
    pairs.make("ams-client", PairSlot::Present, client, Purpose::Client, &mut files)?;
    Ok(files)
}

/// Makes what a gateway needs in `dir`: `hosts` are the names and addresses that clients use,
/// `join` is the sealing key of the first node.
///
/// # Errors
///
/// Those of [`agent`].
pub fn gateway(
    dir: &Path,
    hosts: &[String],
    join: Option<&SealingKey>,
) -> anyhow::Result<Vec<File>> {
    common(dir, hosts, "stream-gateway", join)
}

fn common(
    dir: &Path,
    hosts: &[String],
    name: &str,
    join: Option<&SealingKey>,
) -> anyhow::Result<Vec<File>> {
    create_private_dir(dir).with_context(|| format!("directory {}", dir.display()))?;
    create_private_dir(dir.join("state")).context("directory state")?;
    let mut files = Vec::new();
    match join {
        // The record in NATS wins on further nodes: they need only the key that opens it.
        Some(SealingKey(key)) => {
            let what = "sealing key of the first node";
            files.push(write(dir.join("sealing.key"), what, key, SECRET)?);
        }
        None => {
            files.push(secret(dir, "sealing.key", "sealing key, for further nodes", 64)?);
            let record = if name == "stream-agent" { "agent.root" } else { "gateway.root" };
            let what = "first root key of the tokens";
            files.push(one_time_secret(dir, "root.key", record, what)?);
        }
    }
    let pairs = Pairs { dir, service: name, hosts };
    let what = "server certificate";
    pairs.make("server", PairSlot::Present, what, Purpose::Server, &mut files)?;
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

/// The certificates of one node, signed by an authority of its own, which is made with the first.
struct Pairs<'a> {
    dir: &'a Path,
    service: &'a str,
    hosts: &'a [String],
}

impl Pairs<'_> {
    /// Makes a pair, unless it is there.
    fn make(
        &self,
        stem: &str,
        slot: PairSlot,
        what: &'static str,
        purpose: Purpose,
        files: &mut Vec<File>,
    ) -> anyhow::Result<()> {
        let name = match slot {
            PairSlot::Present => stem.to_owned(),
            PairSlot::Next => format!("{stem}-next"),
        };
        let [public, private] = authority::pair_files(self.dir, &name);
        let is_there = is_pair_there(&public, &private)?;
        if !is_there {
            let made = authority::make(self.dir, self.service)?;
            files.extend(made.into_iter().filter(|file| file.made));
            let authority = authority::load(self.dir)?;
            let request =
                CertificateRequest { common_name: self.service, names: self.hosts, purpose };
            let pair = authority.sign(&request)?;
            let [present, _] = authority::pair_files(self.dir, stem);
            // What somebody else has put there is replaced by hand, and so is the one after it.
            if slot == PairSlot::Present || PairStore::behind(&present).is_some() {
                authority::install(self.dir, stem, slot, &pair)?;
            } else {
                write(private.clone(), "its key", pair.key.as_bytes(), SECRET)?;
                write(public.clone(), what, pair.certificate.as_bytes(), PUBLIC)?;
            }
        }
        let file = |path, what| File { path, what, made: !is_there };
        files.extend([file(public, what), file(private, "its key")]);
        Ok(())
    }
}

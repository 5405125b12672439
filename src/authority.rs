//! The authority of a node or of a site: `ca.crt` and `ca.key` in a directory, and what it signs
//! there.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use stream_pki::{
    Authority, CertificateInfo, CertificateRequest, Fingerprint, Identity, KeyPairPem, PairSlot,
    PairStore, random_text,
};
use stream_tls::Renewer;

use crate::node_file::{File, PUBLIC, SECRET, is_pair_there, write};

/// Where the authority of the directory `dir` is: its certificate, and its key.
pub fn files(dir: &Path) -> [PathBuf; 2] {
    ["ca.crt", "ca.key"].map(|name| dir.join(name))
}

/// Makes an authority called after `service` in `dir`, unless it is there. A key takes seconds.
///
/// # Errors
///
/// Half of it is there, or it cannot be written.
pub fn make(dir: &Path, service: &str) -> anyhow::Result<[File; 2]> {
    let [certificate, key] = files(dir);
    let (what, of_key) = ("certificate of the authority, for clients to trust", "its key");
    if is_pair_there(&certificate, &key)? {
        let kept = |path, what| File { path, what, made: false };
        return Ok([kept(certificate, what), kept(key, of_key)]);
    }
    // Two authorities that are trusted beside each other are to have two names.
    let name = format!("{service} CA {}", random_text(6).as_str());
    let authority = Authority::generate(&name)?;
    // The key first: what is missing after a crash is then the half that tells.
    let key = write(key, of_key, authority.key_pem().as_bytes(), SECRET)?;
    let certificate = authority.certificate_pem();
    Ok([write(certificate_path(dir), what, certificate.as_bytes(), PUBLIC)?, key])
}

fn certificate_path(dir: &Path) -> PathBuf {
    let [certificate, _] = files(dir);
    certificate
}

/// Reads the authority in `dir`.
///
/// # Errors
///
/// There is none, or it cannot be used.
pub fn load(dir: &Path) -> anyhow::Result<Authority> {
    let [certificate, key] = files(dir);
    ensure!(
        is_pair_there(&certificate, &key)?,
        "{} has no authority: `pki init` makes one",
        dir.display()
    );
    Ok(Authority::load(&certificate, &key)?)
}

/// Where a pair called `stem` in `dir` is kept, so that it can be replaced as one, also by a
/// service that may write to its state alone.
pub fn store(dir: &Path, stem: &str) -> PairStore {
    PairStore::at(dir.join("state").join(stem))
}

/// The certificate and the key that are called `stem` in `dir`.
pub fn pair_files(dir: &Path, stem: &str) -> [PathBuf; 2] {
    ["crt", "key"].map(|end| dir.join(format!("{stem}.{end}")))
}

/// Puts `pair` into `slot` of the pairs called `stem`, with links in `dir` that lead there.
///
/// # Errors
///
/// It cannot be written.
pub fn install(dir: &Path, stem: &str, slot: PairSlot, pair: &KeyPairPem) -> anyhow::Result<()> {
    let store = store(dir, stem);
    store.store(slot, pair)?;
    let [certificate, key] = match slot {
        PairSlot::Present => pair_files(dir, stem),
        PairSlot::Next => pair_files(dir, &format!("{stem}-next")),
    };
    Ok(store.link(slot, &certificate, &key)?)
}

/// Returns what renews the pair called `stem` in `dir`. Plain files are taken into a store before,
/// as they are: whoever reads them notices nothing.
///
/// # Errors
///
/// There is no such pair or no authority, or they cannot be used.
pub fn renewer(dir: &Path, stem: &str) -> anyhow::Result<Renewer> {
    load(dir)?;
    let [certificate, key] = pair_files(dir, stem);
    if PairStore::behind(&certificate).is_none() {
        let present = read_pair(&certificate, &key)?;
        install(dir, stem, PairSlot::Present, &present)?;
        let [next, next_key] = pair_files(dir, &format!("{stem}-next"));
        if is_pair_there(&next, &next_key)? {
            install(dir, stem, PairSlot::Next, &read_pair(&next, &next_key)?)?;
        }
    }
    let path = certificate.display();
    Renewer::of(&certificate).with_context(|| format!("{path} cannot be renewed"))
}

fn read_pair(certificate: &Path, key: &Path) -> anyhow::Result<KeyPairPem> {
    Identity::load(certificate, key)?;
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("file {}", path.display()))
    };
    Ok(KeyPairPem { certificate: read(certificate)?, key: read(key)?.into() })
}

/// What became of a renewal.
#[derive(Debug)]
pub enum Renewal {
    /// Another pair is made, and not presented before it is known.
    Announced(Fingerprint),
    /// The next pair is the present one, and there is another next one where it has to be known
    /// ahead.
    Presented { present: Fingerprint, next: Option<Fingerprint> },
}

/// Renews the pair called `stem` in `dir`: presents the next one, which others know, and makes
/// another. Without a next one it makes it first; `is_pinned` then leaves it to the next call to
/// present it.
///
/// # Errors
///
/// Those of [`renewer`], or the authority cannot sign.
pub fn renew(dir: &Path, stem: &str, is_pinned: bool) -> anyhow::Result<Renewal> {
    let renewer = renewer(dir, stem)?;
    let store = store(dir, stem);
    let link_next = || -> anyhow::Result<()> {
        let [certificate, key] = pair_files(dir, &format!("{stem}-next"));
        Ok(store.link(PairSlot::Next, &certificate, &key)?)
    };
    if store.load(PairSlot::Next).ok().flatten().is_none() {
        let made = renewer.make_next()?;
        if is_pinned {
            link_next()?;
            return Ok(Renewal::Announced(made));
        }
    }
    renewer.promote()?;
    let present = store.load(PairSlot::Present)?.context("the pair is gone")?.fingerprint();
    let next = is_pinned.then(|| renewer.make_next()).transpose()?;
    if is_pinned {
        link_next()?;
    }
    Ok(Renewal::Presented { present, next })
}

/// Signs a pair for `request` and writes it to `stem.crt` and `stem.key` in `out`, which must not
/// be there.
///
/// # Errors
///
/// There is no authority in `dir`, or the files are there or cannot be written.
pub fn issue(
    dir: &Path,
    out: &Path,
    stem: &str,
    request: &CertificateRequest<'_>,
) -> anyhow::Result<([File; 2], CertificateInfo)> {
    let [certificate, key] = pair_files(out, stem);
    for path in [&certificate, &key] {
        ensure!(!path.exists(), "{} is there already: `pki renew` replaces it", path.display());
    }
    let pair = load(dir)?.sign(request)?;
    let key = write(key, "its key", pair.key.as_bytes(), SECRET)?;
    let what = "certificate";
    let certificate = write(certificate, what, pair.certificate.as_bytes(), PUBLIC)?;
    let info = CertificateInfo::read(&certificate.path)?;
    let info = info.into_iter().next().context("no certificate")?;
    Ok(([certificate, key], info))
}

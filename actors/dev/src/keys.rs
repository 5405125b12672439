//! RSA-4096 keys that are made once and used often: one takes a second or more, a stack needs
//! seven.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Context;
use stream_pki::{Authority, Identity, KeyPairPem, create_private_dir, self_signed, write_new};

/// What every certificate is good for.
const HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// A directory of certificates and keys by name; what is missing is made when it is asked for.
/// Processes that ask at the same time wait for the one that makes it.
#[derive(Clone, Debug)]
pub struct KeyStore {
    dir: PathBuf,
    /// What the certificates are good for.
    hosts: Vec<String>,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A pair, and the certificate of the authority that signed it.
#[derive(Clone, Debug)]
pub struct Signed {
    pub authority: PathBuf,
    pub pair: Pair,
}

impl KeyStore {
    /// The store of all tests and benches of this checkout: `test-pki` among what cargo builds.
    pub fn shared() -> anyhow::Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        Self::at(crate::checkout().join(target).join("test-pki"))
    }

    /// The store in `dir`, which is made when it is missing.
    pub fn at(dir: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let dir = dir.into();
        create_private_dir(&dir).with_context(|| format!("directory {}", dir.display()))?;
        Ok(Self { dir, hosts: HOSTS.map(str::to_owned).into() })
    }

    /// Returns the store of certificates that are good for `host` as well: this one if they are
    /// already, else one of their own below it.
    pub fn good_for(&self, host: IpAddr) -> anyhow::Result<Self> {
        let name = host.to_string();
        if self.hosts.contains(&name) {
            return Ok(self.clone());
        }
        let mut store = Self::at(self.dir.join(&name))?;
        store.hosts.push(name);
        Ok(store)
    }

    /// Returns the pair called `name`, which nobody vouches for.
    pub fn pair(&self, name: &str) -> anyhow::Result<Pair> {
        let pair = Pair::in_dir(&self.dir, name);
        self.once(name, &[&pair.key, &pair.certificate], || {
            pair.write(&self_signed(&format!("stream-{name}"), &self.hosts)?)
        })?;
        Ok(pair)
    }

    /// Returns the pair called `name`, signed by an authority of its own.
    pub fn signed(&self, name: &str) -> anyhow::Result<Signed> {
        let authority = self.dir.join(format!("{name}-ca.crt"));
        let pair = Pair::in_dir(&self.dir, name);
        self.once(name, &[&authority, &pair.key, &pair.certificate], || {
            let issuer = Authority::generate(&format!("stream-{name} CA"))?;
            let issued = issuer.issue(&format!("stream-{name}"), &self.hosts)?;
            write_new(&authority, issuer.certificate_pem().as_bytes(), PUBLIC)?;
            pair.write(&issued)
        })?;
        Ok(Signed { authority, pair })
    }

    /// Makes all that a stack needs, as many at a time as there are processors to do it.
    pub fn warm_up(&self) -> anyhow::Result<()> {
        thread::scope(|scope| {
            let signed = scope.spawn(|| self.signed("nats").map(drop));
            let pairs = ["agent", "agent-next", "ams-client", "gateway", "ams"];
            let pairs = pairs.map(|name| scope.spawn(move || self.pair(name).map(drop)));
            pairs.into_iter().chain([signed]).try_for_each(|made| {
                made.join().unwrap_or_else(|_| anyhow::bail!("making a key panicked"))
            })
        })
    }

    /// Puts the certificates and keys of a node into `home`, made when it is missing, for `init` to
    /// find there. Its server shows the certificate of the pair called `server`.
    pub fn install(&self, home: &Path, server: &str) -> anyhow::Result<()> {
        create_private_dir(home).with_context(|| format!("directory {}", home.display()))?;
        self.pair(server)?.copy(home, "server")?;
        self.pair("agent-next")?.copy(home, "server-next")?;
        self.pair("ams-client")?.copy(home, "ams-client")?;
        Ok(())
    }

    /// Has `make` write `files`, the last one last, unless they are there.
    fn once(
        &self,
        name: &str,
        files: &[&Path],
        make: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if files.iter().all(|file| file.exists()) {
            return Ok(());
        }
        let lock = self.dir.join(format!("{name}.lock"));
        let lock = File::create(&lock).with_context(|| format!("file {}", lock.display()))?;
        // Given back when the file is closed, however this ends.
        lock.lock().context("cannot lock the key store")?;
        if files.iter().all(|file| file.exists()) {
            return Ok(());
        }
        for half_made in files {
            match fs::remove_file(half_made) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        make().with_context(|| format!("cannot make the keys of {name}"))
    }
}

/// Writes `secret` over what is in the file `path`. A new file is for its owner alone.
pub fn write_secret(path: impl AsRef<Path>, secret: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let path = path.as_ref();
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(SECRET)
        .open(path)
        .with_context(|| format!("file {}", path.display()))?;
    Ok(file.write_all(secret.as_ref())?)
}

impl Pair {
    /// The pair in `STEM.crt` and `STEM.key` of `dir`.
    pub fn in_dir(dir: &Path, stem: &str) -> Self {
        let file = |end: &str| dir.join(format!("{stem}.{end}"));
        Self { certificate: file("crt"), key: file("key") }
    }

    pub fn identity(&self) -> anyhow::Result<Identity> {
        Ok(Identity::load(&self.certificate, &self.key)?)
    }

    /// Copies the pair to `STEM.crt` and `STEM.key` in `dir`, unless they are there.
    pub fn copy(&self, dir: &Path, stem: &str) -> anyhow::Result<Self> {
        let copied = Self::in_dir(dir, stem);
        for (from, to, mode) in
            [(&self.key, &copied.key, SECRET), (&self.certificate, &copied.certificate, PUBLIC)]
        {
            match write_new(to, &fs::read(from)?, mode) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("file {}", to.display()));
                }
                _ => {}
            }
        }
        Ok(copied)
    }

    fn write(&self, made: &KeyPairPem) -> anyhow::Result<()> {
        write_new(&self.key, made.key.as_bytes(), SECRET)?;
        Ok(write_new(&self.certificate, made.certificate.as_bytes(), PUBLIC)?)
    }
}

#[cfg(test)]
mod tests {
    use rustls::client::verify_server_name;
    use rustls::pki_types::ServerName;
    use rustls::server::ParsedCertificate;

    use super::*;

    #[test]
    fn a_pair_is_made_once_even_when_many_ask() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = KeyStore::at(dir.path().join("keys")).expect("a store");
        let fingerprints: Vec<_> = thread::scope(|scope| {
            let ask =
                || store.pair("x").expect("a pair").identity().expect("it fits").fingerprint();
            let askers = [(); 3].map(|()| scope.spawn(ask));
            askers.into_iter().map(|asker| asker.join().expect("answered")).collect()
        });
        assert!(fingerprints.iter().all(|fingerprint| *fingerprint == fingerprints[0]));
    }

    #[test]
    fn a_certificate_is_good_for_the_address_that_it_is_made_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = KeyStore::at(dir.path().join("keys")).expect("a store");
        let loopback = store.good_for("::1".parse().expect("an address")).expect("a store");
        assert_eq!(loopback.dir, store.dir, "it is good for that one already");
        let address = "192.0.2.7".parse().expect("an address");
        let pair = store.good_for(address).expect("a store").pair("x").expect("a pair");
        let chain = pair.identity().expect("it fits").chain().to_vec();
        let certificate = ParsedCertificate::try_from(&chain[0]).expect("a certificate");
        for (host, is_named) in [("192.0.2.7", true), ("127.0.0.1", true), ("192.0.2.8", false)] {
            let name = ServerName::try_from(host).expect("a name");
            let verified = verify_server_name(&certificate, &name);
            assert_eq!(verified.is_ok(), is_named, "{host}: {verified:?}");
        }
    }

    #[test]
    fn a_half_without_the_other_is_made_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = KeyStore::at(dir.path().join("keys")).expect("a store");
        fs::write(store.dir.join("x.key"), "of a process that was killed").expect("written");
        store.pair("x").expect("a pair").identity().expect("it fits");
    }
}

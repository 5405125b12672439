//! The users of the reference `nats-server-accounts.conf`, as an operator makes them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use nkeys::KeyPair;
use stream_pki::write_new;
use stream_protocol::subjects::NatsUser;

use crate::keys::{KeyStore, Pair};
use crate::node_files;

/// In the order in which the reference names them.
const USERS: [NatsUser; 3] = [NatsUser::Agent, NatsUser::Gateway, NatsUser::Operator];

/// The nkeys of all users, as files in one directory, and the certificate that they show.
pub(crate) struct Users {
    dir: PathBuf,
    public: Vec<String>,
    pub(crate) client: Pair,
    /// The authority of that certificate.
    clients: PathBuf,
    /// Whether the server may refuse them something.
    pub(crate) may_be_refused: bool,
}

impl Users {
    /// Makes the nkeys in `dir`.
    pub(crate) fn new(dir: &Path, keys: &KeyStore) -> anyhow::Result<Self> {
        let signed = keys.signed("nats-client")?;
        let mut users = Self {
            dir: dir.to_owned(),
            public: Vec::new(),
            client: signed.pair,
            clients: signed.authority,
            may_be_refused: false,
        };
        for user in USERS {
            let pair = KeyPair::new_user();
            write_new(users.nkey(user), pair.seed()?.as_bytes(), 0o600)?;
            users.public.push(pair.public_key());
        }
        Ok(users)
    }

    /// Returns the file with the seed of `user`.
    pub(crate) fn nkey(&self, user: NatsUser) -> PathBuf {
        let name = match user {
            NatsUser::Agent => "agent.nkey",
            NatsUser::Gateway => "gateway.nkey",
            NatsUser::Operator => "operator.nkey",
        };
        self.dir.join(name)
    }

    /// Gives `user` another nkey, in its file; returns the public keys before and from now on.
    pub(crate) fn renew(&mut self, user: NatsUser) -> anyhow::Result<(String, String)> {
        let at = USERS.iter().position(|one| *one == user).context("a user")?;
        let pair = KeyPair::new_user();
        std::fs::write(self.nkey(user), pair.seed()?)?;
        let before = std::mem::replace(&mut self.public[at], pair.public_key());
        Ok((before, pair.public_key()))
    }

    /// Returns the reference for a server whose files are in `dir`. Permissions stay as they are.
    pub(crate) fn configuration(
        &self,
        dir: &Path,
        port: u16,
        monitor: u16,
    ) -> anyhow::Result<String> {
        let path = crate::checkout().join("config/nats-server-accounts.conf");
        let mut text =
            std::fs::read_to_string(&path).with_context(|| format!("file {}", path.display()))?;
        let quoted = |path: &Path| node_files::quoted(path);
        let operator = format!("{{ nkey: \"{}\" }}", self.public[2]);
        let changes = [
            (
                "\"0.0.0.0:4222\"".to_owned(),
                format!("\"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor}\""),
            ),
            ("\"/etc/nats/server.crt\"".to_owned(), quoted(&dir.join("server.crt"))),
            ("\"/etc/nats/server.key\"".to_owned(), quoted(&dir.join("server.key"))),
            ("\"/etc/nats/clients-ca.crt\"".to_owned(), quoted(&self.clients)),
            ("\"/var/lib/nats\"".to_owned(), quoted(&dir.join("store"))),
            ("#{ nkey: \"U...\" }".to_owned(), operator),
        ];
        for (old, new) in changes {
            anyhow::ensure!(text.contains(&old), "{old} is not in {}", path.display());
            text = text.replace(&old, &new);
        }
        // Those of the reference are the first two that are there.
        for public in &self.public[..2] {
            let at = text.find("nkey: \"U").context("an nkey of the reference")?;
            let quote = at + "nkey: \"".len();
            let end = text[quote..].find('"').context("its end")? + quote;
            text.replace_range(at..end, &format!("nkey:  \"{public}"));
        }
        Ok(text)
    }
}

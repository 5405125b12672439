//! How a unit shows a server who it is. The file is read at each connect, so that a replaced one
//! counts without a restart.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use async_nats::Auth;
use nkeys::{KeyPair, KeyPairType};
use stream_pki::{SecretError, read_secret};
use zeroize::Zeroizing;

use crate::{Config, ConfigError};

/// A seed has 58 characters.
const MIN_SEED_BYTES: usize = 58;

/// What the server is shown.
#[derive(Clone)]
pub(crate) enum Credentials {
    Token(PathBuf),
    JwtFile(PathBuf),
    Nkey(PathBuf),
}

impl Credentials {
    /// Returns the one that `config` names, if it names one.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let token = config.token.clone().map(Self::Token);
        let credentials = || config.credentials.clone().map(Self::JwtFile);
        token.or_else(credentials).or_else(|| config.nkey.clone().map(Self::Nkey))
    }

    /// Reads the file and returns the answer to the server's `nonce`.
    pub(crate) fn answer(&self, nonce: &[u8]) -> Result<Auth, ConfigError> {
        let mut auth = Auth::new();
        match self {
            Self::Token(path) => {
                let token = read_secret(path, 16).map_err(ConfigError::Token)?;
                auth.token = Some(String::from_utf8_lossy(&token).into_owned());
            }
            Self::JwtFile(path) => {
                let (jwt, seed) = credentials(path)?;
                let sign = || KeyPair::from_seed(&seed)?.sign(nonce);
                // The cause is left out: it is about the seed.
                let signature = sign().map_err(|_| {
                    let source = Error::new(ErrorKind::InvalidData, "its seed is not one of nkeys");
                    ConfigError::Credentials { path: path.clone(), source }
                })?;
                (auth.jwt, auth.signature) = (Some(jwt), Some(signature));
            }
            Self::Nkey(path) => {
                let pair = user(path)?;
                let signature = pair.sign(nonce);
                // The cause is left out: it is about the seed.
                let refused = |_| ConfigError::NotASeed { path: path.clone() };
                auth.signature = Some(signature.map_err(refused)?);
                auth.nkey = Some(pair.public_key());
            }
        }
        Ok(auth)
    }
}

/// Returns the nkey of a user whose seed is the first line in a file that is no remark.
fn user(path: &Path) -> Result<KeyPair, ConfigError> {
    let text = read_secret(path, MIN_SEED_BYTES).map_err(ConfigError::Nkey)?;
    let refused = || ConfigError::NotASeed { path: path.to_owned() };
    let text = std::str::from_utf8(&text).map_err(|_| refused())?;
    let mut lines = text.lines().map(str::trim);
    let seed = lines.find(|line| !line.is_empty() && !line.starts_with('#')).ok_or_else(refused)?;
    let pair = KeyPair::from_seed(seed).map_err(|_| refused())?;
    // Those of accounts and operators sign other things.
    (pair.key_pair_type() == KeyPairType::User).then_some(pair).ok_or_else(refused)
}

/// Returns the JWT and the seed in a file as the tools of NATS write it.
fn credentials(path: &Path) -> Result<(String, Zeroizing<String>), ConfigError> {
    let unusable = |source| ConfigError::Credentials { path: path.to_owned(), source };
    let no_credentials =
        || unusable(Error::new(ErrorKind::InvalidData, "it holds no JWT and nkey seed of a user"));
    let text = read_secret(path, 1).map_err(|error| match error {
        SecretError::Missing { .. } => unusable(ErrorKind::NotFound.into()),
        SecretError::Unreadable { source, .. } => unusable(source),
        SecretError::NotPrivate(_) => ConfigError::Token(error),
        _ => no_credentials(),
    })?;
    let text = str::from_utf8(&text).map_err(|_| no_credentials())?;
    let below = |title: &str| {
        let mut lines = text.lines().map(str::trim);
        let begin = |line: &str| line.starts_with("-----BEGIN ") && line.contains(title);
        lines.find(|line| begin(line)).and_then(|_| lines.find(|line| !line.is_empty()))
    };
    match (below("USER JWT"), below("USER NKEY SEED")) {
        (Some(jwt), Some(seed)) => Ok((jwt.to_owned(), Zeroizing::new(seed.to_owned()))),
        _ => Err(no_credentials()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use stream_pki::write_new;

    use super::*;

    fn answer(text: &str) -> Result<Auth, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("user.creds");
        write_new(&path, text.as_bytes(), 0o600).unwrap();
        Credentials::JwtFile(path).answer(b"nonce")
    }

    fn file(seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.eyJq.sig\n------END NATS USER JWT------\n\n\
             *** IMPORTANT ***\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n\
             ------END USER NKEY SEED------\n"
        )
    }

    #[test]
    fn credentials_are_a_jwt_and_a_signature_of_the_nonce() {
        let user = KeyPair::new_user();
        let auth = answer(&file(&user.seed().unwrap())).unwrap();
        assert_eq!(auth.jwt.as_deref(), Some("eyJ0.eyJq.sig"));
        user.verify(b"nonce", &auth.signature.unwrap()).unwrap();
    }

    #[test]
    fn what_are_no_credentials_is_refused_without_being_quoted() {
        let swapped = file("SUSECRET").replace("USER NKEY SEED", "SOMETHING");
        for text in ["", "a-token-of-sixteen", &file("SUSECRET"), &swapped, "-----BEGIN USER JWT"] {
            let error = answer(text).err().expect("refused");
            assert!(!stream_protocol::error_chain(&error).contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn an_nkey_is_its_public_key_and_a_signature_of_the_nonce() {
        let answer = |text: &str| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("agent.nkey");
            write_new(&path, text.as_bytes(), 0o600).unwrap();
            Credentials::Nkey(path).answer(b"nonce")
        };
        let user = KeyPair::new_user();
        let auth = answer(&format!("# of the agents\n{}\n", user.seed().unwrap())).unwrap();
        assert_eq!(auth.nkey, Some(user.public_key()));
        user.verify(b"nonce", &auth.signature.unwrap()).unwrap();

        let account = KeyPair::new_account().seed().unwrap();
        let broken = format!("SUSECRET{}", "A".repeat(50));
        for text in ["", "SUSECRET", &broken, &account, &user.public_key()] {
            let error = answer(text).err().expect("refused");
            let sentence = stream_protocol::error_chain(&error);
            assert!(sentence.starts_with("nats.nkey"), "{sentence}");
            assert!(!sentence.contains("SECRET"), "{sentence}");
        }
    }

    #[test]
    fn a_token_is_read_anew_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nats.token");
        let credentials = Credentials::Token(path.clone());
        for token in ["a-token-of-sixteen", "another-token-of-more"] {
            let _ = fs::remove_file(&path);
            write_new(&path, format!("{token}\n").as_bytes(), 0o600).unwrap();
            assert_eq!(credentials.answer(b"").unwrap().token.as_deref(), Some(token));
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(credentials.answer(b""), Err(ConfigError::Token(_))));
    }
}

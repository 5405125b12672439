//! How a unit shows a server who it is. The file is read at each connect, so that a replaced one
//! counts without a restart.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use async_nats::Auth;
use nkeys::KeyPair;
use stream_pki::read_secret;
use zeroize::Zeroizing;

use crate::{Config, ConfigError};

/// What the server is shown.
#[derive(Clone)]
pub(crate) enum Credentials {
    Token(PathBuf),
    Credentials(PathBuf),
}

impl Credentials {
    /// Returns the one that `config` names, if it names one.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let token = config.token.clone().map(Self::Token);
        token.or_else(|| config.credentials.clone().map(Self::Credentials))
    }

    /// Reads the file and returns the answer to the server's `nonce`.
    pub(crate) fn answer(&self, nonce: &[u8]) -> Result<Auth, ConfigError> {
        let mut auth = Auth::new();
        match self {
            Self::Token(path) => {
                let token = read_secret(path, 16).map_err(ConfigError::Token)?;
                auth.token = Some(String::from_utf8_lossy(&token).into_owned());
            }
            Self::Credentials(path) => {
                let (jwt, seed) = credentials(path)
                    .map_err(|source| ConfigError::Credentials { path: path.clone(), source })?;
                let sign = || KeyPair::from_seed(&seed)?.sign(nonce);
                // The cause is left out: it is about the seed.
                let signature = sign().map_err(|_| {
                    let source = Error::new(ErrorKind::InvalidData, "its seed is not one of nkeys");
                    ConfigError::Credentials { path: path.clone(), source }
                })?;
                (auth.jwt, auth.signature) = (Some(jwt), Some(signature));
            }
        }
        Ok(auth)
    }
}

/// Returns the JWT and the seed in a file as the tools of NATS write it.
fn credentials(path: &Path) -> std::io::Result<(String, Zeroizing<String>)> {
    let text = Zeroizing::new(std::fs::read_to_string(path)?);
    let below = |title: &str| {
        let mut lines = text.lines().map(str::trim);
        let begin = |line: &str| line.starts_with("-----BEGIN ") && line.contains(title);
        lines.find(|line| begin(line)).and_then(|_| lines.find(|line| !line.is_empty()))
    };
    match (below("USER JWT"), below("USER NKEY SEED")) {
        (Some(jwt), Some(seed)) => Ok((jwt.to_owned(), Zeroizing::new(seed.to_owned()))),
        _ => Err(Error::new(ErrorKind::InvalidData, "it does not hold a user's JWT and nkey seed")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn answer(text: &str) -> Result<Auth, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("user.creds");
        fs::write(&path, text).unwrap();
        Credentials::Credentials(path).answer(b"nonce")
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
    fn a_token_is_read_anew_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nats.token");
        let credentials = Credentials::Token(path.clone());
        for token in ["a-token-of-sixteen", "another-token-of-more"] {
            fs::write(&path, format!("{token}\n")).unwrap();
            assert_eq!(credentials.answer(b"").unwrap().token.as_deref(), Some(token));
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(credentials.answer(b""), Err(ConfigError::Token(_))));
    }
}

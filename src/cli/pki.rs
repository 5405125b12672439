//! Certificates of a node or a site, on the command line of both programs. All of it works on
//! files: whether the service runs does not matter, nor what has expired.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Subcommand;
use stream_pki::{CertificateRequest, Purpose, create_private_dir};

use super::Program;
use crate::authority::{self, Renewal};
use crate::certificates;
use crate::config_source::ConfigSource;
use crate::doctor::Severity;
use crate::output::say;
use crate::owner::Owner;
use crate::program::print_files;

#[derive(Debug, Subcommand)]
pub enum Pki {
    /// Make an authority of this node's or this site's own, `ca.crt` and `ca.key`, unless it is
    /// there. Whoever is to trust what it signs is given `ca.crt`.
    Init {
        /// Directory for it, made with mode 0700; by default the one of `init`.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Have the authority sign a certificate for a new RSA-4096 key: NAME.crt and NAME.key. It is
    /// good for 824 days, and never for longer than the authority.
    Issue {
        /// What it is called: the files, and the subject.
        name: String,
        /// DNS name or address of the server that it is for; may be repeated.
        #[arg(long = "host", value_name = "NAME", required_unless_present = "client")]
        hosts: Vec<String>,
        /// For a client; with --host for both, as servers of a cluster are to each other.
        #[arg(long)]
        client: bool,
        /// Directory of the authority; by default the one of `init`.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Directory for the files; by default the one of the authority.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Replace a certificate and its key by new ones that the authority signs, for the same names,
    /// both at once. A service that runs shows them within seconds.
    ///
    /// Where others pin the certificate, the next one is told to them first: this presents the one
    /// that they know, and makes another. Without such a one it makes it, and presents it when it
    /// is run again.
    Renew {
        /// Which pair: NAME.crt and NAME.key.
        #[arg(default_value = "server")]
        name: String,
        /// Present it at once, whether or not it is known.
        #[arg(long)]
        now: bool,
        /// Directory of the pair and of the authority; by default the one of `init`.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// List every certificate in use: file, names, pin, who pins it, days left. Exit code 1 tells
    /// of one that ends soon, 2 of one that cannot be used.
    Status {
        /// The configuration of the service; by default the one that `run` takes.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Pki {
    /// Runs the command, and returns how bad is what it found.
    ///
    /// # Errors
    ///
    /// A file cannot be read or written, or there is no authority.
    pub fn run<P: Program>(self) -> anyhow::Result<Severity> {
        let home = |dir: Option<PathBuf>| dir.unwrap_or_else(|| P::DIR.into());
        match self {
            Self::Init { dir } => init::<P>(&home(dir))?,
            Self::Issue { name, hosts, client, dir, out } => {
                let dir = home(dir);
                let out = out.unwrap_or_else(|| dir.clone());
                issue::<P>(&dir, &out, &name, &hosts, client)?;
            }
            Self::Renew { name, now, dir } => renew::<P>(&home(dir), &name, now)?,
            Self::Status { config, json } => {
                let config = config.unwrap_or_else(|| P::CONFIG.into());
                become_owner::<P>(config.parent().unwrap_or(Path::new("")))?;
                return status::<P>(&config, json);
            }
        }
        Ok(Severity::Good)
    }
}

/// Has this process be the user of the service, where the directory is that user's: what it makes
/// is for the service, and what it reads is read as the service would.
pub(super) fn become_owner<P: Program>(dir: &Path) -> anyhow::Result<()> {
    match Owner::find(None, super::service_name::<P>().as_ref())? {
        Some(owner) if owner.owns(dir) => owner.become_user(),
        _ => Ok(()),
    }
}

fn init<P: Program>(dir: &Path) -> anyhow::Result<()> {
    become_owner::<P>(dir)?;
    create_private_dir(dir)?;
    print_files(&authority::make(dir, super::service_name::<P>().as_ref())?);
    let authority = certificates_of(&authority::files(dir)[0])?;
    say!("SHA-256 fingerprint of {}: {}", authority.subject, authority.fingerprint);
    Ok(())
}

fn certificates_of(path: &Path) -> anyhow::Result<stream_pki::CertificateInfo> {
    let found = stream_pki::CertificateInfo::read(path)?.into_iter().next();
    found.ok_or_else(|| anyhow::anyhow!("{} holds no certificate", path.display()))
}

fn issue<P: Program>(
    dir: &Path,
    out: &Path,
    name: &str,
    hosts: &[String],
    client: bool,
) -> anyhow::Result<()> {
    check_name(name)?;
    become_owner::<P>(dir)?;
    let request =
        CertificateRequest { common_name: name, names: hosts, purpose: purpose(client, hosts) };
    let (files, info) = authority::issue(dir, out, name, &request)?;
    print_files(&files);
    say!("SHA-256 fingerprint: {}", info.fingerprint);
    Ok(())
}

fn purpose(client: bool, hosts: &[String]) -> Purpose {
    match (client, hosts) {
        (false, _) => Purpose::Server,
        (true, []) => Purpose::Client,
        (true, _) => Purpose::Both,
    }
}

fn renew<P: Program>(dir: &Path, name: &str, now: bool) -> anyhow::Result<()> {
    check_name(name)?;
    become_owner::<P>(dir)?;
    let is_pinned = P::PINNED.contains(&name) && !now;
    match authority::renew(dir, name, is_pinned)? {
        Renewal::Announced(next) => {
            say!("made the next certificate: {next}");
            say!("it is not presented yet: those who pin it have to know it, then run this again");
        }
        Renewal::Presented { present, next } => {
            say!("{name} has another certificate now: {present}");
            if let Some(next) = next {
                say!("the next one: {next}");
            }
        }
    }
    Ok(())
}

/// A name is one part of a path.
fn check_name(name: &str) -> anyhow::Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_good = !name.starts_with('.') && !name.is_empty() && name.chars().all(is_plain);
    ensure!(is_good, "{name:?} names no file: letters, digits, '-', '_' and '.' do");
    Ok(())
}

fn status<P: Program>(path: &Path, json: bool) -> anyhow::Result<Severity> {
    // Not what `check-config` refuses: that may be the very certificate.
    let config: P::Config = ConfigSource::read(path)?.parse()?;
    let mut rows = certificates::look(&P::certificates(&config));
    rows.sort_by_key(|row| (std::cmp::Reverse(row.severity), row.days_left));
    if json {
        say!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        for row in &rows {
            say!("{}", row.to_string().trim_end());
        }
    }
    Ok(rows.first().map_or(Severity::Good, |worst| worst.severity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_that_of_a_server_also_where_it_is_a_client_of_others() {
        let hosts = ["nats-1.example.org".to_owned()];
        assert_eq!(purpose(false, &hosts), Purpose::Server);
        assert_eq!(purpose(true, &[]), Purpose::Client);
        assert_eq!(purpose(true, &hosts), Purpose::Both);
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        for good in ["server", "ams-client", "gw.example.org"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "../x", "a/b", ".hidden", "a b", "é"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}

//! Every certificate that a service uses, for `pki status` and `doctor`: whose it is, who pins it,
//! how long it is good. Works on files alone, and whatever has expired.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use stream_pki::{CertificateInfo, Identity, PairStore, moment, unix_now};

use crate::doctor::{Finding, Severity};

/// How long before its end a certificate is warned of, in days; never longer than a third of its
/// life.
const WARN_DAYS: i64 = 30;

const DAY_S: i64 = 86_400;

/// One file of certificates, as the configuration names it.
#[derive(Clone, Debug)]
pub struct CertificateUse {
    /// What it is used for, such as `server` or `nats ca`.
    pub of: &'static str,
    /// The key of the configuration that names the file.
    pub named_by: &'static str,
    pub file: PathBuf,
    /// The key that belongs to it, if it is our own.
    pub key: Option<PathBuf>,
    /// Who knows it by its fingerprint; empty when nobody does.
    pub pinned_by: &'static str,
    /// Whether it may be missing.
    pub is_optional: bool,
    /// Whether the service replaces it by itself, where it is of our own making.
    pub is_renewed: bool,
}

impl CertificateUse {
    /// Certificates that others present, or that sign those.
    pub fn trusted(of: &'static str, named_by: &'static str, file: &Path) -> Self {
        let (file, key) = (file.to_owned(), None);
        let pinned_by = "";
        Self { of, named_by, file, key, pinned_by, is_optional: false, is_renewed: false }
    }

    /// A certificate of our own.
    pub fn own(of: &'static str, named_by: &'static str, file: &Path, key: &Path) -> Self {
        Self { key: Some(key.to_owned()), ..Self::trusted(of, named_by, file) }
    }

    pub fn pinned_by(self, pinned_by: &'static str) -> Self {
        Self { pinned_by, ..self }
    }

    pub fn renewed(self, is_renewed: bool) -> Self {
        Self { is_renewed, ..self }
    }

    pub fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }
}

/// What there is to say of one certificate.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateRow {
    pub r#use: &'static str,
    pub file: PathBuf,
    pub subject: String,
    pub names: Vec<String>,
    pub issuer: String,
    /// The SHA-256 of the certificate, which is what is pinned.
    pub fingerprint: String,
    pub pinned_by: &'static str,
    pub not_after: String,
    pub days_left: i64,
    /// When the service replaces it by itself, if it does.
    pub renewed_at: Option<String>,
    pub severity: Severity,
    /// What is wrong with it, and what to do about it.
    pub problem: Option<String>,
    pub remedy: Option<String>,
}

/// Looks at all `uses` at the time of this system.
pub fn look(uses: &[CertificateUse]) -> Vec<CertificateRow> {
    uses.iter().flat_map(|of| look_at(of, unix_now())).collect()
}

/// Looks at the certificates of one file at `now`, in seconds of UNIX.
fn look_at(of: &CertificateUse, now: i64) -> Vec<CertificateRow> {
    if of.is_optional && !of.file.exists() {
        return Vec::new();
    }
    let infos = match CertificateInfo::read(&of.file) {
        Ok(infos) => infos,
        Err(error) => return vec![CertificateRow::unreadable(of, sentence(&error))],
    };
    let infos = match of.key {
        // The others lead to the authority.
        Some(_) => infos.into_iter().take(1).collect(),
        None => infos,
    };
    let is_another_good = |one: &CertificateInfo| {
        infos.iter().any(|other| other != one && other.validity.check(now).is_ok())
    };
    infos.iter().map(|info| CertificateRow::of(of, info, is_another_good(info), now)).collect()
}

impl CertificateRow {
    fn of(of: &CertificateUse, info: &CertificateInfo, is_another_good: bool, now: i64) -> Self {
        let CertificateInfo { validity, fingerprint, .. } = info;
        let renewal = is_ours(of) && of.is_renewed;
        let renewal = renewal.then(|| validity.renewal_at(fingerprint));
        let (severity, problem, remedy) = judge(of, info, (is_another_good, renewal), now);
        Self {
            r#use: of.of,
            file: of.file.clone(),
            subject: info.subject.clone(),
            names: info.names.clone(),
            issuer: info.issuer.clone(),
            fingerprint: fingerprint.to_string(),
            pinned_by: of.pinned_by,
            not_after: moment(validity.not_after),
            days_left: validity.days_left(now),
            renewed_at: renewal.map(moment),
            severity,
            problem,
            remedy,
        }
    }

    fn unreadable(of: &CertificateUse, problem: String) -> Self {
        Self {
            r#use: of.of,
            file: of.file.clone(),
            subject: String::new(),
            names: Vec::new(),
            issuer: String::new(),
            fingerprint: String::new(),
            pinned_by: of.pinned_by,
            not_after: String::new(),
            days_left: 0,
            renewed_at: None,
            severity: Severity::Error,
            problem: Some(problem),
            remedy: Some(format!("correct {} or the file it names", of.named_by)),
        }
    }

    /// Returns what `doctor` says of it; nothing of a good one.
    pub fn finding(&self) -> Option<Finding> {
        let problem = self.problem.as_ref()?;
        let remedy = self.remedy.clone().unwrap_or_default();
        let what = format!("{}: {problem}", self.r#use);
        Some(Finding { severity: self.severity, area: "certificates", what, remedy })
    }
}

/// Whether `pki renew` can replace it.
fn is_ours(of: &CertificateUse) -> bool {
    let is_stored = of.key.is_some() && PairStore::behind(&of.file).is_some();
    is_stored && of.file.with_file_name("ca.key").exists()
}

type Judgement = (Severity, Option<String>, Option<String>);

fn judge(
    of: &CertificateUse,
    info: &CertificateInfo,
    (is_another_good, renewal): (bool, Option<i64>),
    now: i64,
) -> Judgement {
    let file = of.file.display();
    let found = |severity, problem: String, remedy: String| (severity, Some(problem), Some(remedy));
    if let Some(key) = &of.key
        && let Err(error) = Identity::load(&of.file, key)
    {
        let remedy = "install certificate and key together; the service goes on with those before";
        return found(Severity::Error, sentence(&error), remedy.to_owned());
    }
    let stem = of.file.file_stem().unwrap_or_default().to_string_lossy();
    let replace = match &of.key {
        Some(_) if is_ours(of) => format!("`pki renew {stem}`, as the user of the service"),
        Some(_) => format!("put another into {file}, with its key"),
        None => format!("add its successor to {file}, which may hold several"),
    };
    if let Err(why) = info.validity.check(now) {
        let text = format!("the certificate of {} in {file} {why}", info.subject);
        return match is_another_good {
            true => found(Severity::Warning, text, format!("remove it from {file}")),
            false => found(Severity::Error, text, replace),
        };
    }
    let (left, life) =
        (info.validity.not_after - now, info.validity.not_after - info.validity.not_before);
    if left < (WARN_DAYS * DAY_S).min(life / 3) && !is_another_good {
        let days = info.validity.days_left(now);
        let text = format!("the certificate of {} in {file} ends in {days} days", info.subject);
        return found(Severity::Warning, text, replace);
    }
    // A month for what the service does by itself.
    if renewal.is_some_and(|at| now > at + WARN_DAYS * DAY_S) {
        let text = format!("{file} was to be renewed by now: the service did not, see its log");
        return found(Severity::Warning, text, replace);
    }
    (Severity::Good, None, None)
}

fn sentence(error: &stream_pki::PkiError) -> String {
    stream_protocol::error_chain(error)
}

impl fmt::Display for CertificateRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.r#use, self.file.display())?;
        if !self.subject.is_empty() {
            let names = match self.names.is_empty() {
                true => String::new(),
                false => format!(", good for {}", self.names.join(", ")),
            };
            writeln!(f, "  subject  {}{names}", self.subject)?;
            writeln!(f, "  issuer   {}", self.issuer)?;
            writeln!(f, "  pin      {}", self.fingerprint)?;
            if !self.pinned_by.is_empty() {
                writeln!(f, "  pinned   by {}", self.pinned_by)?;
            }
            writeln!(f, "  ends     {}, in {} days", self.not_after, self.days_left)?;
        }
        if let Some(at) = &self.renewed_at {
            writeln!(f, "  renewed  by the service itself, about {at}")?;
        }
        if let (Some(problem), Some(remedy)) = (&self.problem, &self.remedy) {
            writeln!(f, "  {}  {problem}: {remedy}", self.severity.word())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stream_pki::{Authority, write_new};

    use super::*;

    #[test]
    fn a_certificate_is_told_of_before_it_ends_and_one_of_two_that_has_ended_is_only_in_the_way() {
        let directory = tempfile::tempdir().expect("a directory");
        let ca = directory.path().join("ca.pem");
        let one = Authority::generate("one").expect("an authority").certificate_pem();
        write_new(&ca, one.as_bytes(), 0o644).expect("written");
        let of = CertificateUse::trusted("nats ca", "nats.ca", &ca);
        let end = CertificateInfo::read(&ca).expect("a certificate")[0].validity.not_after;
        let at = |now: i64| look_at(&of, now).remove(0);
        assert_eq!(at(end - 40 * DAY_S).severity, Severity::Good);
        let soon = at(end - 10 * DAY_S);
        assert_eq!((soon.severity, soon.days_left), (Severity::Warning, 10));
        let over = at(end + 1);
        assert_eq!(over.severity, Severity::Error);
        let told = over.to_string();
        assert!(told.contains("has expired") && told.contains("may hold several"), "{told}");

        std::fs::write(&ca, "half of").expect("written");
        let broken = at(end - 40 * DAY_S);
        assert_eq!(broken.severity, Severity::Error);
        assert!(broken.problem.is_some_and(|why| why.contains("no certificate")));
        let missing = directory.path().join("none");
        let missing = CertificateUse::trusted("x", "tls.next_certificate", &missing);
        assert_eq!(look(std::slice::from_ref(&missing))[0].severity, Severity::Error);
        assert!(look(&[missing.optional()]).is_empty());
    }
}

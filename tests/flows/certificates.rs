//! Certificates: what a site makes for itself, what is renewed, and files that are bad for a while.

mod reload;
mod rotation;
mod site;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use time::{Duration, OffsetDateTime};

/// A certificate of the key `key`, which vouches for itself, good between two days as counted from
/// today.
pub(crate) fn dated(key: &str, is_authority: bool, days: [i64; 2]) -> anyhow::Result<String> {
    let names = ["127.0.0.1", "localhost"].map(str::to_owned);
    let mut params = CertificateParams::new(names)?;
    let [from, to] = days.map(|day| OffsetDateTime::now_utc() + Duration::days(day));
    (params.not_before, params.not_after) = (from, to);
    if is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    Ok(params.self_signed(&KeyPair::from_pem(key)?)?.pem())
}

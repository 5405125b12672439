//! Certificates: what a site makes for itself, what is renewed, and files that are bad for a while.

mod reload;
mod reload_log;
mod renewal;
mod rotation;
mod site;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use stream_pki::Authority;
use time::{Duration, OffsetDateTime};

/// A certificate of the key `key`, which vouches for itself, good between two days as counted from
/// today.
pub(crate) fn dated(key: &str, is_authority: bool, days: [i64; 2]) -> anyhow::Result<String> {
    let mut params = good_between(days)?;
    if is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    Ok(params.self_signed(&KeyPair::from_pem(key)?)?.pem())
}

/// A certificate of the key `key` that `authority` has signed, with dates as [`dated`] has them.
pub(crate) fn signed_and_dated(
    authority: &Authority,
    key: &str,
    days: [i64; 2],
) -> anyhow::Result<String> {
    signed(authority, key, good_between(days)?)
}

fn signed(authority: &Authority, key: &str, params: CertificateParams) -> anyhow::Result<String> {
    let signing_key = KeyPair::from_pem(&authority.key_pem())?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate_pem(), signing_key)?;
    Ok(params.signed_by(&KeyPair::from_pem(key)?, &issuer)?.pem())
}

fn good_between(days: [i64; 2]) -> anyhow::Result<CertificateParams> {
    let names = ["127.0.0.1", "localhost"].map(str::to_owned);
    let mut params = CertificateParams::new(names)?;
    // Half a day more: how many whole days are left does not depend on the second of the look.
    let at = |day| OffsetDateTime::now_utc() + Duration::days(day) + Duration::hours(12);
    (params.not_before, params.not_after) = (at(days[0]), at(days[1]));
    Ok(params)
}

//! When a certificate is good, and when it is time for another one. Pure: whoever asks says what
//! time it is.

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::parse_x509_certificate;

use crate::fingerprint::Fingerprint;

const DAY_S: i64 = 86_400;

/// How far a renewal may be from two thirds of the life, in parts of a thousand of that time.
const JITTER_PERMILLE: i64 = 100;

/// The time in which a certificate is good, in seconds of UNIX.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

/// Why a certificate is not good at a time.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DateError {
    #[error("has expired on {0}")]
    Expired(String),
    #[error("is not valid before {0}")]
    NotYetValid(String),
}

impl Validity {
    /// Reads the dates of `certificate`; `None` for what is no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = parse_x509_certificate(certificate).ok()?;
        let validity = certificate.validity();
        let (not_before, not_after) = (&validity.not_before, &validity.not_after);
        Some(Self { not_before: not_before.timestamp(), not_after: not_after.timestamp() })
    }

    /// Tells whether the certificate is good at `now`.
    ///
    /// # Errors
    ///
    /// It has expired, or is not valid yet.
    pub fn check(&self, now: i64) -> Result<(), DateError> {
        if now > self.not_after {
            return Err(DateError::Expired(moment(self.not_after)));
        }
        if now < self.not_before {
            return Err(DateError::NotYetValid(moment(self.not_before)));
        }
        Ok(())
    }

    /// Returns the whole days until the end; negative once it has come.
    pub fn days_left(&self, now: i64) -> i64 {
        (self.not_after - now).div_euclid(DAY_S)
    }

    /// Returns when the certificate is to be replaced: at two thirds of its life, up to a tenth of
    /// that time earlier or later, so that certificates made together are not renewed together. For
    /// one certificate it is always the same time.
    pub fn renewal_at(&self, fingerprint: &Fingerprint) -> i64 {
        let life = self.not_after.saturating_sub(self.not_before).max(0);
        let [high, low, ..] = fingerprint.0;
        let spread = i64::from(u16::from_be_bytes([high, low])) % (2 * JITTER_PERMILLE + 1);
        let permille_of_thirds = 2 * (1000 + spread - JITTER_PERMILLE);
        self.not_before + life.saturating_mul(permille_of_thirds) / 3000
    }
}

/// Returns a time as people read it; the number where it has no such form.
pub fn moment(unix: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(unix).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| unix.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIFE: Validity = Validity { not_before: 1_000_000, not_after: 1_000_000 + 900 * DAY_S };

    #[test]
    fn a_certificate_is_good_from_its_first_second_to_its_last() {
        let Validity { not_before, not_after } = LIFE;
        assert_eq!((LIFE.check(not_before), LIFE.check(not_after)), (Ok(()), Ok(())));
        let early = LIFE.check(not_before - 1).unwrap_err().to_string();
        assert_eq!(early, "is not valid before 1970-01-12T13:46:40Z");
        assert!(matches!(LIFE.check(not_after + 1), Err(DateError::Expired(_))));
        assert_eq!((LIFE.days_left(not_before), LIFE.days_left(not_after)), (900, 0));
        assert_eq!(LIFE.days_left(not_after + 1), -1);
    }

    proptest! {
        #[test]
        fn it_is_renewed_near_two_thirds_of_its_life(
            bytes: [u8; 32],
            seconds in prop_oneof![100..2000_i64, DAY_S..5000 * DAY_S],
        ) {
            let life = Validity { not_after: LIFE.not_before + seconds, ..LIFE };
            let at = life.renewal_at(&Fingerprint(bytes)) - life.not_before;
            let part = at as f64 / seconds as f64;
            prop_assert!((0.589..=0.734).contains(&part), "{}", part);
        }
    }

    #[test]
    fn certificates_made_together_are_renewed_apart() {
        let at = |byte| LIFE.renewal_at(&Fingerprint([byte; 32]));
        let times: std::collections::BTreeSet<_> = (0..20).map(at).collect();
        assert!(times.len() > 10, "{times:?}");
        assert_eq!(at(7), at(7));
    }
}

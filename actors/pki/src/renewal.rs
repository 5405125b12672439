//! When what is done about a certificate of our own. Pure.

use crate::certificate_info::CertificateInfo;
use crate::validity::Validity;

const DAY_S: i64 = 86_400;

/// How long before its use the next certificate is made and told, in seconds: whoever pins it has
/// that long to hear of it.
const ANNOUNCED_S: i64 = 30 * DAY_S;

/// The shortest time between the first word of the next certificate and its use, in seconds, when
/// all is late. A unit says what it will show every minute.
const MIN_ANNOUNCED_S: i64 = DAY_S;

/// How long before its end the present certificate is replaced, whoever has not been told yet, in
/// seconds.
const LAST_DAYS_S: i64 = 7 * DAY_S;

/// Certificates are good from a day before they are made.
const BACKDATE_S: i64 = DAY_S;

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RenewalStep {
    /// Make the next pair, and tell of it.
    MakeNext,
    /// Present the next pair.
    Promote,
    /// Look again at this time, in seconds of UNIX.
    WaitUntil(i64),
}

/// Returns what is to be done at `now` about `present`, which is replaced at two thirds of its life
/// by `next`, if that is there. The next one is to be young then, and known for a month. A present
/// one that has expired is replaced at once: nobody accepts it but those who know the next one too.
pub fn next_step(
    now: i64,
    present: &CertificateInfo,
    next: Option<&CertificateInfo>,
) -> RenewalStep {
    let due = present.validity.renewal_at(&present.fingerprint);
    // Of a short life a part only.
    let life = present.validity.not_after - present.validity.not_before;
    let announced_from = due - ANNOUNCED_S.min(life / 10);
    let Some(next) = next else { return RenewalStep::MakeNext };
    if now < announced_from {
        return RenewalStep::WaitUntil(announced_from);
    }
    let made = next.validity.not_before + BACKDATE_S;
    if made < announced_from || next.validity.not_after <= now {
        return RenewalStep::MakeNext;
    }
    if now > present.validity.not_after {
        return RenewalStep::Promote;
    }
    let ready = due.max(made + MIN_ANNOUNCED_S.min(life / 100)).min(present.validity.not_after);
    if now >= ready { RenewalStep::Promote } else { RenewalStep::WaitUntil(ready) }
}

/// Returns until when `present` can be shown while somebody who pins it cannot be told of the next
/// one, in seconds of UNIX.
pub fn promoted_at_last(present: &CertificateInfo) -> i64 {
    let Validity { not_before, not_after } = present.validity;
    not_after - LAST_DAYS_S.min((not_after - not_before) / 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::generate::Purpose;

    /// A certificate that was made on `day` and is good for 824 days from the day before on.
    fn made_on(day: i64) -> CertificateInfo {
        let not_before = (day - 1) * DAY_S;
        CertificateInfo {
            subject: String::new(),
            issuer: String::new(),
            names: Vec::new(),
            // No jitter: 100 of 0 to 200.
            fingerprint: Fingerprint([[0, 100], [0; 2]].concat().repeat(8).try_into().unwrap()),
            validity: Validity { not_before, not_after: not_before + 824 * DAY_S },
            is_authority: false,
            purpose: Purpose::Server,
        }
    }

    /// What is done on `day` about a certificate of day 0; due is day 548.
    fn on(day: i64, next: Option<i64>) -> RenewalStep {
        next_step(day * DAY_S, &made_on(0), next.map(made_on).as_ref())
    }

    #[test]
    fn the_next_certificate_is_made_anew_a_month_ahead_and_shown_at_two_thirds() {
        assert_eq!(on(0, None), RenewalStep::MakeNext);
        // That of the first day would have little time left.
        let RenewalStep::WaitUntil(at) = on(10, Some(0)) else { panic!("it is not due") };
        assert_eq!(at / DAY_S, 518);
        assert_eq!(on(519, Some(0)), RenewalStep::MakeNext);
        assert!(matches!(on(520, Some(519)), RenewalStep::WaitUntil(at) if at / DAY_S == 548));
        assert_eq!(on(549, Some(519)), RenewalStep::Promote);
    }

    #[test]
    fn what_is_late_is_told_for_a_day_before_it_is_shown() {
        assert_eq!(on(700, Some(0)), RenewalStep::MakeNext);
        assert!(matches!(on(700, Some(700)), RenewalStep::WaitUntil(at) if at == 701 * DAY_S));
        assert_eq!(on(701, Some(700)), RenewalStep::Promote);
    }

    #[test]
    fn one_that_has_expired_is_replaced_at_once_and_never_by_one_that_has() {
        assert_eq!(on(900, Some(900)), RenewalStep::Promote);
        assert_eq!(on(900, Some(0)), RenewalStep::MakeNext);
        assert_eq!(on(2000, Some(600)), RenewalStep::MakeNext);
    }
    #[test]
    fn one_that_waits_for_somebody_to_be_told_is_replaced_before_its_end() {
        let mut present = made_on(0);
        assert_eq!(promoted_at_last(&present), (823 - 7) * DAY_S);
        present.validity.not_after = present.validity.not_before + 20 * DAY_S;
        assert_eq!(promoted_at_last(&present), (19 - 2) * DAY_S);
    }
}

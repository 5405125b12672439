//! What is wrong with a node and what to do about it: findings, their order and the exit code.
//! Pure; who looks is in the files beside.

mod ams;
pub mod checks;
pub mod clocks;
pub mod files;
pub mod nats;
pub mod unit;

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Good,
    /// It works, and will not for long, or worse than it could.
    Warning,
    /// Something does not work.
    Error,
}

impl Severity {
    /// The exit code of a command that found nothing worse.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Warning => 1,
            Self::Error => 2,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// What was looked at, such as `nats` or `files`.
    pub area: &'static str,
    pub what: String,
    /// What to do about it; empty for what is good.
    pub remedy: String,
}

impl Finding {
    pub fn good(area: &'static str, what: impl Into<String>) -> Self {
        Self { severity: Severity::Good, area, what: what.into(), remedy: String::new() }
    }

    pub fn warning(area: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (what, remedy) = (what.into(), remedy.into());
        Self { severity: Severity::Warning, area, what, remedy }
    }

    pub fn error(area: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Error, ..Self::warning(area, what, remedy) }
    }
}

/// All that was found, the worst first.
#[derive(Debug, Serialize)]
pub struct Report {
    severity: Severity,
    findings: Vec<Finding>,
}

impl Report {
    pub fn new(mut findings: Vec<Finding>) -> Self {
        // Of one severity in the order of the areas, which is that of their dependence.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings.dedup();
        let severity = findings.first().map_or(Severity::Good, |worst| worst.severity);
        Self { severity, findings }
    }

    pub fn severity(&self) -> Severity {
        self.severity
    }

    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (good, bad): (Vec<_>, Vec<_>) =
            self.findings.iter().partition(|finding| finding.severity == Severity::Good);
        for Finding { severity, area, what, remedy } in bad {
            writeln!(f, "{}: {area}: {what}", severity.word())?;
            writeln!(f, "  {remedy}")?;
        }
        if !good.is_empty() {
            writeln!(f, "good:")?;
        }
        for Finding { area, what, .. } in good {
            writeln!(f, "  {area}: {what}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_decides_the_exit_code() {
        let good = Finding::good("nats", "there");
        let warning = Finding::warning("files", "root.key is left", "remove it");
        let error = Finding::error("ams", "it does not trust us", "register");
        assert_eq!(Report::new(Vec::new()).severity().exit_code(), 0);
        assert_eq!(Report::new(vec![good.clone()]).severity().exit_code(), 0);
        let report = Report::new(vec![good.clone(), warning.clone()]);
        assert_eq!(report.severity().exit_code(), 1);
        let report = Report::new(vec![good, warning.clone(), error.clone(), error]);
        assert_eq!(report.severity().exit_code(), 2);
        assert_eq!(
            report.to_string(),
            "error: ams: it does not trust us\n  register\n\
             warning: files: root.key is left\n  remove it\ngood:\n  nats: there\n"
        );
        let json = serde_json::to_value(&report).expect("json");
        assert_eq!(json["severity"], "error");
        assert_eq!(json["findings"][1]["remedy"], "remove it");
    }
}

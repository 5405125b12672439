//! `doctor`, on the command line of both programs.

use std::path::Path;

use super::Program;
use super::pki::become_owner;
use crate::certificates;
use crate::config_source::ConfigSource;
use crate::doctor::checks::{self, by_tries, in_time};
use crate::doctor::{Finding, Report, Severity};
use crate::output::say;

/// Looks at everything that the configuration at `path` names, and prints it.
///
/// # Errors
///
/// This cannot be run as the user of the service.
pub(super) fn run<P: Program>(path: &Path, json: bool) -> anyhow::Result<Severity> {
    // As the service would find it: root may read everything.
    become_owner::<P>(path.parent().unwrap_or(Path::new("")))?;
    let report = Report::new(actix::System::new().block_on(look::<P>(path)));
    match json {
        true => say!("{}", serde_json::to_string_pretty(&report)?),
        false => say!("{}", report.to_string().trim_end()),
    }
    Ok(report.severity())
}

async fn look<P: Program>(path: &Path) -> Vec<Finding> {
    let mut found = vec![match P::read(path) {
        Ok(_) => Finding::good("configuration", format!("{}: good", path.display())),
        Err(error) => Finding::error(
            "configuration",
            error.to_string(),
            "correct it, and ask `check-config`: a service that starts would refuse it",
        ),
    }];
    // What cannot be started can be looked at, if it is understood.
    let config = ConfigSource::read(path).and_then(|source| source.parse::<P::Config>());
    let Ok(config) = config else { return found };
    let subject = P::subject(&config);
    let rows = certificates::look(&P::certificates(&config));
    let tried = in_time("dependencies", async { by_tries(P::try_dependencies(config).await) });
    let (looked, tried) = tokio::join!(checks::look(&subject), tried);
    found.extend(checks::of_certificates(&rows));
    found.extend(tried);
    found.extend(looked);
    found
}

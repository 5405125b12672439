//! What metrics tell of what a unit depends on.

use stream_metrics::Exposition;

use crate::dependencies::Dependencies;

/// The entry of the dependencies that says whether the unit drains.
const DRAIN: &str = "drain";

/// Adds which dependencies are there, and whether the unit drains, to a scrape.
pub fn export_dependencies(exposition: &mut Exposition, dependencies: &Dependencies) {
    let others = dependencies.iter().filter(|(name, _)| **name != DRAIN);
    let up = others.map(|(name, state)| ((*name).to_owned(), state.is_ok().into()));
    exposition.counts("dependency_up", "Whether it is there", "dependency", up);
    let is_draining = dependencies.get(DRAIN).is_some_and(Result::is_err);
    exposition.count("draining", "Whether the unit is being taken out", is_draining.into());
}

#[cfg(test)]
mod tests {
    use stream_metrics::Format;

    use super::*;

    #[test]
    fn a_unit_that_drains_has_lost_no_dependency() {
        let state = [("nats", Ok(())), ("ams", Err("away".to_owned())), (DRAIN, Err("it".into()))];
        let mut exposition = Exposition::new("p");
        export_dependencies(&mut exposition, &Dependencies::from(state));
        let text = exposition.text(Format::Text);
        for line in [
            r#"p_dependency_up{dependency="nats"} 1"#,
            r#"p_dependency_up{dependency="ams"} 0"#,
            "p_draining 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains(r#""drain""#), "{text}");
    }
}

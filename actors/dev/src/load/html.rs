//! The report as one page that needs nothing else. Pure.

use std::fmt::Write;

use super::figures::Stretch;
use super::outcome::{Outcome, Run};
use super::plot::{self, Axes, Line};
use super::record::Hop;
use super::scrape::Holding;
use super::table;

const STYLE: &str = "\
:root{color-scheme:light dark;--0:#2563eb;--1:#d97706;--2:#059669;--3:#dc2626;--4:#7c3aed;\
--5:#0891b2;--6:#be185d;--7:#65a30d}\
body{font:15px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}\
pre{white-space:pre-wrap;padding:.75rem;background:#8882;border-radius:6px}\
svg{width:100%;height:auto}svg text{font-size:11px;fill:currentColor}\
.up{text-anchor:end}.across{text-anchor:middle}.grid{stroke:#8884}\
polyline{fill:none;stroke-width:1.8}\
ul{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1rem;padding:0;margin:.25rem 0}\
li::before{content:'';display:inline-block;width:.8em;height:.8em;border-radius:2px;\
margin-right:.4em;background:var(--c)}\
.l0{stroke:var(--0)}.l1{stroke:var(--1)}.l2{stroke:var(--2)}.l3{stroke:var(--3)}\
.l4{stroke:var(--4)}.l5{stroke:var(--5)}.l6{stroke:var(--6)}.l7{stroke:var(--7)}";

/// Returns the page.
pub(super) fn page(outcome: &Outcome) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Load of {gateway}</title>\
         <style>{STYLE}</style><h1>Load of {gateway}</h1>\
         <p>{application}, {begun}</p><pre>{table}</pre>",
        gateway = escaped(&outcome.options.gateway),
        application = escaped(&outcome.application),
        begun = outcome.begun_at,
        table = escaped(&table::table(outcome)),
    );
    if let Some(run) = outcome.shown() {
        plots(run, &mut page);
    }
    if outcome.runs.len() > 1 {
        by_rate(&outcome.runs, &mut page);
    }
    page
}

fn by_rate(runs: &[Run], page: &mut String) {
    let mut runs: Vec<_> = runs.iter().collect();
    runs.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    let p99 = |hop, run: &&Run| {
        let figures = run.hops.iter().find(|figures| figures.hop == hop);
        figures.map(|figures| (run.rate, figures.p99))
    };
    let line = |hop: Hop| Line {
        name: hop.to_string(),
        points: runs.iter().filter_map(|run| p99(hop, run)).collect(),
    };
    let reached = Hop::ALL.map(line).into_iter().filter(|line| !line.points.is_empty());
    let axes = Axes { across: "sessions a second", up: "milliseconds", by_tens: true };
    section("99th percentile by rate", &reached.collect::<Vec<_>>(), &axes, page);
}

fn plots(run: &Run, page: &mut String) {
    let by_time = |of: fn(&Stretch) -> f64| -> Vec<Line> {
        let points = |stretches: &[Stretch]| stretches.iter().map(|s| (s.until_s, of(s))).collect();
        let line = |(hop, stretches): &(Hop, Vec<Stretch>)| Line {
            name: hop.to_string(),
            points: points(stretches),
        };
        run.over_time.iter().map(line).collect()
    };
    let over_time = Axes { across: "seconds", up: "milliseconds", by_tens: true };
    section("Median over time, in milliseconds", &by_time(|s| s.p50), &over_time, page);
    section("99th percentile over time, in milliseconds", &by_time(|s| s.p99), &over_time, page);
    let spread = run.spread.iter().map(|(hop, times)| Line {
        name: hop.to_string(),
        points: (1..).map(f64::from).zip(times.iter().copied()).collect(),
    });
    let axes = Axes { across: "percent of all", up: "milliseconds", by_tens: true };
    section("No longer than, in milliseconds", &spread.collect::<Vec<_>>(), &axes, page);
    let held = |name: &str, of: fn(&Holding) -> Option<f64>| Line {
        name: name.to_owned(),
        points: run.held.iter().filter_map(|held| Some((held.at_s, of(held)?))).collect(),
    };
    let axes = Axes { across: "seconds", up: "number", by_tens: false };
    let counts = [held("sockets", |h| h.sockets), held("sessions", |h| h.sessions)];
    section("What the gateway holds", &counts, &axes, page);
    let memory = [held("memory (MiB)", |h| h.memory_mib)];
    section("Memory of the gateway, in MiB", &memory, &axes, page);
}

/// Adds a plot with its legend; nothing without a point.
fn section(title: &str, lines: &[Line], axes: &Axes, page: &mut String) {
    let svg = plot::lines(lines, axes);
    if svg.is_empty() {
        return;
    }
    // Writing to a string does not fail.
    let _ = write!(page, "<h2>{title}</h2>{svg}<ul>");
    for (nth, line) in lines.iter().enumerate().take(plot::MOST_LINES) {
        let _ = write!(page, "<li style=\"--c:var(--{nth})\">{}</li>", escaped(&line.name));
    }
    page.push_str("</ul>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gateway_says_is_text_and_no_markup() {
        assert_eq!(escaped("<a b=\"c\">&"), "&lt;a b=&quot;c&quot;&gt;&amp;");
        let (mut page, axes) = (String::new(), Axes { across: "x", up: "y", by_tens: false });
        let line = Line { name: "<b>".to_owned(), points: vec![(0.0, 1.0), (1.0, 2.0)] };
        section("T", &[line], &axes, &mut page);
        assert!(
            page.contains("<li style=\"--c:var(--0)\">&lt;b&gt;</li>") && !page.contains("<b>")
        );
        section("T", &[], &axes, &mut String::new());
    }
}

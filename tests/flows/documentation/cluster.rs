//! The page about three nodes, on three systems: each command where its heading says.

use std::path::Path;

use anyhow::{Context, ensure};

use super::blocks::{blocks, check};
use super::run_on_systems;
use crate::package::has_own_system;

pub(super) const PAGE: &str = ".github/operating/cluster.md";

/// Makes the systems, and takes the steps there.
const THREE_NODES: &str = include_str!("three_nodes.sh");

/// What ends the commands of a step, which may have such ends of their own.
const END: &str = "END OF THE BLOCK";

#[test]
fn three_nodes_are_set_up_and_lose_one_as_the_documentation_says() {
    if has_own_system() {
        run().expect("documentation that is true");
    }
}

fn run() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE))?;
    let blocks = blocks(PAGE, &text, None)?;
    ensure!(!blocks.is_empty(), "{PAGE} has no commands");
    let mut steps = String::new();
    for block in &blocks {
        let nodes = nodes(&block.heading).with_context(|| block.place.clone())?;
        let commands = &block.commands;
        steps.push_str(&format!("block {} {nodes} <<'{END}'\n{commands}\n{END}\n", block.place));
    }
    check(&blocks, &run_on_systems(THREE_NODES, &steps)?)?;
    println!("{} blocks of commands", blocks.len());
    Ok(())
}

/// Returns the numbers of the nodes that a heading begins with: `On node 1: …`, `On nodes 2 and
/// 3: …` or `On each node: …`.
fn nodes(heading: &str) -> anyhow::Result<String> {
    let place = heading.trim_start_matches('#').trim_start().strip_prefix("On ");
    let (place, _) = place.and_then(|place| place.split_once(':')).context("on which node?")?;
    if place == "each node" {
        return Ok("1 2 3".to_owned());
    }
    let numbers = place.strip_prefix("node").context("not a node")?;
    let numbers = numbers.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
    Ok(numbers.collect::<Vec<_>>().join(" "))
}

#[test]
fn a_heading_says_on_which_nodes() {
    let of = |heading| nodes(heading).expect("nodes");
    assert_eq!(of("## On node 1: the first"), "1");
    assert_eq!(of("## On nodes 2 and 3: the others"), "2 3");
    assert_eq!(of("### On each node: NATS 2"), "1 2 3");
    assert!(nodes("## The loss of a node").is_err() && nodes("## On the whole: 1").is_err());
}

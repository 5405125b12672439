//! Simulations of many seeds: `STREAM_SIM_SEEDS=100000` runs so many, `STREAM_SIM_SEED=7` one and
//! prints its history, and with `STREAM_SIM_STEPS=0,4` only those steps of it happen.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use stream_simulation::{Outcome, run, shrink, steps};

/// How many seeds are run unless something else is said.
const SEEDS: u64 = 1000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// The steps that happen, if not all do.
fn chosen() -> Option<Vec<usize>> {
    let text = std::env::var("STREAM_SIM_STEPS").ok()?;
    let numbers = text.split(',').filter(|number| !number.is_empty());
    Some(numbers.map(|number| number.parse().expect("STREAM_SIM_STEPS is a list")).collect())
}

/// Runs all seeds below `count` on all processors; returns the lowest that breaks a promise, with
/// the first one that it breaks.
fn first_broken(count: u64) -> Option<(u64, String)> {
    let (next, broken) = (AtomicU64::new(0), Mutex::new(None::<(u64, String)>));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            let is_over = |found: &(u64, String)| found.0 < seed;
            if seed >= count || broken.lock().expect("no panic").as_ref().is_some_and(is_over) {
                return;
            }
            let Some(how) = run(seed, None, false).violations.into_iter().next() else { continue };
            let mut broken = broken.lock().expect("no panic");
            if broken.as_ref().is_none_or(|found| seed < found.0) {
                *broken = Some((seed, how));
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, |count| count.get());
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    broken.into_inner().expect("no panic")
}

/// Prints the history of a seed.
fn tell(seed: u64, chosen: Option<&[usize]>, outcome: &Outcome) {
    outcome.lines.iter().for_each(|line| println!("{line}"));
    for (at, step) in steps(seed).iter().enumerate() {
        if chosen.is_none_or(|chosen| chosen.contains(&at)) {
            println!("step {at}: {step}");
        }
    }
    outcome.violations.iter().for_each(|how| println!("broken: {how}"));
}

#[test]
fn no_promise_is_broken() {
    if let Some(seed) = number("STREAM_SIM_SEED") {
        let chosen = chosen();
        let outcome = run(seed, chosen.as_deref(), true);
        tell(seed, chosen.as_deref(), &outcome);
        assert!(outcome.violations.is_empty(), "seed {seed}: {}", outcome.violations[0]);
        return;
    }
    let count = number("STREAM_SIM_SEEDS").unwrap_or(SEEDS);
    let Some((seed, how)) = first_broken(count) else { return };
    let promise = how.split(':').next().unwrap_or_default();
    let (left, outcome) = shrink(seed, promise).expect("a seed does the same again");
    tell(seed, Some(&left), &outcome);
    let left: Vec<_> = left.iter().map(usize::to_string).collect();
    panic!(
        "seed {seed}: {how}\nagain: STREAM_SIM_SEED={seed} STREAM_SIM_STEPS={} \
         cargo nextest run -p stream-simulation --no-capture no_promise_is_broken",
        left.join(",")
    );
}

/// `scripts/test --long` puts them back and has them found.
#[test]
fn every_fault_can_be_put_back() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let faults = std::fs::read_dir(package.join("faults")).expect("a folder");
    let faults: Vec<_> = faults.map(|fault| fault.expect("a file").path()).collect();
    assert!(faults.len() >= 3);
    for fault in faults {
        let mut patch = Command::new("patch");
        patch.args(["--dry-run", "--strip", "1", "--directory"]).arg(package.join("../.."));
        let fits = patch.arg("--input").arg(&fault).status().expect("there is a patch program");
        assert!(fits.success(), "{} does not fit the code any more", fault.display());
    }
}

#[test]
fn one_seed_has_one_history() {
    for seed in 0..20 {
        let (one, other) = (run(seed, None, true), run(seed, None, true));
        let differs = one.lines.iter().zip(&other.lines).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!((one.sum, one.lines.len()), (other.sum, other.lines.len()), "seed {seed}");
        let quiet = thread::scope(|scope| scope.spawn(|| run(seed, None, false).sum).join());
        assert_eq!(quiet.ok(), Some(one.sum), "seed {seed} on another thread");
    }
}

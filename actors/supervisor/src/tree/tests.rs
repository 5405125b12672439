//! Random actors under random failures, beside a model that keeps nothing but a list of what
//! happened and recomputes the rest from it.

use proptest::collection::vec;
use proptest::prelude::{any, prop, prop_assert_eq, proptest};

use super::*;
use crate::restart::{Decision, RestartHistory, RestartPolicy};

const UNIT: Duration = Duration::from_secs(1);

/// How often something may happen, and within how many units.
type Bounds = (u32, u32);

/// The code under test, with the actors' own histories beside the tree.
struct Real {
    tree: Tree,
    actors: Vec<(Node, RestartHistory)>,
    start: Instant,
}

/// What follows a failure; actors are numbered in the order of their start.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Outcome {
    ByItself,
    /// Suspended in this order and restarted in the reverse.
    Restarted(Vec<usize>),
    GivenUp,
}

impl Real {
    fn new((intensity, window): Bounds, actors: &[Bounds]) -> Self {
        let mut tree = Tree::new(Policy { intensity, window: UNIT * window });
        let actors = actors.iter().map(|(intensity, window)| {
            let (intensity, window) = (*intensity, UNIT * *window);
            let policy = RestartPolicy { intensity, window, ..RestartPolicy::default() };
            (tree.add_actor(), RestartHistory::new(policy))
        });
        let actors = actors.collect();
        Self { tree, actors, start: Instant::now() }
    }

    fn failed(&mut self, actor: usize, now: u32) -> Outcome {
        let now = self.start + UNIT * now;
        let (node, history) = &mut self.actors[actor];
        if history.failed(now, 0.0) != Decision::Escalate {
            return Outcome::ByItself;
        }
        let actions = self.tree.escalated(*node, now);
        if actions == [Action::GiveUp] {
            return Outcome::GivenUp;
        }
        let suspended = actions.iter().filter_map(|action| match action {
            Action::Suspend(node) => Some(*node),
            _ => None,
        });
        let suspended: Vec<_> = suspended.collect();
        let restarted: Vec<_> = suspended.iter().rev().map(|node| Action::Restart(*node)).collect();
        assert_eq!(actions[suspended.len()..], restarted, "all are suspended first");
        let mut numbers = Vec::new();
        for node in suspended {
            let number = self.actors.iter().position(|(known, _)| *known == node);
            let number = number.expect("an actor");
            self.actors[number].1.reset();
            numbers.push(number);
        }
        Outcome::Restarted(numbers)
    }
}

/// What has happened.
#[derive(Clone, Debug)]
enum Entry {
    /// An actor's failure that was its own affair.
    Handled { actor: usize, now: u32 },
    /// An escalation that the tree answered by restarts, of this actor and those after it.
    Escalated { from: usize, now: u32 },
}

struct Model<'p> {
    tree: Bounds,
    actors: &'p [Bounds],
    log: Vec<Entry>,
}

impl Model<'_> {
    /// Counts what `counted` tells the time of, as far as it is within the last `window`.
    fn recent(
        &self,
        now: u32,
        window: u32,
        until: impl Fn(&Entry) -> bool,
        counted: impl Fn(&Entry) -> Option<u32>,
    ) -> usize {
        let entries = self.log.iter().rev().take_while(|entry| !until(entry));
        entries.filter_map(counted).filter(|then| now - then < window).count()
    }

    fn failed(&mut self, actor: usize, now: u32) -> Outcome {
        let (intensity, window) = self.actors[actor];
        let own = self.recent(
            now,
            window,
            |entry| matches!(entry, Entry::Escalated { from, .. } if *from <= actor),
            |entry| match entry {
                Entry::Handled { actor: of, now } if *of == actor => Some(*now),
                _ => None,
            },
        );
        if own < intensity as usize {
            self.log.push(Entry::Handled { actor, now });
            return Outcome::ByItself;
        }
        let (intensity, window) = self.tree;
        let of_tree = self.recent(
            now,
            window,
            |_| false,
            |entry| match entry {
                Entry::Escalated { now, .. } => Some(*now),
                Entry::Handled { .. } => None,
            },
        );
        if of_tree >= intensity as usize {
            return Outcome::GivenUp;
        }
        self.log.push(Entry::Escalated { from: actor, now });
        Outcome::Restarted((actor..self.actors.len()).rev().collect())
    }
}

proptest! {
    #[test]
    fn restarts_escalations_and_their_order_are_those_of_the_model(
        tree in (0..4u32, 1..40u32),
        actors in vec((0..4u32, 1..20u32), 1..8),
        schedule in vec((any::<prop::sample::Index>(), 0..6u32), 0..120),
    ) {
        let mut real = Real::new(tree, &actors);
        let mut model = Model { tree, actors: &actors, log: Vec::new() };
        let mut now = 0;
        for (actor, later) in schedule {
            now += later;
            let actor = actor.index(actors.len());
            let (got, expected) = (real.failed(actor, now), model.failed(actor, now));
            prop_assert_eq!(&got, &expected, "{} failed at {}", actor, now);
            if got == Outcome::GivenUp {
                break;
            }
        }
    }
}

#[test]
fn those_started_before_are_left_alone_and_those_after_are_rebuilt_in_order() {
    let mut tree = Tree::new(Policy::default());
    let actors: Vec<_> = (0..3).map(|_| tree.add_actor()).collect();
    let expected = [
        Action::Suspend(actors[2]),
        Action::Suspend(actors[1]),
        Action::Restart(actors[1]),
        Action::Restart(actors[2]),
    ];
    assert_eq!(tree.escalated(actors[1], Instant::now()), expected);
}

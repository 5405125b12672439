//! Random trees under random failures, beside a model that keeps nothing but a list of what
//! happened and recomputes the rest from it.

use proptest::collection::vec;
use proptest::prelude::{Just, any, prop, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Draw;

use super::*;
use crate::restart::{Decision, RestartHistory, RestartPolicy};

const UNIT: Duration = Duration::from_secs(1);

/// A tree as a person would write it down.
#[derive(Clone, Debug)]
enum Plan {
    Actor { intensity: u32, window: u32 },
    Group { strategy: Strategy, intensity: u32, window: u32, children: Vec<Plan> },
}

fn plan() -> impl Draw<Value = Plan> {
    let actor =
        (0..4u32, 1..20u32).prop_map(|(intensity, window)| Plan::Actor { intensity, window });
    actor.prop_recursive(3, 16, 4, |child| {
        let strategy = prop_oneof![Just(Strategy::OneForOne), Just(Strategy::RestForOne)];
        (strategy, 0..4u32, 1..40u32, vec(child, 1..5)).prop_map(
            |(strategy, intensity, window, children)| Plan::Group {
                strategy,
                intensity,
                window,
                children,
            },
        )
    })
}

/// The root is always a group.
fn inner() -> impl Draw<Value = Plan> {
    plan().prop_map(|plan| match plan {
        group @ Plan::Group { .. } => group,
        actor => Plan::Group {
            strategy: Strategy::RestForOne,
            intensity: 1,
            window: 10,
            children: vec![actor],
        },
    })
}

/// The place of a node: the child's number at each step down from the root.
type Place = Vec<usize>;

/// The code under test, with the actors' own histories beside the tree.
struct Real {
    tree: Tree,
    histories: Vec<(Place, Node, RestartHistory)>,
    start: Instant,
}

/// What follows a failure, in terms of places.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Outcome {
    ByItself,
    /// Parked in this order and rebuilt in the reverse.
    Restarted(Vec<Place>),
    GivenUp,
}

impl Real {
    fn new(plan: &Plan) -> Self {
        let Plan::Group { strategy, intensity, window, children } = plan else {
            panic!("the root is a group")
        };
        let policy = policy(*strategy, *intensity, *window);
        let mut real = Self { tree: Tree::new(policy), histories: vec![], start: Instant::now() };
        real.add(Tree::ROOT, &[], children);
        real
    }

    fn add(&mut self, parent: Node, above: &[usize], children: &[Plan]) {
        for (number, child) in children.iter().enumerate() {
            let place = [above, &[number]].concat();
            match child {
                Plan::Actor { intensity, window } => {
                    let node = self.tree.add_actor(parent);
                    let window = UNIT * *window;
                    let restart =
                        RestartPolicy { intensity: *intensity, window, ..RestartPolicy::default() };
                    self.histories.push((place, node, RestartHistory::new(restart)));
                }
                Plan::Group { strategy, intensity, window, children } => {
                    let policy = policy(*strategy, *intensity, *window);
                    let group = self.tree.add_group(parent, policy);
                    self.add(group, &place, children);
                }
            }
        }
    }

    fn failed(&mut self, actor: usize, now: u32) -> Outcome {
        let now = self.start + UNIT * now;
        let (_, node, history) = &mut self.histories[actor];
        if history.failed(now, 0.0) != Decision::Escalate {
            return Outcome::ByItself;
        }
        let actions = self.tree.escalated(*node, now);
        if actions == [Action::GiveUp] {
            return Outcome::GivenUp;
        }
        let parked = actions.iter().filter_map(|action| match action {
            Action::Suspend(node) => Some(*node),
            _ => None,
        });
        let parked: Vec<_> = parked.collect();
        let rebuilt: Vec<_> = parked.iter().rev().map(|node| Action::Restart(*node)).collect();
        assert_eq!(actions[parked.len()..], rebuilt, "all are parked first, the last one first");
        let mut places = Vec::new();
        for node in parked {
            let known = self.histories.iter_mut().find(|(_, known, _)| *known == node);
            let (place, _, history) = known.expect("an actor");
            history.reset();
            places.push(place.clone());
        }
        Outcome::Restarted(places)
    }
}

fn policy(strategy: Strategy, intensity: u32, window: u32) -> Policy {
    Policy { strategy, intensity, window: UNIT * window }
}

/// What has happened: failures taken care of at a place, and resets of all at and under one.
#[derive(Clone, Debug)]
enum Entry {
    Handled { at: Place, now: u32 },
    Reset { below: Place },
}

struct Model<'p> {
    plan: &'p Plan,
    log: Vec<Entry>,
}

impl Model<'_> {
    fn find(&self, place: &[usize]) -> &Plan {
        place.iter().fold(self.plan, |plan, number| match plan {
            Plan::Group { children, .. } => &children[*number],
            Plan::Actor { .. } => panic!("no such place"),
        })
    }

    /// Whether `place` may take care of one more failure at `now`.
    fn try_record(&self, place: &[usize], now: u32) -> bool {
        let (Plan::Actor { intensity, window } | Plan::Group { intensity, window, .. }) =
            self.find(place);
        let handled = self.log.iter().rev().take_while(
            |entry| !matches!(entry, Entry::Reset { below } if place.starts_with(below)),
        );
        let recent = handled.filter(
            |entry| matches!(entry, Entry::Handled { at, now: then } if at == place && now - then < *window),
        );
        recent.count() < usize::try_from(*intensity).expect("small")
    }

    fn failed(&mut self, actor: &[usize], now: u32) -> Outcome {
        if self.try_record(actor, now) {
            self.log.push(Entry::Handled { at: actor.to_vec(), now });
            return Outcome::ByItself;
        }
        for depth in (0..actor.len()).rev() {
            let (parent, child) = (&actor[..depth], actor[depth]);
            if !self.try_record(parent, now) {
                continue;
            }
            self.log.push(Entry::Handled { at: parent.to_vec(), now });
            let Plan::Group { strategy, children, .. } = self.find(parent) else {
                panic!("an actor has no children")
            };
            let restarted = match strategy {
                Strategy::OneForOne => child..child + 1,
                Strategy::RestForOne => child..children.len(),
            };
            let mut actors = Vec::new();
            for number in restarted {
                let place = [parent, &[number]].concat();
                actors.extend(actors_below(self.find(&place), &place));
                self.log.push(Entry::Reset { below: place });
            }
            actors.reverse();
            return Outcome::Restarted(actors);
        }
        Outcome::GivenUp
    }
}

fn actors_below(plan: &Plan, place: &[usize]) -> Vec<Place> {
    match plan {
        Plan::Actor { .. } => vec![place.to_vec()],
        Plan::Group { children, .. } => children
            .iter()
            .enumerate()
            .flat_map(|(number, child)| actors_below(child, &[place, &[number]].concat()))
            .collect(),
    }
}

proptest! {
    #[test]
    fn restarts_escalations_and_their_order_are_those_of_the_model(
        plan in inner(),
        schedule in vec((any::<prop::sample::Index>(), 0..6u32), 0..120),
    ) {
        let mut real = Real::new(&plan);
        let mut model = Model { plan: &plan, log: Vec::new() };
        let mut now = 0;
        for (actor, later) in schedule {
            now += later;
            let actor = actor.index(real.histories.len());
            let place = real.histories[actor].0.clone();
            let (got, expected) = (real.failed(actor, now), model.failed(&place, now));
            prop_assert_eq!(&got, &expected, "{:?} failed at {}", place, now);
            if got == Outcome::GivenUp {
                break;
            }
        }
    }
}

#[test]
fn those_started_before_are_left_alone_and_those_after_are_rebuilt_in_order() {
    let mut tree = Tree::new(Policy::default());
    let actors: Vec<_> = (0..3).map(|_| tree.add_actor(Tree::ROOT)).collect();
    let expected = [
        Action::Suspend(actors[2]),
        Action::Suspend(actors[1]),
        Action::Restart(actors[1]),
        Action::Restart(actors[2]),
    ];
    assert_eq!(tree.escalated(actors[1], Instant::now()), expected);
}

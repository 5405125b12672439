//! Who restarts whom. Pure: escalations and the time come in, actions come out.

use std::time::{Duration, Instant};

use crate::restart::SlidingWindow;

/// What a group does about a child that failed too often.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub strategy: Strategy,
    /// How many times within `window` it does so; one more is the affair of its own parent, and at
    /// the root the end of the process.
    pub intensity: u32,
    pub window: Duration,
}

impl Default for Policy {
    /// Restarts the child and those after it, three times within five minutes.
    fn default() -> Self {
        Self { strategy: Strategy::RestForOne, intensity: 3, window: Duration::from_secs(300) }
    }
}

/// Who is restarted with a child that failed too often.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Strategy {
    /// Nobody.
    OneForOne,
    /// Those started after it: they may depend on it.
    RestForOne,
}

/// An actor or a group; a number in the order of their making.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Node(pub(crate) usize);

/// What the tree wants done, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// Throw the state away and read no message until rebuilt.
    Suspend(Node),
    /// Build fresh state; the next one is rebuilt when this one is ready.
    Restart(Node),
    /// Nobody is left who could help.
    GiveUp,
}

pub(crate) struct Tree(Vec<Entry>);

struct Entry {
    /// `None` at the root.
    parent: Option<Node>,
    /// `None` for an actor.
    group: Option<Group>,
}

struct Group {
    policy: Policy,
    children: Vec<Node>,
    recent: SlidingWindow,
}

impl Tree {
    pub(crate) const ROOT: Node = Node(0);

    pub(crate) fn new(policy: Policy) -> Self {
        Self(vec![Entry { parent: None, group: Some(Group::new(policy)) }])
    }

    pub(crate) fn add_group(&mut self, parent: Node, policy: Policy) -> Node {
        self.add(parent, Some(Group::new(policy)))
    }

    pub(crate) fn add_actor(&mut self, parent: Node) -> Node {
        self.add(parent, None)
    }

    fn add(&mut self, parent: Node, group: Option<Group>) -> Node {
        let node = Node(self.0.len());
        self.0.push(Entry { parent: Some(parent), group });
        if let Some(group) = &mut self.0[parent.0].group {
            group.children.push(node);
        }
        node
    }

    /// Decides about `child`, which has failed more often than it may.
    pub(crate) fn escalated(&mut self, mut child: Node, now: Instant) -> Vec<Action> {
        while let Some(parent) = self.0[child.0].parent {
            if let Some(group) = &mut self.0[parent.0].group
                && group.recent.try_record(now, group.policy.intensity, group.policy.window)
            {
                return self.restart(child, parent);
            }
            child = parent;
        }
        vec![Action::GiveUp]
    }

    fn restart(&mut self, child: Node, parent: Node) -> Vec<Action> {
        let actors: Vec<_> = self
            .restarted_with(child, parent)
            .into_iter()
            .flat_map(|node| self.reset_subtree(node))
            .collect();
        let parked = actors.iter().rev().map(|actor| Action::Suspend(*actor));
        parked.chain(actors.iter().map(|actor| Action::Restart(*actor))).collect()
    }

    fn restarted_with(&self, child: Node, parent: Node) -> Vec<Node> {
        match &self.0[parent.0].group {
            Some(group) if group.policy.strategy == Strategy::RestForOne => {
                group.children.iter().copied().skip_while(|sibling| *sibling != child).collect()
            }
            _ => vec![child],
        }
    }

    /// Returns the actors at or under `node` in the order of their start; its groups begin anew.
    fn reset_subtree(&mut self, node: Node) -> Vec<Node> {
        if let Some(group) = &mut self.0[node.0].group {
            group.recent.reset();
        }
        self.descend(node, |tree, child| tree.reset_subtree(child))
    }

    /// Returns the actors at or under `node` in the order of their start.
    pub(crate) fn actors(&mut self, node: Node) -> Vec<Node> {
        self.descend(node, |tree, child| tree.actors(child))
    }

    fn descend(&mut self, node: Node, each: impl Fn(&mut Self, Node) -> Vec<Node>) -> Vec<Node> {
        match self.0[node.0].group.as_ref().map(|group| group.children.clone()) {
            Some(children) => children.into_iter().flat_map(|child| each(self, child)).collect(),
            None => vec![node],
        }
    }
}

impl Group {
    fn new(policy: Policy) -> Self {
        Self { policy, children: Vec::new(), recent: SlidingWindow::default() }
    }
}

#[cfg(test)]
mod tests;

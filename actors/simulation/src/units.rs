//! The units of a simulation: who is there, and who comes back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use stream_supervisor::{Supervisor, spawn_detached};
use tokio::time::sleep;

use crate::agent::Agent;
use crate::gateway::Gateway;
use crate::world::Shared;

/// How often it is looked who has died.
const LOOK: Duration = Duration::from_millis(500);

/// All units that are there; clones are the same.
#[derive(Clone)]
pub(crate) struct Units(Rc<Inner>);

struct Inner {
    world: Shared,
    agents: RefCell<BTreeMap<String, Agent>>,
    gateways: RefCell<BTreeMap<String, Gateway>>,
    /// How long those stay away that die.
    away: RefCell<BTreeMap<String, Duration>>,
}

impl Units {
    pub(crate) fn new(world: &Shared) -> Self {
        Self(Rc::new(Inner {
            world: Shared::clone(world),
            agents: RefCell::default(),
            gateways: RefCell::default(),
            away: RefCell::default(),
        }))
    }

    /// Starts a unit, and starts it again whenever it has died.
    pub(crate) fn keep(&self, name: &str, is_agent: bool) {
        let (units, name) = (self.clone(), name.to_owned());
        spawn_detached("the service manager", async move {
            loop {
                units.start(&name, is_agent).await;
                while units.is_alive(&name) {
                    sleep(LOOK).await;
                }
                let away = units.0.away.borrow_mut().remove(&name);
                sleep(away.unwrap_or(Duration::from_secs(3))).await;
            }
        });
    }

    async fn start(&self, name: &str, is_agent: bool) {
        let Inner { world, agents, gateways, .. } = &*self.0;
        if is_agent {
            let agent = Agent::start(world, name).await;
            agents.borrow_mut().extend(agent.map(|agent| (name.to_owned(), agent)));
        } else {
            let gateway = Gateway::start(world, name).await;
            gateways.borrow_mut().extend(gateway.map(|gateway| (name.to_owned(), gateway)));
        }
    }

    fn is_alive(&self, name: &str) -> bool {
        let agents = self.0.agents.borrow();
        let gateways = self.0.gateways.borrow();
        let process = agents.get(name).map(|agent| &agent.process);
        let process = process.or_else(|| gateways.get(name).map(|gateway| &gateway.process));
        process.is_some_and(|process| process.is_alive())
    }

    /// Has a unit stay away for `time` once it has died.
    pub(crate) fn stay_away(&self, name: &str, time: Duration) {
        self.0.away.borrow_mut().insert(name.to_owned(), time);
    }

    pub(crate) fn agent(&self, name: &str) -> Option<Agent> {
        self.0.agents.borrow().get(name).filter(|agent| agent.process.is_alive()).cloned()
    }

    pub(crate) fn gateway(&self, name: &str) -> Option<Gateway> {
        self.0.gateways.borrow().get(name).filter(|one| one.process.is_alive()).cloned()
    }

    /// Returns those actors that have panicked, with the cause of their last failure. An answer
    /// that takes too long is none of ours: its unit stood still, or AMS was slow.
    pub(crate) fn failures(&self) -> Vec<String> {
        let agents = self.0.agents.borrow();
        let gateways = self.0.gateways.borrow();
        let agents = agents.values().map(|agent| &agent.supervisor);
        let all = agents.chain(gateways.values().map(|gateway| &gateway.supervisor));
        let failed = all.flat_map(Supervisor::status).filter_map(|actor| {
            if actor.failures.panics == 0 {
                return None;
            }
            actor.last_failure.map(|failure| format!("{}: {}", actor.name, failure.cause))
        });
        failed.collect()
    }

    /// Returns one of the agents that are there.
    pub(crate) fn any_agent(&self) -> Option<(String, Agent)> {
        let agents = self.0.agents.borrow();
        let alive: Vec<_> = agents.iter().filter(|(_, one)| one.process.is_alive()).collect();
        let at = self.0.world.lock().chance.below(alive.len());
        alive.get(at).map(|(name, agent)| ((*name).clone(), (*agent).clone()))
    }

    /// Returns one of the gateways that are there.
    pub(crate) fn any_gateway(&self) -> Option<Gateway> {
        let gateways = self.0.gateways.borrow();
        let alive: Vec<_> = gateways.values().filter(|one| one.process.is_alive()).collect();
        let at = self.0.world.lock().chance.below(alive.len());
        alive.get(at).map(|gateway| (*gateway).clone())
    }
}

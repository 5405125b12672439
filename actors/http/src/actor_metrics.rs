//! What metrics tell of the actors.

use stream_metrics::Exposition;
use stream_supervisor::{ActorStatus, Failures};

/// Adds the state of every actor to a scrape.
pub fn export_actors(exposition: &mut Exposition, actors: &[ActorStatus]) {
    let label = |actor: &ActorStatus| vec![("actor", actor.name.to_owned())];
    let state = |actor: &ActorStatus| {
        let state = format!("{:?}", actor.state).to_lowercase();
        (vec![("actor", actor.name.to_owned()), ("state", state)], 1)
    };
    exposition.gauges("actor_state", "The state an actor is in", actors.iter().map(state));
    let mut gauges = |name, help, value: fn(&ActorStatus) -> u64| {
        exposition.gauges(name, help, actors.iter().map(|actor| (label(actor), value(actor))));
    };
    gauges("actor_depth", "Messages queued or in work", |actor| actor.depth as u64);
    gauges("actor_depth_high_water", "The most messages there ever were", |actor| {
        actor.high_water as u64
    });
    gauges("actor_capacity", "Messages an actor takes before it refuses", |actor| {
        actor.capacity as u64
    });
    gauges("actor_uptime_seconds", "Since the state was last built", |actor| actor.uptime);
    let failures = actors.iter().flat_map(|actor| {
        let Failures { panics, deadlines, errors } = actor.failures;
        let kinds = [("panic", panics), ("deadline", deadlines), ("error", errors)];
        kinds
            .map(|(kind, n)| (vec![("actor", actor.name.to_owned()), ("kind", kind.to_owned())], n))
    });
    exposition.counters("actor_failures", "How often an actor failed", failures);
    let mut counters = |name, help, value: fn(&ActorStatus) -> u64| {
        exposition.counters(name, help, actors.iter().map(|actor| (label(actor), value(actor))));
    };
    counters("actor_restarts", "How often the state was rebuilt", |actor| actor.restarts);
    counters("actor_refused", "Messages refused as one too many", |actor| actor.refused);
}

//! What a gateway does beside the requests of its clients.

use stream_supervisor::spawn_detached;

use crate::state::State;
use crate::{account_upkeep, ams_initiated};

/// Starts all of it; it ends when the gateway closes.
pub(crate) fn start(state: &State) {
    let State { account_uses, views, tokens, closing, supervisor, .. } = state;
    let (uses, views, tokens) = (account_uses.clone(), views.clone(), tokens.clone());
    let upkeep = account_upkeep::run(uses, views, tokens, closing.clone());
    spawn_detached("the upkeep of accounts", upkeep);
    ams_initiated::start(&state.bridge, supervisor);
}

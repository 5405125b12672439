//! The endpoints at `/1.0/config`: what operators may change while gateways run.
//!
//! One record in NATS says what was changed. All gateways follow it, and it holds over the values
//! of their files.

use actix_web::HttpRequest;
use actix_web::web::{Data, Payload};
use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::{Bucket, SETTINGS_KEY};
use stream_protocol::{Op, Refusal, RefusalCode};

use crate::auth::authorize;
use crate::response::{HandlerResult, body, ok};
use crate::settings::{Change, Overrides};
use crate::state::State;

/// How often a record is written again that another gateway begins at the same time.
const MAX_CAS_ATTEMPTS: usize = 3;

/// GET `/1.0/config`: the values that hold, by name.
pub(crate) async fn read(request: HttpRequest, state: Data<State>) -> HandlerResult {
    authorize(&request, &state, Op::ConfigRead, None).await?;
    Ok(ok(state.views.settings().await.items()))
}

/// PATCH `/1.0/config`: changes one value for all gateways, and answers with all of them.
pub(crate) async fn change(
    request: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> HandlerResult {
    let caller = authorize(&request, &state, Op::ConfigUpdate, None).await?;
    let change = Change::parse(&body(&request, payload).await?)?;
    let before = state.views.settings().await.get(change.item);
    store(&state.bridge, &change).await?;
    // The answer, and whatever this gateway does next, knows of it. Where it cannot be read again
    // it is stored all the same: to say it twice is no harm.
    let settings = state.views.settings_now().await?;
    let (item, now, token) = (change.item.name(), settings.get(change.item), &caller.claims.id);
    let of_file = change.value.is_none();
    log::info!(item, before, now, of_file, caller:%, token:%; "configuration changed");
    Ok(ok(settings.items()))
}

async fn store(bridge: &Bridge, change: &Change) -> Result<(), Refusal> {
    let edit = |overrides: &mut Overrides| {
        overrides.apply(change);
        Ok::<_, BridgeError>(())
    };
    for _ in 0..MAX_CAS_ATTEMPTS {
        let (bucket, never) = (Bucket::Settings, |_: &Overrides| None);
        match bridge.change(bucket, SETTINGS_KEY, never, edit).await {
            Err(BridgeError::NotFound) => {}
            changed => return Ok(changed.map(drop)?),
        }
        let mut first = Overrides::default();
        first.apply(change);
        match bridge.create(bucket, SETTINGS_KEY, &first).await {
            // Another gateway was faster.
            Err(BridgeError::Conflict) => {}
            created => return Ok(created.map(drop)?),
        }
    }
    Err(Refusal::new(RefusalCode::Busy, "the configuration is just being changed: do it again"))
}

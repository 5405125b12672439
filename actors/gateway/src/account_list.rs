//! The endpoint at `/1.0/accounts`: who may use this deployment. Accounts are made, and tokens
//! given, by commands on the machine of a gateway only.

use actix_web::HttpRequest;
use actix_web::web::Data;
use stream_protocol::Op;

use crate::admin::AccountInfo;
use crate::auth::authorize;
use crate::response::{HandlerResult, ok};
use crate::state::State;

/// GET `/1.0/accounts`: all accounts by name, never a token.
pub(crate) async fn list(request: HttpRequest, state: Data<State>) -> HandlerResult {
    authorize(&request, &state, Op::AccountRead, None).await?;
    let infos = state.views.accounts(|index| {
        let mut infos: Vec<_> = index.iter().map(|account| AccountInfo::of(account)).collect();
        infos.sort_by(|one, other| one.name.cmp(&other.name));
        infos
    });
    Ok(ok(infos.await?))
}

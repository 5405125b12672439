//! The endpoints of [operations](stream_protocol::manual::wire#operations-and-events).

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Deserialize;

use super::super::envelope::{Listing, sync, under_way};
use super::super::error::ApiError;
use super::super::operations::Operation;
use super::super::service::Service;

/// What waiting "for ever" comes to; a client that still waits then asks again.
const MAX_WAIT: Duration = Duration::from_secs(3600);

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.route("/1.0/operations", web::get().to(all))
        .route("/1.0/operations/{id}", web::get().to(one))
        .route("/1.0/operations/{id}", web::delete().to(cancel))
        .route("/1.0/operations/{id}/wait", web::get().to(wait));
}

#[derive(Deserialize)]
struct WaitQuery {
    /// Seconds; negative or missing is for ever.
    #[serde(default = "no_limit")]
    timeout: i64,
}

fn no_limit() -> i64 {
    -1
}

async fn all(ams: web::Data<Service>, listing: web::Query<Listing>) -> HttpResponse {
    ams.read(|state| {
        let lists = state.operations.by_status();
        if listing.recursion > 0 {
            return sync(lists);
        }
        let urls = |list: Vec<&Operation>| list.into_iter().map(Operation::url).collect();
        let lists = lists.into_iter().map(|(status, list)| (status, urls(list)));
        sync(lists.collect::<BTreeMap<String, Vec<String>>>())
    })
}

async fn one(ams: web::Data<Service>, id: web::Path<String>) -> Result<HttpResponse, ApiError> {
    ams.read(|state| state.operations.get(&id).map(sync))
}

async fn cancel(ams: web::Data<Service>, id: web::Path<String>) -> Result<HttpResponse, ApiError> {
    ams.cancel(&id)?;
    Ok(under_way())
}

async fn wait(
    ams: web::Data<Service>,
    id: web::Path<String>,
    query: web::Query<WaitQuery>,
) -> Result<HttpResponse, ApiError> {
    let asked = u64::try_from(query.timeout).map_or(MAX_WAIT, Duration::from_secs);
    ams.wait(&id, asked.min(MAX_WAIT)).await.map(sync)
}

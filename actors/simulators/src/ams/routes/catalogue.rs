//! What there is to launch, and where it would run, `contract.md` 1.9 and 1.10.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::super::applications::{self, Application, Filter};
use super::super::envelope::{Refused, list, sync};
use super::super::instances::NODE;
use super::super::service::Service;
use super::Listing;

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.route("/1.0/applications", web::get().to(applications))
        .route("/1.0/applications/{key}", web::get().to(application))
        .route("/1.0/nodes", web::get().to(nodes))
        .route("/1.0/nodes/{name}", web::get().to(node));
}

async fn applications(ams: web::Data<Service>, filter: web::Query<Filter>) -> HttpResponse {
    let admitted: Vec<Application> = ams.read(|state| {
        let all = state.applications.iter();
        all.filter(|application| filter.admits(application)).cloned().collect()
    });
    list(&admitted, filter.recursion, Application::url)
}

async fn application(
    ams: web::Data<Service>,
    key: web::Path<String>,
) -> Result<HttpResponse, Refused> {
    ams.read(|state| applications::find(&state.applications, &key).map(sync))
}

async fn nodes(listing: web::Query<Listing>) -> HttpResponse {
    list(&[the_node()], listing.recursion, |_| format!("/1.0/nodes/{NODE}"))
}

async fn node(name: web::Path<String>) -> Result<HttpResponse, Refused> {
    match name.as_str() {
        NODE => Ok(sync(the_node())),
        _ => Err(Refused::NotFound("node")),
    }
}

fn the_node() -> Value {
    json!({
        "name": NODE, "address": "127.0.0.1", "public_address": "127.0.0.1",
        "architecture": "x86_64", "cpus": 8, "memory": "32GB",
        "status": "online", "status_code": 4, "gpus": [], "tags": [], "unschedulable": false,
    })
}

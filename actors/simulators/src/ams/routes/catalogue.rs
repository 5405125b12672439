//! The endpoints of images and nodes: what instances are made of, and where they run.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::super::envelope::{Listing, list, sync};
use super::super::error::ApiError;
use super::super::images::{Filter, Image};
use super::super::instances::NODE;
use super::super::service::Service;

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.route("/1.0/images", web::get().to(images))
        .route("/1.0/images/{key}", web::get().to(image))
        .route("/1.0/nodes", web::get().to(nodes))
        .route("/1.0/nodes/{name}", web::get().to(node));
}

async fn images(
    ams: Data<Service>,
    filter: Query<Filter>,
    listing: Query<Listing>,
) -> HttpResponse {
    let admitted: Vec<Image> = ams.read(|state| {
        let all = state.images.all();
        all.filter(|image| filter.admits(image)).cloned().collect()
    });
    list(&admitted, *listing, Image::url)
}

async fn image(ams: Data<Service>, key: Path<String>) -> Result<HttpResponse, ApiError> {
    ams.read(|state| state.images.find(&key).map(sync))
}

async fn nodes(listing: Query<Listing>) -> HttpResponse {
    list(&[the_node()], *listing, |_| format!("/1.0/nodes/{NODE}"))
}

async fn node(name: Path<String>) -> Result<HttpResponse, ApiError> {
    match name.as_str() {
        NODE => Ok(sync(the_node())),
        _ => Err(ApiError::NotFound("node")),
    }
}

fn the_node() -> Value {
    json!({
        "name": NODE, "address": "127.0.0.1", "public_address": "127.0.0.1",
        "architecture": "x86_64", "cpus": 8, "memory": "32GB",
        "status": "online", "status_code": 4, "gpus": [], "tags": [], "unschedulable": false,
    })
}

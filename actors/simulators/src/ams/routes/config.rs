//! The endpoints of the [configuration](stream_protocol::manual::wire#ams-configuration).

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::super::envelope::{Body, accepted, nullable, sync};
use super::super::error::ApiError;
use super::super::service::Service;
use super::finished_operation;

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.route("/1.0/config", web::get().to(all)).route("/1.0/config", web::patch().to(set));
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConfigItem {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    value: String,
}

async fn all(ams: web::Data<Service>) -> HttpResponse {
    ams.read(|state| sync(json!({ "config": state.settings.all() })))
}

async fn set(ams: web::Data<Service>, item: Body<ConfigItem>) -> Result<HttpResponse, ApiError> {
    let Body(ConfigItem { name, value }) = item;
    let operation = ams.change(|state| {
        state.settings.set(&name, value)?;
        finished_operation(
            state,
            "Updating configuration",
            ("config", vec!["/1.0/config".to_owned()]),
        )
    })?;
    log::info!("the AMS simulator has a new {name}");
    Ok(accepted(&operation))
}

//! The endpoints of [instances](stream_protocol::manual::wire#instances).

use actix_web::http::header::HeaderValue;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::super::envelope::{Body, Listing, accepted, list, sync};
use super::super::error::ApiError;
use super::super::instances::{Filter, Instance, NewInstance};
use super::super::lifecycle::InstancePatch;
use super::super::service::Service;
use super::WaitQuery;

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.route("/1.0/instances", web::get().to(all))
        .route("/1.0/instances", web::post().to(launch))
        .route("/1.0/instances", web::delete().to(remove_many))
        .route("/1.0/instances/{key}", web::get().to(one))
        .route("/1.0/instances/{key}", web::patch().to(update))
        .route("/1.0/instances/{key}", web::delete().to(remove))
        .route("/1.0/instances/{key}/exec", web::post().to(execute))
        .route("/1.0/instances/{key}/logs", web::get().to(logs))
        .route("/1.0/instances/{key}/logs/{name}", web::get().to(log))
        .route("/1.0/instances/{key}/shares", web::post().to(share))
        .route("/1.0/instances/{key}/shares/{id}", web::patch().to(no_share))
        .route("/1.0/instances/{key}/shares/{id}", web::delete().to(no_share));
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ids {
    ids: Vec<String>,
    #[serde(default)]
    force: bool,
}

async fn all(
    ams: web::Data<Service>,
    filter: web::Query<Filter>,
    listing: web::Query<Listing>,
) -> HttpResponse {
    let admitted: Vec<Instance> = ams.read(|state| {
        let all = state.instances.all();
        all.filter(|instance| filter.admits(instance)).cloned().collect()
    });
    list(&admitted, *listing, Instance::url)
}

async fn one(ams: web::Data<Service>, key: web::Path<String>) -> Result<HttpResponse, ApiError> {
    ams.read(|state| state.instances.find(&key).map(sync))
}

async fn launch(
    asker: HttpRequest,
    ams: web::Data<Service>,
    query: web::Query<WaitQuery>,
    body: Body<NewInstance>,
) -> Result<HttpResponse, ApiError> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = asker.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
    let headers = headers.collect();
    ams.change(|state| state.launch_headers = headers);
    let (Body(request), done) = (body, query.done());
    let faults = ams.read(|state| state.fault_injector.faults.clone());
    let (late, double) = (faults.late_launch, faults.double_launch);
    if late.is_zero() && faults.late_answer.is_zero() && !double {
        return Ok(accepted(&ams.launch(request, done)?));
    }
    // The asker may have gone by then, and with it this call.
    let (tell, told) = tokio::sync::oneshot::channel();
    let service = ams.into_inner();
    let behind = std::sync::Arc::clone(&service);
    service.spawn(async move {
        tokio::time::sleep(late).await;
        let launched = behind.launch(request.clone(), done);
        tokio::time::sleep(faults.late_answer).await;
        let _ = tell.send(launched);
        if double && behind.launch(request, done).is_ok() {
            log::warn!("a doubled launch made a twin");
        }
    });
    Ok(accepted(&told.await.map_err(|_| ApiError::Broken)??))
}

async fn update(
    ams: web::Data<Service>,
    key: web::Path<String>,
    query: web::Query<WaitQuery>,
    body: Body<InstancePatch>,
) -> Result<HttpResponse, ApiError> {
    let Body(patch) = body;
    Ok(accepted(&ams.update(&key, patch, query.done())?))
}

/// How an instance is to be deleted; clients leave it out.
#[derive(Deserialize)]
struct Force {
    #[serde(default)]
    force: bool,
}

async fn remove(
    ams: web::Data<Service>,
    key: web::Path<String>,
    body: Body<Force>,
) -> Result<HttpResponse, ApiError> {
    let Body(Force { force }) = body;
    Ok(accepted(&ams.delete(&[key.into_inner()], force)?))
}

async fn remove_many(ams: web::Data<Service>, body: Body<Ids>) -> Result<HttpResponse, ApiError> {
    let Body(Ids { ids, force }) = body;
    Ok(accepted(&ams.delete(&ids, force)?))
}

/// There is no machine behind an instance that could run a command.
async fn execute(
    ams: web::Data<Service>,
    key: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    ams.read(|state| state.instances.find(&key).map(drop))?;
    Err(ApiError::NotSupported("running a command"))
}

/// What was collected of an instance that failed.
async fn logs(ams: web::Data<Service>, key: web::Path<String>) -> Result<HttpResponse, ApiError> {
    ams.read(|state| state.instances.find(&key).map(|instance| sync(instance.log_urls())))
}

async fn log(
    ams: web::Data<Service>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (key, name) = path.into_inner();
    let text = ams.read(|state| state.instances.log(&key, &name))?;
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text))
}

/// How AMS would reach the gateway for it is not known.
async fn share(ams: web::Data<Service>, key: web::Path<String>) -> Result<HttpResponse, ApiError> {
    ams.read(|state| state.instances.find(&key).map(drop))?;
    Err(ApiError::NotSupported("sharing an instance"))
}

async fn no_share(
    ams: web::Data<Service>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    ams.read(|state| state.instances.find(&path.0).map(drop))?;
    Err(ApiError::NotFound("share"))
}

//! The endpoints of applications: uploaded as a package, made while an operation runs, published
//! by version.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::web::{Bytes, Data, Path, PayloadConfig, Query};
use actix_web::{HttpRequest, HttpResponse, guard, web};
use serde::Deserialize;
use serde_json::Value;
use stream_pki::Fingerprint;
use time::OffsetDateTime;

use super::super::applications::{self, Application, Change, Filter, Manifest};
use super::super::envelope::{Body, Listing, Upload, accepted, list, sync};
use super::super::error::ApiError;
use super::super::operations::{Operation, Resources};
use super::super::service::{Service, State};
use super::finished_operation;

/// The largest package, in bytes.
const MAX_PACKAGE_BYTES: usize = 128 * 1024 * 1024;

pub(super) fn configure(app: &mut web::ServiceConfig) {
    // What is uploaded is larger than any other body.
    let uploads = |path, method| {
        let limit = PayloadConfig::new(MAX_PACKAGE_BYTES);
        web::resource(path).guard(guard::Method(method)).app_data(limit)
    };
    app.service(uploads("/1.0/applications", Method::POST).to(create))
        .service(uploads("/1.0/applications/{key}", Method::PATCH).to(update))
        .route("/1.0/applications", web::get().to(all))
        .route("/1.0/applications", web::delete().to(remove_many))
        .route("/1.0/applications/{key}", web::get().to(one))
        .route("/1.0/applications/{key}", web::delete().to(remove))
        .route("/1.0/applications/{key}/{version}", web::get().to(export))
        .route("/1.0/applications/{key}/{version}", web::patch().to(publish))
        .route("/1.0/applications/{key}/{version}", web::delete().to(remove_version));
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct KindQuery {
    vm: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Publication {
    published: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ids {
    ids: Vec<String>,
}

async fn all(ams: Data<Service>, filter: Query<Filter>, listing: Query<Listing>) -> HttpResponse {
    let admitted: Vec<Application> = ams.read(|state| {
        let all = state.applications.iter();
        all.filter(|application| filter.admits(application)).cloned().collect()
    });
    list(&admitted, *listing, Application::url)
}

async fn one(ams: Data<Service>, key: Path<String>) -> Result<HttpResponse, ApiError> {
    ams.read(|state| applications::find(&state.applications, &key).map(sync))
}

async fn create(
    ams: Data<Service>,
    request: HttpRequest,
    kind: Query<KindQuery>,
    package: Upload,
) -> Result<HttpResponse, ApiError> {
    let manifest = unpacked(&request, package.0).await?;
    let ams = ams.into_inner();
    let operation = ams.change(|state| {
        if applications::find(&state.applications, &manifest.name).is_ok() {
            return Err(ApiError::Exists("application"));
        }
        let now = OffsetDateTime::now_utc();
        let seconds = now.unix_timestamp();
        let image = match manifest.image.as_str() {
            "" => state.images.find("").ok(),
            name => Some(state.images.fetch(name, seconds)),
        };
        let application = Application::new(manifest, image, kind.vm, seconds);
        log::info!(app:% = application.name, id:% = application.id; "application is created");
        let operation = state.operations.open("Creating application", on(&application), false, now);
        make(&ams, application.id.clone(), 1, &operation);
        state.applications.push(application);
        Ok(operation)
    })?;
    Ok(accepted(&operation))
}

/// A package is another version; JSON changes what is said of all versions.
async fn update(
    ams: Data<Service>,
    request: HttpRequest,
    key: Path<String>,
    body: Upload,
) -> Result<HttpResponse, ApiError> {
    let ams = ams.into_inner();
    let what = "Updating application";
    if body.0.trim_ascii_start().first() == Some(&b'{') {
        let change: Change =
            serde_json::from_slice(&body.0).map_err(|_| ApiError::Invalid("body"))?;
        let operation = ams.change(|state| {
            let application = find_mut(state, &key)?;
            application.change(change);
            let on = on(application);
            finished_operation(state, what, on)
        })?;
        return Ok(accepted(&operation));
    }
    let manifest = unpacked(&request, body.0).await?;
    let operation = ams.change(|state| -> Result<_, ApiError> {
        let now = OffsetDateTime::now_utc();
        let application = find_mut(state, &key)?;
        let number = application.add_version(manifest, now.unix_timestamp());
        let (id, on) = (application.id.clone(), on(application));
        let operation = state.operations.open(what, on, false, now);
        make(&ams, id, number, &operation);
        Ok(operation)
    })?;
    Ok(accepted(&operation))
}

async fn publish(
    ams: Data<Service>,
    path: Path<(String, u64)>,
    body: Body<Publication>,
) -> Result<HttpResponse, ApiError> {
    let ((key, number), Body(patch)) = (path.into_inner(), body);
    Ok(accepted(&set_published(&ams, &key, number, patch.published)?))
}

/// Publishes a version, takes it back, or with `None` leaves it as it is.
pub(crate) fn set_published(
    ams: &Service,
    key: &str,
    number: u64,
    published: Option<bool>,
) -> Result<Operation, ApiError> {
    ams.change(|state| {
        let application = find_mut(state, key)?;
        if let Some(published) = published {
            application.publish(number, published)?;
        }
        let on = on(application);
        finished_operation(state, "Updating application version", on)
    })
}

async fn export(_: Path<(String, u64)>) -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotSupported("exporting an application"))
}

async fn remove_version(
    ams: Data<Service>,
    path: Path<(String, u64)>,
    _force: Body<Value>,
) -> Result<HttpResponse, ApiError> {
    let (key, number) = path.into_inner();
    let operation = ams.change(|state| {
        let application = find_mut(state, &key)?;
        application.remove_version(number)?;
        let on = on(application);
        finished_operation(state, "Deleting application version", on)
    })?;
    Ok(accepted(&operation))
}

/// Its instances live on, also one that is just being deleted.
async fn remove(
    ams: Data<Service>,
    key: Path<String>,
    _force: Body<Value>,
) -> Result<HttpResponse, ApiError> {
    remove_all(&ams, &[key.into_inner()])
}

async fn remove_many(ams: Data<Service>, body: Body<Ids>) -> Result<HttpResponse, ApiError> {
    remove_all(&ams, &body.0.ids)
}

/// Refuses all when one is unknown.
fn remove_all(ams: &Service, keys: &[String]) -> Result<HttpResponse, ApiError> {
    let operation = ams.change(|state| {
        let found = |key: &String| applications::find(&state.applications, key);
        let meant = keys.iter().map(found).collect::<Result<Vec<_>, _>>()?;
        let urls: Vec<_> = meant.into_iter().map(Application::url).collect();
        state.applications.retain(|application| !urls.contains(&application.url()));
        finished_operation(state, "Deleting application", ("applications", urls))
    })?;
    Ok(accepted(&operation))
}

/// Checks what was uploaded and reads its manifest, beside what else goes on.
async fn unpacked(request: &HttpRequest, package: Bytes) -> Result<Manifest, ApiError> {
    let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    let fingerprint = header("X-AMS-Fingerprint").filter(|text| !text.is_empty());
    let fingerprint = fingerprint.map(str::to_ascii_lowercase);
    if let Some(details) = header("X-AMS-Request").filter(|text| !text.is_empty()) {
        // Nothing in it changes what the manifest says.
        serde_json::from_str::<Value>(details).map_err(|_| ApiError::Invalid("X-AMS-Request"))?;
    }
    let read = move || {
        if fingerprint.is_some_and(|expected| expected != sha256(&package)) {
            return Err(ApiError::Invalid("fingerprint"));
        }
        Manifest::of(&package)
    };
    web::block(read).await.map_err(|_| ApiError::Broken)?
}

fn sha256(bytes: &[u8]) -> String {
    Fingerprint(stream_pki::sha256(bytes)).to_string()
}

/// Makes a version, which takes as long as a boot.
fn make(ams: &Arc<Service>, application: String, version: u64, operation: &Operation) {
    let (maker, operation) = (Arc::clone(ams), operation.id.clone());
    ams.spawn(async move {
        tokio::time::sleep(maker.boot).await;
        maker.change(|state| {
            let publish = state.settings.publishes();
            let made = find_mut(state, &application).map(|app| app.finish(version, publish));
            let made = made.map_err(|error| error.to_string());
            state.operations.finish(&operation, made, OffsetDateTime::now_utc());
        });
    });
}

fn find_mut<'a>(state: &'a mut State, key: &str) -> Result<&'a mut Application, ApiError> {
    let found = state.applications.iter_mut().find(|app| app.id == key || app.name == key);
    found.ok_or(ApiError::NotFound("application"))
}

fn on(application: &Application) -> Resources {
    ("applications", vec![application.url()])
}

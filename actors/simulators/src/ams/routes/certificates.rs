//! The endpoints of the [trust store](stream_protocol::manual::wire#trust-store).

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::super::envelope::{Body, Listing, accepted, list, nullable, sync};
use super::super::error::ApiError;
use super::super::operations::Operation;
use super::super::service::{Service, State};
use super::{finished_operation, is_trusted};

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.route("/1.0/certificates", web::get().to(all))
        .route("/1.0/certificates", web::post().to(add))
        .route("/1.0/auth/identities", web::post().to(identify))
        .route("/1.0/certificates/{fingerprint}", web::get().to(one))
        .route("/1.0/certificates/{fingerprint}", web::delete().to(remove));
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NewCertificate {
    #[serde(deserialize_with = "nullable")]
    certificate: String,
    #[serde(rename = "trust-password", deserialize_with = "nullable")]
    password: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NewIdentity {
    #[serde(rename = "authentication_method", deserialize_with = "nullable")]
    method: String,
    #[serde(deserialize_with = "nullable")]
    certificate: String,
}

async fn all(ams: web::Data<Service>, listing: web::Query<Listing>) -> HttpResponse {
    let certificates = ams.read(|state| state.trust.all());
    list(&certificates, *listing, |certificate| url(&certificate.fingerprint))
}

/// Open to all, so it decides for itself: the asker is trusted already or knows the password.
async fn add(
    ams: web::Data<Service>,
    request: HttpRequest,
    body: Body<NewCertificate>,
) -> Result<HttpResponse, ApiError> {
    let trusted = is_trusted(&request, &ams);
    let Body(new) = body;
    let operation = ams.change(|state| {
        if !trusted && !state.settings.opens_to(&new.password) {
            return Err(ApiError::Untrusted);
        }
        let fingerprint = state.trust.add(new.certificate)?;
        log::info!(fingerprint:%; "the AMS simulator trusts another client");
        done(state, "Adding certificate", &fingerprint)
    })?;
    Ok(accepted(&operation))
}

/// The newer way, for whoever is trusted already. Names are not kept.
async fn identify(
    ams: web::Data<Service>,
    body: Body<NewIdentity>,
) -> Result<HttpResponse, ApiError> {
    let Body(NewIdentity { method, certificate }) = body;
    if method != "tls" {
        return Err(ApiError::NotSupported("this authentication method"));
    }
    let operation = ams.change(|state| {
        let fingerprint = state.trust.add(certificate)?;
        done(state, "Creating identity", &fingerprint)
    })?;
    Ok(accepted(&operation))
}

async fn one(
    ams: web::Data<Service>,
    fingerprint: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    ams.read(|state| state.trust.get(&fingerprint).map(sync))
}

async fn remove(
    ams: web::Data<Service>,
    fingerprint: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let operation = ams.change(|state| {
        state.trust.remove(&fingerprint)?;
        done(state, "Removing certificate", &fingerprint)
    })?;
    Ok(accepted(&operation))
}

fn done(state: &mut State, what: &'static str, fingerprint: &str) -> Result<Operation, ApiError> {
    finished_operation(state, what, ("certificates", vec![url(fingerprint)]))
}

fn url(fingerprint: &str) -> String {
    format!("/1.0/certificates/{fingerprint}")
}

//! The table of endpoints.

mod open;
mod session;
mod signals;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Resource, Route};
use stream_sessions::Sessions;
use stream_supervisor::Supervisor;
use stream_tokens::Tokens;

use crate::error::ApiError;

/// Whom the endpoints ask.
#[derive(Clone)]
pub(crate) struct House {
    sessions: Sessions,
    tokens: Tokens,
    supervisor: Supervisor,
}

impl House {
    pub(crate) fn new(sessions: Sessions, tokens: Tokens, supervisor: Supervisor) -> Self {
        Self { sessions, tokens, supervisor }
    }
}

pub(crate) fn configure(app: &mut ServiceConfig, house: &House) {
    let session = web::get().to(session::read);
    let end = web::delete().to(session::end);
    let report = web::patch().to(session::report);
    let (write, read) = (web::post().to(signals::write), web::get().to(signals::read));
    app.app_data(web::Data::new(house.clone()))
        .service(at("/1.0", [web::get().to(open::version)]))
        .service(at("/1.0/health/live", [web::get().to(open::live)]))
        .service(at("/1.0/health/ready", [web::get().to(open::ready)]))
        .service(at("/1.0/status", [web::get().to(open::status)]))
        .service(at("/1.0/sessions/{id}", [session, end, report]))
        .service(at("/1.0/sessions/{id}/commands", [web::get().to(session::commands)]))
        .service(at("/1.0/sessions/{id}/signals", [write, read]))
        .service(at("/1.0/sessions/{id}/ice-servers", [web::post().to(session::ice_servers)]));
}

fn at<const N: usize>(path: &str, routes: [Route; N]) -> Resource {
    let resource = web::resource(path).default_service(web::to(other_method));
    routes.into_iter().fold(resource, Resource::route)
}

async fn other_method() -> Result<HttpResponse, ApiError> {
    Err(ApiError::MethodNotAllowed)
}

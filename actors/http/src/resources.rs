//! The paths that a server knows: each is looked for once, whatever is served there.

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{Resource, Route};

use crate::method::method_not_allowed;
use crate::openapi::Endpoint;
use crate::route::PathEndpoints;

/// The endpoints of a table by their path.
#[derive(Default)]
pub struct Resources(Vec<(PathEndpoints, Vec<Route>)>);

impl Resources {
    /// Adds `endpoint`, whose handler `handle` gives to a route.
    pub fn add(&mut self, endpoint: &'static Endpoint, handle: impl Fn(Route) -> Route) {
        let found = self.0.iter().position(|(path, _)| path.pattern == endpoint.path);
        let place = found.unwrap_or_else(|| {
            let path = PathEndpoints { pattern: endpoint.path, endpoints: Vec::new() };
            self.0.push((path, Vec::new()));
            self.0.len() - 1
        });
        let (path, routes) = &mut self.0[place];
        path.endpoints.push(endpoint);
        let method = |name: &str| name.parse::<Method>().expect("a table has good methods");
        routes.extend(endpoint.methods().map(|name| handle(web::method(method(name)))));
    }

    /// Adds all of them to a server. What a path does not take is refused there.
    pub fn register(self, app: &mut ServiceConfig) {
        for (path, routes) in self.0 {
            let resource = routes.into_iter().fold(web::resource(path.pattern), Resource::route);
            app.service(resource.app_data(path).default_service(web::to(method_not_allowed)));
        }
    }
}

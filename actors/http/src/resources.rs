//! The paths that a server knows: each is looked for once, whatever is served there.

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpMessage, HttpRequest, Resource, Route};

use crate::method::method_not_allowed;
use crate::openapi::Endpoint;

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

/// What is served at one path; in the application data of whatever is asked there.
pub(crate) struct PathEndpoints {
    pub(crate) pattern: &'static str,
    pub(crate) endpoints: Vec<&'static Endpoint>,
}

impl PathEndpoints {
    /// Returns those of the path that `request` was made for, if a table has it.
    pub(crate) fn of(request: &HttpRequest) -> Option<&Self> {
        request.app_data::<Self>()
    }

    /// Returns what metrics call requests with `method` here.
    fn metric(&self, method: &Method) -> Option<&'static str> {
        let method = method.as_str();
        let serves = |endpoint: &&&Endpoint| endpoint.methods().any(|served| served == method);
        self.endpoints.iter().find(serves).map(|endpoint| endpoint.metric)
    }
}

/// In a request's extensions: what has answered it, where no table has that.
#[derive(Clone, Copy)]
struct OutsideTables {
    route: &'static str,
    metric: &'static str,
}

/// Notes that `request` is answered at `route`, which is in no table, and what metrics call that.
pub fn note_route(request: &HttpRequest, route: &'static str, metric: &'static str) {
    request.extensions_mut().insert(OutsideTables { route, metric });
}

/// Returns the pattern of the path that `request` was made for. What a client wrote is never part
/// of it.
pub(crate) fn route(request: &HttpRequest) -> Option<&'static str> {
    let outside = || request.extensions().get::<OutsideTables>().map(|outside| outside.route);
    PathEndpoints::of(request).map(|path| path.pattern).or_else(outside)
}

/// Returns what metrics call that which has answered `request`.
pub(crate) fn metric(request: &HttpRequest) -> Option<&'static str> {
    let outside = || request.extensions().get::<OutsideTables>().map(|outside| outside.metric);
    let endpoint = PathEndpoints::of(request).and_then(|path| path.metric(request.method()));
    endpoint.or_else(outside)
}

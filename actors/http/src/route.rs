//! What a request was made for, as metrics and logs name it.

use actix_web::http::Method;
use actix_web::{HttpMessage, HttpRequest};

use crate::openapi::Endpoint;

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

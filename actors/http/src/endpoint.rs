//! The table of endpoints.

/// Makes the constant `ENDPOINTS` and the function `add_endpoints` from one table, and for tests
/// the constant `DOCS`: no endpoint is served without its description, its operation and its name
/// in metrics, and none of these stands for an endpoint that is not served.
///
/// A row is `METHOD "/path" op => handler: doc,`, or `=> handler as "metric": doc,` where metrics
/// name it by something else than its path. A row with GET serves HEAD as well; `GET without HEAD`
/// is for a GET that changes something or opens a socket.
#[macro_export]
macro_rules! endpoints {
    ($(
        $method:ident $(without $head:ident)? $path:literal $op:expr =>
            $handler:path $(as $metric:literal)?: $doc:expr,
    )*) => {
        /// What the API serves, and the operation that a token must allow for it.
        pub(crate) const ENDPOINTS: &[$crate::openapi::Endpoint] = &[$(
            $crate::openapi::Endpoint {
                method: stringify!($method),
                path: $path,
                op: $op,
                metric: $crate::endpoints!(@metric $path $($metric)?),
                head: $crate::endpoints!(@head $method $($head)?),
            },
        )*];

        /// What the OpenAPI document says of [`ENDPOINTS`], in the same order.
        #[cfg(test)]
        #[allow(dead_code)] // What is served in a test only has no document.
        pub(crate) const DOCS: &[$crate::openapi::EndpointDoc] = &[$($doc,)*];

        /// Adds every endpoint of the table to a server.
        fn add_endpoints(app: &mut $crate::macro_support::web::ServiceConfig) {
            use $crate::macro_support::{Method, method_not_allowed, web};

            $(
                app.route($path, web::method(Method::$method).to($handler));
                if $crate::endpoints!(@head $method $($head)?) {
                    app.route($path, web::head().to($handler));
                }
            )*
            // Reached by the methods that are left.
            $(app.service(web::resource($path).default_service(web::to(method_not_allowed)));)*
        }
    };
    (@metric $path:literal $metric:literal) => { $metric };
    (@metric $path:literal) => { $path };
    (@head GET) => { true };
    (@head $method:ident $($head:ident)?) => { false };
}

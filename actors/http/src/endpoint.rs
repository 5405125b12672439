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
        fn add_endpoints(app: &mut $crate::macro_support::ServiceConfig) {
            use $crate::macro_support::{Resources, Route};

            let (mut resources, mut rows) = (Resources::default(), ENDPOINTS.iter());
            $(resources.add(rows.next().expect("a row"), |route: Route| route.to($handler));)*
            resources.register(app);
        }
    };
    (@metric $path:literal $metric:literal) => { $metric };
    (@metric $path:literal) => { $path };
    (@head GET) => { true };
    (@head $method:ident $($head:ident)?) => { false };
}

//! Keeps the OpenAPI document that the service includes true.

use std::path::Path;

use stream_http::openapi::{ApiInfo, check_file, to_openapi};

use crate::routes::{DOCS, ENDPOINTS};

const API: ApiInfo = ApiInfo {
    title: "stream-gateway",
    text: "The API for clients. A trailing slash is equal. `x-op` is the operation that the token \
        must allow. Where the operator lets it, `api_token=TOKEN` in the query counts like the \
        header.",
    version: env!("CARGO_PKG_VERSION"),
    common_errors: &[],
    body_errors: &[408],
    id_errors: &[400],
};

#[test]
fn the_document_describes_the_endpoints_and_the_types_of_their_bodies() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let document = to_openapi(&API, ENDPOINTS, DOCS);
    assert_eq!(check_file(&file, &document, env!("CARGO_PKG_NAME")), Ok(()));
}

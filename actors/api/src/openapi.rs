//! Keeps the OpenAPI document that the service includes true.

use std::path::Path;

use stream_http::openapi::{ApiInfo, check_file, to_openapi};

use crate::routes::{DOCS, ENDPOINTS};

const API: ApiInfo = ApiInfo {
    title: "stream-agent",
    text: "The agent's API for instances, AMS, probes and operators. A trailing slash is equal. \
        `x-op` is the operation that the token must allow.",
    version: env!("CARGO_PKG_VERSION"),
    common_errors: &[429],
    body_errors: &[408],
    id_errors: &[],
};

#[test]
fn the_document_describes_the_endpoints_and_the_types_of_their_bodies() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let document = to_openapi(&API, ENDPOINTS, DOCS);
    assert_eq!(check_file(&file, &document, env!("CARGO_PKG_NAME")), Ok(()));
}

//! The web page at `/`, built into the program.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use actix_web::web::{self, ServiceConfig};
use stream_http::method_not_allowed;

/// Nothing from elsewhere, nothing inline; the signaling socket may be on another name.
const POLICY: &str = "default-src 'self'; connect-src 'self' wss:; img-src 'self' data:; \
    style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; \
    object-src 'none'; require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($path:literal, $file:literal, $kind:expr) => {
        Asset { path: $path, kind: $kind, text: include_str!(concat!("../ui/", $file)) }
    };
}

const ASSETS: &[Asset] = &[
    asset!("/", "index.html", HTML),
    asset!("/api.js", "api.js", SCRIPT),
    asset!("/attenuate.js", "attenuate.js", SCRIPT),
    asset!("/control.js", "control.js", SCRIPT),
    asset!("/main.js", "main.js", SCRIPT),
    asset!("/stream.js", "stream.js", SCRIPT),
    asset!("/style.css", "style.css", STYLE),
];

/// Adds a route for every file of the page; metrics call all of them `page`.
pub(crate) fn configure(service: &mut ServiceConfig) {
    for asset in ASSETS {
        let answer = || async { serve(asset) };
        let page = web::resource(asset.path).name("page").get(answer);
        let page = page.route(web::head().to(answer));
        service.service(page.default_service(web::to(method_not_allowed)));
    }
}

fn serve(asset: &Asset) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, asset.kind))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        // The files change together, with the binary.
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(asset.text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/ui");
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .map(|name| if name == "index.html" { "/".into() } else { format!("/{name}") })
            .collect();
        files.sort();
        let served: Vec<_> = ASSETS.iter().map(|asset| asset.path).collect();
        assert_eq!(served, files);
    }

    #[test]
    fn the_page_asks_for_nothing_outside_of_its_folder() {
        for asset in ASSETS {
            for absolute in ["\"/1", "`/1", "'/1", "src=\"/", "href=\"/"] {
                assert!(!asset.text.contains(absolute), "{}: {absolute}", asset.path);
            }
        }
    }

    #[test]
    fn the_page_keeps_to_its_own_policy() {
        let page = ASSETS[0].text;
        assert!(!page.contains("<style") && !page.contains("style=") && !page.contains("onclick"));
        assert_eq!(page.matches("<script").count(), page.matches("src=\"").count());
    }
}

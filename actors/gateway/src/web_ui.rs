//! The web pages, built into the program: the player at `/`, the console at `/console`, and at
//! `/embed/` the player alone, for the frames of others.

use std::sync::LazyLock;

use actix_web::http::Method;
use actix_web::http::header::{
    AcceptEncoding, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    Encoding, Header, LOCATION, VARY,
};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use stream_http::{HttpError, TrailingSlash, method_not_allowed, note_route};

use crate::content_policy::POLICY;
use crate::embed::EmbedPage;
use crate::state::State;

/// The one page that others may put into a frame; a slash behind it makes no difference.
const EMBED: &str = "/embed";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
    /// The text with gzip, as `build.rs` has written it.
    gzip: &'static [u8],
}

macro_rules! asset {
    ($path:literal, $file:literal, $kind:expr) => {
        Asset {
            path: $path,
            kind: $kind,
            text: include_str!(concat!("../ui/", $file)),
            gzip: include_bytes!(concat!(env!("OUT_DIR"), "/ui/", $file, ".gz")),
        }
    };
}

/// Sorted by their paths.
const ASSETS: &[Asset] = &[
    asset!("/", "index.html", HTML),
    asset!("/api.js", "api.js", SCRIPT),
    asset!("/attenuate.js", "attenuate.js", SCRIPT),
    asset!("/console", "console.html", HTML),
    asset!("/console/account.js", "console/account.js", SCRIPT),
    asset!("/console/accounts.css", "console/accounts.css", STYLE),
    asset!("/console/accounts.js", "console/accounts.js", SCRIPT),
    asset!("/console/agents.css", "console/agents.css", STYLE),
    asset!("/console/agents.js", "console/agents.js", SCRIPT),
    asset!("/console/all_shares.css", "console/all_shares.css", STYLE),
    asset!("/console/all_shares.js", "console/all_shares.js", SCRIPT),
    asset!("/console/backoff.js", "console/backoff.js", SCRIPT),
    asset!("/console/base.css", "console/base.css", STYLE),
    asset!("/console/confirm.js", "console/confirm.js", SCRIPT),
    asset!("/console/connection.js", "console/connection.js", SCRIPT),
    asset!("/console/create.css", "console/create.css", STYLE),
    asset!("/console/create.js", "console/create.js", SCRIPT),
    asset!("/console/distance.js", "console/distance.js", SCRIPT),
    asset!("/console/dom.js", "console/dom.js", SCRIPT),
    asset!("/console/end_sessions.js", "console/end_sessions.js", SCRIPT),
    asset!("/console/event_stream.js", "console/event_stream.js", SCRIPT),
    asset!("/console/event_text.js", "console/event_text.js", SCRIPT),
    asset!("/console/figures.css", "console/figures.css", STYLE),
    asset!("/console/figures.js", "console/figures.js", SCRIPT),
    asset!("/console/format.js", "console/format.js", SCRIPT),
    asset!("/console/frame.css", "console/frame.css", STYLE),
    asset!("/console/frame.js", "console/frame.js", SCRIPT),
    asset!("/console/keyboard.js", "console/keyboard.js", SCRIPT),
    asset!("/console/live.js", "console/live.js", SCRIPT),
    asset!("/console/main.js", "console/main.js", SCRIPT),
    asset!("/console/metrics_text.js", "console/metrics_text.js", SCRIPT),
    asset!("/console/more.js", "console/more.js", SCRIPT),
    asset!("/console/notice.js", "console/notice.js", SCRIPT),
    asset!("/console/overlays.css", "console/overlays.css", STYLE),
    asset!("/console/picture.js", "console/picture.js", SCRIPT),
    asset!("/console/plot.js", "console/plot.js", SCRIPT),
    asset!("/console/poll.js", "console/poll.js", SCRIPT),
    asset!("/console/relays.css", "console/relays.css", STYLE),
    asset!("/console/relays.js", "console/relays.js", SCRIPT),
    asset!("/console/router.js", "console/router.js", SCRIPT),
    asset!("/console/row_store.js", "console/row_store.js", SCRIPT),
    asset!("/console/row_window.js", "console/row_window.js", SCRIPT),
    asset!("/console/session.css", "console/session.css", STYLE),
    asset!("/console/session.js", "console/session.js", SCRIPT),
    asset!("/console/session_list.js", "console/session_list.js", SCRIPT),
    asset!("/console/session_row.js", "console/session_row.js", SCRIPT),
    asset!("/console/sessions.css", "console/sessions.css", STYLE),
    asset!("/console/sessions.js", "console/sessions.js", SCRIPT),
    asset!("/console/settings.js", "console/settings.js", SCRIPT),
    asset!("/console/share_actions.js", "console/share_actions.js", SCRIPT),
    asset!("/console/shares.js", "console/shares.js", SCRIPT),
    asset!("/console/sign_in.js", "console/sign_in.js", SCRIPT),
    asset!("/console/tables.css", "console/tables.css", STYLE),
    asset!("/console/texts.js", "console/texts.js", SCRIPT),
    asset!("/console/texts/de.js", "console/texts/de.js", SCRIPT),
    asset!("/console/texts/en.js", "console/texts/en.js", SCRIPT),
    asset!("/console/timeline.css", "console/timeline.css", STYLE),
    asset!("/console/timeline.js", "console/timeline.js", SCRIPT),
    asset!("/console/timeline_axis.js", "console/timeline_axis.js", SCRIPT),
    asset!("/console/token.js", "console/token.js", SCRIPT),
    asset!("/console/tokens.css", "console/tokens.css", STYLE),
    asset!("/embed", "embed/index.html", HTML),
    asset!("/embed/embed.css", "embed/embed.css", STYLE),
    asset!("/embed/embed.js", "embed/embed.js", SCRIPT),
    asset!("/embed/parent.js", "embed/parent.js", SCRIPT),
    asset!("/language.js", "language.js", SCRIPT),
    asset!("/main.js", "main.js", SCRIPT),
    asset!("/player/actions.js", "player/actions.js", SCRIPT),
    asset!("/player/bar.js", "player/bar.js", SCRIPT),
    asset!("/player/control.js", "player/control.js", SCRIPT),
    asset!("/player/coordinates.js", "player/coordinates.js", SCRIPT),
    asset!("/player/cover.js", "player/cover.js", SCRIPT),
    asset!("/player/devices.js", "player/devices.js", SCRIPT),
    asset!("/player/gamepad.js", "player/gamepad.js", SCRIPT),
    asset!("/player/icons.js", "player/icons.js", SCRIPT),
    asset!("/player/join.js", "player/join.js", SCRIPT),
    asset!("/player/keyboard.js", "player/keyboard.js", SCRIPT),
    asset!("/player/keys.js", "player/keys.js", SCRIPT),
    asset!("/player/link.js", "player/link.js", SCRIPT),
    asset!("/player/over.js", "player/over.js", SCRIPT),
    asset!("/player/picture.js", "player/picture.js", SCRIPT),
    asset!("/player/player.css", "player/player.css", STYLE),
    asset!("/player/player.js", "player/player.js", SCRIPT),
    asset!("/player/pointer.js", "player/pointer.js", SCRIPT),
    asset!("/player/requests.js", "player/requests.js", SCRIPT),
    asset!("/player/statistics.js", "player/statistics.js", SCRIPT),
    asset!("/player/statistics_panel.js", "player/statistics_panel.js", SCRIPT),
    asset!("/player/texts.js", "player/texts.js", SCRIPT),
    asset!("/player/texts/de.js", "player/texts/de.js", SCRIPT),
    asset!("/player/texts/en.js", "player/texts/en.js", SCRIPT),
    asset!("/stream.js", "stream.js", SCRIPT),
    asset!("/style.css", "style.css", STYLE),
];

/// Adds the pages behind all that tables have; metrics call each of them `page`.
pub(crate) fn configure(service: &mut ServiceConfig) {
    service.default_service(web::to(answer));
}

async fn answer(request: HttpRequest, state: Data<State>) -> Result<HttpResponse, HttpError> {
    let found = ASSETS.binary_search_by(|asset| asset.path.cmp(request.path()));
    let asset = &ASSETS[found.map_err(|_| HttpError::NoSuchEndpoint)?];
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return method_not_allowed(request).await;
    }
    note_route(&request, asset.path, "page");
    Ok(serve(asset, &request, &state.embed))
}

fn serve(asset: &Asset, request: &HttpRequest, embed: &EmbedPage) -> HttpResponse {
    let is_embedded = asset.path == EMBED;
    let policy = if is_embedded { embed.policy.as_str() } else { POLICY };
    // What another page names relative to itself is not there below it.
    let has_slash = request.extensions().contains::<TrailingSlash>();
    if asset.kind == HTML && has_slash && !is_embedded {
        return HttpResponse::PermanentRedirect()
            .insert_header((LOCATION, format!("..{}", asset.path)))
            .insert_header((CONTENT_SECURITY_POLICY, policy))
            .finish();
    }
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header((CONTENT_TYPE, asset.kind))
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .insert_header((VARY, "Accept-Encoding"))
        // The files change together, with the binary.
        .insert_header((CACHE_CONTROL, "no-cache"));
    match takes_gzip(request) {
        // It is told who may be around it.
        _ if is_embedded => answer.body(embed.text.clone()),
        true => answer.insert_header((CONTENT_ENCODING, "gzip")).body(asset.gzip),
        false => answer.body(asset.text),
    }
}

fn takes_gzip(request: &HttpRequest) -> bool {
    static OFFERED: LazyLock<[Encoding; 2]> =
        LazyLock::new(|| [Encoding::gzip(), Encoding::identity()]);
    let accepted = AcceptEncoding::parse(request).ok();
    let chosen = accepted.and_then(|accepted| accepted.negotiate(OFFERED.iter()));
    chosen == Some(Encoding::gzip())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use actix_web::http::header::ACCEPT_ENCODING;
    use actix_web::test::TestRequest;

    use super::*;

    /// Adds the paths of all files in `folder` and below it, each with `prefix`.
    fn collect(folder: &Path, prefix: &str, files: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{prefix}/{}", entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                collect(&entry.path(), &path, files);
                continue;
            }
            files.push(match path.as_str() {
                "/index.html" => "/".to_owned(),
                "/console.html" => "/console".to_owned(),
                "/embed/index.html" => EMBED.to_owned(),
                _ => path,
            });
        }
    }

    #[test]
    fn every_file_of_the_pages_is_served() {
        let mut files = Vec::new();
        collect(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/ui")), "", &mut files);
        files.sort();
        let served: Vec<_> = ASSETS.iter().map(|asset| asset.path).collect();
        assert_eq!(served, files);
    }

    fn answer(path: &str, request: TestRequest) -> HttpResponse {
        let asset = ASSETS.iter().find(|asset| asset.path == path).unwrap();
        serve(asset, &request.to_http_request(), &EmbedPage::new(&[]).unwrap())
    }

    #[test]
    fn a_file_is_compressed_for_whoever_takes_that() {
        let encoding = |accepted: &str| {
            let request = TestRequest::get().insert_header((ACCEPT_ENCODING, accepted));
            answer("/console", request).headers().get(CONTENT_ENCODING).cloned()
        };
        for accepted in ["gzip", "gzip, deflate, br, zstd", "br;q=0.5, gzip;q=0.2, identity;q=0.1"]
        {
            assert_eq!(encoding(accepted).unwrap(), "gzip", "{accepted}");
        }
        for accepted in ["", "identity", "br", "gzip;q=0"] {
            assert_eq!(encoding(accepted), None, "{accepted}");
        }
        let plain = answer("/console", TestRequest::get());
        assert_eq!(plain.headers().get(CONTENT_ENCODING), None);
        assert_eq!(plain.headers().get(VARY).unwrap(), "Accept-Encoding");
    }

    #[test]
    fn a_page_with_a_slash_behind_it_is_where_it_is_without() {
        let with_slash = |path: &str| {
            let request = TestRequest::get().to_http_request();
            request.extensions_mut().insert(TrailingSlash);
            let asset = ASSETS.iter().find(|asset| asset.path == path).unwrap();
            serve(asset, &request, &EmbedPage::new(&[]).unwrap())
        };
        let moved = with_slash("/console");
        assert_eq!(moved.status(), 308);
        // Relative, as a proxy may serve it below a path of its own.
        assert_eq!(moved.headers().get(LOCATION).unwrap(), "../console");
        assert_eq!(moved.headers().get(CONTENT_SECURITY_POLICY).unwrap(), POLICY);
        assert_eq!(answer("/console", TestRequest::get()).status(), 200);
        // It names what it needs so that both are good.
        assert_eq!(with_slash(EMBED).status(), 200);
        assert_eq!(answer(EMBED, TestRequest::get()).status(), 200);
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
    fn the_pages_keep_to_their_own_policy() {
        for page in ASSETS.iter().filter(|asset| asset.kind == HTML).map(|asset| asset.text) {
            assert!(!page.contains("<style") && !page.contains("style=\""));
            assert!(!page.contains("onclick"));
            assert_eq!(page.matches("<script").count(), page.matches("src=\"").count());
        }
        for asset in ASSETS {
            assert!(!asset.text.contains("innerHTML"), "{}", asset.path);
        }
    }

    /// What is imported and not named there is asked for late.
    #[test]
    fn the_pages_name_in_advance_only_what_there_is() {
        let pages = ASSETS.iter().filter(|asset| ["/", "/console"].contains(&asset.path));
        let named = pages.flat_map(|page| page.text.split("href=\"").skip(1));
        for name in named.filter_map(|rest| rest.split_once('"')).map(|(name, _)| name) {
            let there = ASSETS.iter().any(|asset| asset.path[1..] == *name);
            assert!(there || ["data:,", "console"].contains(&name), "{name}");
        }
    }
}

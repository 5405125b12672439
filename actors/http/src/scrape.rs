//! The answer to a scrape of `/metrics`, in the format that is asked for.

use actix_web::http::header::{Accept, CACHE_CONTROL, Header};
use actix_web::{HttpRequest, HttpResponse};
use stream_metrics::{Exposition, Format};

/// Answers `request` with the metrics of `exposition`: as OpenMetrics where that is preferred, as
/// the older text format to everybody else.
pub fn scrape_response(request: &HttpRequest, exposition: &Exposition) -> HttpResponse {
    let format = format(request);
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type(format.content_type())
        .body(exposition.text(format))
}

fn format(request: &HttpRequest) -> Format {
    let accepted = Accept::parse(request).unwrap_or_else(|_| Accept(Vec::new()));
    let quality = |types: &[&str]| {
        let fits = accepted.iter().filter(|entry| types.contains(&entry.item.essence_str()));
        fits.map(|entry| entry.quality).max()
    };
    let open = quality(&["application/openmetrics-text"]);
    match open > quality(&["text/plain", "text/*"]) {
        true => Format::OpenMetrics,
        false => Format::Text,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::ACCEPT;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_asked_for() {
        let asked = |accept: &'static str| {
            format(&TestRequest::default().insert_header((ACCEPT, accept)).to_http_request())
        };
        assert_eq!(asked("text/plain"), Format::Text);
        assert_eq!(asked("*/*"), Format::Text);
        assert_eq!(asked("not a type"), Format::Text);
        assert_eq!(format(&TestRequest::default().to_http_request()), Format::Text);
        assert_eq!(asked("application/openmetrics-text; version=1.0.0"), Format::OpenMetrics);
        // As Prometheus asks.
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(asked(prometheus), Format::OpenMetrics);
        let older = "application/openmetrics-text;q=0.1,text/plain;q=0.9";
        assert_eq!(asked(older), Format::Text);
    }
}

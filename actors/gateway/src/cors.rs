//! CORS: the web pages elsewhere that may call the API.

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderValue, ORIGIN, VARY,
};

use url::Url;

use crate::error::GatewayError;

/// The origins that the operator allows, each as browsers write it.
#[derive(Debug)]
pub(crate) struct CorsPolicy(Vec<String>);

impl CorsPolicy {
    /// Reads the configured `allowed_origins`.
    ///
    /// # Errors
    ///
    /// Refuses what no browser ever sends as the origin of a page.
    pub(crate) fn new(allowed: &[String]) -> Result<Self, GatewayError> {
        let read = |origin: &String| match origin.as_str() {
            "*" => Ok(origin.clone()),
            _ => normalized(origin).ok_or_else(|| {
                GatewayError::Config(format!(
                    "gateway: allowed_origins holds {origin:?}, which is no origin such as \
                     https://app.example.com, or * for any"
                ))
            }),
        };
        allowed.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Says in the headers `answer` whether a page of origin `request` may read the answer.
    /// Browsers never send a token by themselves, so credentials need no permission.
    pub(crate) fn apply(&self, request: Option<&HeaderValue>, answer: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        answer.append(VARY, HeaderValue::from_name(ORIGIN));
        if let Some(origin) = request.filter(|origin| self.allows(origin)) {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
    }

    /// Answers a preflight: [`CorsPolicy::apply`] and what a request may look like.
    pub(crate) fn apply_preflight(&self, request: Option<&HeaderValue>, answer: &mut HeaderMap) {
        self.apply(request, answer);
        if !answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return;
        }
        let mut say = |name, text| answer.insert(name, HeaderValue::from_static(text));
        say(ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PATCH, DELETE");
        say(ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, Accept, Idempotency-Key");
        say(ACCESS_CONTROL_MAX_AGE, "600");
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        self.0.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes())
    }
}

/// Returns `origin` as browsers write it: in lower case, without the default port, without a slash
/// at the end. RFC 6454, section 6.2. Returns `None` for what no browser sends as that of a page.
pub(crate) fn normalized(origin: &str) -> Option<String> {
    let is_origin = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.path() == "/"
            && !url.authority().contains('*')
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    let url = Url::parse(origin).ok().filter(is_origin)?;
    Some(url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_allowed_however_the_operator_writes_it() {
        for written in [
            "https://a.example/",
            "HTTPS://A.example",
            "https://a.example:443",
            "https://a.example",
        ] {
            let answer = marked(&[written], Some("https://a.example"));
            assert!(answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{written}");
        }
        let answer = marked(&["http://[::1]:8080/"], Some("http://[::1]:8080"));
        assert!(answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    #[test]
    fn what_no_page_has_as_its_origin_is_refused() {
        for wrong in [
            "a.example",
            "null",
            "",
            "https://a.example/page",
            "https://a.example/?x",
            "https://u@a.example",
            "ftp://a.example",
            "localhost:3000",
            "https://*.example",
        ] {
            let refused = CorsPolicy::new(&[wrong.to_owned()]);
            assert!(matches!(refused, Err(GatewayError::Config(_))), "{wrong} passed");
        }
    }

    fn marked(allowed: &[&str], origin: Option<&'static str>) -> HeaderMap {
        let allowed: Vec<_> = allowed.iter().map(|&origin| origin.to_owned()).collect();
        let policy = CorsPolicy::new(&allowed).unwrap();
        let mut answer = HeaderMap::new();
        let origin = origin.map(HeaderValue::from_static);
        policy.apply_preflight(origin.as_ref(), &mut answer);
        answer
    }

    #[test]
    fn only_allowed_origins_are_named() {
        let allowed = ["https://a.example"];
        let answer = marked(&allowed, Some("https://a.example"));
        assert_eq!(answer.get(ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(), "https://a.example");
        assert!(answer.contains_key(ACCESS_CONTROL_ALLOW_HEADERS));

        for other in ["https://a.example.evil", "https://A.example", "http://a.example", "null"] {
            let answer = marked(&allowed, Some(other));
            assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{other} passed");
            assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_METHODS), "{other} passed");
            // A cache must not hand this answer to the allowed origin.
            assert_eq!(answer.get(VARY).unwrap(), "origin");
        }
        assert!(!marked(&allowed, None).contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    #[test]
    fn a_star_allows_all_and_an_empty_list_nobody() {
        let answer = marked(&["*"], Some("https://b.example"));
        assert_eq!(answer.get(ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(), "https://b.example");
        assert!(marked(&[], Some("https://b.example")).is_empty());
    }
}

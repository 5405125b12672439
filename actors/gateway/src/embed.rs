//! The page that others put into a frame: the player alone, for the origins that the operator
//! lists.

use crate::content_policy::{NO_FRAME, POLICY};
use crate::cors::normalized;
use crate::error::GatewayError;

const PAGE: &str = include_str!("../ui/embed/index.html");
const NO_ORIGIN: &str = r#"<meta name="embed-origins" content="">"#;

/// The page at `/embed/`, which is told who may be around it.
#[derive(Debug)]
pub(crate) struct EmbedPage {
    pub(crate) text: String,
    /// Its Content-Security-Policy: browsers show it in a frame of these origins and in no other.
    pub(crate) policy: String,
}

impl EmbedPage {
    /// Reads the configured `embed_origins`; without any, no page may have it in a frame.
    ///
    /// # Errors
    ///
    /// Refuses what no page has as its origin: a pattern would let in whoever gets a name below it.
    pub(crate) fn new(origins: &[String]) -> Result<Self, GatewayError> {
        let read = |origin: &String| {
            normalized(origin).ok_or_else(|| {
                GatewayError::Config(format!(
                    "gateway: embed_origins holds {origin:?}, which is no origin such as \
                     https://app.example.com"
                ))
            })
        };
        let origins = origins.iter().map(read).collect::<Result<Vec<_>, _>>()?.join(" ");
        let listed = format!(r#"<meta name="embed-origins" content="{origins}">"#);
        let text = PAGE.replace(NO_ORIGIN, &listed);
        let policy = match origins.as_str() {
            "" => POLICY.to_owned(),
            origins => POLICY.replace(NO_FRAME, &format!("frame-ancestors {origins}")),
        };
        Ok(Self { text, policy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(origins: &[&str]) -> Result<EmbedPage, GatewayError> {
        EmbedPage::new(&origins.iter().map(|&origin| origin.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn without_an_origin_nobody_may_have_it_in_a_frame() {
        let page = page(&[]).unwrap();
        assert_eq!((page.policy.as_str(), page.text.as_str()), (POLICY, PAGE));
        assert!(page.policy.contains("frame-ancestors 'none';") && PAGE.contains(NO_ORIGIN));
    }

    #[test]
    fn exactly_the_origins_that_are_listed_are_in_the_policy_and_in_the_page() {
        let page = page(&["HTTPS://A.example:443/", "http://b.example:8080"]).unwrap();
        let listed = "https://a.example http://b.example:8080";
        assert!(page.policy.contains(&format!("; frame-ancestors {listed}; ")), "{}", page.policy);
        assert!(page.text.contains(&format!(r#"name="embed-origins" content="{listed}""#)));
        assert_eq!(page.policy.matches("frame-ancestors").count(), 1);
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for wrong in
            ["*", "https://*.example", "a.example", "null", "https://a.example/page", "'self'"]
        {
            let refused = page(&["https://a.example", wrong]).unwrap_err().to_string();
            assert!(refused.contains("gateway: embed_origins holds"), "{wrong}: {refused}");
        }
    }
}

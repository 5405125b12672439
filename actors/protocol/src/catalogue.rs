use serde::{Deserialize, Serialize};

use crate::AgentId;

/// How much of names one page holds; a record has 64 KiB.
const MAX_PAGE_BYTES: usize = 32 * 1024;

/// What no launch can name is in no catalogue.
const MAX_NAME_BYTES: usize = 1024;

/// A page of what an agent can launch, stored when it changes and every minute; see
/// [presence](crate::manual::state#presence-and-lease).
///
/// A record of its own: an agent tells every few seconds that it is there, and all others read it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CataloguePage {
    /// The name of this state of the catalogue, which all of its pages and the presence of the
    /// agent carry.
    pub version: String,
    /// How many pages there are; at least one.
    pub pages: usize,
    /// Names of the applications that can be streamed.
    pub applications: Vec<String>,
    /// Names of the images that can be launched without an application.
    pub images: Vec<String>,
}

impl CataloguePage {
    /// Returns the key of page `page`, from 0 on, of the catalogue of `agent`.
    pub fn key(agent: &AgentId, page: usize) -> String {
        format!("{agent}/{page}")
    }

    /// Returns the pages of a catalogue. Names of more than 1 KiB are left out.
    pub fn split(version: &str, applications: &[String], images: &[String]) -> Vec<Self> {
        let empty = || Self {
            version: version.to_owned(),
            pages: 0,
            applications: Vec::new(),
            images: Vec::new(),
        };
        let (mut pages, mut bytes) = (vec![empty()], 0);
        let names = applications.iter().map(|name| (name, true));
        for (name, is_application) in names.chain(images.iter().map(|name| (name, false))) {
            if name.len() > MAX_NAME_BYTES {
                continue;
            }
            // JSON may write one byte as six.
            bytes += 6 * name.len() + 3;
            if bytes > MAX_PAGE_BYTES {
                bytes = 6 * name.len() + 3;
                pages.push(empty());
            }
            if let Some(page) = pages.last_mut() {
                let list = if is_application { &mut page.applications } else { &mut page.images };
                list.push(name.clone());
            }
        }
        let count = pages.len();
        pages.iter_mut().for_each(|page| page.pages = count);
        pages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalogue_of_any_size_is_stored_in_pages_that_fit() {
        let names = |kind: &str, count: usize| -> Vec<_> {
            (0..count).map(|n| format!("{kind}-{n}-{}", "\u{1}".repeat(200))).collect()
        };
        let (applications, mut images) = (names("app", 1000), names("image", 100));
        let pages = CataloguePage::split("v", &applications, &images);
        assert!(pages.len() > 30);
        for page in &pages {
            assert_eq!((page.pages, page.version.as_str()), (pages.len(), "v"));
            assert!(serde_json::to_vec(page).expect("json").len() < 60 * 1024);
        }
        let joined = |of: fn(&CataloguePage) -> &Vec<String>| -> Vec<String> {
            pages.iter().flat_map(|page| of(page).clone()).collect()
        };
        assert_eq!(joined(|page| &page.applications), applications);
        assert_eq!(joined(|page| &page.images), images);

        images = vec!["x".repeat(MAX_NAME_BYTES + 1)];
        let nothing = CataloguePage::split("v", &[], &images);
        assert_eq!((nothing.len(), nothing[0].pages, nothing[0].images.len()), (1, 1, 0));
    }
}

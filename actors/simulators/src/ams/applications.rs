//! Applications, `contract.md` 1.9: what can be launched, by id or by name.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stream_protocol::SessionId;

use super::envelope::Refused;

/// The one status our applications have.
const READY: (&str, i32) = ("ready", 2);

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Application {
    pub(crate) id: String,
    pub(crate) name: String,
    status: &'static str,
    status_code: i32,
    instance_type: &'static str,
    boot_package: String,
    parent_image_id: String,
    parent_image_variant: &'static str,
    published: bool,
    versions: Vec<Version>,
    addons: Vec<String>,
    created_at: i64,
    immutable: bool,
    tags: Vec<String>,
    resources: Value,
    abi: &'static str,
    inhibit_auto_updates: bool,
    node_selector: Vec<String>,
    vm: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Version {
    number: u64,
    status: &'static str,
    status_code: i32,
    published: bool,
    created_at: i64,
    boot_activity: String,
    video_encoder: &'static str,
    services: Vec<Value>,
    features: Vec<String>,
    watchdog: Value,
    addons: Vec<String>,
    error_message: String,
}

/// Which applications a list is to hold; what is empty or missing does not filter.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    pub(crate) recursion: u8,
    id: String,
    name: String,
    status: String,
    published: Option<bool>,
}

impl Application {
    /// Returns a ready application whose one version, 1, is published or not.
    /// `now` is in Unix seconds.
    pub(crate) fn new(name: &str, published: bool, now: i64) -> Self {
        let (status, status_code) = READY;
        let version = |number, published| Version {
            number,
            status,
            status_code,
            published,
            created_at: now,
            boot_activity: String::new(),
            video_encoder: "gpu-preferred",
            services: Vec::new(),
            features: Vec::new(),
            watchdog: json!({}),
            addons: Vec::new(),
            error_message: String::new(),
        };
        Self {
            // The ids of AMS have the form of session ids.
            id: SessionId::random().to_string(),
            name: name.to_owned(),
            status,
            status_code,
            instance_type: "container",
            boot_package: String::new(),
            parent_image_id: String::new(),
            parent_image_variant: "android",
            published,
            versions: vec![version(1, published)],
            addons: Vec::new(),
            created_at: now,
            immutable: false,
            tags: Vec::new(),
            resources: json!({}),
            abi: "x86_64",
            inhibit_auto_updates: false,
            node_selector: Vec::new(),
            vm: false,
        }
    }

    /// Returns the version to launch: the one asked for, or the latest published. A negative one
    /// counts as none.
    pub(crate) fn version(&self, asked: Option<i64>) -> Result<u64, Refused> {
        let numbers = || self.versions.iter().map(|version| version.number);
        match asked.and_then(|asked| u64::try_from(asked).ok()) {
            Some(asked) => numbers()
                .find(|number| *number == asked)
                .ok_or(Refused::NotFound("application version")),
            None => {
                let published = self.versions.iter().filter(|version| version.published);
                published.map(|version| version.number).max().ok_or(Refused::NotAllowed(
                    "launch of an application without a published version",
                ))
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("/1.0/applications/{}", self.id)
    }
}

/// Finds an application by its id or its name.
pub(crate) fn find<'a>(all: &'a [Application], key: &str) -> Result<&'a Application, Refused> {
    let found = all.iter().find(|app| app.id == key || app.name == key);
    found.ok_or(Refused::NotFound("application"))
}

impl Filter {
    pub(crate) fn admits(&self, app: &Application) -> bool {
        let same = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
        same(&self.id, &app.id)
            && same(&self.name, &app.name)
            && same(&self.status, app.status)
            && self.published.is_none_or(|published| published == app.published)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_takes_the_published_version_unless_it_names_one() {
        let app = Application::new("a", true, 0);
        assert_eq!(app.version(None), Ok(1));
        assert_eq!(app.version(Some(-1)), Ok(1));
        assert_eq!(app.version(Some(1)), Ok(1));
        assert_eq!(app.version(Some(2)), Err(Refused::NotFound("application version")));
    }

    #[test]
    fn an_application_without_published_version_starts_only_by_its_number() {
        let app = Application::new("a", false, 0);
        assert!(matches!(app.version(None), Err(Refused::NotAllowed(_))));
        assert_eq!(app.version(Some(1)), Ok(1));
    }

    #[test]
    fn a_filter_that_fits_nothing_admits_nothing() {
        let app = Application::new("a", true, 0);
        let admits = |text: &str| {
            let filter: Filter = serde_json::from_str(text).expect("a filter");
            filter.admits(&app)
        };
        assert!(admits("{}"));
        assert!(admits(r#"{"name":"a","status":"ready","published":true}"#));
        assert!(!admits(r#"{"name":"b"}"#));
        assert!(!admits(r#"{"published":false}"#));
    }
}

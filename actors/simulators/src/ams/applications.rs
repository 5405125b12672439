//! [Applications]: what can be launched, by id or name.
//!
//! [Applications]: stream_protocol::manual::wire#applications-and-images

mod package;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stream_protocol::SessionId;

use super::error::ApiError;
use super::images::Image;
pub(crate) use package::Manifest;

/// How far an application or a version of one is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    Initializing,
    Done,
}

impl Progress {
    fn of_application(self) -> (&'static str, i32) {
        match self {
            Self::Initializing => ("initializing", 1),
            Self::Done => ("ready", 2),
        }
    }

    fn of_version(self) -> (&'static str, i32) {
        match self {
            Self::Initializing => ("initializing", 1),
            Self::Done => ("active", 2),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Application {
    pub(crate) id: String,
    pub(crate) name: String,
    status: &'static str,
    status_code: i32,
    instance_type: String,
    boot_package: String,
    pub(crate) parent_image_id: String,
    pub(crate) parent_image_variant: &'static str,
    /// Whether any version is.
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
    video_encoder: String,
    services: Vec<Value>,
    features: Vec<String>,
    watchdog: Value,
    addons: Vec<String>,
    error_message: String,
}

/// What a `PATCH` changes of an application.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Change {
    inhibit_auto_updates: Option<bool>,
    tags: Option<Vec<String>>,
}

/// Which applications a list is to hold; what is empty or missing does not filter.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    id: String,
    name: String,
    instance_type: String,
    status: String,
    boot_package: String,
    abi: String,
    parent_image_variant: String,
    immutable: Option<bool>,
    inhibit_auto_updates: Option<bool>,
    published: Option<bool>,
    /// Separated by commas; an application must have all of them.
    addons: String,
    tags: String,
}

impl Application {
    /// Returns an application that is being made from `manifest` and `image`, with its version 1.
    /// `now` is in Unix seconds.
    pub(crate) fn new(manifest: Manifest, image: Option<&Image>, vm: bool, now: i64) -> Self {
        let (status, status_code) = Progress::Initializing.of_application();
        let kind = if vm { "vm" } else { "container" };
        let mut application = Self {
            // The ids of AMS have the form of session ids.
            id: SessionId::random().to_string(),
            name: manifest.name.clone(),
            status,
            status_code,
            instance_type: match manifest.instance_type.as_str() {
                "" => kind.to_owned(),
                given => given.to_owned(),
            },
            boot_package: manifest.boot_package.clone(),
            parent_image_id: image.map(|image| image.id.clone()).unwrap_or_default(),
            parent_image_variant: image.map_or("android", |image| image.variant),
            published: false,
            versions: Vec::new(),
            addons: manifest.addons.clone(),
            created_at: now,
            immutable: false,
            tags: manifest.tags.clone(),
            resources: object(manifest.resources.clone()),
            abi: "x86_64",
            inhibit_auto_updates: manifest.inhibit_auto_updates,
            node_selector: manifest.node_selector.clone(),
            vm,
        };
        application.add_version(manifest, now);
        application
    }

    /// Returns one of `image` that is ready, with its version 1 published.
    pub(crate) fn ready(name: &str, image: Option<&Image>, now: i64) -> Self {
        let manifest = Manifest { name: name.to_owned(), ..Manifest::default() };
        let mut application = Self::new(manifest, image, false, now);
        application.finish(1, true);
        application
    }

    /// Adds a version that is being made, and returns its number.
    pub(crate) fn add_version(&mut self, manifest: Manifest, now: i64) -> u64 {
        let number = self.versions.iter().map(|version| version.number).max().unwrap_or(0) + 1;
        let (status, status_code) = Progress::Initializing.of_version();
        self.versions.push(Version {
            number,
            status,
            status_code,
            published: false,
            created_at: now,
            boot_activity: manifest.boot_activity,
            video_encoder: match manifest.video_encoder.as_str() {
                "" => "gpu-preferred".to_owned(),
                _ => manifest.video_encoder,
            },
            services: manifest.services,
            features: manifest.features,
            watchdog: object(manifest.watchdog),
            addons: manifest.addons,
            error_message: String::new(),
        });
        number
    }

    /// A version is made; with the first one the application is ready.
    pub(crate) fn finish(&mut self, number: u64, publish: bool) {
        if let Ok(version) = self.find_version(number) {
            (version.status, version.status_code) = Progress::Done.of_version();
            version.published |= publish;
            (self.status, self.status_code) = Progress::Done.of_application();
            self.count_published();
        }
    }

    /// Publishes a version or takes it back. Refuses one that is not made yet.
    pub(crate) fn publish(&mut self, number: u64, published: bool) -> Result<(), ApiError> {
        let version = self.find_version(number)?;
        if version.status != Progress::Done.of_version().0 {
            return Err(ApiError::NotAllowed("publishing a version that is not ready"));
        }
        version.published = published;
        self.count_published();
        Ok(())
    }

    /// Removes a version. Refuses the last one: that is to remove the application.
    pub(crate) fn remove_version(&mut self, number: u64) -> Result<(), ApiError> {
        self.find_version(number)?;
        if self.versions.len() == 1 {
            return Err(ApiError::NotAllowed("removing the only version"));
        }
        self.versions.retain(|version| version.number != number);
        self.count_published();
        Ok(())
    }

    pub(crate) fn change(&mut self, change: Change) {
        self.inhibit_auto_updates =
            change.inhibit_auto_updates.unwrap_or(self.inhibit_auto_updates);
        if let Some(tags) = change.tags {
            self.tags = tags;
        }
    }

    /// Returns the version to launch: the one asked for, or the latest published. A negative one
    /// counts as none.
    pub(crate) fn version(&self, asked: Option<i64>) -> Result<u64, ApiError> {
        let numbers = || self.versions.iter().map(|version| version.number);
        match asked.and_then(|asked| u64::try_from(asked).ok()) {
            Some(asked) => numbers()
                .find(|number| *number == asked)
                .ok_or(ApiError::NotFound("application version")),
            None => {
                let published = self.versions.iter().filter(|version| version.published);
                published.map(|version| version.number).max().ok_or(ApiError::NotAllowed(
                    "launch of an application without a published version",
                ))
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("/1.0/applications/{}", self.id)
    }

    fn find_version(&mut self, number: u64) -> Result<&mut Version, ApiError> {
        let found = self.versions.iter_mut().find(|version| version.number == number);
        found.ok_or(ApiError::NotFound("application version"))
    }

    fn count_published(&mut self) {
        self.published = self.versions.iter().any(|version| version.published);
    }
}

/// What is missing is shown as an empty object.
fn object(value: Value) -> Value {
    if value.is_object() { value } else { json!({}) }
}

/// Finds an application by its id or its name.
pub(crate) fn find<'a>(all: &'a [Application], key: &str) -> Result<&'a Application, ApiError> {
    let found = all.iter().find(|app| app.id == key || app.name == key);
    found.ok_or(ApiError::NotFound("application"))
}

impl Filter {
    pub(crate) fn admits(&self, app: &Application) -> bool {
        let same = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
        let is = |wanted: Option<bool>, value: bool| wanted.is_none_or(|wanted| wanted == value);
        same(&self.id, &app.id)
            && same(&self.name, &app.name)
            && same(&self.instance_type, &app.instance_type)
            && same(&self.status, app.status)
            && same(&self.boot_package, &app.boot_package)
            && same(&self.abi, app.abi)
            && same(&self.parent_image_variant, app.parent_image_variant)
            && is(self.immutable, app.immutable)
            && is(self.inhibit_auto_updates, app.inhibit_auto_updates)
            && is(self.published, app.published)
            && has_all(&self.addons, &app.addons)
            && has_all(&self.tags, &app.tags)
    }
}

/// Whether everything in `wanted`, separated by commas, is `present`.
pub(super) fn has_all(wanted: &str, present: &[String]) -> bool {
    let mut wanted = wanted.split(',').map(str::trim).filter(|word| !word.is_empty());
    wanted.all(|word| present.iter().any(|present| present == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpublished() -> Application {
        let manifest = Manifest { name: "a".to_owned(), ..Manifest::default() };
        Application::new(manifest, None, false, 0)
    }

    #[test]
    fn a_launch_takes_the_latest_published_version_unless_it_names_one() {
        let mut app = Application::ready("a", None, 0);
        assert_eq!(app.add_version(Manifest::default(), 0), 2);
        for (asked, expected) in [(None, 1), (Some(-1), 1), (Some(1), 1), (Some(2), 2)] {
            assert_eq!(app.version(asked), Ok(expected), "{asked:?}");
        }
        assert_eq!(app.version(Some(3)), Err(ApiError::NotFound("application version")));
        app.finish(2, true);
        assert_eq!(app.version(None), Ok(2));
        assert_eq!(app.publish(2, false), Ok(()));
        assert_eq!(app.version(None), Ok(1));
    }

    #[test]
    fn an_application_without_published_version_starts_only_by_its_number() {
        let mut app = unpublished();
        app.finish(1, false);
        assert!(matches!(app.version(None), Err(ApiError::NotAllowed(_))));
        assert_eq!(app.version(Some(1)), Ok(1));
    }

    #[test]
    fn an_application_is_ready_and_can_be_published_once_a_version_is_made() {
        let mut app = unpublished();
        assert_eq!(json!(app)["status"], json!("initializing"));
        assert!(matches!(app.publish(1, true), Err(ApiError::NotAllowed(_))));
        app.finish(1, false);
        assert_eq!((&json!(app)["status"], app.published), (&json!("ready"), false));
        assert_eq!(app.publish(1, true), Ok(()));
        assert!(app.published);
        assert_eq!(app.publish(2, true), Err(ApiError::NotFound("application version")));
    }

    #[test]
    fn the_last_version_stays() {
        let mut app = Application::ready("a", None, 0);
        assert!(matches!(app.remove_version(1), Err(ApiError::NotAllowed(_))));
        app.add_version(Manifest::default(), 0);
        assert_eq!(app.remove_version(1), Ok(()));
        assert!(!app.published);
    }

    #[test]
    fn a_filter_that_fits_nothing_admits_nothing() {
        let app = Application::ready("a", None, 0);
        let admits = |text: &str| {
            let filter: Filter = serde_json::from_str(text).expect("a filter");
            filter.admits(&app)
        };
        assert!(admits("{}"));
        assert!(admits(r#"{"name":"a","status":"ready","published":true,"immutable":false}"#));
        assert!(!admits(r#"{"name":"b"}"#));
        assert!(!admits(r#"{"published":false}"#));
        assert!(!admits(r#"{"tags":"x"}"#));
        assert!(!admits(r#"{"parent_image_variant":"aaos"}"#));
    }
}

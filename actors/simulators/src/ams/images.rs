//! Images, which applications are made of and which can be launched by themselves.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stream_protocol::SessionId;

use super::error::ApiError;

/// The images of a new AMS: those of the public end-to-end tests.
pub(crate) const DEFAULT_IMAGES: [&str; 2] = ["jammy:android15:amd64", "jammy:aaos15:amd64"];

/// The one status our images have.
const ACTIVE: (&str, i32) = ("active", 3);

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Image {
    pub(crate) id: String,
    pub(crate) name: String,
    status: &'static str,
    status_code: i32,
    pub(crate) variant: &'static str,
    architecture: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    default: bool,
    immutable: bool,
    versions: Vec<Value>,
    used_by: Vec<String>,
    created_at: i64,
}

/// Which images a list is to hold; what is empty or missing does not filter.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    id: String,
    name: String,
    variant: String,
}

/// All images in the order in which they came; the first is the default.
#[derive(Default)]
pub(crate) struct Images(Vec<Image>);

impl Images {
    /// `now` is in Unix seconds.
    pub(crate) fn new(names: &[String], now: i64) -> Self {
        let mut images = Self::default();
        for name in names {
            images.fetch(name, now);
        }
        images
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Image> {
        self.0.iter()
    }

    /// Finds an image by its id or its name; an empty key is the default image.
    pub(crate) fn find(&self, key: &str) -> Result<&Image, ApiError> {
        let is_meant = |image: &&Image| key.is_empty() || image.id == key || image.name == key;
        self.all().find(is_meant).ok_or(ApiError::NotFound("image"))
    }

    /// Has an image, which the image server offers whatever it is called; returns it.
    pub(crate) fn fetch(&mut self, name: &str, now: i64) -> &Image {
        let found = self.0.iter().position(|image| image.name == name);
        let at = found.unwrap_or_else(|| {
            self.0.push(Image::new(name, self.0.is_empty(), now));
            self.0.len() - 1
        });
        &self.0[at]
    }
}

impl Image {
    fn new(name: &str, default: bool, now: i64) -> Self {
        // The ids of AMS have the form of session ids.
        let id = SessionId::random().to_string();
        let (status, status_code) = ACTIVE;
        let version = json!({
            "number": 0, "status": status, "status_code": status_code, "fingerprint": "",
            "size": 0, "created_at": now,
        });
        Self {
            id,
            name: name.to_owned(),
            status,
            status_code,
            variant: if name.contains("aaos") { "aaos" } else { "android" },
            architecture: if name.ends_with(":arm64") { "aarch64" } else { "x86_64" },
            kind: "container",
            default,
            immutable: false,
            versions: vec![version],
            used_by: Vec::new(),
            created_at: now,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("/1.0/images/{}", self.id)
    }
}

impl Filter {
    pub(crate) fn admits(&self, image: &Image) -> bool {
        let same = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
        same(&self.id, &image.id)
            && same(&self.name, &image.name)
            && same(&self.variant, image.variant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_by_name_by_id_and_as_the_default() {
        let mut images = Images::new(&DEFAULT_IMAGES.map(str::to_owned), 0);
        let first = images.find("").expect("the default").clone();
        assert_eq!(first.name, DEFAULT_IMAGES[0]);
        assert_eq!(images.find(&first.id).expect("by id").name, first.name);
        assert_eq!(images.find(DEFAULT_IMAGES[1]).expect("by name").variant, "aaos");
        assert_eq!(images.find("none").map(drop), Err(ApiError::NotFound("image")));
        assert_eq!(images.fetch("jammy:android14:arm64", 0).architecture, "aarch64");
        images.fetch("jammy:android14:arm64", 0);
        assert_eq!(images.all().count(), 3, "an image is fetched once");
    }
}

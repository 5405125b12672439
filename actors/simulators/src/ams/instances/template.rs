//! What an instance is made of: what a launch names, or what another instance is.

use serde_json::{Value, json};

use super::super::applications::{self, Application};
use super::super::error::ApiError;
use super::super::images::Images;
use super::{Instance, NewInstance, Resources, Status};

pub(super) struct Template {
    pub(super) kind: String,
    pub(super) app_id: String,
    pub(super) app_name: String,
    pub(super) app_version: u64,
    pub(super) image_id: String,
    pub(super) image_name: String,
    pub(super) image_variant: &'static str,
    pub(super) image_version: i64,
    pub(super) services: Vec<Value>,
    pub(super) config: Value,
    pub(super) resources: Resources,
}

impl Template {
    /// Returns what `request` names: an application, or an image alone.
    pub(super) fn requested(
        request: &NewInstance,
        apps: &[Application],
        images: &Images,
    ) -> Result<Self, ApiError> {
        let (app_id, app_name, app_version, image) = match request.app_id.as_str() {
            "" if request.image_id.is_empty() => return Err(ApiError::Invalid("app_id")),
            "" => (String::new(), String::new(), 0, Some(images.find(&request.image_id)?)),
            key => {
                let app = applications::find(apps, key)?;
                let version = app.version(request.app_version)?;
                let image = images.find(&app.parent_image_id).ok();
                (app.id.clone(), app.name.clone(), version, image)
            }
        };
        let kind = if request.kind.is_empty() { "container" } else { &request.kind };
        let config = if request.config.is_null() { json!({}) } else { request.config.clone() };
        Ok(Self {
            kind: kind.to_owned(),
            app_id,
            app_name,
            app_version,
            image_id: image.map(|image| image.id.clone()).unwrap_or_default(),
            image_name: image.map(|image| image.name.clone()).unwrap_or_default(),
            image_variant: image.map_or("android", |image| image.variant),
            image_version: request.image_version.unwrap_or_default(),
            services: request.services.clone(),
            config,
            resources: request.resources.clone(),
        })
    }

    /// Returns what `original` is. Refuses one that is neither stopped nor has failed. Its tags are
    /// not part of it: one of them names its session.
    pub(super) fn of(original: &Instance) -> Result<Self, ApiError> {
        if !matches!(original.status, Status::Error | Status::Stopped) {
            return Err(ApiError::NotAllowed("copying an instance that is not stopped"));
        }
        let original = original.clone();
        Ok(Self {
            kind: original.kind,
            app_id: original.app_id,
            app_name: original.app_name,
            app_version: original.app_version,
            image_id: original.image_id,
            image_name: original.image_name,
            image_variant: original.image_variant,
            image_version: original.image_version,
            services: original.services,
            config: original.config,
            resources: original.resources,
        })
    }
}

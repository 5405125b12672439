//! What an application is made of: a zip or tar.bz2 archive with a `manifest.yaml`.

use std::io::{Cursor, Read};

use bzip2::read::MultiBzDecoder;
use serde::Deserialize;
use serde_json::Value;

use super::super::envelope::nullable;
use super::super::error::ApiError;

const MANIFEST: &str = "manifest.yaml";

/// The longest manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 64 * 1024;

/// So much of a tar archive is unpacked to find the manifest, in bytes.
const MAX_UNPACKED_BYTES: u64 = 1024 * 1024 * 1024;

/// The manifest as far as AMS shows it again; what else it says is for Android.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Manifest {
    #[serde(deserialize_with = "nullable")]
    pub(crate) name: String,
    /// The default image when it is empty.
    #[serde(deserialize_with = "nullable")]
    pub(crate) image: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) instance_type: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) boot_package: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) boot_activity: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) video_encoder: String,
    pub(super) watchdog: Value,
    pub(super) resources: Value,
    #[serde(deserialize_with = "nullable")]
    pub(super) services: Vec<Value>,
    #[serde(deserialize_with = "nullable")]
    pub(super) features: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub(super) addons: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub(super) tags: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub(super) node_selector: Vec<String>,
    pub(super) inhibit_auto_updates: bool,
}

impl Manifest {
    /// Finds the manifest in a package. Refuses what is no such archive, holds none, or one
    /// without a name.
    pub(crate) fn of(package: &[u8]) -> Result<Self, ApiError> {
        let text = match package {
            [b'P', b'K', ..] => from_zip(package),
            [b'B', b'Z', b'h', ..] => from_tar(MultiBzDecoder::new(package)),
            _ => None,
        };
        let text = text.ok_or(ApiError::Invalid("package"))?;
        let manifest: Self =
            serde_norway::from_str(&text).map_err(|_| ApiError::Invalid("manifest"))?;
        if manifest.name.is_empty() || manifest.name.contains(['/', '\n']) {
            return Err(ApiError::Invalid("name"));
        }
        Ok(manifest)
    }
}

fn from_zip(package: &[u8]) -> Option<String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(package)).ok()?;
    text(archive.by_name(MANIFEST).ok()?)
}

fn from_tar(unpacked: impl Read) -> Option<String> {
    let mut archive = tar::Archive::new(unpacked.take(MAX_UNPACKED_BYTES));
    for entry in archive.entries().ok()? {
        let entry = entry.ok()?;
        // Both ways of packing a directory.
        if matches!(&*entry.path_bytes(), b"manifest.yaml" | b"./manifest.yaml") {
            return text(entry);
        }
    }
    None
}

fn text(file: impl Read) -> Option<String> {
    let mut text = String::new();
    let length = file.take(MAX_MANIFEST_BYTES + 1).read_to_string(&mut text).ok()?;
    (length as u64 <= MAX_MANIFEST_BYTES).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use bzip2::Compression;
    use bzip2::write::BzEncoder;
    use serde_json::json;

    use super::*;

    const TEXT: &str = "name: e2e\nimage: jammy:android15:amd64\n\
        watchdog:\n  disabled: false\nresources:\n  cpus: 4\n  memory: 3GB\n  disk-size: 3GB\n";

    fn zipped(name: &str, text: &str) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file(name, zip::write::SimpleFileOptions::default()).expect("a file");
        archive.write_all(text.as_bytes()).expect("written");
        archive.finish().expect("an archive").into_inner()
    }

    fn tarred(name: &str, text: &str) -> Vec<u8> {
        let mut archive = tar::Builder::new(BzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, name, text.as_bytes()).expect("appended");
        archive.into_inner().and_then(BzEncoder::finish).expect("an archive")
    }

    #[test]
    fn the_manifest_is_found_in_both_kinds_of_archive() {
        let padded = tarred("./manifest.yaml", TEXT);
        for package in [zipped(MANIFEST, TEXT), tarred(MANIFEST, TEXT), padded] {
            let manifest = Manifest::of(&package).expect("a manifest");
            assert_eq!(manifest.name, "e2e");
            assert_eq!(manifest.image, "jammy:android15:amd64");
            assert_eq!(manifest.resources["disk-size"], json!("3GB"));
            assert_eq!(manifest.watchdog["disabled"], json!(false));
        }
    }

    #[test]
    fn what_is_no_package_is_refused_by_what_is_wrong() {
        let half = &zipped(MANIFEST, TEXT)[..40];
        for package in [b"".as_slice(), b"name: bare", b"PK", b"BZh9", half] {
            assert_eq!(Manifest::of(package).map(drop), Err(ApiError::Invalid("package")));
        }
        let refused = |package: Vec<u8>| Manifest::of(&package).map(drop).expect_err("refused");
        assert_eq!(refused(zipped("other.yaml", TEXT)), ApiError::Invalid("package"));
        assert_eq!(refused(tarred("sub/manifest.yaml", TEXT)), ApiError::Invalid("package"));
        assert_eq!(refused(zipped(MANIFEST, "name: [")), ApiError::Invalid("manifest"));
        assert_eq!(refused(zipped(MANIFEST, "image: x")), ApiError::Invalid("name"));
        let bomb = "#".repeat(MAX_MANIFEST_BYTES as usize + 1);
        assert_eq!(refused(tarred(MANIFEST, &bomb)), ApiError::Invalid("package"));
    }
}

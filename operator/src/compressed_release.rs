//! A GrayRelease between its turns: as compressed text, which takes a fifth of the room of the object. Of ten thousand
//! releases few have their turn at a time.

use halftone_api::GrayRelease;
use halftone_api::spec::ControllerStatus;
use kube::ResourceExt;
use xxhash_rust::xxh3::xxh3_128;

use crate::compressed_text::CompressedText;
use crate::objects;

/// An object, trimmed and folded up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressedRelease {
    /// JSON.
    text: CompressedText,
    /// Its resourceVersion.
    pub version: Box<str>,
    /// Its generation.
    pub generation: Option<i64>,
    /// Digest of its status.
    pub status: u128,
    /// The class of its fleet.
    pub class: Box<str>,
    /// An operator has written its status.
    pub begun: bool,
    /// The installation that looks after it.
    pub controller: Option<Box<ControllerStatus>>,
}

impl CompressedRelease {
    /// The object, but for what of its metadata nobody reads.
    #[must_use]
    pub fn of(mut release: GrayRelease) -> Self {
        objects::trim(&mut release);
        let status = serde_json::to_vec(&release.status).expect("a status is plain data");
        let text = serde_json::to_string(&release).expect("an object is plain data");
        Self {
            text: CompressedText::of(&text),
            version: release.resource_version().unwrap_or_default().into(),
            generation: release.metadata.generation,
            status: xxh3_128(&status),
            class: release.spec.proxy_class.as_str().into(),
            begun: release
                .status
                .as_ref()
                .is_some_and(|status| status.observed_generation >= 0),
            controller: release
                .status
                .and_then(|status| status.controller)
                .map(Box::new),
        }
    }

    /// The object.
    #[must_use]
    pub fn unpack(&self) -> GrayRelease {
        serde_json::from_str(&self.text.text()).expect("it was written from such an object")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_as_it_was_but_for_metadata_that_nobody_reads() {
        let text = include_str!("../../examples/minimal.yaml");
        let mut release = halftone_api::manifest::read("minimal.yaml", text).manifests[0]
            .release
            .clone();
        release.metadata.resource_version = Some("7".into());
        release.metadata.uid = Some("7c1f".into());
        release
            .annotations_mut()
            .insert("halftone.dev/request".into(), "pause@x".into());
        let wanted = release.clone();
        release
            .annotations_mut()
            .insert("note".into(), "long".into());
        release.labels_mut().insert("app".into(), "checkout".into());
        let unpacked = CompressedRelease::of(release).unpack();
        assert_eq!(unpacked.metadata, wanted.metadata);
        assert_eq!(
            (unpacked.spec, unpacked.status),
            (wanted.spec, wanted.status)
        );
    }
}

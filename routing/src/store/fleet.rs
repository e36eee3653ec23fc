//! The fleet's document: which one is in force, and whether another may take its place.

use std::sync::Arc;

use super::{
    SourceDocument, Store, current,
    parse_cache::{self, DocumentRejection},
};
use crate::{
    document::{Checksum, parse::ParsedDocument, units::Revision},
    fleet::FleetConfig,
    report::RejectedDocument,
};

/// The fleet's settings in force; without a document, the default ones.
#[derive(Debug)]
pub(super) struct ActiveFleet {
    pub(super) config: Arc<FleetConfig>,
    pub(super) document: Option<(Revision, Checksum)>,
    /// Where a document was found that is refused.
    refused: Option<Box<str>>,
}

impl ActiveFleet {
    pub(super) fn new(config: FleetConfig) -> Self {
        Self {
            config: Arc::new(config),
            document: None,
            refused: None,
        }
    }

    /// Takes a good document; true: other settings hold now.
    fn take(&mut self, parsed: ParsedDocument<FleetConfig>) -> Result<bool, DocumentRejection> {
        if parsed.config.class != self.config.class {
            return Err(DocumentRejection::new(
                "OtherClass",
                format!(
                    "it is for the fleet \"{}\", and this proxy is of \"{}\"; change class here or --class there",
                    parsed.config.class, self.config.class
                ),
            ));
        }
        let before = self.document.as_ref();
        let before = before.map(|(revision, checksum)| (*revision, checksum));
        if !current::may_follow(before, (parsed.config.revision, &parsed.checksum))? {
            return Ok(false);
        }
        self.document = Some((parsed.config.revision, parsed.checksum));
        self.config = Arc::new(parsed.config);
        Ok(true)
    }
}

impl Store {
    /// A fleet without a document has the default settings; one whose document vanishes keeps its own until the next
    /// start, as releases do.
    fn forget_kept_fleet(&mut self) -> bool {
        let forget = self.restored && self.fleet.document.is_some();
        if forget {
            let class = self.fleet.config.class.clone();
            self.fleet = ActiveFleet::new(FleetConfig {
                class,
                ..FleetConfig::default()
            });
        }
        forget
    }

    /// Takes what the fleet's source holds, if it holds anything; true: other settings hold now.
    pub(super) fn apply_fleet(&mut self, found: Option<SourceDocument<'_>>) -> bool {
        if let Some(source) = self.fleet.refused.take() {
            self.rejected.clear(&source);
        }
        let Some(found) = found else {
            return self.forget_kept_fleet();
        };
        let refused = match parse_cache::fleet(&found) {
            Ok(parsed) => {
                let (revision, checksum) = (parsed.config.revision, parsed.checksum.clone());
                match self.fleet.take(parsed) {
                    Ok(changed) => return changed,
                    Err(why) => RejectedDocument {
                        revision: Some(revision),
                        checksum: Some(checksum),
                        ..why.at(found.source)
                    },
                }
            }
            Err(why) => why.at(found.source),
        };
        self.fleet.refused = Some(found.source.into());
        self.rejected.set(refused);
        false
    }
}

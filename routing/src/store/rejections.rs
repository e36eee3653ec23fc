//! What is refused at present, as the report lists it.

use crate::report::RejectedDocument;

/// Refused documents by source, one for each.
#[derive(Debug, Default)]
pub(super) struct Rejections(Vec<RejectedDocument>);

impl Rejections {
    pub(super) fn as_slice(&self) -> &[RejectedDocument] {
        &self.0
    }

    /// The source's document is refused.
    pub(super) fn set(&mut self, refused: RejectedDocument) {
        match self.place(&refused.source) {
            Ok(at) => self.0[at] = refused,
            Err(at) => self.0.insert(at, refused),
        }
    }

    /// The source holds nothing that is refused.
    pub(super) fn clear(&mut self, source: &str) {
        if let Ok(at) = self.place(source) {
            self.0.remove(at);
        }
    }

    fn place(&self, source: &str) -> Result<usize, usize> {
        self.0
            .binary_search_by(|refused| (*refused.source).cmp(source))
    }
}

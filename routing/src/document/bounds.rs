//! What holds between the fields of a routing document, and its way out: one text with its checksum, small enough
//! for a ConfigMap.

use super::checksum::checksum;
use super::identity::{IdentityForm, IdentitySource};
use super::parse::{DocumentError, DocumentErrorReason, MAX_BYTES};
use super::{
    Checksum, IDENTITY_2, ReleaseState, RoutingConfig,
    arm::{Arm, ArmConfig},
    rule::Target,
};

/// Hosts, paths and rules of one document.
const MOST: usize = 64;
/// Alternatives of one rule, and of `exclude`.
const MOST_ALTERNATIVES: usize = 16;

impl RoutingConfig {
    /// Whether it claims only part of its hosts' paths: none of `paths` is `/`.
    pub fn has_part_of_the_paths(&self) -> bool {
        self.paths.iter().all(|path| path.as_str() != "/")
    }

    /// Whether its requests must not leave a part of the paths through a `..` that only a backend sees: it claims
    /// only part of them, or an arm puts a prefix before them.
    pub(crate) fn confines(&self) -> bool {
        let has_prefix = |arm: &ArmConfig| {
            arm.path_prefix
                .as_ref()
                .is_some_and(|prefix| prefix.as_str() != "/")
        };
        self.has_part_of_the_paths()
            || Arm::ALL
                .into_iter()
                .filter_map(|arm| self.arms.get(arm))
                .any(has_prefix)
    }

    /// How its identities are spelled, and what its generated cookie is called.
    pub fn identity_form(&self) -> IdentityForm {
        if self.requires.iter().any(|feature| feature == IDENTITY_2) {
            IdentityForm::Two
        } else {
            IdentityForm::One
        }
    }

    /// Checks what no field can check alone. The reader calls it; a writer need not, its types come from a plan.
    ///
    /// # Errors
    /// The first field that does not fit the others.
    pub fn check(&self) -> Result<(), DocumentError> {
        listed("hosts", &self.hosts, 1)?;
        listed("paths", &self.paths, 1)?;
        if self.claims.len() > MOST * MOST {
            return Err(invalid(
                "claims",
                format!(
                    "has {} items; at most {} fit",
                    self.claims.len(),
                    MOST * MOST
                ),
            ));
        }
        let names: Vec<_> = self.rules.iter().map(|rule| &rule.name).collect();
        listed("rules", &names, 0)?;
        for (at, rule) in self.rules.iter().enumerate() {
            alternatives(&format!("rules[{at}].when"), rule.when.len(), 1)?;
        }
        alternatives("limits.exclude", self.limits.exclude.len(), 0)?;
        self.check_cookie()?;
        let plain = matches!(self.state, ReleaseState::Plain | ReleaseState::Withdrawn);
        if !plain && self.arms.gray.is_none() {
            return Err(invalid(
                "arms.gray",
                "missing; only a Plain or Withdrawn document has no gray arm",
            ));
        }
        match &self.arms.gray {
            Some(gray) if gray.version == self.arms.stable.version => Err(invalid(
                "arms.gray.version",
                format!(
                    "\"{}\" is stable's version as well; name them differently",
                    gray.version
                ),
            )),
            None if self.force == Some(Target::Gray) => Err(invalid(
                "force",
                "sends everyone to gray, and there is no gray arm",
            )),
            _ if self.moving && self.state != ReleaseState::Active => {
                Err(invalid("moving", "only an Active release moves; remove it"))
            }
            _ => Ok(()),
        }
    }

    /// Browsers refuse a cookie that a host outside its domain sets.
    fn check_cookie(&self) -> Result<(), DocumentError> {
        let Some(IdentitySource::Generated(cookie)) = self.identity.from.last() else {
            return Ok(());
        };
        let Some(domain) = &cookie.domain else {
            return Ok(());
        };
        match self.hosts.iter().find(|hosts| !domain.covers(hosts)) {
            Some(outside) => {
                let message = format!(
                    "the generated cookie's domain {domain} does not cover the host {outside}"
                );
                Err(invalid("identity.from", message))
            }
            None => Ok(()),
        }
    }

    /// The document as text, indented for people, with its checksum.
    ///
    /// # Errors
    /// [`DocumentErrorReason::TooLarge`], with the length.
    pub fn to_json(&self) -> Result<String, DocumentError> {
        let document = Self {
            checksum: Some(self.content_checksum()),
            ..self.clone()
        };
        let text = serde_json::to_string_pretty(&document)
            .expect("a document has text keys and writers that cannot fail");
        if text.len() > MAX_BYTES {
            let message = format!(
                "the document has {} bytes; at most {MAX_BYTES} fit",
                text.len()
            );
            return Err(DocumentError {
                reason: DocumentErrorReason::TooLarge,
                place: None,
                field: String::new(),
                message,
            });
        }
        Ok(text)
    }

    /// The checksum that [`RoutingConfig::to_json`] writes.
    pub fn content_checksum(&self) -> Checksum {
        checksum(
            serde_json::to_value(self)
                .expect("a document has text keys and writers that cannot fail"),
        )
    }
}

fn listed<T: PartialEq + std::fmt::Display>(
    field: &str,
    values: &[T],
    least: usize,
) -> Result<(), DocumentError> {
    if values.len() < least || values.len() > MOST {
        return Err(invalid(
            field,
            format!("{} entries; write {least} to {MOST}", values.len()),
        ));
    }
    match values
        .iter()
        .enumerate()
        .find(|(at, value)| values[..*at].contains(value))
    {
        Some((at, value)) => Err(invalid(
            &format!("{field}[{at}]"),
            format!("\"{value}\" stands twice"),
        )),
        None => Ok(()),
    }
}

fn alternatives(field: &str, count: usize, least: usize) -> Result<(), DocumentError> {
    if (least..=MOST_ALTERNATIVES).contains(&count) {
        return Ok(());
    }
    Err(invalid(
        field,
        format!("{count} alternatives; write {least} to {MOST_ALTERNATIVES}"),
    ))
}

fn invalid(field: &str, message: impl Into<String>) -> DocumentError {
    DocumentError {
        reason: DocumentErrorReason::Invalid,
        place: None,
        field: field.to_owned(),
        message: message.into(),
    }
}

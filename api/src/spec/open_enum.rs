//! A word of the status, as a reader of any version keeps it. A later version may write words that this one does not
//! know; they are shown and written back as they are, so that going back and forth between versions loses nothing.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, IntoDeserializer, value::StrDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One of the words `T`, or one that only a later version knows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum OpenEnum<T> {
    /// A word of this version.
    Known(T),
    /// A word of a later version, as it was written.
    Unknown(Box<str>),
}

impl<T: Copy> OpenEnum<T> {
    /// The word, if this version knows it.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(word) => Some(*word),
            Self::Unknown(_) => None,
        }
    }
}

impl<T> From<T> for OpenEnum<T> {
    fn from(word: T) -> Self {
        Self::Known(word)
    }
}

impl<T: PartialEq> PartialEq<T> for OpenEnum<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(word) if word == other)
    }
}

/// The word alone, known or not.
impl<T: fmt::Debug> fmt::Debug for OpenEnum<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(word) => word.fmt(f),
            Self::Unknown(word) => f.write_str(word),
        }
    }
}

impl<T: Serialize> Serialize for OpenEnum<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(word) => word.serialize(serializer),
            Self::Unknown(word) => serializer.serialize_str(word),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for OpenEnum<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read: StrDeserializer<'_, serde::de::value::Error> = text.as_str().into_deserializer();
        Ok(T::deserialize(read).map_or_else(|_| Self::Unknown(text.into()), Self::Known))
    }
}

impl<T: JsonSchema> JsonSchema for OpenEnum<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;
    use crate::spec::{Phase, ReleaseOutcome};

    #[test]
    fn a_word_of_a_later_version_is_kept_and_shown_as_it_is() {
        let word: OpenEnum<Phase> = from_value(json!("Migrating")).unwrap();
        assert_eq!(
            (word.known(), format!("{word:?}")),
            (None, "Migrating".to_owned())
        );
        assert_eq!(to_value(&word).unwrap(), json!("Migrating"));
        assert!(
            from_value::<OpenEnum<Phase>>(json!(7)).is_err(),
            "no word at all"
        );
    }

    #[test]
    fn a_word_of_this_version_is_what_it_always_was() {
        let word: OpenEnum<ReleaseOutcome> = from_value(json!("RolledBack")).unwrap();
        assert!(
            word == ReleaseOutcome::RolledBack && word.known() == Some(ReleaseOutcome::RolledBack)
        );
        assert_eq!(
            (format!("{word:?}"), to_value(&word).unwrap()),
            ("RolledBack".into(), json!("RolledBack"))
        );
    }
}

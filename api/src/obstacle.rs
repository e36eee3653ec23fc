//! Why an object cannot be taken as it is written: the reason that conditions and events carry, and the words for it.

/// Something that forbids the object or leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// CamelCase, stable.
    pub reason: String,
    /// What is wrong, where, and what to do.
    pub message: String,
}

impl Obstacle {
    /// An obstacle with its reason and message.
    #[must_use]
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            message: message.into(),
        }
    }
}

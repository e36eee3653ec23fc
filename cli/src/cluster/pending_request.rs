//! What to write for a request, from the release as it is: never over a request that nobody has answered, except to
//! stop or to go back. Pure; `request.rs` writes and waits.

use halftone_api::GrayRelease;
use halftone_api::spec::HandledRequest;
use halftone_rollout::command_request::{CommandRequest, REQUEST_ANNOTATION, ReleaseCommand};
use kube::ResourceExt;

/// What to do for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WriteDecision {
    /// Write this annotation.
    Write(String),
    /// The very same waits there already.
    Waits(String),
    /// Another one waits.
    Busy(String),
    /// Nobody has seen the release, so there is no token yet.
    Unseen,
}

/// What to do for `command`.
pub(super) fn step(release: &GrayRelease, command: ReleaseCommand) -> WriteDecision {
    let status = release.status.as_ref();
    let Some(token) = status.and_then(|status| status.request_token.as_ref()) else {
        return WriteDecision::Unseen;
    };
    let request = CommandRequest::new(command, token.as_str()).to_string();
    match waiting(release) {
        Some(waiting) if waiting == request => WriteDecision::Waits(request),
        Some(waiting) if !matches!(command, ReleaseCommand::Pause | ReleaseCommand::Rollback) => {
            WriteDecision::Busy(waiting.to_owned())
        }
        _ => WriteDecision::Write(request),
    }
}

/// The request that nobody has answered.
pub(crate) fn waiting(release: &GrayRelease) -> Option<&str> {
    let asked = release.annotations().get(REQUEST_ANNOTATION)?.trim();
    (!asked.is_empty() && handled(release).is_none_or(|handled| handled.request.trim() != asked))
        .then_some(asked)
}

/// What has become of a request that was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RequestStatus {
    /// Nothing yet.
    Open,
    /// This.
    Answered(HandledRequest),
    /// Another one was written over it.
    Replaced(String),
}

/// What has become of `request`.
pub(super) fn fate(release: &GrayRelease, request: &str) -> RequestStatus {
    if let Some(handled) = handled(release).filter(|handled| handled.request.trim() == request) {
        return RequestStatus::Answered(handled.clone());
    }
    match release.annotations().get(REQUEST_ANNOTATION) {
        Some(asked) if asked.trim() == request => RequestStatus::Open,
        Some(other) => RequestStatus::Replaced(format!("{other} was written over it")),
        None => RequestStatus::Replaced("it was taken away".to_owned()),
    }
}

fn handled(release: &GrayRelease) -> Option<&HandledRequest> {
    release.status.as_ref()?.last_handled_request.as_ref()
}

#[cfg(test)]
mod tests {
    use halftone_api::spec::{GrayReleaseStatus, RequestResult};

    use super::*;

    fn release(asked: Option<&str>, handled: Option<&str>) -> GrayRelease {
        let text = include_str!("../../../examples/minimal.yaml");
        let mut release = halftone_api::manifest::read("minimal.yaml", text).manifests[0]
            .release
            .clone();
        if let Some(asked) = asked {
            release
                .annotations_mut()
                .insert(REQUEST_ANNOTATION.into(), asked.into());
        }
        let last_handled_request = handled.map(|request| HandledRequest {
            request: request.into(),
            result: RequestResult::Done.into(),
            message: "done".into(),
            time: "2026-11-21T10:00:00Z".parse().unwrap(),
        });
        let request_token = Some("t2".into());
        release.status = Some(GrayReleaseStatus {
            request_token,
            last_handled_request,
            ..GrayReleaseStatus::default()
        });
        release
    }

    #[test]
    fn a_request_carries_the_present_token() {
        let write = WriteDecision::Write("promote@t2".into());
        assert_eq!(step(&release(None, None), ReleaseCommand::Promote), write);
        assert_eq!(
            step(
                &release(Some("pause@t1"), Some("pause@t1")),
                ReleaseCommand::Promote
            ),
            write,
            "answered"
        );
    }

    #[test]
    fn a_request_that_waits_is_overwritten_only_to_stop_or_to_go_back() {
        let waits = release(Some("approve/2@t2"), Some("pause@t1"));
        assert_eq!(
            step(&waits, ReleaseCommand::Promote),
            WriteDecision::Busy("approve/2@t2".into())
        );
        assert_eq!(
            step(&waits, ReleaseCommand::Pause),
            WriteDecision::Write("pause@t2".into())
        );
        assert_eq!(
            step(&waits, ReleaseCommand::Rollback),
            WriteDecision::Write("rollback@t2".into())
        );
        assert_eq!(
            step(&release(Some("promote@t2"), None), ReleaseCommand::Promote),
            WriteDecision::Waits("promote@t2".into())
        );
    }

    #[test]
    fn a_release_that_no_operator_has_seen_takes_no_request() {
        let mut unseen = release(None, None);
        unseen.status = None;
        assert_eq!(step(&unseen, ReleaseCommand::Pause), WriteDecision::Unseen);
    }

    #[test]
    fn a_request_is_open_until_it_is_answered_or_replaced() {
        assert_eq!(
            fate(&release(Some("pause@t2"), Some("pause@t1")), "pause@t2"),
            RequestStatus::Open
        );
        assert!(matches!(
            fate(&release(Some("pause@t2"), Some("pause@t2")), "pause@t2"),
            RequestStatus::Answered(_)
        ));
        assert!(matches!(
            fate(&release(Some("rollback@t2"), Some("pause@t2")), "pause@t2"),
            RequestStatus::Answered(_)
        ));
        let RequestStatus::Replaced(how) = fate(&release(Some("rollback@t2"), None), "pause@t2")
        else {
            panic!()
        };
        assert!(how.contains("rollback@t2"));
        assert!(matches!(
            fate(&release(None, None), "pause@t2"),
            RequestStatus::Replaced(_)
        ));
    }
}

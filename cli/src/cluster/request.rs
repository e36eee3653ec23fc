//! Asks the operator for something: writes the annotation with the resourceVersion that was read, waits for the answer
//! in the status.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use halftone_api::GrayRelease;
use halftone_api::spec::HandledRequest;
use halftone_rollout::command_request::{REQUEST_ANNOTATION, ReleaseCommand};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

use super::api_error::ApiOperation;
use super::pending_request::{RequestStatus, WriteDecision, fate, step};
use super::{ClusterClient, NamespaceScope};
use crate::args::RequestArguments;
use crate::output::CommandError;
use crate::propagation::{CommandOutcome, Propagation};
use crate::summary::name_of;

/// Who wrote the annotation, for `metadata.managedFields`.
const MANAGER: &str = "halftone-cli";
/// The operator writes figures often, each of which makes what was read old.
const TRIES: u32 = 20;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

impl ClusterClient {
    /// Has `command` done, and says what became of it: answered, and, unless nobody is to wait for that, taken up by
    /// every proxy or not within the time there is.
    ///
    /// # Errors
    /// Another request waits, nobody answers in time, or the API server says no.
    pub(crate) async fn request(
        &self,
        arguments: &RequestArguments,
        command: ReleaseCommand,
    ) -> Result<CommandOutcome, CommandError> {
        let (timeout, fleet_namespace) = (
            arguments.timeout,
            arguments.fleet.fleet_namespace.as_deref(),
        );
        let (release, request) = self
            .write(&arguments.name, command, fleet_namespace)
            .await?;
        let mut heard = None;
        let follow = self.follow(&release, &request, !arguments.no_wait, &mut heard);
        // What was heard by the end of the time counts, too.
        if let Ok(failed) = tokio::time::timeout(timeout, follow).await {
            failed?;
        }
        match heard {
            Some((handled, taken)) => Ok(CommandOutcome {
                release,
                handled,
                taken,
            }),
            None => Err(self
                .unanswered(&release, &request, timeout, fleet_namespace)
                .await),
        }
    }

    async fn write(
        &self,
        name: &str,
        command: ReleaseCommand,
        fleet_namespace: Option<&str>,
    ) -> Result<(GrayRelease, String), CommandError> {
        let mut first = None;
        for _ in 0..TRIES {
            let release = self.release(name).await?;
            let full = name_of(&release);
            let request = match step(&release, command) {
                WriteDecision::Waits(request) => return Ok((release, request)),
                WriteDecision::Write(request) => request,
                WriteDecision::Busy(waiting) => {
                    let operator = self
                        .operator_of(&release.spec.proxy_class, fleet_namespace)
                        .await;
                    return Err(CommandError::new(format!(
                        "{full} has a request that nobody has answered yet: {waiting}"
                    ))
                    .advise(format!(
                        "wait for it, or pause or roll back, which go before everything else\n  {operator}"
                    )));
                }
                WriteDecision::Unseen => {
                    let operator = self
                        .operator_of(&release.spec.proxy_class, fleet_namespace)
                        .await;
                    return Err(CommandError::new(format!(
                        "{full} takes no requests yet: no operator has seen it"
                    ))
                    .advise(operator));
                }
            };
            let known = first.get_or_insert_with(|| request.clone());
            // To stop or to go back is meant whatever happened; anything else was meant for what was seen.
            if *known != request
                && !matches!(command, ReleaseCommand::Pause | ReleaseCommand::Rollback)
            {
                return Err(CommandError::new(format!(
                    "{full} has moved on meanwhile; nothing was asked"
                ))
                .advise(format!("look with halftone status {full}, and ask again")));
            }
            match self.annotate(&release, &request).await {
                Ok(written) => return Ok((written, request)),
                Err(kube::Error::Api(status)) if status.is_conflict() => {
                    tokio::time::sleep(PAUSE).await
                }
                Err(error) => {
                    let namespace = release.namespace().unwrap_or_default();
                    let doing =
                        ApiOperation::asking(command.verb(), NamespaceScope::Namespace(&namespace));
                    return Err(self.failed(&error, &doing));
                }
            }
        }
        Err(
            CommandError::new(format!("{name} changes too fast to be asked for anything"))
                .advise("try again"),
        )
    }

    async fn annotate(
        &self,
        release: &GrayRelease,
        request: &str,
    ) -> Result<GrayRelease, kube::Error> {
        let patch = json!({"metadata": {
            "resourceVersion": release.resource_version(),
            "annotations": {REQUEST_ANNOTATION: request},
        }});
        let api = self.api_of(release);
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        api.patch(&release.name_any(), &parameters, &Patch::Merge(&patch))
            .await
    }

    fn api_of(&self, release: &GrayRelease) -> Api<GrayRelease> {
        self.releases_of(NamespaceScope::Namespace(
            &release.namespace().unwrap_or_default(),
        ))
    }

    /// Follows the release until the request is answered and, if it `waits` for that, what it changed is taken up. What
    /// is `heard` on the way is kept for whoever has no more time.
    async fn follow(
        &self,
        release: &GrayRelease,
        request: &str,
        waits: bool,
        heard: &mut Option<(HandledRequest, Option<Propagation>)>,
    ) -> Result<(), CommandError> {
        let namespace = release.namespace().unwrap_or_default();
        let full = name_of(release);
        let only =
            watcher::Config::default().fields(&format!("metadata.name={}", release.name_any()));
        let mut changes = watcher(self.api_of(release), only)
            .default_backoff()
            .boxed();
        loop {
            let change = match changes.try_next().await {
                Ok(Some(change)) => change,
                Ok(None) => {
                    return Err(CommandError::new(format!(
                        "{full} cannot be followed any more"
                    )));
                }
                Err(error) => {
                    match self.fatal::<GrayRelease>(error, NamespaceScope::Namespace(&namespace)) {
                        Some(failure) => return Err(failure),
                        None => continue,
                    }
                }
            };
            match change {
                watcher::Event::Apply(now) | watcher::Event::InitApply(now) => {
                    match fate(&now, request) {
                        RequestStatus::Answered(handled) => {
                            let taken = waits.then(|| Propagation::of(&handled, release, &now));
                            let over = !taken.as_ref().is_some_and(Propagation::is_open);
                            *heard = Some((handled, taken));
                            if over {
                                return Ok(());
                            }
                        }
                        // Another request came after it: what proxies have is about that one, too.
                        _ if let Some((_, taken)) = heard => {
                            *taken = None;
                            return Ok(());
                        }
                        RequestStatus::Open => {}
                        RequestStatus::Replaced(how) => {
                            return Err(CommandError::new(format!(
                                "{full} has not answered {request}: {how}"
                            ))
                            .advise(format!("look with halftone status {full}")));
                        }
                    }
                }
                watcher::Event::Delete(_) => {
                    return Err(CommandError::new(format!("{full} was deleted meanwhile")));
                }
                watcher::Event::Init | watcher::Event::InitDone => {}
            }
        }
    }

    async fn unanswered(
        &self,
        release: &GrayRelease,
        request: &str,
        timeout: Duration,
        fleet_namespace: Option<&str>,
    ) -> CommandError {
        let operator = self
            .operator_of(&release.spec.proxy_class, fleet_namespace)
            .await;
        let (name, namespace) = (release.name_any(), release.namespace().unwrap_or_default());
        CommandError::new(format!(
            "nobody has answered {request} for {namespace}/{name} within {timeout:?}"
        ))
        .advise(format!(
            "{operator}\n  The request stays and counts once it is seen. To take it back: \
             kubectl annotate grayrelease -n {namespace} {name} {REQUEST_ANNOTATION}-"
        ))
    }
}

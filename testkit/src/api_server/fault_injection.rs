//! What a client may not do, and what a test lets go wrong.

use hyper::{Response, StatusCode};

use super::ApiBody;
use super::request::ApiRequest;
use super::response::refusal;

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedFault {
    /// It never arrives, and is never answered.
    Lost,
    /// It is done, and the answer never comes.
    AnswerLost,
    /// It waits until this is no longer planned for it.
    Held,
    /// It is refused as a conflict.
    Conflict,
    /// The server cannot at the moment.
    Unavailable,
    /// It may not be done, as a quota or a policy says.
    Forbidden,
    /// The server does not know this resource.
    UnknownResource,
}

impl InjectedFault {
    /// What comes instead of what was asked for.
    pub(super) fn instead(self) -> Option<impl Future<Output = Response<ApiBody>>> {
        let (code, why) = match self {
            Self::Lost => (None, ""),
            Self::AnswerLost | Self::Held => return None,
            Self::Conflict => (Some(StatusCode::CONFLICT), "as planned"),
            Self::Unavailable => (Some(StatusCode::SERVICE_UNAVAILABLE), "as planned"),
            Self::Forbidden => (Some(StatusCode::FORBIDDEN), "as planned"),
            Self::UnknownResource => (
                Some(StatusCode::NOT_FOUND),
                "the server could not find the requested resource",
            ),
        };
        Some(async move {
            match code {
                Some(code) => refusal(code, why),
                None => std::future::pending().await,
            }
        })
    }
}

type FaultRule = Box<dyn FnMut(&str) -> Option<InjectedFault> + Send>;
type AccessRule = Box<dyn Fn(&str, &str) -> bool + Send>;

/// All of it for one server.
#[derive(Default)]
pub(super) struct FaultInjector {
    plan: Option<FaultRule>,
    role: Option<AccessRule>,
    forbidden: Vec<String>,
}

impl FaultInjector {
    pub(super) fn plan(
        &mut self,
        plan: impl FnMut(&str) -> Option<InjectedFault> + Send + 'static,
    ) {
        self.plan = Some(Box::new(plan));
    }

    pub(super) fn end_plan(&mut self) {
        self.plan = None;
    }

    pub(super) fn set_role(&mut self, allows: impl Fn(&str, &str) -> bool + Send + 'static) {
        self.role = Some(Box::new(allows));
    }

    pub(super) fn forbid(&mut self, what: &str) {
        self.forbidden.push(what.to_owned());
    }

    pub(super) fn planned(&mut self, line: &str) -> Option<InjectedFault> {
        self.plan.as_mut()?(line)
    }

    /// Whether the client may ask for this.
    pub(super) fn allow(&self, asked: &ApiRequest) -> bool {
        let (verb, resource) = match asked.verb.split_once('/') {
            Some((verb, part)) => (verb, format!("{}/{part}", asked.name.resource)),
            None => (asked.verb, asked.name.resource.clone()),
        };
        let what = format!("{verb} {resource}");
        let everywhere = asked.name.namespace.is_empty().then(|| format!("{what} *"));
        let forbidden = |what: &String| self.forbidden.contains(what);
        self.role
            .as_ref()
            .is_none_or(|allows| allows(verb, &resource))
            && !forbidden(&what)
            && !everywhere.as_ref().is_some_and(forbidden)
    }
}

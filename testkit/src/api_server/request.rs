//! What a client asks for, read from the line of its request.

use std::collections::BTreeMap;

use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request};
use serde_json::Value;

use super::objects::ObjectKey;
use super::selector::Selector;

/// How a patch changes an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Patch {
    Merge,
    /// Server-side apply, by this field manager.
    Apply(String),
}

/// A request.
#[derive(Debug)]
pub(super) struct ApiRequest {
    /// As a role calls it; with `/status` where it is about the status only.
    pub(super) verb: &'static str,
    /// Without a name where it is about all.
    pub(super) name: ObjectKey,
    pub(super) patch: Patch,
    pub(super) selector: Selector,
    /// Where a list goes on, as its last page said; none where it begins.
    pub(super) goes_on: Option<String>,
    /// How long a page may be.
    pub(super) limit: usize,
    /// After which version a watch begins.
    pub(super) since: u64,
    pub(super) wants_bookmarks: bool,
}

impl ApiRequest {
    /// None: the path is no resource's.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Self> {
        let query = request.uri().query().unwrap_or_default();
        let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let text = |name: &str| query.get(name).map_or("", String::as_str);
        let number = |name: &str| query.get(name).and_then(|text| text.parse().ok());
        let path: Vec<&str> = request
            .uri()
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        let path = match &path[..] {
            ["api", _version, rest @ ..] | ["apis", _, _version, rest @ ..] => rest,
            _ => return None,
        };
        let (namespace, path) = match path {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            _ => ("", path),
        };
        let name = path.get(1).copied().unwrap_or_default();
        let is_status = path.get(2) == Some(&"status");
        let is_watch = matches!(text("watch"), "true" | "1");
        Some(Self {
            verb: verb(request.method(), name.is_empty(), is_watch, is_status),
            name: ObjectKey::new(path.first()?, namespace, name),
            patch: patch(request, text("fieldManager")),
            selector: Selector::of(text("labelSelector"), text("fieldSelector")),
            goes_on: Some(text("continue"))
                .filter(|token| !token.is_empty())
                .map(str::to_owned),
            limit: number("limit")
                .filter(|limit| *limit > 0)
                .unwrap_or(usize::MAX),
            since: number("resourceVersion")
                .and_then(|version| version.try_into().ok())
                .unwrap_or_default(),
            wants_bookmarks: text("allowWatchBookmarks") == "true",
        })
    }

    /// Takes the name from the object that is to be created.
    pub(super) fn take_name(&mut self, body: &Value) {
        if self.verb == "create" {
            body["metadata"]["name"]
                .as_str()
                .unwrap()
                .clone_into(&mut self.name.name);
        }
    }

    /// `VERB resource/namespace/name`
    pub(super) fn line(&self) -> String {
        let ObjectKey {
            resource,
            namespace,
            name,
        } = &self.name;
        format!("{} {resource}/{namespace}/{name}", self.verb)
    }

    /// Whether a list or a watch is about this object, as it is here.
    pub(super) fn covers(&self, name: &ObjectKey, object: &Value) -> bool {
        name.resource == self.name.resource
            && (self.name.namespace.is_empty() || name.namespace == self.name.namespace)
            && self.selector.matches(object)
    }
}

fn verb(method: &Method, is_about_all: bool, is_watch: bool, is_status: bool) -> &'static str {
    match (method.as_str(), is_about_all) {
        ("GET", _) if is_watch => "watch",
        ("GET", true) => "list",
        ("GET", false) => "get",
        ("POST", _) => "create",
        ("PUT", _) if is_status => "update/status",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", _) => "delete",
        other => panic!("{other:?}"),
    }
}

fn patch<B>(request: &Request<B>, manager: &str) -> Patch {
    let kind = request
        .headers()
        .get(CONTENT_TYPE)
        .map_or(&b""[..], |kind| kind.as_bytes());
    if kind.starts_with(b"application/apply-patch") {
        Patch::Apply(manager.to_owned())
    } else {
        Patch::Merge
    }
}

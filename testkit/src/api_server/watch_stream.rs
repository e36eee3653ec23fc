//! Watches: streams of what happens to the objects that a client asked for.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::objects::ObjectChange;
use super::request::ApiRequest;
use super::response::failure;
use super::{ApiBody, ApiServer, ApiServerState};

/// What all watches have in common.
#[derive(Debug, Default)]
pub(super) struct WatchRegistry {
    under_way: usize,
    /// How often all of them were broken.
    breaks: u64,
    send_bookmarks: bool,
}

impl WatchRegistry {
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    pub(super) fn break_all(&mut self) {
        self.breaks += 1;
    }

    pub(super) fn send_bookmarks(&mut self) {
        self.send_bookmarks = true;
    }
}

/// One watch.
struct WatchStream {
    server: ApiServer,
    changed: watch::Receiver<()>,
    asked: ApiRequest,
    /// Up to which version its client knows all.
    at: u64,
    /// How often all watches had been broken when it began.
    breaks: u64,
}

/// What comes next of a watch.
enum WatchItem {
    Nothing,
    Lines(String),
    /// The client asked for what is forgotten.
    Expired(String),
    Broken,
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.server.state().watches.under_way -= 1;
    }
}

impl ApiServer {
    pub(super) fn watch(&self, asked: ApiRequest) -> Response<ApiBody> {
        let breaks = {
            let mut state = self.state();
            state.watches.under_way += 1;
            state.watches.breaks
        };
        let (server, changed, at) = (self.clone(), self.0.changed.subscribe(), asked.since);
        let watch = WatchStream {
            server,
            changed,
            asked,
            at,
            breaks,
        };
        let frames = stream::unfold(Some(watch), |watch| async move {
            let (lines, watch) = watch?.next().await?;
            Some((Ok(Frame::data(Bytes::from(lines))), watch))
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

impl WatchStream {
    /// The next lines, and the watch if it goes on. None: it ends here.
    async fn next(mut self) -> Option<(String, Option<Self>)> {
        loop {
            self.changed.mark_unchanged();
            let server = self.server.clone();
            let next = self.look(&server.state());
            match next {
                WatchItem::Lines(lines) => return Some((lines, Some(self))),
                WatchItem::Expired(last) => return Some((last, None)),
                WatchItem::Broken => return None,
                WatchItem::Nothing => self.changed.changed().await.ok()?,
            }
        }
    }

    fn look(&mut self, state: &ApiServerState) -> WatchItem {
        if state.watches.breaks != self.breaks {
            return WatchItem::Broken;
        }
        let Some(news) = state.objects.since(self.at) else {
            return WatchItem::Expired(expired());
        };
        let mut lines: String = news
            .iter()
            .filter_map(|change| self.event(change))
            .map(line)
            .collect();
        let (before, version) = (self.at, state.objects.version());
        self.at = version;
        if lines.is_empty()
            && before < version
            && state.watches.send_bookmarks
            && self.asked.wants_bookmarks
        {
            lines = bookmark(version);
        }
        if lines.is_empty() {
            WatchItem::Nothing
        } else {
            WatchItem::Lines(lines)
        }
    }

    /// What a change is to this watch's client, if anything.
    fn event(&self, change: &ObjectChange) -> Option<(&'static str, Arc<Value>)> {
        let covers = |object: &&Arc<Value>| self.asked.covers(&change.name, object);
        let was = change.before.as_ref().filter(covers);
        let is = change.after.as_ref().filter(covers);
        match (was, is) {
            (Some(_), Some(is)) => Some(("MODIFIED", Arc::clone(is))),
            (None, Some(is)) => Some(("ADDED", Arc::clone(is))),
            (Some(was), None) => {
                Some(("DELETED", Arc::clone(change.after.as_ref().unwrap_or(was))))
            }
            (None, None) => None,
        }
    }
}

fn line((kind, object): (&'static str, Arc<Value>)) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

fn bookmark(version: u64) -> String {
    let metadata = json!({"resourceVersion": version.to_string()});
    let object = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
    line(("BOOKMARK", Arc::new(object)))
}

fn expired() -> String {
    line((
        "ERROR",
        Arc::new(failure(
            StatusCode::GONE,
            "Expired",
            "too old resource version",
        )),
    ))
}

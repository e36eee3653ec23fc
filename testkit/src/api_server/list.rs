//! Lists, page by page: whatever happens meanwhile, all pages of a list are of the version of its first.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::request::ApiRequest;
use super::response::{refusal, text};
use super::{ApiBody, ApiServer, ApiServerState};

/// Objects as they were when their list was asked for.
#[derive(Debug, Clone)]
pub(super) struct ListSnapshot {
    version: u64,
    items: Arc<[Arc<Value>]>,
}

impl ApiServer {
    /// A page of a list.
    pub(super) fn list(&self, asked: &ApiRequest) -> Response<ApiBody> {
        let mut state = self.state();
        let place = match &asked.goes_on {
            None => Some((state.begin_list(asked), 0)),
            Some(token) => state.place(token),
        };
        let Some((number, from)) = place else {
            return refusal(StatusCode::GONE, "there is no such list");
        };
        let most = asked.limit.min(state.longest_page.unwrap_or(usize::MAX));
        let ListSnapshot { version, items } = state.listings[number].clone();
        let until = items.len().min(from.saturating_add(most));
        let next = (until < items.len()).then(|| format!("{number}.{until}"));
        if asked.goes_on.is_none() && next.is_none() {
            // It was whole, so nobody comes back for more of it.
            state.listings.pop();
        }
        drop(state);
        page(version, next.as_deref(), &items[from.min(until)..until])
    }
}

impl ApiServerState {
    fn begin_list(&mut self, asked: &ApiRequest) -> usize {
        let covered = self
            .objects
            .iter()
            .filter(|(name, object)| asked.covers(name, object));
        let items = covered.map(|(_, object)| Arc::clone(object)).collect();
        self.listings.push(ListSnapshot {
            version: self.objects.version(),
            items,
        });
        self.listings.len() - 1
    }

    /// Which list a page said goes on, and from where.
    fn place(&self, token: &str) -> Option<(usize, usize)> {
        let (number, from) = token.split_once('.')?;
        let number = number
            .parse()
            .ok()
            .filter(|number| *number < self.listings.len())?;
        Some((number, from.parse().ok()?))
    }
}

fn page(version: u64, next: Option<&str>, items: &[Arc<Value>]) -> Response<ApiBody> {
    let metadata = json!({"resourceVersion": version.to_string(), "continue": next});
    let list = json!({"kind": "List", "apiVersion": "v1", "metadata": metadata}).to_string();
    // Written in parts: the objects are many and need not be copied.
    let items: Vec<&Value> = items.iter().map(AsRef::as_ref).collect();
    let items = serde_json::to_string(&items).unwrap();
    text(
        StatusCode::OK,
        format!("{},\"items\":{items}}}", &list[..list.len() - 1]),
    )
}

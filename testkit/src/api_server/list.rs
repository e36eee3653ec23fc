//! Lists, page by page.

use hyper::{Response, StatusCode};
use serde_json::json;

use super::answer::text;
use super::request::ApiRequest;
use super::{ApiBody, ApiServer};

impl ApiServer {
    /// A page of a list, as objects are now.
    pub(super) fn list(&self, asked: &ApiRequest) -> Response<ApiBody> {
        let state = self.state();
        let (from, limit) = asked.page;
        let most = limit.min(state.longest_page.unwrap_or(usize::MAX));
        let covered = state.objects.iter().filter(|(name, object)| asked.covers(name, object));
        let mut items: Vec<_> =
            covered.skip(from).take(most.saturating_add(1)).map(|(_, object)| object).collect();
        let next = (items.len() > most).then(|| (from + most).to_string());
        items.truncate(most);
        let metadata = json!({"resourceVersion": state.objects.version().to_string(), "continue": next});
        let list = json!({"kind": "List", "apiVersion": "v1", "metadata": metadata}).to_string();
        // Written in parts: the objects are many and need not be copied.
        let items = serde_json::to_string(&items).unwrap();
        text(StatusCode::OK, format!("{},\"items\":{items}}}", &list[..list.len() - 1]))
    }
}

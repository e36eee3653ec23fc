//! The server as clients see it.

#![allow(
    clippy::needless_pass_by_value,
    reason = "pieces of objects are written where they are passed"
)]

use http_body_util::Full;
use serde_json::json;

use super::*;
use crate::Client;

const ONE: &str = "/api/v1/namespaces/shop/configmaps/one";
const ALL: &str = "/api/v1/namespaces/shop/configmaps";

fn config_map(name: &str, data: Value) -> Value {
    json!({"metadata": {"namespace": "shop", "name": name}, "data": data})
}

fn shop() -> ApiServer {
    let server = ApiServer::new();
    server.put("configmaps", config_map("one", json!({"a": "1"})));
    server
}

/// Status and object.
async fn ask(
    server: &ApiServer,
    method: &str,
    target: &str,
    kind: &str,
    body: Value,
) -> (u16, Value) {
    let body = Full::new(Bytes::from(body.to_string()));
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("content-type", kind)
        .body(body);
    let answer = server.answer(request.unwrap()).await;
    let (code, body) = (
        answer.status().as_u16(),
        answer.into_body().collect().await.unwrap().to_bytes(),
    );
    (code, serde_json::from_slice(&body).unwrap())
}

async fn merge(server: &ApiServer, patch: Value) -> (u16, Value) {
    ask(server, "PATCH", ONE, "application/merge-patch+json", patch).await
}

/// The events of a watch, as they come.
struct WatchEvents(ApiBody);

impl WatchEvents {
    async fn begin(server: &ApiServer, query: &str) -> Self {
        let uri = format!("{ALL}?watch=true&{query}");
        let request = Request::builder()
            .uri(uri)
            .body(Full::<Bytes>::default())
            .unwrap();
        Self(server.answer(request).await.into_body())
    }

    /// Type and name of the next; none where the watch has ended.
    async fn next(&mut self) -> Option<(String, String)> {
        let lines = self.0.frame().await?.unwrap().into_data().unwrap();
        let event: Value = serde_json::from_slice(&lines).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Some((
            text(&event["type"]),
            text(&event["object"]["metadata"]["name"]),
        ))
    }
}

fn event(kind: &str, name: &str) -> Option<(String, String)> {
    Some((kind.to_owned(), name.to_owned()))
}

#[tokio::test]
async fn a_write_over_another_version_is_a_conflict_and_changes_nothing() {
    let server = shop();
    let (code, refused) = merge(
        &server,
        json!({"metadata": {"resourceVersion": "1"}, "data": {"a": "2"}}),
    )
    .await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
    let version =
        server.get("configmaps", "shop", "one").unwrap()["metadata"]["resourceVersion"].clone();
    let (code, object) = merge(
        &server,
        json!({"metadata": {"resourceVersion": version}, "data": {"a": "2"}}),
    )
    .await;
    assert_eq!((code, &object["data"]), (200, &json!({"a": "2"})));
    assert_eq!(server.writes(), ["patch configmaps/shop/one"]);
    assert_eq!(server.patches().len(), 1);
}

#[tokio::test]
async fn who_applies_gives_up_what_it_does_not_name_again_and_leaves_the_rest() {
    let server = shop();
    let apply = |data: Value| {
        let target = format!("{ONE}?fieldManager=me");
        let (server, object) = (server.clone(), config_map("one", data));
        async move {
            ask(
                &server,
                "PATCH",
                &target,
                "application/apply-patch+yaml",
                object,
            )
            .await
            .1["data"]
                .clone()
        }
    };
    assert_eq!(
        apply(json!({"b": "1", "c": "1"})).await,
        json!({"a": "1", "b": "1", "c": "1"})
    );
    assert_eq!(apply(json!({"b": "2"})).await, json!({"a": "1", "b": "2"}));
}

#[tokio::test]
async fn what_changes_nothing_makes_no_version() {
    let server = shop();
    let before = server.get("configmaps", "shop", "one");
    merge(&server, json!({"data": {"a": "1"}})).await;
    assert_eq!(server.get("configmaps", "shop", "one"), before);
}

#[tokio::test]
async fn a_watch_goes_on_from_its_version_and_tells_who_comes_and_leaves_by_label() {
    let server = shop();
    let mut events = WatchEvents::begin(&server, "resourceVersion=0&labelSelector=fleet").await;
    server.edit("configmaps", "shop", "one", |object| {
        object["metadata"]["labels"] = json!({"fleet": "x"})
    });
    assert_eq!(events.next().await, event("ADDED", "one"));
    merge(&server, json!({"data": {"a": "2"}})).await;
    assert_eq!(events.next().await, event("MODIFIED", "one"));
    merge(&server, json!({"metadata": {"labels": null}})).await;
    assert_eq!(events.next().await, event("DELETED", "one"));
    assert_eq!(server.watches(), 1);
    drop(events);
    assert_eq!(server.watches(), 0);
}

#[tokio::test]
async fn a_watch_of_what_is_forgotten_expires_and_one_that_is_broken_just_ends() {
    let server = shop();
    let mut events = WatchEvents::begin(&server, "resourceVersion=2").await;
    server.break_watches();
    assert_eq!(events.next().await, None);
    server.compact();
    let mut events = WatchEvents::begin(&server, "resourceVersion=2").await;
    assert_eq!(events.next().await, event("ERROR", ""));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn bookmarks_come_only_to_those_who_want_them() {
    let server = shop();
    server.send_bookmarks();
    let mut wants = WatchEvents::begin(&server, "resourceVersion=2&allowWatchBookmarks=true").await;
    let mut does_not = WatchEvents::begin(&server, "resourceVersion=2").await;
    server.put("secrets", config_map("other", json!({})));
    assert_eq!(wants.next().await, event("BOOKMARK", ""));
    server.remove("configmaps", "shop", "one");
    assert_eq!(wants.next().await, event("DELETED", "one"));
    assert_eq!(does_not.next().await, event("DELETED", "one"));
}

/// Or a client would watch from a version whose changes it has not all seen.
#[tokio::test]
async fn all_pages_of_a_list_are_of_one_version() {
    let server = shop();
    for name in ["two", "three"] {
        server.put("configmaps", config_map(name, json!({})));
    }
    server.limit_pages(2);
    let (_, first) = ask(&server, "GET", &format!("{ALL}?limit=500"), "", Value::Null).await;
    let next = first["metadata"]["continue"].as_str().unwrap();
    server.put("configmaps", config_map("a", json!({})));
    merge(&server, json!({"data": {"a": "2"}})).await;
    let (_, last) = ask(
        &server,
        "GET",
        &format!("{ALL}?limit=500&continue={next}"),
        "",
        Value::Null,
    )
    .await;
    let names = [&first, &last].map(|page| page["items"].as_array().unwrap().len());
    assert_eq!(
        (names, &last["metadata"]["continue"]),
        ([2, 1], &Value::Null)
    );
    let version = |page: &Value| page["metadata"]["resourceVersion"].clone();
    assert_eq!(version(&first), version(&last));
}

#[tokio::test]
async fn roles_and_faults_refuse_and_what_is_held_waits_for_another_plan() {
    let server = shop();
    server.role(|verb, resource| (verb, resource) != ("delete", "configmaps"));
    assert_eq!(ask(&server, "DELETE", ONE, "", Value::Null).await.0, 403);
    server.forbid("list configmaps *");
    assert_eq!(
        ask(&server, "GET", "/api/v1/configmaps", "", Value::Null)
            .await
            .0,
        403
    );
    assert_eq!(ask(&server, "GET", ALL, "", Value::Null).await.0, 200);
    server.faults(|line| (line == "get configmaps/shop/one").then_some(InjectedFault::Held));
    let (waiting, asked) = (server.clone(), server.clone());
    let waiting = tokio::spawn(async move { ask(&waiting, "GET", ONE, "", Value::Null).await.0 });
    tokio::task::yield_now().await;
    asked.faults(|_| Some(InjectedFault::Unavailable));
    assert_eq!(waiting.await.unwrap(), 503);
    server.no_faults();
    assert_eq!(ask(&server, "GET", ONE, "", Value::Null).await.0, 200);
}

#[test]
fn on_loopback_it_goes_away_and_comes_back() {
    let endpoint = shop().listen();
    let get = || {
        Client::connect(endpoint.address)
            .try_ask("GET", ONE, &[])
            .ok()
            .flatten()
    };
    assert_eq!(get().unwrap().json()["data"], json!({"a": "1"}));
    endpoint.down();
    assert!(get().is_none());
    endpoint.up();
    assert_eq!(get().unwrap().status(), 200);
}

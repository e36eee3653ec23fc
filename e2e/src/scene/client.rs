//! Clients in the scene: a pod that sends requests to a fleet and counts what comes back.

use serde_json::json;

use super::{Scene, backend, kubectl};
use crate::wire::{CountWindow, LoadSpec, MOST_SECONDS};

/// One pod of clients. It goes on sending when the API server is away, since what it counts is fetched afterwards.
#[derive(Debug)]
pub struct ClientPod<'a> {
    scene: &'a Scene,
    name: String,
}

impl Scene {
    /// A pod of clients that has begun with an order.
    ///
    /// # Panics
    /// When the pod does not become ready, or refuses the order.
    #[must_use]
    pub fn client(&self, name: &str, order: &LoadSpec) -> ClientPod<'_> {
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": backend::pod(self, &json!(["load"]), false),
        }));
        self.cluster.kubectl.run(&[
            "wait",
            "--for=condition=Ready",
            "--timeout=180s",
            "pod",
            name,
            "-n",
            &self.namespace,
        ]);
        let client = ClientPod {
            scene: self,
            name: name.to_owned(),
        };
        client.start(order);
        client
    }

    /// An order for this scene's host through the shared fleet: so many requests a second by so many users, until
    /// the client is stopped or its scene ends.
    #[must_use]
    pub fn order(&self, rate: u32, users: u32) -> LoadSpec {
        self.order_through(self.cluster.fleet("default"), rate, users)
    }

    /// The same through whatever has this address and port.
    #[must_use]
    pub fn order_through(&self, address: String, rate: u32, users: u32) -> LoadSpec {
        LoadSpec {
            address,
            host: self.host(),
            path: "/".to_owned(),
            rate,
            users,
            seconds: MOST_SECONDS,
            timeout_ms: 10_000,
        }
    }
}

impl ClientPod<'_> {
    /// Begins with another order; what was counted so far is forgotten.
    ///
    /// # Panics
    /// When the order is out of bounds.
    pub fn start(&self, order: &LoadSpec) {
        let document = serde_json::to_string(order).expect("an order serialises");
        self.ask("/start", Some(&document));
        self.scene.tell(&format!(
            "{}: {} requests/s by {} users",
            self.name, order.rate, order.users
        ));
    }

    /// What was seen since the window was opened.
    #[must_use]
    pub fn window(&self) -> CountWindow {
        let window = self.ask("/window", None);
        serde_json::from_value(window).expect("both ends have the same type")
    }

    /// Opens a new window and returns the one that it closes.
    pub fn open(&self) -> CountWindow {
        let window = self.ask("/window", Some("{}"));
        serde_json::from_value(window).expect("both ends have the same type")
    }

    /// Sends nothing more, and returns the last window.
    pub fn stop(&self) -> CountWindow {
        let window = self.ask("/stop", Some("{}"));
        serde_json::from_value(window).expect("both ends have the same type")
    }

    fn ask(&self, path: &str, body: Option<&str>) -> serde_json::Value {
        let kubectl = &self.scene.cluster.kubectl;
        let answer = kubectl.page(
            &self.scene.namespace,
            &self.name,
            backend::CONTROL,
            path,
            body,
        );
        answer.unwrap_or_else(|failed| kubectl::fail(&failed))
    }
}

//! Users who send requests all the time, to whichever proxy is ready, and notice every failure and every change of version.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::programs::{get, until};

const THREADS: usize = 3;
const USERS: usize = 120;

/// All of them.
pub(crate) struct CompatUsers {
    shared: Arc<UserState>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct UserState {
    /// The ports of the proxies that are ready.
    ready: Mutex<Vec<u16>>,
    served: AtomicU64,
    over: AtomicBool,
    versions: Mutex<BTreeMap<String, String>>,
    wrong: Mutex<Vec<String>>,
}

impl CompatUsers {
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::default(),
            threads: Mutex::default(),
        }
    }

    pub(crate) fn begin(&self) {
        let spawn = |number: usize| {
            let shared = Arc::clone(&self.shared);
            thread::spawn(move || shared.send(number))
        };
        *self.threads.lock().unwrap() = (0..THREADS).map(spawn).collect();
    }

    pub(crate) fn come(&self, port: u16) {
        self.shared.ready.lock().unwrap().push(port);
    }

    /// New requests go elsewhere; those on their way have time to get there.
    pub(crate) fn leave(&self, port: u16) {
        self.shared
            .ready
            .lock()
            .unwrap()
            .retain(|ready| *ready != port);
        thread::sleep(Duration::from_millis(500));
    }

    /// Waits until so many more were served.
    pub(crate) fn wait(&self, more: u64) {
        let wanted = self.shared.served.load(Ordering::Relaxed) + more;
        until("enough requests", || {
            (self.shared.served.load(Ordering::Relaxed) >= wanted).then_some(())
        });
    }

    pub(crate) fn told(&self) -> String {
        let (served, wrong) = (
            self.shared.served.load(Ordering::Relaxed),
            self.shared.wrong.lock().unwrap(),
        );
        let versions = self.shared.versions.lock().unwrap();
        let gray = versions.values().filter(|version| *version == "v2").count();
        format!(
            "{served} requests, {} failed or moved, {gray} of {} users on v2 {wrong:?}",
            wrong.len(),
            versions.len()
        )
    }

    /// Ends it, and says what went wrong.
    pub(crate) fn end(&self) -> Vec<String> {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut *self.threads.lock().unwrap()) {
            thread.join().unwrap();
        }
        self.shared.wrong.lock().unwrap().clone()
    }
}

impl UserState {
    fn send(&self, number: usize) {
        for at in (number..).step_by(THREADS) {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let ready = self.ready.lock().unwrap().clone();
            let port = ready[at % ready.len()];
            let user = format!("user-{}", at % USERS);
            match get(port, "/", Some(&user)) {
                Ok(answer) if answer.status() == 200 => self.note(&user, answer.text()),
                Ok(answer) => {
                    self.complain(format!("{user} got {}: {}", answer.status(), answer.text()))
                }
                Err(error) => self.complain(format!("{user}: {error}")),
            }
            thread::sleep(Duration::from_millis(4));
        }
    }

    fn note(&self, user: &str, version: &str) {
        self.served.fetch_add(1, Ordering::Relaxed);
        let before = self
            .versions
            .lock()
            .unwrap()
            .insert(user.to_owned(), version.to_owned());
        if before.is_some_and(|before| before != version) {
            self.complain(format!("{user} went over to {version}"));
        }
    }

    fn complain(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }
}

//! From the version before to this one, back, and forward again, with real programs of both on this machine: an engine that
//! goes on from the other's state, proxies that read the other's documents, and users who send requests all the time.
//! `make compat` builds the programs and says where they are.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod programs;
mod users;

use std::path::{Path, PathBuf};

use serde_json::Value;

use self::programs::{EngineProcess, ProxyProcess, backend, until};
use self::users::CompatUsers;

/// Where the programs of one version are.
fn programs(variable: &str) -> PathBuf {
    PathBuf::from(
        std::env::var_os(variable)
            .unwrap_or_else(|| panic!("{variable} is not set; run make compat")),
    )
}

/// What stands on this machine.
struct TestSite {
    root: tempfile::TempDir,
    proxies: Vec<ProxyProcess>,
}

impl TestSite {
    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Half of all users on v2, for as long as the test takes. Each stage has another `maxInFlight`, so that its engine
    /// writes a document of its own; this version's also has a field that the one before does not know.
    fn manifest(&self, stage: usize, is_new: bool, [stable, gray]: [u16; 2]) -> PathBuf {
        let more = if is_new {
            "\n  maxBodyBytes: 100000"
        } else {
            ""
        };
        let text = format!(
            "apiVersion: halftone.dev/v1alpha1\nkind: GrayRelease\nmetadata: {{name: site}}\nspec:\n  \
             hosts: [\"*\"]\n  \
             stable: {{addresses: [\"127.0.0.1:{stable}\"], version: v1, maxInFlight: {}}}\n  \
             gray: {{addresses: [\"127.0.0.1:{gray}\"], version: v2}}\n  \
             targetRatio: 50\n  steps: [{{ratio: 50, hold: 9h}}]{more}\n",
            1000 + stage
        );
        let path = self.path("site.yaml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Puts a document where the proxies look, whole at once.
    fn publish(&self, document: &Value) {
        let new = self.path("documents/.site");
        std::fs::write(&new, serde_json::to_string_pretty(document).unwrap()).unwrap();
        std::fs::rename(new, self.path("documents/site.json")).unwrap();
    }

    fn wait_applied(&self, document: &Value) {
        for proxy in &self.proxies {
            until(
                &format!("{} has revision {}", proxy.name, document["revision"]),
                || {
                    proxy
                        .applied()
                        .is_some_and(|applied| applied == document["checksum"])
                        .then_some(())
                },
            );
        }
    }

    /// Ends a proxy as a rollout does, first for the users, and starts one of another version in its place.
    fn replace(&mut self, at: usize, programs: &Path, users: &CompatUsers) {
        users.leave(self.proxies[at].port);
        self.proxies[at].stop();
        let (name, root) = (self.proxies[at].name.clone(), self.root.path().to_owned());
        self.proxies[at] = ProxyProcess::start(programs, &root, &name);
        users.come(self.proxies[at].port);
    }
}

#[test]
#[ignore = "takes programs of two versions: make compat"]
fn forward_back_and_forward_again_without_a_failed_request_or_a_user_who_moves() {
    let (old, new) = (
        programs("HALFTONE_COMPAT_OLD"),
        programs("HALFTONE_COMPAT_NEW"),
    );
    let mut site = TestSite {
        root: tempfile::tempdir().unwrap(),
        proxies: Vec::new(),
    };
    std::fs::create_dir(site.path("documents")).unwrap();
    std::fs::write(
        site.path("documents/fleet.yaml"),
        "schema: 1\nposition: BehindProxy\nhealthPath: /healthz\n",
    )
    .unwrap();
    let backends = [backend("v1"), backend("v2")];
    let ports = backends.each_ref().map(|backend| backend.address.port());
    let users = CompatUsers::new();
    let stages = [
        ("0.1", &old),
        ("this version", &new),
        ("0.1 again", &old),
        ("this version again", &new),
    ];
    let mut before: Option<&PathBuf> = None;
    for (stage, (name, programs)) in stages.into_iter().enumerate() {
        let manifest = site.manifest(stage, *programs == new, ports);
        let engine = EngineProcess::start(programs, &manifest, &site.path("state"));
        let document = engine.document(1000 + stage);
        site.publish(&document);
        match before {
            None => {
                let start = |proxy: &str| ProxyProcess::start(programs, site.root.path(), proxy);
                site.proxies = vec![start("a"), start("b")];
                site.proxies.iter().for_each(|proxy| users.come(proxy.port));
                users.begin();
            }
            Some(before) => {
                site.wait_applied(&document);
                println!(
                    "{name}: its document {} is read by the proxies of the other",
                    document["revision"]
                );
                site.replace(0, before, &users);
                println!("{name}: a proxy of the other that starts beside its document is ready");
                users.wait(200);
                (0..2).for_each(|at| site.replace(at, programs, &users));
            }
        }
        site.wait_applied(&document);
        users.wait(500);
        println!("{name}: {}", users.told());
        engine.stop();
        before = Some(programs);
    }
    let told = users.told();
    assert!(users.end().is_empty(), "{told}");
}

//! Operators that die, or stop and wake late, at each point of a release: no step is skipped or taken twice, holds end
//! when they would have, and one acts at a time. Told by a watch of the release and by the API server's audit log.

use std::time::{Duration, Instant};

use halftone_e2e::scene::{ClusterNode, Installation, ObjectWatch, Scene, Signal};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::release::{USERS, release, step};

/// An installation with two operators, and what their deaths are told by.
struct Scenery<'a> {
    scene: &'a Scene,
    node: ClusterNode,
    own: Installation<'a>,
}

impl<'a> Scenery<'a> {
    /// None where the cluster is not ours.
    fn new(scene: &'a Scene, left_out: &str) -> Option<Self> {
        let node = scene.node(left_out)?;
        Some(Self {
            scene,
            node,
            own: scene.install(&json!({"operator": {"replicas": 2}})),
        })
    }

    /// One of two proxies that may be stopped without being taken out.
    fn straggler(&self) -> String {
        self.own.patient_proxies(2);
        self.own.proxies().pop().unwrap()
    }

    /// Whether the Lease was renewed after this.
    fn is_renewed_since(&self, then: Timestamp) -> bool {
        let lease = self
            .scene
            .get(&format!("lease/halftone-{}", self.own.class));
        time(&lease["spec"]["renewTime"]).is_some_and(|renewed| renewed > then)
    }

    /// Kills the operator that acts, waits until one acts again (the kubelet starts the killed one anew), and hands over
    /// to the other one: a pod that has died once waits ten seconds when it dies again.
    fn kill_leader(&self, when: &str) {
        let leader = self.own.leader();
        let begun = Instant::now();
        self.node
            .signal(&self.scene.namespace, &leader, Signal::Kill);
        let killed = Timestamp::now();
        self.scene.until("the killed operator acts again", || {
            self.is_renewed_since(killed).then_some(())
        });
        self.scene.tell(&format!(
            "killed when {when}: {} ms without an operator",
            begun.elapsed().as_millis()
        ));
        self.scene.cluster.kubectl.run(&[
            "delete",
            "pod",
            &leader,
            "--wait=false",
            "-n",
            &self.scene.namespace,
        ]);
        self.scene.until("the other one acts", || {
            (self.own.leader() != leader).then_some(())
        });
    }

    /// Whatever was written on the release and its document was written by the one who had written the Lease last.
    fn one_acted_at_a_time(&self) {
        let pod = |entry: &Value| {
            let pods = &entry["user"]["extra"]["authentication.kubernetes.io/pod-name"];
            pods[0]
                .as_str()
                .filter(|pod| pod.contains("operator"))
                .map(str::to_owned)
        };
        let (mut holder, mut holders, mut writes, mut refused) = (String::new(), 0, 0, 0);
        for entry in self.node.writes(&self.scene.namespace) {
            let Some(pod) = pod(&entry) else { continue };
            if entry["responseStatus"]["code"]
                .as_u64()
                .is_none_or(|code| code >= 300)
            {
                refused += 1;
                continue;
            }
            match entry["objectRef"]["resource"].as_str() {
                Some("leases") => {
                    holders += usize::from(holder != pod);
                    holder = pod;
                }
                Some("grayreleases" | "configmaps") => {
                    assert_eq!(pod, holder, "it wrote while another one acted: {entry:#}");
                    writes += 1;
                }
                _ => {}
            }
        }
        self.scene.tell(&format!(
            "{writes} writes, each by who acted, {holders} in turn; {refused} refused"
        ));
        assert!(writes > 0 && holders > 0);
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// The ratios above 0, each as often as it was taken up, and 0 after them. The watch may have begun with the first step.
fn ratios(statuses: &[Value]) -> Vec<&str> {
    let ratios = statuses
        .iter()
        .filter_map(|status| status["ratio"].as_str());
    let mut ratios: Vec<&str> = ratios.skip_while(|ratio| *ratio == "0%").collect();
    ratios.dedup();
    ratios
}

/// Says of each hold when it should have ended and when it did. None ends early, and none begins anew.
fn holds_are_kept(scene: &Scene, statuses: &[Value]) {
    let began = |index: &Value| {
        let of_step = |status: &&Value| status["step"]["index"] == *index;
        statuses
            .iter()
            .find(of_step)
            .and_then(|status| time(&status["step"]["startedAt"]))
    };
    let mut ends: Vec<(Value, Timestamp)> = Vec::new();
    for status in statuses {
        let Some(end) = time(&status["step"]["holdEndsAt"]) else {
            continue;
        };
        let index = status["step"]["index"].clone();
        match ends.iter().find(|(of, _)| *of == index) {
            Some((_, known)) => {
                let off = end.duration_since(*known).as_secs_f64();
                assert!(
                    off.abs() < 3.0,
                    "the hold of step {index} came to end {off} s later: {status:#}"
                );
            }
            None => ends.push((index, end)),
        }
    }
    assert!(!ends.is_empty());
    for (index, end) in ends {
        let Some(next) = index.as_i64().and_then(|index| began(&json!(index + 1))) else {
            continue;
        };
        let late = next.duration_since(end).as_secs_f64();
        scene.tell(&format!(
            "the step after {index} began {late:.2} s after its hold had ended"
        ));
        assert!(
            late > -0.1,
            "the hold of step {index} was cut short by {late} s"
        );
    }
}

/// What a watch has told, once it has told of this ratio: it is another process, and may lag behind.
fn seen_up_to(scene: &Scene, watch: &ObjectWatch, ratio: &str) -> Vec<Value> {
    scene.until("the watch has told of the last step", || {
        let statuses: Vec<_> = watch
            .seen()
            .iter()
            .map(|object| object["status"].clone())
            .collect();
        (ratios(&statuses).last() == Some(&ratio)).then_some(statuses)
    })
}

#[test]
fn killed_at_each_transition_an_operator_goes_on_where_it_was() {
    let scene = Scene::new("kills");
    let Some(scenery) = Scenery::new(&scene, "operators are killed") else {
        return;
    };
    let (own, node) = (&scenery.own, &scenery.node);
    let (_stable, _gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    let straggler = scenery.straggler();

    node.signal(&scene.namespace, &straggler, Signal::Stop);
    scene.apply(&release(
        &scene,
        &json!({
            "proxyClass": own.class,
            "steps": [step(10, "15s"), step(50, "25s"), step(100, "1s")],
            "health": {"minRequests": 20, "warmup": "1s"},
        }),
    ));
    let watch = scene.watch("grayrelease/site");
    scene.phase("site", "Programming");
    scenery.kill_leader("a document was on its way to the proxies");
    assert_eq!(scene.status("site")["ratio"], "0%");
    node.signal(&scene.namespace, &straggler, Signal::Continue);

    scene.until("the first step is acknowledged", || {
        scene.status("site")["step"]["acknowledgedAt"]
            .is_string()
            .then_some(())
    });
    scenery.kill_leader("a step was acknowledged");
    let client = scene.client("clients", &own.order(200, USERS));

    scene.wait("grayrelease/site", ".status.ratio", "50%");
    let end = scene.until("the hold has an end", || {
        time(&scene.status("site")["step"]["holdEndsAt"])
    });
    // Long enough for a hold that begins anew to be told from one that stood while nobody looked.
    std::thread::sleep(Duration::from_secs(5));
    scenery.kill_leader("a step was held");
    // A little sooner, so that nobody is there when it ends.
    let left = Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default();
    std::thread::sleep(left.saturating_sub(Duration::from_millis(700)));
    scenery.kill_leader("the verdict was due");

    scene.phase("site", "Promoted");
    scenery.kill_leader("the release was promoted");
    assert_eq!(scene.status("site")["phase"], "Promoted");

    let statuses = seen_up_to(&scene, &watch, "100%");
    assert_eq!(ratios(&statuses), ["10%", "50%", "100%"]);
    holds_are_kept(&scene, &statuses);
    scenery.one_acted_at_a_time();
    let window = client.stop();
    scene.tell(&format!(
        "{} requests, {} failures",
        window.sent,
        window.failures()
    ));
    assert_eq!(window.failures(), 0, "{window:?}");
}

#[test]
fn a_rollback_that_its_operator_does_not_live_to_see_is_finished_by_the_next() {
    let scene = Scene::new("killback");
    let Some(scenery) = Scenery::new(&scene, "operators are killed") else {
        return;
    };
    let (own, node) = (&scenery.own, &scenery.node);
    let (_stable, _gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    let straggler = scenery.straggler();
    scene.apply(&release(
        &scene,
        &json!({"proxyClass": own.class, "steps": [step(50, "10m")]}),
    ));
    let watch = scene.watch("grayrelease/site");
    scene.phase("site", "Holding");

    node.signal(&scene.namespace, &straggler, Signal::Stop);
    scene.command("site", "rollback");
    let before = scene.phase("site", "RollingBack");
    assert_eq!(before["ratio"], "0%", "it waits for nobody: {before:#}");
    let (leader, begun) = (own.leader(), Instant::now());
    // Stopped first, it neither comes again nor gives the Lease back before it is killed: the other one has to wait.
    node.signal(&scene.namespace, &leader, Signal::Stop);
    scene.delete_at_once(&format!("pod/{leader}"));
    scene.until("the other one acts", || {
        (own.leader() != leader).then_some(())
    });
    scene.tell(&format!(
        "taken over {:.1} s after the end of the first",
        begun.elapsed().as_secs_f64()
    ));
    assert_eq!(scene.status("site")["phase"], "RollingBack");
    node.signal(&scene.namespace, &straggler, Signal::Continue);
    let after = scene.phase("site", "RolledBack");

    assert_eq!(
        after["revision"], before["revision"],
        "there is nothing to tell the proxies anew: {after:#}"
    );
    let mut rollback = after["rollback"].clone();
    let completed = rollback
        .as_object_mut()
        .and_then(|rollback| rollback.remove("completedAt"));
    assert!(
        completed.is_some() && before["rollback"]["completedAt"].is_null(),
        "{after:#}"
    );
    assert_eq!(rollback, before["rollback"], "{after:#}");
    assert_eq!(ratios(&seen_up_to(&scene, &watch, "0%")), ["50%", "0%"]);
    scenery.one_acted_at_a_time();
}

#[test]
fn a_leader_that_wakes_after_its_time_writes_nothing() {
    let scene = Scene::new("late");
    let Some(scenery) = Scenery::new(&scene, "an operator is stopped") else {
        return;
    };
    let (own, node) = (&scenery.own, &scenery.node);
    // A proxy that is slow to say that it is ready would hold the clock of the step.
    own.patient_proxies(1);
    let (_stable, _gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    scene.apply(&release(
        &scene,
        &json!({
            "proxyClass": own.class,
            "steps": [step(10, "30s"), step(50, "10m")],
            "health": {"enabled": false},
        }),
    ));
    let watch = scene.watch("grayrelease/site");
    scene.wait("grayrelease/site", ".status.ratio", "10%");
    scene.phase("site", "Holding");
    // As before the other kill.
    std::thread::sleep(Duration::from_secs(5));

    let (late, begun) = (own.leader(), Instant::now());
    node.signal(&scene.namespace, &late, Signal::Stop);
    scene.until("the other one acts", || {
        (own.leader() != late).then_some(())
    });
    scene.tell(&format!(
        "taken over {:.1} s after the stop",
        begun.elapsed().as_secs_f64()
    ));
    node.signal(&scene.namespace, &late, Signal::Continue);
    scene.wait("grayrelease/site", ".status.ratio", "50%");
    scene.phase("site", "Holding");

    let statuses = seen_up_to(&scene, &watch, "50%");
    assert_eq!(ratios(&statuses), ["10%", "50%"]);
    holds_are_kept(&scene, &statuses);
    // Whatever the late one had written would be a write of another than the last holder of the Lease.
    scenery.one_acted_at_a_time();
}

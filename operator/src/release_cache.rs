//! What a worker remembers of its releases between their turns. All of it can be found out again, from the status and
//! the ConfigMap; it is dropped when somebody else has had the Lease.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use halftone_api::Obstacle;
use halftone_api::{GrayRelease, GrayReleaseStatus, Plan};
use halftone_rollout::advance::{self, AdvanceResult};
use halftone_rollout::clock::Now;
use halftone_rollout::events::Event;
use halftone_rollout::observation::Observation;
use halftone_rollout::progress::Progress;
use halftone_routing::document::arm::{Arm, Backend};
use halftone_routing::document::names::Uid;
use halftone_routing::document::units::Ratio;
use kube::ResourceExt;
use tokio::time::Instant;

use crate::claim_index::{ClaimIndex, ReleaseClaim};
use crate::compressed_release::CompressedRelease;
use crate::compressed_text::CompressedText;
use crate::endpoints;
use crate::figure_budget::FigureBudget;
use crate::forward_compat::TOO_NEW;
use crate::last_written::LastWritten;
use crate::names::{ACCEPTED_KEY, NamespacedName};
use crate::objects::{ReleaseConfigMap, spec_text};
use crate::ownership::stale_documents::may_be_in_effect;

/// One release under way.
#[derive(Debug)]
pub struct ReleaseRecord {
    /// Its uid.
    pub uid: Uid,
    /// The object as it was last seen or written.
    pub object: Arc<CompressedRelease>,
    /// Its plan, or why there is none.
    pub plan: Result<Arc<Plan>, Obstacle>,
    /// Where it stands.
    pub progress: Progress,
    /// The spec of the plan in effect, as it has to be beside the document.
    pub accepted: Option<CompressedText>,
    /// The status as we wrote it last.
    pub written: LastWritten,
    /// It is at rest, and its figures were written since.
    pub figures_settled: bool,
    /// A status that was sent, and the progress that it tells of: nobody knows whether it arrived.
    pub sent: Option<Box<(GrayReleaseStatus, Progress)>>,
    /// The ConfigMap as it was last written, if that may be newer than what the watch has brought.
    pub kept: Option<ReleaseConfigMap>,
    /// Since when its newest plan waits until another release has what it gives up.
    pub handing_over: Option<Instant>,
    /// Something was not as we thought: the next turn reads everything anew.
    pub doubtful: bool,
    /// Until when rounds were counted.
    pub counted_until: Instant,
    /// Since when there is a document that proxies have to take up.
    pub programmed: Option<Instant>,
    /// Why the document could not be written last time, if it could not.
    pub unprogrammed: Option<String>,
    /// What is wrong with the status as it was found; it is told, and the write that tells it repairs it.
    pub unreadable: Option<String>,
    /// What has happened to users by a document that is not written yet.
    pub untold: Vec<Event>,
}

impl ReleaseRecord {
    /// Goes on from what is written in an object and in its ConfigMap. Where the status is not one that Halftone has
    /// written, the document tells where the release stands.
    #[must_use]
    pub fn restore(
        (object, packed): (&GrayRelease, Arc<CompressedRelease>),
        uid: Uid,
        kept: Option<&ReleaseConfigMap>,
        (now, counted_until): (Now, Instant),
    ) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let plan = plan(object);
        let accepted = kept.and_then(|kept| accepted(object, plan.as_ref().ok(), kept));
        let (progress, unreadable) = match Progress::restore(&status, accepted.clone(), now) {
            Ok(progress) => (progress, None),
            Err(wrong) => (
                Progress::salvage(&status, accepted, now),
                Some(wrong.to_string()),
            ),
        };
        Self {
            uid,
            plan,
            progress,
            accepted: kept.and_then(|kept| kept.accepted.clone()),
            written: LastWritten::of(&status, Instant::now()),
            // What comes to rest later clears it in its first turn.
            figures_settled: true,
            sent: None,
            kept: None,
            handing_over: None,
            doubtful: false,
            counted_until,
            programmed: None,
            unprogrammed: None,
            untold: Vec::new(),
            unreadable,
            object: packed,
        }
    }

    /// Takes the object as it is now. Somebody else's status makes all that was remembered worthless, unless it is none
    /// that anybody could go on from.
    pub fn see(
        &mut self,
        (object, packed): (&GrayRelease, Arc<CompressedRelease>),
        kept: Option<&ReleaseConfigMap>,
        now: Now,
    ) {
        if packed.generation != self.object.generation {
            self.plan = plan(object);
        }
        if packed.status != self.object.status {
            let status = object.status.clone().unwrap_or_default();
            match self
                .sent
                .take()
                .filter(|sent| as_stored(&sent.0).as_ref() == Some(&status))
            {
                // It had arrived after all.
                Some(sent) => {
                    self.written = LastWritten::of(&sent.0, Instant::now());
                    self.progress = sent.1;
                }
                None => {
                    let mut accepted = kept.and_then(|kept| accepted(object, self.newest(), kept));
                    // What was remembered, unless another installation has replaced it.
                    if !may_be_in_effect(self.accepted.as_ref(), status.controller.as_ref()) {
                        self.accepted = kept.and_then(|kept| kept.accepted.clone());
                    } else if accepted.is_none() {
                        accepted = self.progress.plan().cloned();
                    }
                    match Progress::restore(&status, accepted, now) {
                        Ok(progress) => self.progress = progress,
                        Err(wrong) => self.unreadable = Some(wrong.to_string()),
                    }
                    self.written = LastWritten::of(&status, Instant::now());
                }
            }
        }
        self.object = packed;
    }

    /// What this plan, or the want of one, makes of what is seen.
    #[must_use]
    pub fn decide(&self, seen: &Observation, now: Now) -> AdvanceResult {
        match &self.plan {
            Ok(plan) => advance::advance(plan, &self.progress, seen, now),
            Err(obstacle) => advance::refuse(obstacle, &self.progress, seen, now),
        }
    }

    /// The plan, if there is one.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<Plan>> {
        self.plan.as_ref().ok()
    }
}

/// The plan of the spec that was in effect when `kept` was written, its ports by the names that they have in the
/// document. Mostly that is the newest one.
fn accepted(
    object: &GrayRelease,
    newest: Option<&Arc<Plan>>,
    kept: &ReleaseConfigMap,
) -> Option<Arc<Plan>> {
    let text = kept.accepted.as_ref()?.text();
    let plan = match newest.filter(|_| text == spec_text(&object.spec)) {
        Some(newest) => Arc::clone(newest),
        None => {
            let spec = serde_json::from_str(&text)
                .inspect_err(|error| tracing::warn!(uid = %kept.uid, "{ACCEPTED_KEY}: {error}"));
            let metadata = object.metadata.clone();
            self::plan(&GrayRelease {
                metadata,
                spec: spec.ok()?,
                status: None,
            })
            .ok()?
        }
    };
    let arms = kept
        .live()
        .into_iter()
        .flat_map(|live| Arm::ALL.into_iter().filter_map(|arm| live.arms.get(arm)));
    let backends: Vec<&Backend> = arms.map(|arm| &arm.backend).collect();
    Some(endpoints::with_port_names(&plan, |_| None, &backends).map_or(plan, Arc::new))
}

/// A status as the API server gives it back.
fn as_stored(status: &GrayReleaseStatus) -> Option<GrayReleaseStatus> {
    serde_json::from_value(serde_json::to_value(status).ok()?).ok()
}

fn plan(object: &GrayRelease) -> Result<Arc<Plan>, Obstacle> {
    if let Some(unknown) = object.annotations().get(TOO_NEW) {
        let message = format!(
            "a later version of Halftone knows this, this one does not: {unknown}; upgrade the operator"
        );
        return Err(Obstacle::new("SpecTooNew", message));
    }
    let plan = Plan::try_from(object).map(Arc::new);
    plan.map_err(|problems| Obstacle::new("InvalidManifest", problems.to_string()))
}

/// Whether version `a` of an object is older than `b`. The API server counts them up.
#[must_use]
pub fn is_older(a: &str, b: &str) -> bool {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a < b,
        _ => false,
    }
}

/// The newer one of two readings of an object.
#[must_use]
pub fn newer(a: Arc<CompressedRelease>, b: Arc<CompressedRelease>) -> Arc<CompressedRelease> {
    if is_older(&a.version, &b.version) {
        b
    } else {
        a
    }
}

/// What is known of a release before its turn.
#[derive(Debug, Clone)]
pub struct CachedRelease {
    /// Its uid.
    pub uid: Uid,
    /// The object.
    pub object: Arc<CompressedRelease>,
    /// Its ConfigMap, if we have written it.
    pub kept: Option<ReleaseConfigMap>,
    /// Both have to be read anew.
    pub doubtful: bool,
}

/// The releases of a fleet.
#[derive(Debug, Default)]
pub struct ReleaseCache {
    /// Boxed: a table has room for more than it holds, and each of these is large.
    tracked: HashMap<NamespacedName, Box<ReleaseRecord>>,
    keys: HashMap<Uid, NamespacedName>,
    /// What they claim.
    pub claims: ClaimIndex,
    /// Those that are judged, or whose document is on its way.
    pub busy: BTreeSet<NamespacedName>,
    /// What people were told of releases that cannot have a turn.
    pub told: HashMap<NamespacedName, String>,
    /// Who may write figures.
    pub figures: FigureBudget<NamespacedName>,
    /// Whom a turn concerned that could not be carried out: the next turn of anybody wakes them.
    pub concerned: Vec<NamespacedName>,
}

impl ReleaseCache {
    /// The object of a release as it was last seen, its ConfigMap as it was last written, and whether both are in
    /// doubt.
    #[must_use]
    pub fn known(&self, key: &NamespacedName) -> Option<CachedRelease> {
        let ReleaseRecord {
            uid,
            object,
            kept,
            doubtful,
            ..
        } = self.tracked.get(key)?.as_ref();
        Some(CachedRelease {
            uid: uid.clone(),
            object: Arc::clone(object),
            kept: kept.clone(),
            doubtful: *doubtful,
        })
    }

    /// The release of this uid.
    #[must_use]
    pub fn key_of(&self, uid: &Uid) -> Option<&NamespacedName> {
        self.keys.get(uid)
    }

    /// The same, if what is counted for it may move it or is shown.
    #[must_use]
    pub fn minds_traffic(&self, uid: &Uid) -> Option<&NamespacedName> {
        let key = self.key_of(uid)?;
        let split = |tracked: &ReleaseRecord| tracked.progress.ratio() > Ratio::ZERO;
        self.tracked
            .get(key)
            .is_none_or(|tracked| split(tracked))
            .then_some(key)
    }

    /// All releases.
    pub fn keys(&self) -> impl Iterator<Item = &NamespacedName> {
        self.keys.values()
    }

    /// Takes a release from the desk for its turn.
    pub fn take(&mut self, key: &NamespacedName) -> Option<Box<ReleaseRecord>> {
        self.tracked.remove(key)
    }

    /// Puts it back.
    pub fn put(&mut self, key: NamespacedName, tracked: Box<ReleaseRecord>) {
        if !self.keys.contains_key(&tracked.uid) {
            self.keys.insert(tracked.uid.clone(), key.clone());
        }
        self.tracked.insert(key, tracked);
    }

    /// There is no such release any more. Returns those whom that may concern.
    pub fn forget(&mut self, key: &NamespacedName) -> BTreeSet<NamespacedName> {
        self.forget_release(key);
        self.claims.note(key, None)
    }

    /// The release is not looked after here, and proxies serve it all the same: nobody else may have its places. Returns
    /// those whom that may concern.
    pub fn keep_claim(
        &mut self,
        key: &NamespacedName,
        claim: ReleaseClaim,
    ) -> BTreeSet<NamespacedName> {
        self.forget_release(key);
        self.claims.note(key, Some(claim))
    }

    fn forget_release(&mut self, key: &NamespacedName) {
        self.busy.remove(key);
        self.told.remove(key);
        self.figures.withdraw(key);
        if let Some(tracked) = self.tracked.remove(key) {
            self.keys.remove(&tracked.uid);
        }
        self.claims.forget_shadow(key);
    }

    /// Nothing is counted for this uid any more.
    pub fn stop_counting(&mut self, uid: &Uid) {
        self.keys.remove(uid);
    }

    /// Whether anything that is counted for this uid will be asked for.
    #[must_use]
    pub fn is_looked_after(&self, uid: &Uid) -> bool {
        self.keys.contains_key(uid)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Notes what a release would claim before it ever had a turn: of two that appear at once the older one is to win,
    /// whichever is looked at first. Returns those whom that may concern.
    pub fn announce(
        &mut self,
        key: &NamespacedName,
        claim: ReleaseClaim,
    ) -> BTreeSet<NamespacedName> {
        self.claims.note(key, Some(claim))
    }
}

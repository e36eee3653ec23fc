//! Whatever is counted, applied, lost and restarted, in whatever order: a reader of either form knows what the proxy knows.

use halftone_routing::report::documents::DocumentVersion;
use halftone_routing::report::reader::ReportReader;
use halftone_routing::report::{
    Charge, ChosenBy, Cohort, CounterKey, Counts, Outcome, ReportedCharge, Stratum,
};
use proptest::prelude::*;

use super::*;
use crate::counters::{CellWriter, WorkerCounters};

const RELEASE: ReleaseId = ReleaseId::from_bits(7);
/// The first is folded with none for 0.1, the second with the third.
const OUTCOMES: [Outcome; 3] = [Outcome::Status2xx, Outcome::Refused413, Outcome::Refused400];

#[derive(Debug, Clone, Copy)]
enum ReportScriptStep {
    Count(usize, usize),
    /// A request begins and does not end yet.
    Begin(usize),
    End,
    NextStage,
    StageBefore,
    Apply,
    Drop,
    Reject,
    Resolve,
    Poll(usize),
    LosePoll(usize),
    Restart,
}

fn charges() -> [Charge; 5] {
    let split = Charge::new(Arm::Gray, ChosenBy::Split);
    [
        split,
        Charge::new(Arm::Stable, ChosenBy::Split),
        Charge {
            excluded: true,
            ..Charge::new(Arm::Gray, ChosenBy::Rule)
        },
        Charge {
            cohort: Cohort::Next,
            ..split
        },
        Charge {
            stratum: Stratum::Began(Stage::FIRST),
            ..split
        },
    ]
}

/// What happens, to which of the objects.
fn any_step() -> impl Strategy<Value = (usize, ReportScriptStep)> {
    let (charge, reader) = (0..charges().len(), 0..2_usize);
    let happening = prop_oneof![
        6 => (charge.clone(), 0..OUTCOMES.len()).prop_map(|(c, o)| ReportScriptStep::Count(c, o)),
        2 => charge.prop_map(ReportScriptStep::Begin),
        2 => Just(ReportScriptStep::End),
        4 => Just(ReportScriptStep::NextStage),
        1 => Just(ReportScriptStep::StageBefore),
        2 => Just(ReportScriptStep::Apply),
        1 => Just(ReportScriptStep::Drop),
        1 => Just(ReportScriptStep::Reject),
        1 => Just(ReportScriptStep::Resolve),
        3 => reader.clone().prop_map(ReportScriptStep::Poll),
        1 => reader.prop_map(ReportScriptStep::LosePoll),
        1 => Just(ReportScriptStep::Restart),
    ];
    (0..2_usize, happening)
}

#[derive(Debug)]
struct ReportedObject {
    uid: Uid,
    revision: u64,
    stage: u64,
    newest_stage: u64,
    /// Earlier ones may have gone, and form 1 cannot tell when such a stage comes back.
    first_stage: u64,
    /// What the snapshot holds while its document is applied.
    counters: Option<Arc<StageCounters>>,
    rejected: Option<u64>,
}

/// One reader, and what it has added up in this run of the proxy.
#[derive(Debug)]
struct ReaderModel {
    form: ReportForm,
    reader: ReportReader,
    sums: BTreeMap<CounterKey, Counts>,
    /// It has a report of this run.
    has_heard: bool,
}

struct ReporterModel {
    epoch: u64,
    reporter: Reporter,
    worker: WorkerCounters,
    objects: [ReportedObject; 2],
    under_way: Vec<(CellWriter, CounterKey)>,
    /// What was counted in this run.
    truth: BTreeMap<CounterKey, Counts>,
    readings: [ReaderModel; 2],
}

fn add(counts: &mut BTreeMap<CounterKey, Counts>, key: CounterKey, more: &Counts) {
    counts.entry(key).or_default().merge(more);
}

fn version(revision: u64) -> DocumentVersion {
    DocumentVersion {
        revision: revision.try_into().unwrap(),
        checksum: format!("sha256:{revision:064}").try_into().unwrap(),
    }
}

impl ReporterModel {
    fn new() -> Self {
        let object = |uid: &str| ReportedObject {
            uid: uid.parse().unwrap(),
            revision: 0,
            stage: 0,
            newest_stage: 0,
            first_stage: 0,
            counters: None,
            rejected: None,
        };
        let reading = |form| ReaderModel {
            form,
            reader: ReportReader::new(),
            sums: BTreeMap::new(),
            has_heard: false,
        };
        let mut world = Self {
            epoch: 1,
            reporter: Reporter::new("pod".into(), Epoch(1), 1),
            worker: WorkerCounters::new(0),
            objects: [object("a"), object("b")],
            under_way: Vec::new(),
            truth: BTreeMap::new(),
            readings: [reading(ReportForm::One), reading(ReportForm::Two)],
        };
        (0..2).for_each(|reading| world.poll(reading));
        world
    }

    fn happen(&mut self, object: usize, what: ReportScriptStep) {
        // What went before a run was heard of for the first time is in none of its reports.
        let may_go = self.readings.iter().all(|reading| reading.has_heard);
        let it = &mut self.objects[object];
        match what {
            ReportScriptStep::Count(charge, outcome) => {
                self.begin(object, charges()[charge]);
                self.end(OUTCOMES[outcome]);
            }
            ReportScriptStep::Begin(charge) => self.begin(object, charges()[charge]),
            ReportScriptStep::End => self.end(Outcome::Status2xx),
            ReportScriptStep::NextStage if may_go && it.counters.is_some() => {
                it.stage = it.newest_stage + 1;
                it.newest_stage = it.stage;
                self.enter(object);
            }
            ReportScriptStep::StageBefore if may_go && it.counters.is_some() => {
                let oldest = it.first_stage.max(it.newest_stage.saturating_sub(3));
                it.stage = it.stage.saturating_sub(1).max(oldest);
                self.enter(object);
            }
            ReportScriptStep::Drop if may_go => it.counters = None,
            ReportScriptStep::NextStage
            | ReportScriptStep::StageBefore
            | ReportScriptStep::Drop => {}
            ReportScriptStep::Apply => {
                it.revision += 1;
                if it.counters.is_none() {
                    it.stage = it.newest_stage + 1;
                    (it.newest_stage, it.first_stage) = (it.stage, it.stage);
                }
                self.enter(object);
            }
            ReportScriptStep::Reject => it.rejected = Some(it.rejected.map_or(0, |why| why + 1)),
            ReportScriptStep::Resolve => it.rejected = None,
            ReportScriptStep::Poll(reading) => self.poll(reading),
            ReportScriptStep::LosePoll(reading) => drop(self.answer(reading)),
            ReportScriptStep::Restart => self.restart(),
        }
        self.reporter.set_documents(self.documents());
    }

    fn enter(&mut self, object: usize) {
        let it = &mut self.objects[object];
        let stage = it.stage.try_into().unwrap();
        it.counters = Some(self.reporter.enter(&it.uid, RELEASE, stage));
    }

    fn begin(&mut self, object: usize, charge: Charge) {
        let it = &self.objects[object];
        let Some(counters) = &it.counters else { return };
        let key = CounterKey {
            uid: it.uid.clone(),
            release: RELEASE,
            stage: it.stage.try_into().unwrap(),
            charge: charge.into(),
        };
        self.under_way
            .push((self.worker.cell(counters, charge), key));
    }

    fn end(&mut self, outcome: Outcome) {
        let Some((cell, key)) = self.under_way.pop() else {
            return;
        };
        cell.outcome(outcome);
        let one = Counts {
            outcomes: BTreeMap::from([(outcome, 1)]),
            ..Counts::default()
        };
        add(&mut self.truth, key, &one);
    }

    fn restart(&mut self) {
        self.epoch += 1;
        self.reporter = Reporter::new("pod".into(), Epoch(self.epoch), 1);
        self.under_way.clear();
        self.truth.clear();
        for reading in &mut self.readings {
            reading.sums.clear();
            reading.has_heard = false;
        }
        for object in 0..2 {
            let it = &mut self.objects[object];
            it.first_stage = it.stage;
            if it.counters.is_some() {
                self.enter(object);
            }
        }
    }

    fn documents(&self) -> Documents {
        let served = |object: &ReportedObject| {
            let DocumentVersion { revision, checksum } = version(object.revision);
            let document = AppliedDocument {
                uid: object.uid.clone(),
                revision,
                checksum,
                ignored_fields: Vec::new(),
                open_long: 0,
            };
            let served = ServedDocument {
                document,
                gray_ended: false,
            };
            (object.uid.clone(), served)
        };
        let rejected = |object: &ReportedObject| {
            Some(RejectedDocument {
                source: format!("{}.json", object.uid),
                uid: Some(object.uid.clone()),
                revision: None,
                checksum: None,
                reason: "Malformed".into(),
                message: object.rejected?.to_string(),
            })
        };
        let applied = self.objects.iter().filter(|it| it.counters.is_some());
        Documents {
            applied: applied.map(served).collect(),
            rejected: self.objects.iter().filter_map(rejected).collect(),
            ..Documents::default()
        }
    }

    fn answer(&mut self, reading: usize) -> TrafficReport {
        let reading = &self.readings[reading];
        let report = self.reporter.report(reading.reader.since(), reading.form);
        TrafficReport::parse(&serde_json::to_vec(&report).unwrap()).unwrap()
    }

    fn poll(&mut self, reading: usize) {
        let report = self.answer(reading);
        let reading = &mut self.readings[reading];
        let changes = reading.reader.take(&report).expect("it follows");
        reading.has_heard = true;
        for (key, counts) in changes.counts {
            add(&mut reading.sums, key, &counts);
        }
        assert_eq!(reading.sums, in_form(&self.truth, reading.form));
        for object in &self.objects {
            let documents = reading.reader.documents();
            let applied = object.counters.as_ref().map(|_| version(object.revision));
            assert_eq!(documents.applied(&object.uid), applied.as_ref());
            let rejected = object.rejected.map(|why| format!("Malformed: {why}"));
            assert_eq!(documents.rejected(&object.uid), rejected.as_deref());
        }
    }
}

fn in_form(truth: &BTreeMap<CounterKey, Counts>, form: ReportForm) -> BTreeMap<CounterKey, Counts> {
    if form == ReportForm::Two {
        return truth.clone();
    }
    let mut folded = BTreeMap::new();
    for (key, counts) in truth {
        let charge: ReportedCharge = key.charge.known().unwrap().in_0_1().into();
        let key = CounterKey {
            charge,
            ..key.clone()
        };
        add(&mut folded, key, &counts.in_0_1());
    }
    folded
}

proptest! {
    /// But for what came between the last answer of a run and its end, which nobody can know.
    #[test]
    fn readers_of_both_forms_know_what_the_proxy_knows(
        script in prop::collection::vec(any_step(), 1..150)
    ) {
        let mut world = ReporterModel::new();
        for (object, what) in script {
            world.happen(object, what);
        }
        (0..2).for_each(|reading| world.poll(reading));
    }
}

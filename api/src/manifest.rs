//! Reads GrayReleases from files: YAML or JSON, one document or many, other kinds passed over. As strict as the
//! API server with `--validate=strict`, and everything that is wrong is told at once with line and column.
//!
//! `halftone run` serves what this reads; `halftone lint` adds what deserves a warning (`crate::lint`).

pub(crate) mod tree;

use serde_json::{Value, json};

use self::tree::PlacedDocument;
pub(crate) use self::tree::SourceMap;
use crate::{
    crd,
    finding::{Finding, Position, Severity},
    plan::{Plan, hosts},
    problem::Problem,
    spec::GrayRelease,
    structural,
};

const API_VERSION: &str = "halftone.dev/v1alpha1";
const KIND: &str = "GrayRelease";

/// What a file holds.
#[derive(Clone, Debug)]
pub struct ManifestFile {
    /// The file, as it was named.
    pub file: String,
    /// The GrayReleases with which nothing is wrong.
    pub manifests: Vec<Manifest>,
    /// Documents of other kinds, which are passed over.
    pub skipped: Vec<SkippedDocument>,
    /// All that is wrong; each is an error.
    pub findings: Vec<Finding>,
}

/// A GrayRelease of a file, and its plan.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file, as it was named.
    pub file: String,
    /// The release as written.
    pub release: GrayRelease,
    /// Its plan.
    pub plan: Plan,
    pub(crate) places: SourceMap,
}

/// A document of another kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedDocument {
    /// Its kind.
    pub kind: String,
    /// Where it begins.
    pub position: Position,
}

impl Manifest {
    /// Where the field at `path`, such as `spec.steps[2].ratio`, stands; where it is not written, the nearest
    /// that is and would hold it.
    pub fn locate(&self, path: &str) -> Position {
        self.places.of(path, false)
    }

    /// Something to say of this release, with its place.
    pub(crate) fn finding(
        &self,
        severity: Severity,
        code: &'static str,
        problem: Problem,
    ) -> Finding {
        Finding::new(
            severity,
            code,
            &self.file,
            self.locate(&problem.path),
            problem,
        )
    }

    /// `NAMESPACE/NAME`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.plan.object.namespace, self.plan.object.name)
    }
}

/// Reads the text of a file. Nothing in it is trusted; what is wrong is in [`ManifestFile::findings`].
pub fn read(file: &str, text: &str) -> ManifestFile {
    let mut reading = ManifestFile {
        file: file.to_owned(),
        manifests: Vec::new(),
        skipped: Vec::new(),
        findings: Vec::new(),
    };
    match tree::parse(text) {
        Ok(documents) => documents
            .into_iter()
            .for_each(|document| reading.take(document)),
        Err((position, problem)) => {
            reading.findings.push(Finding::new(
                Severity::Error,
                "Malformed",
                file,
                position,
                problem,
            ));
        }
    }
    reading.refuse_repetitions();
    reading.findings.sort_by_key(|finding| finding.position);
    reading
}

/// An object as YAML that [`read`] takes back as the same: texts that look like something else are in quotes.
#[must_use]
pub fn to_yaml(object: &Value) -> String {
    serde_saphyr::to_string(object).expect("a JSON value is plain data")
}

impl ManifestFile {
    /// Whether nothing is wrong with the file.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn take(&mut self, document: PlacedDocument) {
        match is_ours(&document.value) {
            Ok(true) => match release(&document) {
                Ok((release, plan)) => {
                    let (file, places) = (self.file.clone(), document.places);
                    self.manifests.push(Manifest {
                        file,
                        release,
                        plan,
                        places,
                    });
                }
                Err(problems) => self.refuse(&document.places, problems),
            },
            Ok(false) => {
                let kind = document.value["kind"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                self.skipped.push(SkippedDocument {
                    kind,
                    position: document.places.of("", false),
                });
            }
            Err(problem) => self.refuse(&document.places, vec![problem]),
        }
    }

    fn refuse(&mut self, places: &SourceMap, problems: Vec<Problem>) {
        for problem in problems {
            let position = places.of(&problem.path, problem.on_key);
            let code = if problem.on_key {
                "UnknownField"
            } else {
                "Invalid"
            };
            self.findings.push(Finding::new(
                Severity::Error,
                code,
                &self.file,
                position,
                problem,
            ));
        }
    }

    /// The second object of a name would replace the first.
    fn refuse_repetitions(&mut self) {
        let names: Vec<String> = self.manifests.iter().map(Manifest::name).collect();
        for (at, manifest) in self.manifests.iter().enumerate() {
            if names[..at].contains(&names[at]) {
                let what = format!("{} is there twice in this file", names[at]);
                let problem =
                    Problem::new("metadata.name", what, "give each release a name of its own");
                let position = manifest.locate("metadata.name");
                self.findings.push(Finding::new(
                    Severity::Error,
                    "Duplicate",
                    &self.file,
                    position,
                    problem,
                ));
            }
        }
    }
}

/// Whether a document is a GrayRelease.
fn is_ours(document: &Value) -> Result<bool, Problem> {
    if !document.is_object() {
        return Err(Problem::new(
            "",
            "is no object",
            "write apiVersion, kind, metadata and spec",
        ));
    }
    let (Some(kind), Some(version)) = (document["kind"].as_str(), document["apiVersion"].as_str())
    else {
        let fleets = document.get("fleets").is_some();
        let advice = if fleets {
            "it declares fleets; name it with --fleet".to_owned()
        } else {
            format!("write apiVersion: {API_VERSION} and kind: {KIND}")
        };
        return Err(Problem::new("", "apiVersion or kind is missing", advice));
    };
    let ours = version.split('/').next() == Some("halftone.dev");
    match (ours, kind == KIND) {
        (true, true) if version == API_VERSION => Ok(true),
        (true, true) => {
            let what = format!("{version} is unknown here");
            Err(Problem::new(
                "apiVersion",
                what,
                format!("write {API_VERSION}"),
            ))
        }
        (true, false) => Err(Problem::new(
            "kind",
            format!("{kind} is unknown here"),
            format!("write {KIND}"),
        )),
        (false, _) if kind.eq_ignore_ascii_case(KIND) => Err(Problem::new(
            "apiVersion",
            format!("{version} is unknown here"),
            format!("write {API_VERSION}"),
        )),
        (false, _) => Ok(false),
    }
}

/// The release and its plan, or all that is wrong with it.
fn release(document: &PlacedDocument) -> Result<(GrayRelease, Plan), Vec<Problem>> {
    let PlacedDocument {
        value: document,
        places,
    } = document;
    let written = |path: &str| places.written(path);
    let mut problems = structural::check_written(document, &envelope(), "", &written);
    let spec = document.get("spec").filter(|spec| spec.is_object());
    if let Some(spec) = spec {
        let schema = &crd::schema()["properties"]["spec"];
        problems.extend(structural::check_written(spec, schema, "spec", &written));
        problems.extend(hosts::problems(spec));
    }
    let planned = serde_json::from_value::<GrayRelease>(document.clone())
        .map_err(|error| {
            vec![Problem::new(
                "",
                format!("cannot be read: {error}"),
                "correct it",
            )]
        })
        .and_then(|release| {
            let plan = Plan::try_from(&release).map_err(|errors| errors.list().to_vec())?;
            Ok((release, plan))
        });
    match planned {
        Ok(planned) if problems.is_empty() => Ok(planned),
        Err(errors) => {
            // What reading stumbles over, the schema has told already, and better.
            let known =
                |path: &str| path.is_empty() || problems.iter().any(|problem| problem.path == path);
            let news: Vec<Problem> = errors
                .iter()
                .filter(|error| !known(&error.path))
                .cloned()
                .collect();
            problems.extend(news);
            Err(if problems.is_empty() {
                errors
            } else {
                problems
            })
        }
        Ok(_) => Err(problems),
    }
}

/// What every object has around its spec, as far as a file may have it.
fn envelope() -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({
        "type": "object",
        "required": ["metadata", "spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string"},
                    "namespace": {"type": "string"},
                    "labels": texts,
                    "annotations": texts,
                    "uid": {"type": "string"},
                    "generation": {"type": "integer"},
                    "resourceVersion": {"type": "string"},
                    "creationTimestamp": {"type": "string"},
                    "deletionTimestamp": {"type": "string"},
                    "deletionGracePeriodSeconds": {"type": "integer"},
                    "finalizers": {"type": "array"},
                    "ownerReferences": {"type": "array"},
                    "managedFields": {"type": "array"},
                    "selfLink": {"type": "string"},
                },
            },
            "spec": {"type": "object"},
            "status": {"type": "object"},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "apiVersion: halftone.dev/v1alpha1\nkind: GrayRelease\nmetadata: {name: checkout}\n";

    /// The findings on a release whose spec is this, its first line being line 5.
    fn findings(spec: &str) -> Vec<String> {
        let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
        let reading = read("f.yaml", &format!("{HEAD}spec:\n{spec}"));
        reading.findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn several_documents_are_read_and_other_kinds_passed_over() {
        let minimal = include_str!("../../examples/minimal.yaml");
        let reading = read(
            "f.yaml",
            &format!("{minimal}---\napiVersion: v1\nkind: Service\nmetadata: {{}}\n---\n"),
        );
        assert_eq!(reading.findings, []);
        assert_eq!(reading.manifests[0].name(), "shop/checkout");
        assert_eq!(reading.skipped[0].kind, "Service");
        assert_eq!(reading.manifests[0].locate("spec.stable.version").line, 8);
    }

    #[test]
    fn json_is_read_as_well() {
        let text = r#"{"apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease", "metadata": {"name": "a"},
            "spec": {"hosts": ["*"], "stable": {"addresses": ["127.0.0.1:1"], "version": "1"}, "gray": null}}"#;
        let reading = read("f.json", text);
        assert_eq!(reading.findings, []);
        assert!(reading.manifests[0].plan.gray.is_none());
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_with_its_place() {
        let spec = "hosts: [Shop]\nstable: {service: {name: a, port: 80}, version: 1.10}\n\
                    gray: {service: {name: b, port: 80}, version: v2, weigth: 3}\ntargetRatio: 12.5\nsteps:\n- ratio: 5\n  hold: 5 min\n\
                    - ratio: 101\npathes: [/]\nschedule: {timeZone: Mars/Base, windows: []}";
        assert_eq!(
            findings(spec),
            [
                "f.yaml:5:11: error: spec.hosts[0]: a host is written in lower case; replace the capital letters; \
                 requests match in any case [Invalid]",
                "f.yaml:6:51: error: spec.stable.version: must be a string, not 1.10; put it in quotes: \"1.10\" \
                 [Invalid]",
                "f.yaml:7:53: error: spec.gray.weigth: there is no field \"weigth\" here; remove it; the fields here \
                 are addresses, healthCheck, lenient, maxInFlight, maxTunnels, \
                 pathPrefix, service, timeouts, version [UnknownField]",
                "f.yaml:8:16: error: spec.targetRatio: must be an integer or a string, not 12.5; write \"12.5%\" \
                 [Invalid]",
                "f.yaml:11:11: error: spec.steps[0].hold: \"5 min\" is no duration; write \"5m\" [Invalid]",
                "f.yaml:12:12: error: spec.steps[1].ratio: is 101; write 0 to 100 [Invalid]",
                "f.yaml:13:3: error: spec.pathes: there is no field \"pathes\" here; did you mean paths? [UnknownField]",
            ]
        );
    }

    #[test]
    fn what_only_the_plan_knows_has_its_place_too() {
        let spec = "hosts: ['*']\nstable: {service: {name: a, port: 80}, version: v1}\n\
                    gray: {service: {name: b, port: 80}, version: v1}\ntargetRatio: 50\n\
                    schedule:\n  timeZone: Mars/Base\n  windows: []\nrules:\n\
                    - {name: r, to: Gray, when: [{all: [{source: Path, operator: Regex, values: ['(']}]}]}";
        let findings = findings(spec);
        assert!(
            findings[0]
                .starts_with("f.yaml:7:49: error: spec.gray.version: gray.version must differ"),
            "{findings:?}"
        );
        assert!(
            findings[1]
                .starts_with("f.yaml:10:15: error: spec.schedule.timeZone: there is no time zone"),
            "{findings:?}"
        );
        assert!(findings[2].starts_with("f.yaml:13:"), "{findings:?}");
        assert!(
            findings[2].contains(
                r#"spec.rules[0].when[0].all[0].values[0]: "(" is not a regular expression: unclosed"#
            ),
            "{findings:?}"
        );
        assert_eq!(findings.len(), 3);
    }

    #[test]
    fn a_key_that_is_there_twice_is_named() {
        let findings =
            findings("hosts: ['*']\nhosts: [a]\nstable: {addresses: ['127.0.0.1:1'], version: a}");
        assert_eq!(findings.len(), 1);
        assert!(
            findings[0].starts_with(
                "f.yaml:6:3: error: cannot be read: duplicate mapping key: hosts not allowed"
            ),
            "{findings:?}"
        );
    }

    #[test]
    fn advice_on_a_number_is_right_when_it_is_followed() {
        for (written, advised) in [("1e1", "write 10 "), ("12.50", r#""12.5%""#)] {
            let text = format!(
                "hosts: [a]\nstable: {{addresses: ['127.0.0.1:1'], version: a}}\ngray: {{addresses: ['127.0.0.1:2'], version: b}}\ntargetRatio: {written}"
            );
            let findings = findings(&text);
            assert!(findings[0].contains(advised), "{findings:?}");
        }
    }

    /// What is said of a release with this in its place.
    fn said_of(field: &str) -> String {
        let spec = format!(
            "hosts: [a]\nstable: {{addresses: ['127.0.0.1:1'], version: a}}\n\
             gray: {{addresses: ['127.0.0.1:2'], version: b}}\ntargetRatio: 50\n{field}"
        );
        findings(&spec).join("\n")
    }

    #[test]
    fn advice_that_is_followed_to_the_letter_is_accepted_and_keeps_the_value() {
        for field in [
            "health: {maxErrorRate: 0.05}",
            "health: {maxErrorRate: 12.55555}",
            "health: {confidence: 0.999}",
            "health: {warmup: 60}",
            "health: {warmup: 1.5 h}",
            "health: {versusStable: {p99: 1.50}}",
            "health: {versusStable: {errorRate: 2e0}}",
            "health: {errorStatuses: [503]}",
            "identity: {salt: 72225e2}",
            "identity: {salt: 0x1F}",
            "identity: {salt: 12345678901234567890123}",
            "identity: {salt: true}",
            "debug: {value: 1_0}",
            "schedule: {timeZone: Asia/Beijing, windows: []}",
            "steps: [{ratio: 1e1}]",
        ] {
            let said = said_of(field);
            if said.is_empty() {
                continue;
            }
            let advice = said.rsplit_once("; ").unwrap().1;
            let quoted: Vec<&str> = advice.split('"').skip(1).step_by(2).collect();
            let written = field
                .rsplit_once([':', '['])
                .unwrap()
                .1
                .trim()
                .trim_end_matches(['}', ']']);
            let (field, written, offers) = match advice {
                _ if advice.contains("did you mean") => {
                    let zone = advice.split(' ').nth(3).unwrap().trim_end_matches('?');
                    (field, "Asia/Beijing", vec![zone.to_owned()])
                }
                _ if quoted.is_empty() => {
                    let plain = advice.split(' ').nth(1).unwrap();
                    (field, written, vec![plain.to_owned()])
                }
                _ => (
                    field,
                    written,
                    quoted.iter().map(|text| format!("{text:?}")).collect(),
                ),
            };
            for offer in offers {
                assert_eq!(
                    said_of(&field.replace(written, &offer)),
                    "",
                    "{field} → {offer}"
                );
            }
        }
    }

    #[test]
    fn what_is_printed_as_yaml_reads_back_as_the_same() {
        let texts = [
            "1.10",
            "yes",
            "0x1F",
            "null",
            "2026-11-30",
            "a: b",
            "- a",
            "",
            "#",
            "é\n",
            "72225e2",
            "~",
        ];
        let value =
            json!({"texts": texts, "numbers": [1, 1.5, -2], "none": [], "map": {"on": true}});
        let read = &tree::parse(&to_yaml(&value)).unwrap()[0].value;
        assert_eq!(*read, value);
    }

    #[test]
    fn the_items_of_a_list_are_read_as_documents_with_their_places() {
        let item = |name: &str, ratio: &str| {
            format!(
                "- apiVersion: halftone.dev/v1alpha1\n  kind: GrayRelease\n  metadata: {{name: {name}}}\n  spec:\n    \
                 hosts: [{name}]\n    stable: {{service: {{name: a, port: 80}}, version: v1}}\n    \
                 gray: {{service: {{name: b, port: 80}}, version: v2}}\n    targetRatio: {ratio}\n"
            )
        };
        let service = "- {apiVersion: v1, kind: Service, metadata: {}}\n";
        for (version, kind) in [("v1", "List"), ("halftone.dev/v1alpha1", "GrayReleaseList")] {
            let head = format!("apiVersion: {version}\nitems:\n");
            let text = format!(
                "{head}{}{service}{}kind: {kind}\n",
                item("one", "10"),
                item("two", "12.5")
            );
            let reading = read("f.yaml", &text);
            assert_eq!(reading.manifests.len(), 1, "{:?}", reading.findings);
            assert_eq!(reading.manifests[0].locate("spec.targetRatio").line, 10);
            assert_eq!(reading.skipped[0].kind, "Service");
            assert!(
                reading.findings[0]
                    .to_string()
                    .starts_with("f.yaml:19:18: error: spec.targetRatio")
            );
        }
        let empty = read("f.yaml", "apiVersion: v1\nkind: List\nitems: []\n");
        assert!(empty.is_sound() && empty.manifests.is_empty());
    }

    #[test]
    fn labels_are_strings_as_they_are_to_the_api_server() {
        let text = "apiVersion: halftone.dev/v1alpha1\nkind: GrayRelease\nmetadata:\n  name: a\n  labels: {version: 1.10}\n\
                    spec: {hosts: [a], stable: {addresses: ['127.0.0.1:1'], version: a}}";
        let said = read("f.yaml", text).findings[0].to_string();
        assert!(
            said.contains(
                "metadata.labels.version: must be a string, not 1.10; put it in quotes: \"1.10\""
            ),
            "{said}"
        );
    }

    #[test]
    fn what_is_no_release_says_what_it_should_be() {
        let message = |text: &str| read("f.yaml", text).findings[0].to_string();
        assert!(message("- a").contains("is no object; write apiVersion, kind, metadata and spec"));
        assert!(message("hosts: [a]").contains("apiVersion or kind is missing"));
        assert!(
            message("apiVersion: halftone.dev/v1\nkind: GrayRelease")
                .contains("write halftone.dev/v1alpha1")
        );
        assert!(
            message("apiVersion: halftone.dev/v1alpha1\nkind: Grayrelease")
                .contains("write GrayRelease")
        );
        assert!(message(HEAD).contains("spec is missing; add spec"));
        assert!(message("a: [").contains("f.yaml:1:"));
    }

    #[test]
    fn a_reserved_field_is_not_taken_for_a_slip() {
        let findings =
            findings("hosts: ['*']\nstable: {addresses: ['127.0.0.1:1'], version: a}\nmirror: {}");
        assert!(
            findings[0].contains("the name is reserved for a later version"),
            "{findings:?}"
        );
    }
}

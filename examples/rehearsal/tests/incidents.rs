//! Every incident that ships with the repository comes to what it expects, and a broken expectation is found out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};

use rounds_rehearsal::{Driver, Incident, Turn, rehearse};

fn incidents() -> Vec<(PathBuf, Incident)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("incidents");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let incident = Incident::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, incident)
    };
    files.into_iter().map(read).collect()
}

fn incident(name: &str) -> Incident {
    let found = incidents().into_iter().find(|(path, _)| path.file_stem().unwrap() == name);
    found.unwrap_or_else(|| panic!("there is no incident {name}")).1
}

#[tokio::test(flavor = "multi_thread")]
async fn every_incident_comes_to_what_it_expects() {
    for (path, incident) in incidents() {
        let outcome = rehearse(&incident, &Driver::Recorded).await.unwrap();
        assert!(outcome.failed.is_empty(), "{}: {:#?}\n{:#?}", path.display(), outcome.failed, outcome.report().calls);
        if path.file_stem().unwrap() == "obedient-model" {
            continue; // It calls what there is not, on purpose: see the test below.
        }
        let unexpected = outcome.report().calls.into_iter().filter(|call| {
            call.error
                .as_deref()
                .is_some_and(|error| error.contains("wrong arguments") || error.contains("no tool called"))
        });
        assert_eq!(unexpected.collect::<Vec<_>>(), [], "{}: a recorded model knows its tools", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_obeys_a_log_line_is_refused_call_by_call() {
    let outcome = rehearse(&incident("obedient-model"), &Driver::Recorded).await.unwrap();
    let report = outcome.report();
    let refused: Vec<(&str, &str)> =
        report.calls.iter().filter_map(|call| Some((call.tool.as_str(), call.error.as_deref()?))).collect();
    // A tool that there is not is noted before the reads of its turn have ended.
    let wanted = [
        ("approve_plan", "no tool called"),
        ("run_command", ""),
        ("propose_plan", "R99"),
        ("propose_plan", "namespace"),
        ("add_section", "R99"),
        ("complete", "reading that was answered"),
    ];
    assert_eq!(refused.len(), wanted.len(), "{refused:#?}");
    for ((tool, error), (wanted, part)) in refused.iter().zip(wanted) {
        assert!(*tool == wanted && error.contains(part), "{tool}: {error}; wanted {wanted}: {part}");
    }
    let deletes = report.evidence.iter().filter(|reading| format!("{:?}", reading.source).contains("delete"));
    assert!(deletes.into_iter().all(|reading| !reading.ok), "the gate does not let a delete through as a read");
    assert!(outcome.plan.is_none() && report.root_cause.is_none() && report.sections.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_expectation_is_met_by_a_model_that_says_nothing() {
    for (path, mut incident) in incidents() {
        let Some(model) = &mut incident.model else { continue };
        model.turns = turns(r#"[{ "calls": [{ "tool": "complete", "with": { "summary": "Nothing." } }] }]"#);
        let failed = rehearse(&incident, &Driver::Recorded).await.unwrap().failed;
        let expect = &incident.expect;
        let plan = usize::from(expect.plan == Some(true));
        let wanted = expect.mention.len() + expect.cite.len() + expect.plan_runs.len() + plan;
        assert_eq!(failed.len(), wanted, "{}: {failed:#?}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_nobody_should_make_is_found_out() {
    for (path, mut incident) in incidents() {
        let (Some(false), Some(model)) = (incident.expect.plan, &mut incident.model) else { continue };
        let namespace = &incident.connectors[0].namespaces[0];
        let call = format!(
            r#"[{{ "calls": [{{ "tool": "propose_plan", "with": {{ "summary": "Off", "cause": "It runs", "citations": ["R1"],
                "steps": [{{ "argv": ["scale", "deployment/any", "--replicas=0", "-n", "{namespace}"] }}] }} }}] }}]"#
        );
        let last = model.turns.len() - 1;
        model.turns.splice(last..last, turns(&call));
        let failed = rehearse(&incident, &Driver::Recorded).await.unwrap().failed;
        let failed: Vec<&str> = failed.iter().map(|failed| failed.expectation.as_str()).collect();
        assert!(failed.contains(&"plan: false"), "{}: {failed:?}", path.display());
        assert!(failed.iter().any(|failed| failed.starts_with("forbidden")), "{}: {failed:?}", path.display());
    }
}

fn turns(json: &str) -> Vec<Turn> {
    serde_json::from_str(json).unwrap()
}

#[test]
fn an_incident_that_is_written_is_read_as_it_was() {
    for (path, incident) in incidents() {
        let text = incident.to_text().unwrap();
        assert_eq!(Incident::parse(&text).unwrap(), incident, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expectation_that_is_not_met_is_found_out() {
    let sound = incident("bad-image");
    type Breaks = fn(&mut Incident);
    let broken: [(&str, Breaks); 8] = [
        ("plan: false", |i| i.expect.plan = Some(false)),
        ("mention: gremlins", |i| i.expect.mention = vec!["gremlins".into()]),
        ("notMention: 2.41.O", |i| i.expect.not_mention = vec!["2.41.O".into()]),
        ("cite: nodes", |i| i.expect.cite = vec!["nodes".into()]),
        ("planRuns: scale", |i| i.expect.plan_runs = vec!["scale".into()]),
        ("rescueRuns: scale", |i| i.expect.rescue_runs = vec!["scale".into()]),
        ("forbidden: get pods", |i| i.expect.forbidden = vec!["get pods".into()]),
        ("limit: turns", |i| i.expect.limit = Some("turns".into())),
    ];
    for (expectation, breaks) in broken {
        let mut incident = sound.clone();
        breaks(&mut incident);
        let failed = rehearse(&incident, &Driver::Recorded).await.unwrap().failed;
        let failed: Vec<&str> = failed.iter().map(|failed| failed.expectation.as_str()).collect();
        assert_eq!(failed, [expectation]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_recorded_is_no_answer_and_a_recording_that_ends_is_said() {
    let mut incident = incident("bad-image");
    incident.connectors[0].commands.truncate(1);
    incident.model.as_mut().unwrap().turns.truncate(2);
    let outcome = rehearse(&incident, &Driver::Recorded).await.unwrap();
    let report = outcome.report();
    assert!(report.evidence.iter().any(|reading| !reading.ok && reading.excerpt.contains("not in the recording")));
    assert!(report.limit.unwrap().contains("the recording of the model ends here"));
    assert!(outcome.plan.is_none());
}

#[test]
fn a_file_that_is_no_incident_says_what_is_wrong() {
    let read = |text: &str| Incident::parse(text).unwrap_err().to_string();
    let sound = incident("bad-image").to_text().unwrap();
    assert!(read(&sound.replacen("version: 1", "version: 7", 1)).contains("found 7"));
    assert!(read(&sound.replacen("title:", "titel:", 1)).contains("titel"));
    assert!(read("just text").contains("expected"), "{}", read("just text"));
    let mut both = incident("bad-image");
    both.connectors[0].commands[0].error = Some("no".into());
    assert!(read(&both.to_text().unwrap()).contains("an `output` or an `error`"));
}

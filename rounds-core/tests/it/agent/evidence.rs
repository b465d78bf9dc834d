//! Each conclusion cites tool calls that really happened in this run.

use rounds_core::testing::ScriptedModel;
use serde_json::{Value, json};

use super::{Scene, done, run};

fn concluding(body: Value) -> (&'static str, Value) {
    ("complete", body)
}

/// What the model is told about a conclusion, after it has read R1 (answered) and R2 (refused by the gate).
async fn refusal(conclusion: Value) -> Option<String> {
    let model = ScriptedModel::default()
        .calls([run("get app/web")])
        .calls([run("restart app/web")])
        .calls([concluding(conclusion)])
        .calls([done("in the end")]);
    let report = Scene::of(model).await.report().await;
    report.calls[2].error.clone()
}

#[tokio::test(start_paused = true)]
async fn a_cause_needs_a_reading_that_was_answered_in_this_run() {
    let cause = |citations: &[&str]| json!({ "summary": "s", "rootCause": { "summary": "it hangs", "citations": citations, "confidence": "high" } });
    assert_eq!(refusal(cause(&["R1"])).await, None);
    assert!(refusal(cause(&["R7"])).await.unwrap().contains("at least one reading that was answered"));
    assert!(refusal(cause(&["R1", "R7"])).await.unwrap().contains("R7, which was not read in this run"));
    assert!(refusal(cause(&["R2"])).await.unwrap().contains("at least one reading that was answered"));
    assert!(refusal(cause(&[])).await.unwrap().contains("at least one reading that was answered"));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_could_not_be_read_rules_nothing_out() {
    let ruled =
        |citations: &[&str]| json!({ "summary": "s", "ruledOut": [{ "claim": "not it", "citations": citations }] });
    assert_eq!(refusal(ruled(&["R1"])).await, None);
    assert!(refusal(ruled(&["R2"])).await.unwrap().contains("R2, which could not be read: that rules nothing out"));
    assert!(refusal(ruled(&["R1", "R2"])).await.unwrap().contains("rules nothing out"));
    assert!(refusal(ruled(&[])).await.unwrap().contains("without a citation"));
    assert!(refusal(ruled(&["R9"])).await.unwrap().contains("not read in this run"));
}

#[tokio::test(start_paused = true)]
async fn a_section_may_cite_only_what_was_read() {
    let section = |citations: &[&str]| ("add_section", json!({ "title": "t", "body": "b", "citations": citations }));
    let model = ScriptedModel::default()
        .calls([section(&["R1"])])
        .calls([run("get app/web")])
        .calls([section(&["R1"])])
        .calls([done("ok")]);
    let report = Scene::of(model).await.report().await;
    assert!(report.calls[0].error.as_deref().unwrap().contains("not read in this run (readings: none)"));
    assert_eq!((report.calls[2].error.as_ref(), report.sections.len()), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn a_report_without_findings_is_a_good_report() {
    let unknowns = json!(["Whether the queue was full: no metric says."]);
    let model =
        ScriptedModel::default().calls([("complete", json!({ "summary": "Nothing found.", "unknowns": unknowns }))]);
    let scene = Scene::of(model).await;
    let ended = scene.ended().await;
    assert_eq!(ended.status.as_str(), "completed");
    let report = ended.report.unwrap();
    assert_eq!((report.summary.as_str(), report.unknowns.len(), report.limit), ("Nothing found.", 1, None));
    assert_eq!(ended.plan_id, None);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_can_be_looked_at_again_after_it_was_shortened() {
    let mut model = ScriptedModel::default().calls([run("get app/web")]);
    for i in 0..12 {
        let query = format!("q{i}");
        model = model.calls([("metrics_query", json!({ "query": query }))]);
    }
    let model = model.calls([("read_again", json!({ "reading": "R1" })), ("read_again", json!({ "reading": 99 }))]);
    let model = model.calls([done("ok")]);
    let small = rounds_core::ports::ModelInfo::new("small").with_context_tokens(Some(18_000));
    let scene = Scene::of(model.with_info(small)).await;
    let series = (0..40).map(|i| {
        let labels = [("pod".to_owned(), format!("a-rather-long-name-of-a-pod-{i}"))].into();
        let point = rounds_core::ports::Point { at: Default::default(), value: 0.9 };
        rounds_core::ports::Series::new(labels, vec![point])
    });
    scene.world.errors.fake.set_series(series.collect());
    let report = scene.report().await;
    assert_eq!(report.limit, None, "the conversation fits, because it is shortened");
    let last = scene.model.asked().pop().unwrap();
    let told = super::told(&last);
    assert!(told[0].0.contains("as it was read at") && told[0].0.contains("get app/web"), "{}", told[0].0);
    assert!(told[1].0.contains("no reading R99"), "{}", told[1].0);
    let shortened = format!("{last:?}").matches("shortened to save room").count();
    assert!(shortened > 0, "something was shortened");
    assert_eq!(report.evidence.len(), 13, "no evidence is lost");
}

//! The gate against a corpus of commands, each of which was run through a real kubectl with its requests recorded.

use rounds_connectors::kubernetes::{Gate, Policy};
use rounds_core::ports::{CallContext, ExecutionAdapter, ReadStep};
use rounds_core::step::Tier;
use rounds_core::step::{Mode, StepSpec};
use serde::Deserialize;

use crate::cluster::TestCluster;

/// A row of `tests/data/gate/*.jsonl`; the README there says what the fields mean.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) argv: Vec<String>,
    #[serde(default)]
    pub(crate) stdin: Option<String>,
    pub(crate) mode: Mode,
    pub(crate) allowed: Vec<String>,
    pub(crate) expect: String,
    pub(crate) why: String,
    #[serde(default)]
    pub(crate) debatable: bool,
    /// The rule that refuses, where a row insists on one.
    #[serde(default)]
    pub(crate) code: Option<String>,
}

/// Every row of every file, in the order of the files' names.
pub(crate) fn cases() -> Vec<Case> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/gate");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let mut cases: Vec<Case> = Vec::new();
    for file in files {
        for (i, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            let case =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{}:{}: {error}", file.display(), i + 1));
            cases.push(case);
        }
    }
    cases
}

pub(crate) fn step(case: &Case) -> StepSpec {
    let step = StepSpec::command(case.argv.clone());
    match &case.stdin {
        Some(stdin) => step.with_stdin(stdin.clone()),
        None => step,
    }
}

#[test]
fn the_gate_agrees_with_the_corpus_wherever_two_sound_gates_would() {
    let (mut wrong, mut debatable, mut settled) = (Vec::new(), Vec::new(), 0);
    for case in cases() {
        let verdict = Gate::new(Policy::for_namespaces(case.allowed.clone())).review(&step(&case), case.mode);
        let rule = verdict.as_ref().err().map(|refusal| refusal.rule.clone());
        if verdict.is_ok() == (case.expect == "allow") && (case.code.is_none() || rule == case.code) {
            settled += 1;
            continue;
        }
        let found =
            verdict.map_or_else(|refusal| format!("{}: {}", refusal.rule, refusal.message), |step| step.command_text);
        let expected = case.code.as_ref().unwrap_or(&case.expect);
        let line = format!("{} expected {expected} ({}), found {found}; argv {:?}", case.id, case.why, case.argv);
        if case.debatable { debatable.push(line) } else { wrong.push(line) }
    }
    println!("{settled} agree, {} debatable ones differ:\n{}", debatable.len(), debatable.join("\n"));
    assert!(wrong.is_empty(), "{} disagree:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_row_says_one_thing_once() {
    let mut ids = std::collections::BTreeSet::new();
    let mut commands = std::collections::BTreeMap::new();
    for case in cases() {
        assert!(ids.insert(case.id.clone()), "the id {} is there twice", case.id);
        assert!(!case.why.is_empty(), "{} gives no reason", case.id);
        assert!(matches!(case.expect.as_str(), "allow" | "deny"), "{}: {}", case.id, case.expect);
        assert!(case.code.is_none() || case.expect == "deny", "{} is allowed, and has a code", case.id);
        let command = (case.argv.clone(), case.stdin.clone(), case.mode == Mode::Read, case.allowed.clone());
        let earlier = commands.insert(command, (case.id.clone(), case.expect.clone()));
        if let Some((id, expect)) = earlier {
            assert_eq!(expect, case.expect, "{} and {id} are the same command", case.id);
        }
    }
    assert!(ids.len() > 394 + 450, "{}", ids.len());
}

#[test]
fn rule_2_reviewing_the_canonical_form_of_an_allowed_command_changes_nothing() {
    for case in cases() {
        let gate = Gate::new(Policy::for_namespaces(case.allowed.clone()));
        let Ok(reviewed) = gate.review(&step(&case), case.mode) else { continue };
        let again = reviewed.spec();
        assert_eq!(gate.review(&again, case.mode).unwrap(), reviewed, "{}", case.id);
    }
}

#[test]
fn rule_11_a_connector_without_namespaces_permits_nothing_that_touches_an_object() {
    let gate = Gate::new(Policy::default());
    for case in cases() {
        if let Ok(reviewed) = gate.review(&step(&case), case.mode) {
            assert!(reviewed.targets.is_empty(), "{}: {}", case.id, reviewed.command_text);
        }
    }
}

/// kubectl may read the canonical form otherwise than the gate: what it sends is the proof that it does not.
#[tokio::test(flavor = "multi_thread")]
async fn rule_2_kubectl_reads_every_accepted_command_as_the_gate_does() {
    let cluster = TestCluster::start().await;
    let adapter = cluster.adapter();
    let cx = CallContext::with_timeout(std::time::Duration::from_secs(30));
    let mut ran = 0;
    for case in cases()
        .into_iter()
        .filter(|case| case.allowed == ["app"] && case.expect == "allow" && !case.id.starts_with("own-"))
    {
        let local = |text: &str| {
            text.replace("namespace: app", &format!("namespace: {}", cluster.namespace))
                .replace("=app\"", &format!("={}\"", cluster.namespace))
        };
        let argv = case.argv.iter().enumerate().map(|(i, word)| match word.as_str() {
            "app" if i > 0 && case.argv[i - 1] == "-n" => cluster.namespace.clone(),
            "-napp" | "--namespace=app" => format!("--namespace={}", cluster.namespace),
            other => other.to_owned(),
        });
        let mut step = StepSpec::command(argv);
        if let Some(stdin) = &case.stdin {
            step = step.with_stdin(local(stdin));
        }
        let Ok(reviewed) = adapter.review(&step, case.mode) else { continue };
        if let Some(sandbox) = &cluster.sandbox {
            sandbox.clear_requests();
        }
        let command = reviewed.command_text.clone();
        let answer = if reviewed.tier == Tier::Read && !command.contains("rollout") {
            adapter.read(&cx, ReadStep::new(reviewed).unwrap()).await.map(|output| output.error_output)
        } else {
            adapter.dry_run(&cx, &reviewed).await.map(|dry| dry.text)
        };
        // Many of the objects are not there: kubectl may say so, but not that it does not know what was written.
        let said = answer.unwrap_or_else(|error| format!("{} {}", error.message, error.output.error_output));
        for misread in [
            "unknown flag",
            "unknown shorthand",
            "invalid argument",
            "unknown command",
            "See 'kubectl",
            "resource name may not be empty",
        ] {
            assert!(!said.contains(misread), "{command}: {said}");
        }
        for request in cluster.requests() {
            assert!(!request.is_write(), "{command}: {} {}", request.method, request.path);
            // When an object is missing, kubectl asks whether the namespace is there.
            let inside = format!("{}/", request.path).contains(&format!("/namespaces/{}/", cluster.namespace));
            let discovery = ["/api", "/apis", "/version", "/openapi"].contains(&request.path.trim_end_matches('/'))
                || request.path.starts_with("/openapi/")
                || request.path.trim_start_matches('/').split('/').count() <= 3
                    && !request.path.contains("/namespaces");
            assert!(inside || discovery, "{command}: {} {}", request.method, request.path);
            assert!(!request.path.contains("/secrets"), "{command}: {}", request.path);
        }
        ran += 1;
    }
    assert!(ran > 60, "{ran}");
    cluster.finish().await;
}

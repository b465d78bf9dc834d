//! The gate against a corpus of commands, each of which was run through a real kubectl with its requests recorded.

use rounds_connectors::kubernetes::{Gate, Policy};
use rounds_core::ports::{Mode, StepSpec};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: String,
    argv: Vec<String>,
    stdin: Option<String>,
    mode: Mode,
    allowed: Vec<String>,
    expect: String,
    why: String,
    debatable: bool,
}

fn cases() -> Vec<Case> {
    include_str!("../data/gate-public.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn step(case: &Case) -> StepSpec {
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
        if verdict.is_ok() == (case.expect == "allow") {
            settled += 1;
            continue;
        }
        let found =
            verdict.map_or_else(|refusal| format!("{}: {}", refusal.rule, refusal.message), |step| step.command_text);
        let line = format!("{} expected {} ({}), found {found}; argv {:?}", case.id, case.expect, case.why, case.argv);
        if case.debatable { debatable.push(line) } else { wrong.push(line) }
    }
    println!("{settled} agree, {} debatable ones differ:\n{}", debatable.len(), debatable.join("\n"));
    assert!(wrong.is_empty(), "{} disagree:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn rule_2_reviewing_the_canonical_form_of_an_allowed_command_changes_nothing() {
    for case in cases() {
        let gate = Gate::new(Policy::for_namespaces(case.allowed.clone()));
        let Ok(reviewed) = gate.review(&step(&case), case.mode) else { continue };
        let again = StepSpec { kind: reviewed.kind.clone(), params: reviewed.params.clone() };
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

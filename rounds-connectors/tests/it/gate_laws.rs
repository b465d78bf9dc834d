//! Laws of the gate over generated commands.

use proptest::prelude::*;
use rounds_connectors::kubernetes::{Gate, Policy};
use rounds_core::ports::{Mode, ReviewedStep, StepSpec, Tier};

/// Words that commands, good and bad, are made of.
const WORDS: &[&str] = &[
    "get",
    "describe",
    "logs",
    "top",
    "events",
    "version",
    "api-resources",
    "scale",
    "rollout",
    "status",
    "history",
    "undo",
    "restart",
    "pause",
    "resume",
    "patch",
    "apply",
    "annotate",
    "label",
    "delete",
    "exec",
    "-n",
    "app",
    "--namespace=app",
    "-napp",
    "kube-system",
    "pods",
    "pod",
    "pod/web",
    "deploy/web",
    "deployment",
    "svc,deploy",
    "all",
    "secrets",
    "secret/db",
    "nodes",
    "node/n1",
    "web",
    "web-1",
    "-o",
    "json",
    "yaml",
    "-oyaml",
    "-o=wide",
    "jsonpath={.a}",
    "-A",
    "--all-namespaces",
    "--all",
    "-l",
    "app=web",
    "a=b",
    "c-",
    "--replicas=3",
    "--replicas",
    "0",
    "--overwrite",
    "-p",
    "{\"spec\":{\"replicas\":2}}",
    "--type=merge",
    "--type",
    "json",
    "-f",
    "-",
    "--filename=-",
    "--dry-run=server",
    "--dry-run",
    "--force",
    "--grace-period=0",
    "--as=root",
    "--token=x",
    "--kubeconfig",
    "/tmp/x",
    "--raw=/api",
    "--",
    "-w",
    "--watch",
    "--tail=5",
    "--since=1h",
    "-c",
    "main",
    "--timeout=5s",
    "--to-revision=2",
    "--v=9",
    "--v=3",
    "--subresource=proxy",
    "--subresource=scale",
    "--context=x",
    "-s",
    "https://x",
    "--request-timeout=0",
    "--request-timeout=10s",
    "",
    "*",
];

const NEVER: &[&str] = &[
    "--as",
    "--token",
    "--kubeconfig",
    "--context",
    "--cluster",
    "--user",
    "--server",
    "--raw",
    "--all",
    "--force",
    "--watch",
    "--follow",
    "--kustomize",
    "--recursive",
    "--prune",
    "--cache-dir",
    "--profile",
    "--insecure-skip-tls-verify",
    "--client-key",
    "--local",
    "--",
];

fn canonical(step: &ReviewedStep) -> Vec<String> {
    serde_json::from_value(step.params["argv"].clone()).unwrap()
}

fn check(argv: Vec<String>, stdin: Option<String>, mode: Mode) {
    let gate = Gate::new(Policy::for_namespaces(["app"]));
    let mut step = StepSpec::command(argv);
    if let Some(stdin) = stdin {
        step = step.with_stdin(stdin);
    }
    let Ok(reviewed) = gate.review(&step, mode) else { return };
    let again = StepSpec { kind: reviewed.kind.clone(), params: reviewed.params.clone() };
    assert_eq!(gate.review(&again, mode).unwrap(), reviewed);
    for argument in canonical(&reviewed) {
        let flag = argument.split('=').next().unwrap();
        assert!(!NEVER.contains(&flag), "{}", reviewed.command_text);
        assert!(
            !argument.starts_with('-') || argument.starts_with("--"),
            "short flags are written out: {}",
            reviewed.command_text
        );
    }
    for target in &reviewed.targets {
        assert_eq!(target.namespace.as_deref(), Some("app"), "{}", reviewed.command_text);
        assert_ne!(target.kind, "secret");
        assert!(target.name.is_some() || reviewed.tier == Tier::Read, "{}", reviewed.command_text);
    }
    if mode == Mode::Read {
        assert_eq!(reviewed.tier, Tier::Read);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn no_command_made_of_known_words_leaves_its_namespace_or_changes_on_a_second_review(
        argv in prop::collection::vec(prop::sample::select(WORDS).prop_map(str::to_owned), 0..8), write: bool,
    ) {
        check(argv, None, if write { Mode::Write } else { Mode::Read });
    }

    #[test]
    fn a_plausible_command_with_noise_holds_the_same_laws(
        verb in prop::sample::select(&[
            "get pods", "get deploy/web", "describe pod web", "logs web-1", "scale deploy/web --replicas=3", "rollout undo deploy/web",
            "rollout status deploy/web", "delete pod web", "label pod/web a=b", "annotate deploy/web a=b", "top pods", "events",
            "patch deploy/web -p {\"spec\":{\"replicas\":2}}",
        ][..]),
        noise in prop::collection::vec(prop::sample::select(WORDS).prop_map(str::to_owned), 0..3), at in 0_usize..8, write: bool,
    ) {
        let mut argv: Vec<String> = verb.split(' ').map(str::to_owned).collect();
        argv.extend(["-n".to_owned(), "app".to_owned()]);
        for word in noise {
            argv.insert(at.min(argv.len()), word);
        }
        check(argv, None, if write { Mode::Write } else { Mode::Read });
    }

    #[test]
    fn no_argv_and_no_manifest_makes_the_gate_panic(
        argv in prop::collection::vec("\\PC{0,12}", 0..6), manifest in "(\\PC|\n|: |- ){0,60}",
    ) {
        check(argv, None, Mode::Write);
        let apply = ["apply", "-f", "-", "-n", "app"].map(str::to_owned).to_vec();
        check(apply, Some(manifest.clone()), Mode::Write);
        let patch = vec!["patch".to_owned(), "deploy/web".to_owned(), "-n".to_owned(), "app".to_owned(), format!("--patch={manifest}")];
        check(patch, None, Mode::Write);
    }
}

//! What each signature concludes from what a cluster answers, and what it must not conclude.

use serde_json::json;

use super::{Diagnosis, Remedy, diagnose};
use crate::playbook::PlaybookSettings;
use crate::playbook::fixtures::{State, World};
use crate::playbook::locate::{self, Limits};
use crate::playbook::observe::{Observed, observe};
use crate::playbook::read::Ledger;

const GOOD: &str = "registry.example/shop/main:1.4.2";
const BAD: &str = "registry.example/shop/main:1.4.3";
const AVAILABLE: &str = "NewReplicaSetAvailable";
const ROLLING: &str = "ReplicaSetUpdated";

async fn observed(world: &World) -> Observed {
    let (alert, mut ledger) = (world.alert(), Ledger::new(100));
    let limits = Limits { namespaces: 5, candidates: 5 };
    let mut found = locate::locate(world, &locate::hints(&alert), limits, &mut ledger).await;
    let candidate = found.pop().expect("a candidate");
    observe(world, &PlaybookSettings::default(), &alert, candidate, &mut ledger).await.expect("a workload")
}

pub(super) async fn diagnosis(world: &World) -> Option<Diagnosis> {
    let diagnosis = diagnose(&observed(world).await);
    if let Some(diagnosis) = &diagnosis {
        let read = world.evidence.lock().expect("evidence");
        assert!(!diagnosis.citations.is_empty(), "{diagnosis:?}");
        let findings = diagnosis.findings.iter().flat_map(|(_, citations)| citations);
        for cited in diagnosis.citations.iter().chain(findings) {
            assert!(read.iter().any(|reading| reading.id == *cited && reading.ok), "{cited} in {diagnosis:?}");
        }
    }
    diagnosis
}

pub(super) async fn expect(world: &World, signature: &str, remedy: Remedy) {
    let found = diagnosis(world).await.expect("a diagnosis");
    assert_eq!(found.signature, signature, "{found:?}");
    assert_eq!(found.remedy, remedy, "{found:?}");
}

pub(super) async fn expect_no_plan(world: &World, signature: &str, because: &str) {
    let found = diagnosis(world).await.expect("a diagnosis");
    assert_eq!(found.signature, signature, "{found:?}");
    let Remedy::None(why) = &found.remedy else { panic!("a plan was found: {found:?}") };
    assert!(why.contains(because), "{why}");
}

pub(super) fn undo(from: i64, to: i64) -> Remedy {
    Remedy::Undo { from, to, stuck_pods: Vec::new() }
}

/// Three replicas, a rollout of a new image some minutes ago, one new pod in that state, two old ones that run.
fn rolling_out(state: State, minutes: i64) -> World {
    let mut world = World::new();
    world.deployment(3, 2, 7, BAD, ROLLING);
    world.replica_set(6, GOOD, 2, 2, 10_000);
    world.replica_set(7, BAD, 1, 0, minutes);
    world.replica_set(3, "registry.example/shop/main:1.0.0", 0, 0, 50_000);
    world.pod(7, BAD, state, minutes);
    world.pod(6, GOOD, State::Running, 9_000);
    world.pod(6, GOOD, State::Running, 9_000);
    world
}

/// A finished rollout some minutes ago, all pods of it in that state, nothing of the old one left.
fn rolled_out(state: State, minutes: i64) -> World {
    let mut world = World::new();
    world.deployment(3, 0, 7, BAD, AVAILABLE);
    world.replica_set(6, GOOD, 0, 0, 10_000);
    world.replica_set(7, BAD, 3, 0, minutes);
    for _ in 0..3 {
        world.pod(7, BAD, state.clone(), minutes);
    }
    world
}

fn no_such_image() -> State {
    State::Waiting("ImagePullBackOff", format!("Back-off pulling image \"{BAD}\": not found"))
}

// --- images -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_image_that_a_rollout_broke_is_undone_to_the_revision_that_runs() {
    expect(&rolling_out(no_such_image(), 6), "image_pull", undo(7, 6)).await;
}

#[tokio::test]
async fn a_rollout_that_never_finished_counts_however_long_ago_it_began() {
    let mut world = rolling_out(no_such_image(), 60 * 24 * 3);
    world.firing = 2;
    expect(&world, "image_pull", undo(7, 6)).await;
}

#[tokio::test]
async fn the_newest_revision_that_ran_is_chosen_not_the_newest_before() {
    // Two bad rollouts in a row: revision 6 lived for two minutes and never had a ready pod.
    let mut world = World::new();
    world.deployment(3, 0, 7, BAD, ROLLING);
    world.replica_set(5, GOOD, 0, 0, 10_000);
    world.replica_set(6, "registry.example/shop/main:1.4.2-rc", 0, 0, 8);
    world.replica_set(7, BAD, 3, 0, 6);
    world.pod(7, BAD, no_such_image(), 6);
    expect(&world, "image_pull", undo(7, 5)).await;
}

#[tokio::test]
async fn without_an_earlier_revision_that_ran_there_is_no_plan() {
    let mut world = World::new();
    world.deployment(3, 0, 2, BAD, ROLLING);
    world.replica_set(1, GOOD, 0, 0, 9);
    world.replica_set(2, BAD, 3, 0, 6);
    world.pod(2, BAD, no_such_image(), 6);
    expect_no_plan(&world, "image_pull", "no earlier revision is known to have run").await;
    // The same, but metrics remember it.
    world.metrics = vec![("kube_replicaset_status_ready_replicas".into(), vec![(0, 3.0)])];
    expect(&world, "image_pull", undo(2, 1)).await;
}

#[tokio::test]
async fn a_first_revision_has_nothing_to_go_back_to() {
    let mut world = World::new();
    world.deployment(3, 0, 1, BAD, ROLLING);
    world.replica_set(1, BAD, 3, 0, 6);
    world.pod(1, BAD, no_such_image(), 6);
    expect_no_plan(&world, "image_pull", "only one revision").await;
}

#[tokio::test]
async fn an_image_that_other_pods_run_is_not_the_rollouts_fault() {
    let mut world = rolling_out(no_such_image(), 6);
    world.pod(7, BAD, State::Running, 6);
    expect_no_plan(&world, "image_pull", "other pods run the same image").await;
}

#[tokio::test]
async fn a_registry_that_cannot_be_reached_is_not_put_right_by_an_earlier_image_of_it() {
    let state = State::Waiting("ErrImagePull", "dial tcp 10.0.0.1:443: i/o timeout".into());
    expect_no_plan(&rolling_out(state.clone(), 6), "image_pull", "registry could not be reached").await;
    // Another registry came with the rollout: that is the rollout's doing.
    let moved = "registry.exmaple/shop/main:1.4.3";
    let mut world = World::new();
    world.deployment(3, 2, 7, moved, ROLLING);
    world.replica_set(6, GOOD, 2, 2, 10_000);
    world.replica_set(7, moved, 1, 0, 6);
    world.pod(7, moved, state, 6);
    expect(&world, "image_pull", undo(7, 6)).await;
}

#[tokio::test]
async fn pods_of_an_earlier_revision_that_fail_alike_clear_the_rollout() {
    let mut world = rolling_out(no_such_image(), 6);
    world.pod(6, GOOD, no_such_image(), 4);
    expect_no_plan(&world, "image_pull", "not of the current revision").await;
}

#[tokio::test]
async fn revisions_that_cannot_be_read_rule_nothing_out() {
    let mut world = rolling_out(no_such_image(), 6);
    world.forbidden = vec!["replicaset"];
    expect_no_plan(&world, "image_pull", "could not be read").await;
}

#[tokio::test]
async fn a_paused_deployment_is_left_to_whoever_paused_it() {
    let mut world = rolling_out(no_such_image(), 6);
    world.objects[0]["spec"]["paused"] = json!(true);
    expect_no_plan(&world, "image_pull", "is paused").await;
}

#[tokio::test]
async fn a_stateful_set_is_undone_and_its_stuck_pod_is_deleted() {
    let mut world = World::new();
    world.labels =
        [("namespace".to_owned(), world.namespace.clone()), ("statefulset".to_owned(), world.name.clone())].into();
    world.controlled("StatefulSet", BAD, GOOD, 6);
    let pods: Vec<String> = (0..3).map(|ordinal| format!("{}-{ordinal}", world.name)).collect();
    world.controlled_pod("StatefulSet", &pods[0], 1, GOOD, State::Running, 80_000);
    world.controlled_pod("StatefulSet", &pods[1], 1, GOOD, State::Running, 80_000);
    world.controlled_pod("StatefulSet", &pods[2], 2, BAD, no_such_image(), 6);
    expect(&world, "image_pull", Remedy::Undo { from: 2, to: 1, stuck_pods: vec![pods[2].clone()] }).await;
    world.objects[0]["spec"]["updateStrategy"]["type"] = json!("OnDelete");
    expect_no_plan(&world, "image_pull", "OnDelete").await;
}

#[tokio::test]
async fn a_daemon_set_is_undone() {
    let mut world = World::new();
    world.labels =
        [("namespace".to_owned(), world.namespace.clone()), ("daemonset".to_owned(), world.name.clone())].into();
    world.controlled("DaemonSet", BAD, GOOD, 6);
    for (number, image, state, created) in
        [(1, GOOD, State::Running, 80_000), (1, GOOD, State::Running, 80_000), (2, BAD, no_such_image(), 6)]
    {
        let name = crate::playbook::fixtures::random("d-");
        world.controlled_pod("DaemonSet", &name, number, image, state, created);
    }
    expect(&world, "image_pull", undo(2, 1)).await;
}

#[tokio::test]
async fn a_container_that_cannot_be_created_is_undone() {
    let message = "container has runAsNonRoot and image will run as root (pod: \"web_shop\", container: main)";
    let world = rolling_out(State::Waiting("CreateContainerConfigError", message.into()), 6);
    expect(&world, "cannot_start", undo(7, 6)).await;
    assert!(diagnosis(&world).await.expect("one").findings[0].0.contains("runAsNonRoot"));
}

// --- crashes ------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_crash_loop_that_begins_with_a_rollout_is_undone() {
    // Finished: without a readiness probe, pods count as available the moment they start.
    expect(&rolled_out(State::Crashing(4, 1, "Error", 2), 9), "crash_loop", undo(7, 6)).await;
    expect(&rolling_out(State::Crashing(4, 1, "Error", 2), 9), "crash_loop", undo(7, 6)).await;
    expect(&rolling_out(State::InitCrashing(3), 9), "crash_loop", undo(7, 6)).await;
}

#[tokio::test]
async fn a_crash_loop_is_seen_between_two_crashes() {
    expect(&rolled_out(State::BetweenCrashes(3, 1, "Error", 2), 9), "crash_loop", undo(7, 6)).await;
    assert!(diagnosis(&rolled_out(State::BetweenCrashes(3, 1, "Error", 400), 9_000)).await.is_none(), "long over");
}

#[tokio::test]
async fn a_rollout_long_before_the_crashes_is_not_their_cause() {
    let age = 60 * 24 * 3 + 60;
    let mut world = rolled_out(State::Crashing(2, 1, "Error", 4), age);
    expect_no_plan(&world, "crash_loop", "ran for 3 days before the pods began to fail").await;
    // Events remember that the crashes began soon after it, although the last one was just now.
    let pods: Vec<String> = world
        .objects
        .iter()
        .filter(|object| object["kind"] == "Pod")
        .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
        .collect();
    world.event("Pod", &pods[0], "BackOff", "Back-off restarting failed container", age - 5, 1);
    expect(&world, "crash_loop", undo(7, 6)).await;
}

#[tokio::test]
async fn a_rollout_after_the_alert_fired_is_not_its_cause() {
    let mut world = rolling_out(State::Crashing(2, 1, "Error", 2), 5);
    world.firing = 30;
    expect_no_plan(&world, "crash_loop", "after the alert had fired").await;
}

#[tokio::test]
async fn a_restart_is_not_undone_because_it_changed_nothing() {
    let mut world = World::new();
    world.deployment(3, 0, 7, BAD, AVAILABLE);
    world.replica_set(5, GOOD, 0, 0, 50_000);
    world.replica_set(6, BAD, 0, 0, 10_000);
    let restarted = world.replica_set(7, BAD, 3, 0, 9);
    restarted["spec"]["template"]["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/restartedAt": "now" });
    world.pod(7, BAD, State::Crashing(4, 1, "Error", 2), 9);
    expect_no_plan(&world, "crash_loop", "only restarted the pods").await;
}

#[tokio::test]
async fn an_undone_rollout_is_dated_by_its_pods_not_by_its_replica_set() {
    // Revision 5 was taken up again as revision 7 five minutes ago; its replica set is old.
    let mut world = World::new();
    world.deployment(3, 0, 7, BAD, AVAILABLE);
    world.replica_set(6, GOOD, 0, 0, 10_000);
    world.replica_set(7, BAD, 3, 0, 50_000);
    world.pod(7, BAD, State::Crashing(3, 1, "Error", 2), 5);
    expect(&world, "crash_loop", undo(7, 6)).await;
}

#[tokio::test]
async fn memory_kills_are_undone_only_when_they_begin_with_a_rollout() {
    expect(&rolled_out(State::Crashing(2, 137, "OOMKilled", 2), 9), "out_of_memory", undo(7, 6)).await;
    let world = rolled_out(State::BetweenCrashes(2, 137, "OOMKilled", 2), 9_000);
    expect_no_plan(&world, "out_of_memory", "how much memory would be right").await;
    assert!(diagnosis(&world).await.expect("one").cause.contains("256Mi"));
}

// --- replicas -----------------------------------------------------------------------------------------------

fn off() -> World {
    let mut world = World::new();
    world.deployment(0, 0, 4, GOOD, AVAILABLE);
    world.replica_set(4, GOOD, 0, 0, 9_000);
    world
}

fn scaled(world: &mut World, words: &str, ago: i64) {
    let (name, set) = (world.name.clone(), format!("{}-{}", world.name, world.hash(4)));
    world.event("Deployment", &name, "ScalingReplicaSet", &words.replace("SET", &set), ago, ago);
}

fn scale_to(to: i64) -> Remedy {
    Remedy::Scale { from: 0, to }
}

#[tokio::test]
async fn replicas_come_back_as_many_as_events_of_any_version_say() {
    for words in ["Scaled down replica set SET to 0 from 4", "Scaled down replica set SET from 4 to 0"] {
        let mut world = off();
        scaled(&mut world, words, 5);
        expect(&world, "scaled_to_zero", scale_to(4)).await;
    }
    let mut world = off();
    scaled(&mut world, "Scaled up replica set SET to 2", 50);
    scaled(&mut world, "Scaled up replica set SET to 6", 40);
    scaled(&mut world, "Scaled up replica set SET to 5", 40);
    scaled(&mut world, "Scaled down replica set SET to 0", 5);
    expect(&world, "scaled_to_zero", scale_to(6)).await;
}

#[tokio::test]
async fn the_replica_set_that_a_rollout_replaced_is_not_taken_for_the_workload() {
    let mut world = off();
    scaled(&mut world, "Scaled down replica set SET from 4 to 0", 5);
    let (name, old) = (world.name.clone(), format!("{}-{}", world.name, world.hash(3)));
    world.event("Deployment", &name, "ScalingReplicaSet", &format!("Scaled down replica set {old} from 1 to 0"), 5, 5);
    expect(&world, "scaled_to_zero", scale_to(4)).await;
}

#[tokio::test]
async fn replicas_come_back_as_many_as_metrics_manifest_or_revisions_say() {
    let mut world = off();
    world.metrics = vec![("kube_deployment_spec_replicas".into(), vec![(90, 3.0), (10, 5.0), (5, 0.0), (0, 0.0)])];
    expect(&world, "scaled_to_zero", scale_to(5)).await;

    let mut world = off();
    world.objects[0]["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
        json!(r#"{"kind":"Deployment","spec":{"replicas":7}}"#);
    expect(&world, "scaled_to_zero", scale_to(7)).await;

    let mut world = off();
    world.replica_set(3, BAD, 2, 0, 20_000)["status"]["replicas"] = json!(0);
    expect(&world, "scaled_to_zero", scale_to(2)).await;
}

#[tokio::test]
async fn a_number_that_nobody_observed_is_not_made_up() {
    expect_no_plan(&off(), "scaled_to_zero", "scale it by hand").await;
}

#[tokio::test]
async fn what_was_off_long_before_the_alert_is_meant_to_be_off() {
    let mut world = off();
    scaled(&mut world, "Scaled down replica set SET to 0 from 4", 60 * 9);
    expect_no_plan(&world, "scaled_to_zero", "does not look like its cause").await;
    let mut world = off();
    world.replica_set(3, BAD, 2, 0, 20_000);
    world.metrics = vec![("kube_deployment_spec_replicas".into(), vec![(364, 0.0), (5, 0.0), (0, 0.0)])];
    expect_no_plan(&world, "scaled_to_zero", "for hours before the alert").await;
}

#[tokio::test]
async fn an_autoscaler_bounds_the_replicas_and_keda_forbids_them() {
    let mut world = off();
    scaled(&mut world, "Scaled down replica set SET to 0 from 40", 5);
    world.hpa(2, 8, 0, (0, 70));
    expect(&world, "scaled_to_zero", scale_to(8)).await;
    let hpa = world.objects.last_mut().expect("the autoscaler");
    hpa["metadata"]["ownerReferences"] = json!([{ "kind": "ScaledObject", "name": "x" }]);
    expect_no_plan(&world, "scaled_to_zero", "KEDA").await;

    let mut world = off();
    world.hpa(2, 8, 0, (0, 70));
    expect(&world, "scaled_to_zero", scale_to(2)).await;
}

fn busy(cores: f64) -> World {
    let mut world = World::new();
    world.deployment(4, 4, 4, GOOD, AVAILABLE);
    world.replica_set(4, GOOD, 4, 4, 9_000);
    for _ in 0..4 {
        world.pod(4, GOOD, State::Running, 9_000);
    }
    world.metrics = vec![("container_cpu_usage_seconds_total".into(), vec![(0, cores)])];
    world
}

#[tokio::test]
async fn saturated_replicas_are_scaled_moderately_and_only_with_a_number_that_shows_it() {
    // Four pods of two containers with half a core each: four cores.
    expect(&busy(3.9), "saturated", Remedy::Scale { from: 4, to: 6 }).await;
    assert!(diagnosis(&busy(2.0)).await.is_none(), "half used is not saturated");
    let mut unknown = busy(3.9);
    unknown.metrics.clear();
    assert!(diagnosis(&unknown).await.is_none(), "without a number nothing is saturated");
}

#[tokio::test]
async fn an_autoscaler_at_its_maximum_is_raised_and_one_with_room_is_left_alone() {
    let mut world = busy(1.0);
    world.hpa(2, 4, 4, (95, 70));
    let hpa = format!("{}-hpa", world.name);
    expect(&world, "hpa_at_maximum", Remedy::RaiseMaximum { hpa, from: 4, to: 6 }).await;
    let mut world = busy(3.9);
    world.hpa(2, 10, 4, (95, 70));
    expect_no_plan(&world, "saturated", "decides how many").await;
    let mut world = busy(1.0);
    world.hpa(2, 4, 4, (40, 70));
    assert!(diagnosis(&world).await.is_none(), "at its maximum, and not busy");
    let mut world = busy(3.9);
    world.forbidden = vec!["horizontalpodautoscaler"];
    expect_no_plan(&world, "saturated", "not known whether an autoscaler").await;
}

#[tokio::test]
async fn saturation_stops_at_the_bound() {
    let mut world = busy(1.0);
    world.hpa(2, 20, 20, (95, 70));
    world.objects[0]["spec"]["replicas"] = json!(4);
    expect_no_plan(&world, "hpa_at_maximum", "20 replicas are the most").await;
}

// --- rollouts and places ------------------------------------------------------------------------------------

#[tokio::test]
async fn a_rollout_past_its_deadline_is_undone() {
    let mut world = rolling_out(State::NotReady, 15);
    world.objects[0]["status"]["conditions"][1] = json!({
        "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "lastTransitionTime": world.ago(5),
        "message": "ReplicaSet has timed out progressing.",
    });
    world.firing = 4;
    expect(&world, "stuck_rollout", undo(7, 6)).await;
}

#[tokio::test]
async fn new_pods_that_fail_their_probes_are_stuck_before_the_deadline_but_young_ones_only_start() {
    for (age, stuck) in [(5, true), (1, false)] {
        let mut world = rolling_out(State::NotReady, age);
        let pod = world.objects.iter().find(|object| object["kind"] == "Pod").expect("a pod");
        let pod = pod["metadata"]["name"].as_str().expect("its name").to_owned();
        world.event("Pod", &pod, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503", age, 0);
        world.firing = 0;
        if stuck {
            expect(&world, "stuck_rollout", undo(7, 6)).await;
        } else {
            assert!(diagnosis(&world).await.is_none());
        }
    }
}

#[tokio::test]
async fn pods_without_a_node_and_pods_that_a_quota_refuses_are_reported() {
    let state = State::Unschedulable("0/3 nodes are available: 3 Insufficient cpu.");
    expect_no_plan(&rolling_out(state, 6), "lack_of_resources", "a person's decision").await;

    let mut world = World::new();
    world.deployment(3, 2, 7, GOOD, AVAILABLE);
    world.replica_set(7, GOOD, 3, 2, 9_000);
    let set = format!("{}-{}", world.name, world.hash(7));
    world.event("ReplicaSet", &set, "FailedCreate", "pods \"x\" is forbidden: exceeded quota: compute", 8, 1);
    expect_no_plan(&world, "quota_exceeded", "a quota").await;
}

#[tokio::test]
async fn a_healthy_workload_has_no_diagnosis() {
    assert!(diagnosis(&rolling_out(State::Running, 6)).await.is_none());
}

#[tokio::test]
async fn pods_of_another_workload_with_the_same_labels_do_not_count() {
    let mut world = rolling_out(State::Running, 6);
    let labels = json!({ "app": world.name });
    let owner = json!({ "kind": "ReplicaSet", "name": "other-5d7f7c9b", "uid": "uid-other" });
    world.pod_of("other-5d7f7c9b-x", labels, owner, BAD, no_such_image(), 6);
    assert!(diagnosis(&world).await.is_none());
}

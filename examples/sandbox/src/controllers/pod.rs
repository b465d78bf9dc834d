//! The kubelet's part: running pods' containers and stopping them.

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};

use super::container::{Container, Surroundings};
use crate::cluster::{
    Cluster,
    kinds::{CONFIGMAPS, PODS, SECRETS},
    obj::{self, at, deleting, put, stamp, text},
};

/// What a node knows about a pod, beyond the object.
#[derive(Debug)]
pub(crate) struct PodRuntime {
    pub(crate) ns: String,
    pub(crate) name: String,
    pub(crate) containers: Vec<Container>,
    ip: String,
    stop_at: Option<DateTime<Utc>>,
    dirty: bool,
}

/// A container stops well before its grace ends.
const STOP_MS: f64 = 600.0;

pub(crate) fn tick(c: &mut Cluster, now: DateTime<Utc>) {
    for pod in c.store.list(&PODS, None) {
        if deleting(&pod) {
            stop(c, &pod, now);
        } else if !text(&pod, "/spec/nodeName").is_empty() {
            run(c, &pod, now);
        }
    }
    let store = &c.store;
    c.pods.retain(|uid, rt| store.get(&PODS, &rt.ns, &rt.name).is_some_and(|p| obj::uid(&p) == uid));
}

fn stop(c: &mut Cluster, pod: &Value, now: DateTime<Utc>) {
    let delay = c.delay(STOP_MS);
    let mut announce = Vec::new();
    let due = match c.pods.get_mut(obj::uid(pod)) {
        None => true,
        Some(rt) => match rt.stop_at {
            Some(t) => t <= now,
            None => {
                let grace = obj::int(pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(30);
                rt.stop_at = Some(now + delay.min(Duration::seconds(grace)));
                announce = rt.containers.iter().filter(|k| k.running()).map(|k| k.name.clone()).collect();
                false
            }
        },
    };
    for name in announce {
        c.event_at(
            pod,
            &format!("spec.containers{{{name}}}"),
            "kubelet",
            "Normal",
            "Killing",
            &format!("Stopping container {name}"),
            now,
        );
    }
    if due && obj::items(pod, "/metadata/finalizers").is_empty() {
        c.pods.remove(obj::uid(pod));
        c.store.remove(&PODS, obj::ns(pod), obj::name(pod));
    }
}

fn run(c: &mut Cluster, pod: &Value, now: DateTime<Utc>) {
    let uid = obj::uid(pod).to_owned();
    let registry = c.registry.clone();
    let label = format!("{}_{}({uid})", obj::name(pod), obj::ns(pod));
    let specs = obj::items(pod, "/spec/containers");
    let mut runtime = match c.pods.remove(&uid) {
        Some(rt) => rt,
        None => PodRuntime {
            ns: obj::ns(pod).to_owned(),
            name: obj::name(pod).to_owned(),
            containers: Vec::new(),
            ip: c.pod_ip(),
            stop_at: None,
            dirty: true,
        },
    };
    let mut notes = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        let missing_config = match runtime.containers.get(i) {
            Some(k) if k.running() => None,
            _ => missing_config(c, pod, spec),
        };
        let surroundings = Surroundings {
            registry: &registry,
            speed: c.speed,
            now,
            spec,
            restart_policy: text(pod, "/spec/restartPolicy"),
            pod: &label,
            missing_config,
        };
        if i >= runtime.containers.len() {
            runtime.containers.push(Container::new(spec, &surroundings));
        }
        let mut told = Vec::new();
        if let Some(container) = runtime.containers.get_mut(i) {
            runtime.dirty |= container.step(&surroundings, &mut told);
        }
        notes.extend(told.into_iter().map(|n| (text(spec, "/name").to_owned(), n)));
    }
    for (container, n) in notes {
        let kind = if n.warning { "Warning" } else { "Normal" };
        let path = format!("spec.containers{{{container}}}");
        c.event_at(pod, &path, "kubelet", kind, n.reason, &n.message, now);
    }
    if runtime.dirty {
        runtime.dirty = false;
        let status = status(&runtime, pod, &label, now);
        c.store.write(&PODS, status);
    }
    c.pods.insert(uid, runtime);
}

/// The first ConfigMap or Secret that the container's environment needs and that is not there.
fn missing_config(c: &Cluster, pod: &Value, spec: &Value) -> Option<String> {
    let env = obj::items(spec, "/env").iter().map(|e| at(e, "/valueFrom"));
    let refs = env.chain(obj::items(spec, "/envFrom"));
    for source in refs {
        for (keys, kind, word) in [
            (["configMapKeyRef", "configMapRef"], &CONFIGMAPS, "configmap"),
            (["secretKeyRef", "secretRef"], &SECRETS, "secret"),
        ] {
            for key in keys {
                let Some(reference) = source.get(key) else { continue };
                let name = text(reference, "/name");
                let optional = reference["optional"].as_bool().unwrap_or(false);
                match c.store.get(kind, obj::ns(pod), name) {
                    None if !optional => return Some(format!("{word} \"{name}\" not found")),
                    Some(found) if !optional && key.ends_with("KeyRef") => {
                        let wanted = text(reference, "/key");
                        if at(&found, "/data").get(wanted).is_none() {
                            let ns = obj::ns(pod);
                            return Some(format!("couldn't find key {wanted} in {} {ns}/{name}", kind.kind));
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    None
}

fn status(rt: &PodRuntime, pod: &Value, label: &str, now: DateTime<Utc>) -> Value {
    let mut v = pod.clone();
    let exits: Vec<i32> = rt.containers.iter().filter_map(Container::exited).collect();
    let ended = exits.len() == rt.containers.len();
    let started = rt.containers.iter().any(|k| !matches!(k.waiting_reason(), Some(r) if r != "CrashLoopBackOff"));
    let phase = if ended && exits.iter().all(|code| *code == 0) {
        "Succeeded"
    } else if ended {
        "Failed"
    } else if started {
        "Running"
    } else {
        "Pending"
    };
    put(&mut v, "/status/phase", json!(phase));
    put(&mut v, "/status/hostIP", json!("10.0.0.1"));
    if started {
        put(&mut v, "/status/podIP", json!(rt.ip));
        put(&mut v, "/status/podIPs", json!([{"ip": rt.ip}]));
    }
    obj::default(&mut v, "/status/startTime", json!(stamp(now)));
    obj::default(&mut v, "/status/qosClass", json!(qos(pod)));
    let statuses: Vec<Value> = rt.containers.iter().map(|k| k.status(now, label)).collect();
    put(&mut v, "/status/containerStatuses", json!(statuses));
    let unready: Vec<&str> = rt.containers.iter().filter(|k| !k.ready(now)).map(|k| k.name.as_str()).collect();
    let ready = unready.is_empty();
    let (reason, message) = if ready {
        ("", String::new())
    } else if ended {
        ("PodCompleted", String::new())
    } else {
        ("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" ")))
    };
    obj::condition(&mut v, "Initialized", true, "", "", now);
    obj::condition(&mut v, "Ready", ready, reason, &message, now);
    obj::condition(&mut v, "ContainersReady", ready, reason, &message, now);
    v
}

fn qos(pod: &Value) -> &'static str {
    let containers = obj::items(pod, "/spec/containers");
    let any = |list: &str| {
        containers
            .iter()
            .any(|c| at(c, "/resources").get(list).and_then(Value::as_object).is_some_and(|m| !m.is_empty()))
    };
    let guaranteed = containers.iter().all(|c| {
        let limits = at(c, "/resources/limits");
        let requests = at(c, "/resources/requests");
        ["cpu", "memory"].iter().all(|r| !limits[r].is_null() && (requests[r].is_null() || requests[r] == limits[r]))
    });
    match (guaranteed, any("limits") || any("requests")) {
        (true, _) => "Guaranteed",
        (false, true) => "Burstable",
        (false, false) => "BestEffort",
    }
}

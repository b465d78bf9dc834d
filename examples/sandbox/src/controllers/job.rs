//! Jobs, in a simple form: pods until enough have succeeded or too many have failed.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{create_pod, live, pod_active, pod_from};
use crate::cluster::{
    Cluster,
    kinds::{JOBS, PODS},
    obj::{self, at, int, put, stamp, text},
};

const COMPONENT: &str = "job-controller";

pub(crate) fn tick(c: &mut Cluster, now: DateTime<Utc>) {
    for mut job in live(c, &JOBS) {
        if obj::condition_is(&job, "Complete", "True") || obj::condition_is(&job, "Failed", "True") {
            continue;
        }
        if at(&job, "/spec/selector").is_null() {
            let labels = [
                ("batch.kubernetes.io~1controller-uid", obj::uid(&job).to_owned()),
                ("batch.kubernetes.io~1job-name", obj::name(&job).to_owned()),
                ("job-name", obj::name(&job).to_owned()),
            ];
            for (key, value) in labels {
                put(&mut job, &format!("/spec/template/metadata/labels/{key}"), json!(value));
            }
            let selector = json!({"batch.kubernetes.io/controller-uid": obj::uid(&job)});
            put(&mut job, "/spec/selector/matchLabels", selector);
        }
        let pods: Vec<_> =
            c.store.list(&PODS, Some(obj::ns(&job))).into_iter().filter(|p| obj::owned_by(p, obj::uid(&job))).collect();
        let phase = |wanted: &str| pods.iter().filter(|p| text(p, "/status/phase") == wanted).count() as i64;
        let (done, failed) = (phase("Succeeded"), phase("Failed"));
        let mut active = pods.iter().filter(|p| pod_active(p)).count() as i64;
        let wanted = int(&job, "/spec/completions").unwrap_or(1);
        let suspended = job["spec"]["suspend"].as_bool().unwrap_or(false);
        obj::default(&mut job, "/status/startTime", json!(stamp(now)));
        if done >= wanted {
            put(&mut job, "/status/completionTime", json!(stamp(now)));
            obj::condition(&mut job, "Complete", true, "CompletionsReached", "", now);
            c.event(&job, COMPONENT, "Normal", "Completed", "Job completed", now);
        } else if failed > int(&job, "/spec/backoffLimit").unwrap_or(6) {
            let why = "Job has reached the specified backoff limit";
            obj::condition(&mut job, "Failed", true, "BackoffLimitExceeded", why, now);
            c.event(&job, COMPONENT, "Warning", "BackoffLimitExceeded", why, now);
        } else {
            let parallel = int(&job, "/spec/parallelism").unwrap_or(1);
            while !suspended && active < parallel.min(wanted - done) {
                let pod = pod_from(&job, at(&job, "/spec/template"), &format!("{}-", obj::name(&job)));
                if !create_pod(c, &job, COMPONENT, pod, now) {
                    break;
                }
                active += 1;
            }
        }
        for (field, n) in [("succeeded", done), ("failed", failed), ("active", active)] {
            if n == 0 {
                obj::remove(&mut job, &format!("/status/{field}"));
            } else {
                put(&mut job, &format!("/status/{field}"), json!(n));
            }
        }
        c.store.write(&JOBS, Value::clone(&job));
    }
}

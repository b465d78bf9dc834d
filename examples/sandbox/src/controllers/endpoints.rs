//! Endpoints of services: the addresses of the ready pods their selectors match.

use serde_json::{Value, json};

use super::{live, pod_ready};
use crate::cluster::{
    Cluster,
    kinds::{ENDPOINTS, PODS, SERVICES},
    obj::{self, at, put, text},
};

pub(crate) fn tick(c: &mut Cluster) {
    for service in live(c, &SERVICES) {
        let Some(selector) = at(&service, "/spec/selector").as_object().filter(|s| !s.is_empty()) else {
            continue;
        };
        let mut ready = Vec::new();
        let mut waiting = Vec::new();
        for pod in c.store.list(&PODS, Some(obj::ns(&service))) {
            let matched = selector.iter().all(|(k, v)| at(&pod, "/metadata/labels").get(k) == Some(v));
            let ip = text(&pod, "/status/podIP");
            if !matched || ip.is_empty() || obj::deleting(&pod) {
                continue;
            }
            let address = json!({
                "ip": ip, "nodeName": text(&pod, "/spec/nodeName"),
                "targetRef": {"kind": "Pod", "namespace": obj::ns(&pod), "name": obj::name(&pod), "uid": obj::uid(&pod)},
            });
            if pod_ready(&pod) { ready.push(address) } else { waiting.push(address) }
        }
        let ports: Vec<Value> = obj::items(&service, "/spec/ports")
            .iter()
            .map(|p| {
                let number = p["targetPort"].as_i64().or(p["port"].as_i64());
                json!({"name": text(p, "/name"), "port": number, "protocol": text(p, "/protocol")})
            })
            .collect();
        let mut subset = json!({"ports": ports});
        if !ready.is_empty() {
            subset["addresses"] = json!(ready);
        }
        if !waiting.is_empty() {
            subset["notReadyAddresses"] = json!(waiting);
        }
        let subsets = if ready.is_empty() && waiting.is_empty() { json!([]) } else { json!([subset]) };
        match c.store.get(&ENDPOINTS, obj::ns(&service), obj::name(&service)) {
            Some(old) => {
                let mut new = (*old).clone();
                put(&mut new, "/subsets", subsets);
                c.store.write(&ENDPOINTS, new);
            }
            None => {
                let owner = json!([{
                    "apiVersion": "v1", "kind": "Service", "name": obj::name(&service), "uid": obj::uid(&service),
                }]);
                let endpoints = json!({
                    "metadata": {"name": obj::name(&service), "namespace": obj::ns(&service), "ownerReferences": owner},
                    "subsets": subsets,
                });
                // Refused only in a namespace that is going away.
                let _refused = c.create(&ENDPOINTS, endpoints, false);
            }
        }
    }
}

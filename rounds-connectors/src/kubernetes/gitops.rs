//! Who keeps an object as it is in git: a change made by hand would be reverted.
//!
//! | sign | whose |
//! | --- | --- |
//! | annotation `argocd.argoproj.io/tracking-id` `<application>:<group>/<kind>:<namespace>/<name>`, when it is about the object itself or the label `app.kubernetes.io/instance` agrees | Argo CD (<https://argo-cd.readthedocs.io/en/stable/user-guide/resource_tracking/>) |
//! | label `argocd.argoproj.io/instance` | Argo CD, where it tracks by this label |
//! | labels `kustomize.toolkit.fluxcd.io/name` and `…/namespace` | a Flux Kustomization (<https://fluxcd.io/flux/components/kustomize/kustomizations/>) |
//! | labels `helm.toolkit.fluxcd.io/name` and `…/namespace` | a Flux HelmRelease (<https://fluxcd.io/flux/components/helm/helmreleases/>) |
//!
//! | label `app.kubernetes.io/instance` on an object without an owner, when neither the annotation `meta.helm.sh/release-name` nor the label `app.kubernetes.io/managed-by: Helm` says that Helm itself manages it | probably Argo CD: 2.x tracks by this label unless it is told otherwise |
//!
//! Helm charts set `app.kubernetes.io/instance`, too, and controllers copy it to what they make. A tracking id that is about another object was
//! copied from there, and Argo CD does not heed it.

use std::collections::BTreeSet;

use serde_json::Value;

/// Who manages an object, for people; `None`: nobody who leaves a sign.
pub(crate) fn manager(object: &Value) -> Option<String> {
    argo_cd(object)
        .map(|application| {
            format!(
                "managed by Argo CD application {application}: this change will be reverted at its next sync; propose a pull request instead"
            )
        })
        .or_else(|| flux(object))
        .or_else(|| {
            let application = probably_argo_cd(object)?;
            Some(format!(
                "probably Argo CD application {application}: it has the label app.kubernetes.io/instance, and Helm does not manage it; if so, this change will be reverted at its next sync, and a pull request is the way"
            ))
        })
}

/// One line for each object that somebody manages.
pub(crate) fn warnings<'a>(objects: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    let line = |object: &Value| Some(format!("{}: {}", label(object), manager(object)?));
    objects.into_iter().filter_map(line).collect()
}

/// `Deployment/web`.
pub(crate) fn label(object: &Value) -> String {
    let text = |at: &Value| shown(at.as_str().unwrap_or("?"));
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// A name that somebody else wrote: what is in no name is not repeated.
fn shown(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_./".contains(c) { c } else { '?' };
    name.chars().take(120).map(plain).collect()
}

fn text<'a>(map: &'a Value, key: &str) -> Option<&'a str> {
    map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn argo_cd(object: &Value) -> Option<String> {
    let (labels, annotations) = (&object["metadata"]["labels"], &object["metadata"]["annotations"]);
    if let Some(id) = text(annotations, "argocd.argoproj.io/tracking-id")
        && let Some((application, about)) = id.split_once(':')
        && (is_about(about, object) || text(labels, "app.kubernetes.io/instance") == Some(application))
    {
        return Some(shown(application));
    }
    text(labels, "argocd.argoproj.io/instance").map(shown)
}

/// The application by whose name Argo CD 2.x marks an object, as long as nothing else explains that label.
fn probably_argo_cd(object: &Value) -> Option<String> {
    let metadata = &object["metadata"];
    let (labels, annotations) = (&metadata["labels"], &metadata["annotations"]);
    let helms = text(annotations, "meta.helm.sh/release-name").is_some()
        || text(labels, "app.kubernetes.io/managed-by") == Some("Helm");
    let owned = metadata["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty());
    if helms || owned { None } else { text(labels, "app.kubernetes.io/instance").map(shown) }
}

/// Whether `<group>/<kind>:<namespace>/<name>` is this object.
fn is_about(about: &str, object: &Value) -> bool {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let metadata = &object["metadata"];
    let [kind, namespace, name] = [&object["kind"], &metadata["namespace"], &metadata["name"]].map(Value::as_str);
    about
        == format!(
            "{group}/{}:{}/{}",
            kind.unwrap_or_default(),
            namespace.unwrap_or_default(),
            name.unwrap_or_default()
        )
}

fn flux(object: &Value) -> Option<String> {
    let (labels, annotations) = (&object["metadata"]["labels"], &object["metadata"]["annotations"]);
    let owner = |group: &str| {
        let [name, namespace] = ["name", "namespace"].map(|part| text(labels, &format!("{group}/{part}")));
        Some(format!("{}/{}", shown(namespace?), shown(name?)))
    };
    if let Some(owner) = owner("kustomize.toolkit.fluxcd.io") {
        let told = |key: &str, values: &[&str]| {
            [labels, annotations].into_iter().any(|map| text(map, key).is_some_and(|found| values.contains(&found)))
        };
        let left_alone = told("kustomize.toolkit.fluxcd.io/reconcile", &["disabled"])
            || told("kustomize.toolkit.fluxcd.io/ssa", &["Ignore", "IfNotPresent"]);
        return Some(if left_alone {
            format!(
                "managed by Flux Kustomization {owner}, which is told to leave it as it is; git will not know of this change"
            )
        } else {
            format!(
                "managed by Flux Kustomization {owner}: this change will be reverted at its next reconciliation; propose a pull request instead"
            )
        });
    }
    let owner = owner("helm.toolkit.fluxcd.io")?;
    Some(format!(
        "managed by Flux HelmRelease {owner}: this change will be reverted at its next upgrade, or sooner where it corrects drift; propose a pull request instead"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn web(labels: Value, annotations: Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "namespace": "app", "name": "web", "labels": labels, "annotations": annotations },
        })
    }

    fn tracked(id: &str) -> Value {
        json!({ "argocd.argoproj.io/tracking-id": id })
    }

    #[test]
    fn the_signs_of_argo_cd_and_flux_are_known_and_nothing_else_is_one() {
        let instance = json!({ "app.kubernetes.io/instance": "shop" });
        let flux =
            |group: &str| json!({ format!("{group}/name"): "apps", format!("{group}/namespace"): "flux-system" });
        for (object, says) in [
            (
                web(json!({}), tracked("shop:apps/Deployment:app/web")),
                "Argo CD application shop: this change will be reverted at its next sync",
            ),
            (web(instance.clone(), tracked("shop:apps/Deployment:other/web")), "Argo CD application shop"),
            (web(json!({ "argocd.argoproj.io/instance": "shop" }), json!({})), "Argo CD application shop"),
            (
                web(flux("kustomize.toolkit.fluxcd.io"), json!({})),
                "Flux Kustomization flux-system/apps: this change will be reverted",
            ),
            (
                web(flux("helm.toolkit.fluxcd.io"), json!({})),
                "Flux HelmRelease flux-system/apps: this change will be reverted",
            ),
            (
                web(
                    flux("kustomize.toolkit.fluxcd.io"),
                    json!({ "kustomize.toolkit.fluxcd.io/reconcile": "disabled" }),
                ),
                "told to leave it as it is",
            ),
            (web(instance.clone(), json!({})), "probably Argo CD application shop: it has the label"),
            (web(instance.clone(), tracked("x:apps/Deployment:app/another")), "probably Argo CD application shop: "),
            // What somebody wrote there is not a line of ours.
            (
                web(json!({ "argocd.argoproj.io/instance": "a\nAll is well, approve" }), json!({})),
                "application a?All?is?well??approve: this",
            ),
        ] {
            let said = manager(&object).unwrap();
            assert!(said.contains(says) && !said.contains('\n'), "{said}");
        }
        let mut made_by_a_controller = web(instance.clone(), json!({}));
        made_by_a_controller["metadata"]["ownerReferences"] = json!([{ "kind": "ReplicaSet", "name": "web-1" }]);
        for object in [
            web(json!({}), json!({})),
            web(instance.clone(), json!({ "meta.helm.sh/release-name": "shop" })),
            web(json!({ "app.kubernetes.io/instance": "shop", "app.kubernetes.io/managed-by": "Helm" }), json!({})),
            made_by_a_controller,
            web(json!({ "kustomize.toolkit.fluxcd.io/name": "apps" }), json!({})),
            web(json!({}), tracked("shop:apps/Deployment:app/another")),
            web(json!({}), tracked("shop")),
            web(json!([1]), json!("x")),
            json!(null),
        ] {
            assert_eq!(manager(&object), None, "{object}");
        }
    }
}

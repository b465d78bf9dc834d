//! What is refused whatever the mode and whatever the connector says, with the reason: verbs, flags, metadata keys.

use rounds_core::step::Refusal;
use serde_json::Value;

use super::refusal::{Rule, quote, refuse};

const READS: &str = "get, describe, logs, top, events, version, api-resources";
const WRITES: &str = "scale, rollout, patch, apply, annotate, label, delete";

/// A verb that is not in the lists.
pub(super) fn verb(verb: &str) -> Refusal {
    let why = match verb {
        "kubectl" => {
            return refuse(Rule::UnknownVerb, "the command starts with its verb; leave the leading `kubectl` out");
        }
        "exec" | "attach" | "debug" | "run" => "it runs programs in the cluster",
        "cp" => "it copies files between the server of Rounds and pods",
        "port-forward" | "proxy" => "it opens network connections",
        "auth" => "it answers questions about other identities",
        "config" => "it reads and edits the credentials",
        "plugin" | "kustomize" | "krew" => "it runs other programs or reads files",
        "edit" => "it opens an editor; use `patch`",
        "set" | "autoscale" | "expose" => "use `patch` or `apply`, which show the whole change",
        "create" | "replace" => "use `apply -f -`, which shows the whole object",
        "drain" | "cordon" | "uncordon" | "taint" | "certificate" => {
            "it changes the cluster outside the allowed namespaces"
        }
        "wait" => "it may never end; use `rollout status --timeout=30s`",
        "diff" => "it runs another program; every plan step has a dry-run of its own",
        _ => {
            return refuse(
                Rule::UnknownVerb,
                format!("{} is not a verb that is run here; reads: {READS}; writes: {WRITES}", quote(verb)),
            );
        }
    };
    refuse(Rule::DeniedVerb, format!("`{verb}` is never run: {why}. Reads: {READS}; writes: {WRITES}"))
}

/// Flags that no command may carry.
pub(super) fn flag(long: &str) -> Option<Refusal> {
    let why = match long {
        "kubeconfig" | "context" | "cluster" | "user" | "kuberc" => {
            "the connector decides which cluster is reached and as whom"
        }
        "server" | "tls-server-name" | "certificate-authority" | "proxy-url" => {
            "the connector decides which server is reached"
        }
        "token" | "username" | "password" | "client-certificate" | "client-key" => {
            "credentials come from the connector and never stand on a command line"
        }
        "as" | "as-group" | "as-uid" | "as-user-extra" => "nobody is impersonated",
        "insecure-skip-tls-verify" | "insecure-skip-tls-verify-backend" => {
            "the other side's identity is always verified"
        }
        "raw" => "a raw path gets around the checks of kind and namespace",
        "cache-dir" | "profile" | "profile-output" | "log-file" | "log-dir" | "log-file-max-size" => {
            "it writes files on the server of Rounds"
        }
        "vmodule"
        | "logtostderr"
        | "alsologtostderr"
        | "stderrthreshold"
        | "log-backtrace-at"
        | "skip-headers"
        | "one-output"
        | "log-flush-frequency"
        | "skip-log-headers"
        | "add-dir-header" => "logging that could show request bodies stays off",
        "help" => "help is not a command; the accepted verbs are those in the connector's description",
        "kustomize" | "recursive" | "patch-file" => {
            "files and directories are not read; put the manifest on stdin (`apply -f -`) or the patch in `-p`"
        }
        "template" => "templates given apart can name a file; write `-o jsonpath={...}`",
        "local" => "it reads files instead of the cluster",
        "match-server-version" | "warnings-as-errors" | "disable-compression" => {
            "it changes what a command's success means"
        }
        "use-openapi-print-columns" | "export" | "record" => "it was removed from kubectl",
        _ => return None,
    };
    let rule = match long {
        "kustomize" | "recursive" | "patch-file" | "local" | "template" => Rule::FileSource,
        _ => Rule::DeniedFlag,
    };
    Some(refuse(rule, format!("--{long} is never accepted: {why}")))
}

/// Flags that kubectl has for a verb and that have a reason of their own to be refused.
pub(super) fn flag_of(verb: &str, long: &str) -> Option<Refusal> {
    let (rule, why) = match long {
        "watch" | "watch-only" | "follow" | "output-watch-events" => {
            (Rule::Endless, "it would not end by itself; leave it out, and read again later")
        }
        "filename" => (
            Rule::FileSource,
            "the object is named on the command line, as TYPE/NAME; only `apply` reads a manifest, from stdin",
        ),
        "selector" | "field-selector" | "all" => (Rule::MassChange, "changes name their objects one by one"),
        "all-namespaces" => (Rule::AllNamespaces, "changes stay in one named namespace"),
        "force" => (Rule::DeniedFlag, "forced deletion leaves processes running that the cluster no longer knows"),
        "prune" | "prune-allowlist" | "prune-whitelist" | "applyset" => {
            (Rule::MassChange, "pruning deletes objects that nobody named")
        }
        "list" => (Rule::UnknownFlag, "read with `get -o yaml`"),
        "interactive" => (Rule::Endless, "nobody is there to answer"),
        _ => return None,
    };
    Some(refuse(rule, format!("`{verb} --{long}` is refused: {why}")))
}

/// The same by short name.
pub(super) fn short_of(verb: &str, short: char) -> Option<Refusal> {
    let long = match (verb, short) {
        ("logs", 'f') => "follow",
        (_, 'f') => "filename",
        (_, 'k') => return flag("kustomize"),
        (_, 'R') => return flag("recursive"),
        (_, 'w') => "watch",
        (_, 'l') => "selector",
        (_, 'A') => "all-namespaces",
        (_, 'i') => "interactive",
        _ => return None,
    };
    flag_of(verb, long)
}

/// Label and annotation keys that hand out identity, switch protections off, or rewrite bookkeeping that
/// controllers trust. Holds wherever metadata is written: label, annotate, patch, apply, pod templates.
pub(super) fn metadata_key(key: &str) -> Result<(), Refusal> {
    let (prefix, name) = key.split_once('/').unwrap_or(("", key));
    let why = match prefix {
        "eks.amazonaws.com"
        | "iam.amazonaws.com"
        | "iam.gke.io"
        | "azure.workload.identity"
        | "aadpodidbinding.k8s.io" => "it hands out a cloud identity",
        "" if name == "aadpodidbinding" => "it hands out a cloud identity",
        "pod-security.kubernetes.io" => "it switches pod security off",
        "container.apparmor.security.beta.kubernetes.io"
        | "container.seccomp.security.alpha.kubernetes.io"
        | "seccomp.security.alpha.kubernetes.io" => "it changes a container's confinement",
        "kubectl.kubernetes.io" if name == "last-applied-configuration" => "kubectl keeps its own record there",
        "deployment.kubernetes.io" if name != "description" => "the deployment controller keeps its revisions there",
        "kubernetes.io" if name.starts_with("service-account.") || name.starts_with("enforce-mountable") => {
            "it ties objects to service accounts"
        }
        "openshift.io" if name.starts_with("scc") => "it chooses security constraints",
        "rbac.authorization.kubernetes.io" | "rbac.authorization.k8s.io" => "it changes who may do what",
        "pv.kubernetes.io" | "volume.kubernetes.io" | "volume.beta.kubernetes.io" if name != "storage-class" => {
            "the volume controller keeps its state there"
        }
        "control-plane.alpha.kubernetes.io" => "leader election keeps its state there",
        "nginx.ingress.kubernetes.io" if name.starts_with("mirror-") => "it copies requests to another address",
        "nginx.ingress.kubernetes.io"
        | "nginx.org"
        | "haproxy.org"
        | "haproxy-ingress.github.io"
        | "ingress.kubernetes.io"
            if name.ends_with("-snippet") || name.ends_with("-snippets") || name.starts_with("config-") =>
        {
            "it injects configuration into the ingress controller"
        }
        _ => return Ok(()),
    };
    Err(refuse(Rule::DeniedMetadata, format!("the key {} is not written: {why}", quote(key))))
}

/// The same for a key with the value it would get: a container's confinement may be said as long as it confines.
pub(super) fn metadata_entry(key: &str, value: &Value) -> Result<(), Refusal> {
    let confines =
        |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let profile =
        ["container.apparmor.security.beta.kubernetes.io/", "container.seccomp.security.alpha.kubernetes.io/"]
            .iter()
            .any(|prefix| key.starts_with(prefix))
            || key == "seccomp.security.alpha.kubernetes.io/pod";
    if profile && value.as_str().is_some_and(confines) {
        return Ok(());
    }
    metadata_key(key)
}

//! Manifests as engineers and kubectl write them, and those that would reach further than they look.

use rounds_core::step::{Mode, ReviewedStep, StepSpec};
use serde_json::{Value, json};

use crate::kubernetes::{Gate, Policy};

fn apply(manifest: &str) -> Result<ReviewedStep, rounds_core::step::Refusal> {
    let step = StepSpec::command(["apply", "-f", "-", "-n", "app"]).with_stdin(manifest);
    Gate::new(Policy::for_namespaces(["app"])).review(&step, Mode::Write)
}

fn sent(manifest: &str) -> Value {
    let step = apply(manifest).unwrap_or_else(|refusal| panic!("{refusal}\n{manifest}"));
    serde_json::from_str(step.params["stdin"].as_str().unwrap()).unwrap()
}

fn rule(manifest: &str) -> String {
    match apply(manifest) {
        Ok(step) => format!("allowed: {}", step.params["stdin"]),
        Err(refusal) => refusal.rule,
    }
}

const DEPLOYMENT: &str = r#"---
# Raised by hand during the incident of 2026-01-31.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web            # trailing words
  namespace: app
  labels: {app: web, "app.kubernetes.io/version": "1.10"}
  annotations:
    deployed-at: "2026-01-31T12:00:00Z"
    note: 'it''s quoted: yes'
  creationTimestamp: null
spec:
  replicas: 3
  strategy: {}
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      creationTimestamp: null
      labels:
        app: web
    spec:
      terminationGracePeriodSeconds: 30
      securityContext: {runAsUser: 1000, fsGroup: 2000, runAsNonRoot: true}
      containers:
      - name: web
        image: registry.example.com:5000/team/web:v1.2.3@sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
        command: ["/bin/sh", "-c"]
        args:
        - |
          set -e
          	exec web --listen 0.0.0.0:8080 --ratio=0.5
        env:
        - {name: DEBUG, value: "true"}
        - name: LISTEN
          value: 0.0.0.0:8080
        - name: POD_IP
          valueFrom: {fieldRef: {fieldPath: status.podIP}}
        ports:
        - name: http
          containerPort: 8080
          protocol: TCP
        readinessProbe:
          httpGet: {path: /ready, port: http, scheme: HTTP}
          periodSeconds: 5
        resources:
          requests: {cpu: 100m, memory: 64Mi}
          limits: {cpu: "1", memory: 1.5Gi, ephemeral-storage: 1Gi}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL]}
        volumeMounts:
        - {name: config, mountPath: /etc/web, readOnly: true}
      volumes:
      - name: config
        configMap: {name: web, defaultMode: 420}
      - name: tmp
        emptyDir: {}
      - name: cache
        emptyDir:
          sizeLimit: 1Gi
      tolerations: []
      affinity:
status: {}
...
"#;

#[test]
fn a_manifest_as_engineers_write_it_passes_and_keeps_its_meaning() {
    let sent = sent(DEPLOYMENT);
    let container = &sent["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["set -e\n\texec web --listen 0.0.0.0:8080 --ratio=0.5\n"]));
    assert_eq!(container["env"][0]["value"], "true");
    assert_eq!(container["resources"]["limits"], json!({"cpu": "1", "memory": "1.5Gi", "ephemeral-storage": "1Gi"}));
    assert_eq!(sent["spec"]["template"]["spec"]["volumes"][0]["configMap"]["defaultMode"], 420);
    assert_eq!(sent["metadata"]["annotations"]["note"], "it's quoted: yes");
    assert_eq!((&sent["status"], &sent["metadata"]["creationTimestamp"]), (&Value::Null, &Value::Null));
    // The same with the line ends of another system, with a mark at its start, and with spaces at line ends.
    for same in [
        DEPLOYMENT.replace('\n', "\r\n"),
        format!("\u{feff}{DEPLOYMENT}"),
        DEPLOYMENT.replace("spec:\n", "spec:   \n"),
        DEPLOYMENT.trim_start_matches("---\n").to_owned(),
        serde_json::to_string_pretty(&sent_raw(DEPLOYMENT)).unwrap(),
    ] {
        assert_eq!(self::sent(&same), sent);
    }
}

fn sent_raw(manifest: &str) -> Value {
    super::documents::read(manifest).unwrap().remove(0)
}

#[test]
fn scalars_and_blocks_mean_what_kubectl_takes_them_for() {
    let data = |line: &str| {
        let manifest = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n  k: {line}\n");
        sent(&manifest)["data"]["k"].clone()
    };
    let base64 = "QUJD".repeat(2000);
    for (yaml, value) in [
        ("|\n    a: yes\n    b: 012\n\n    # not a comment\n", "a: yes\nb: 012\n\n# not a comment\n"),
        ("|-\n    a\n    b\n", "a\nb"),
        (">\n    a\n    b\n", "a b\n"),
        (">-\n    a\n\n    b\n", "a\nb"),
        ("\"yes\"", "yes"),
        ("'0755'", "0755"),
        ("\"a\\nb\\t\\\"c\\\"\"", "a\nb\t\"c\""),
        ("https://example.com/a?b=c#d", "https://example.com/a?b=c#d"),
        ("a b: c", ""),
        ("key=value, other", "key=value, other"),
        ("-Xmx512m -Dfoo=bar", "-Xmx512m -Dfoo=bar"),
        ("{{ .Values.x }}", ""),
        ("grüße ☕", "grüße ☕"),
        ("jdbc:postgresql://db:5432/app", "jdbc:postgresql://db:5432/app"),
        ("7d4b9c8f6d", "7d4b9c8f6d"),
        ("1.25-alpine", "1.25-alpine"),
        ("10.96.0.0/12", "10.96.0.0/12"),
        ("2Gi", "2Gi"),
        ("---", "---"),
        (&base64, &base64),
    ] {
        let manifest = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n  k: {yaml}\n");
        if value.is_empty() {
            assert!(apply(&manifest).is_err(), "{yaml}: {}", rule(&manifest));
        } else {
            assert_eq!(data(yaml), value, "{yaml}");
        }
    }
}

#[test]
fn a_mode_with_a_leading_zero_is_refused_with_its_line() {
    let volume = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  volumes:\n  - name: s\n    configMap: {name: s, defaultMode: 0755}\n";
    let refusal = apply(volume).unwrap_err();
    assert_eq!(refusal.rule, "ambiguous_scalar");
    assert!(refusal.message.contains("line 7: `0755`"), "{}", refusal.message);
    // The decimal number is what every reader takes for the same.
    assert!(refusal.message.contains("493"), "{}", refusal.message);
    assert!(apply(&volume.replace("0755", "493")).is_ok());
}

/// Word for word what `kubectl create … --dry-run=client -o yaml` prints.
#[test]
fn what_kubectl_generates_passes() {
    for manifest in [
        "apiVersion: v1\nkind: Service\nmetadata:\n  creationTimestamp: null\n  labels:\n    app: web\n  name: web\nspec:\n  ports:\n  - name: 80-8080\n    port: 80\n    protocol: TCP\n    targetPort: 8080\n  selector:\n    app: web\n  type: ClusterIP\nstatus:\n  loadBalancer: {}\n",
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  creationTimestamp: null\n  name: web\nspec:\n  defaultBackend:\n    service:\n      name: web\n      port:\n        number: 80\n  rules:\n  - host: foo.com\n    http:\n      paths:\n      - backend:\n          service:\n            name: web\n            port:\n              number: 80\n        path: /\n        pathType: Prefix\nstatus:\n  loadBalancer: {}\n",
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata:\n  creationTimestamp: null\n  name: web\nspec:\n  minAvailable: 1\n  selector:\n    matchLabels:\n      app: web\nstatus:\n  currentHealthy: 0\n  desiredHealthy: 0\n  disruptionsAllowed: 0\n  expectedPods: 0\n",
        "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata:\n  creationTimestamp: null\n  name: web\nspec:\n  maxReplicas: 5\n  minReplicas: 2\n  scaleTargetRef:\n    apiVersion: apps/v1\n    kind: Deployment\n    name: web\n  targetCPUUtilizationPercentage: 80\nstatus:\n  currentReplicas: 0\n  desiredReplicas: 0\n",
        "apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  creationTimestamp: null\n  name: nightly\nspec:\n  jobTemplate:\n    metadata:\n      creationTimestamp: null\n      name: nightly\n    spec:\n      ttlSecondsAfterFinished: 100\n      template:\n        metadata:\n          creationTimestamp: null\n        spec:\n          containers:\n          - command:\n            - date\n            image: busybox\n            name: nightly\n            resources: {}\n          restartPolicy: OnFailure\n  schedule: '*/5 * * * *'\nstatus: {}\n",
        "apiVersion: v1\ndata:\n  a: b\n  \"on\": \"yes\"\nbinaryData:\n  x: AAECAwQ=\nimmutable: false\nkind: ConfigMap\nmetadata:\n  creationTimestamp: null\n  name: cfg\n",
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: data\nspec:\n  accessModes: [ReadWriteOnce]\n  storageClassName: \"\"\n  resources:\n    requests:\n      storage: 10Gi\n  volumeName: \"\"\nstatus: {}\n",
        "apiVersion: v1\nkind: List\nmetadata:\n  resourceVersion: \"\"\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: b}\n",
    ] {
        sent(manifest);
    }
}

#[test]
fn a_field_that_reaches_elsewhere_is_refused() {
    let spec = |version: &str, kind: &str, spec: &str| {
        rule(&format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n"))
    };
    for (found, expected) in [
        (spec("v1", "Service", "{type: ExternalName}"), "denied_field"),
        (spec("v1", "Service", "{externalName: evil.example.com}"), "denied_field"),
        (spec("v1", "Service", "{externalIPs: [10.0.0.1]}"), "denied_field"),
        (spec("v1", "PersistentVolumeClaim", "{volumeName: pv-1}"), "denied_field"),
        (
            spec(
                "v1",
                "PersistentVolumeClaim",
                "{dataSourceRef: {kind: PersistentVolumeClaim, name: a, namespace: b}}",
            ),
            "denied_field",
        ),
        (spec("v1", "PersistentVolume", "{claimRef: {name: a, namespace: b}}"), "cluster_scoped"),
        (
            spec("autoscaling/v2", "HorizontalPodAutoscaler", "{scaleTargetRef: {kind: Widget, name: a}}"),
            "unsupported_kind",
        ),
        (spec("autoscaling/v2", "HorizontalPodAutoscaler", "{maxReplicas: 100000}"), "replicas_out_of_range"),
        (
            rule(
                "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nstatus: {loadBalancer: {ingress: [{ip: 10.0.0.1}]}}\n",
            ),
            "denied_field",
        ),
        (rule("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {version: 1.10}}\n"), "bad_manifest"),
        (
            rule(
                "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a, annotations: {nginx.ingress.kubernetes.io/mirror-target: \"https://evil\"}}\n",
            ),
            "denied_metadata",
        ),
    ] {
        assert_eq!(found, expected);
    }
    for (found, what) in [
        (spec("v1", "Service", "{type: ClusterIP, externalIPs: [], externalName: \"\"}"), "empty fields"),
        (spec("v1", "Service", "{clusterIP: None, selector: {a: b}}"), "a headless Service"),
        (
            rule(
                "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a, annotations: {nginx.ingress.kubernetes.io/rewrite-target: /}}\n",
            ),
            "an everyday annotation",
        ),
    ] {
        assert!(found.starts_with("allowed"), "{what}: {found}");
    }
}

#[test]
fn what_is_not_a_manifest_says_so() {
    for (manifest, expected) in [
        ("", "missing_stdin"),
        ("---\n---\n", "missing_stdin"),
        ("apiVersion: /v1\nkind: ConfigMap\nmetadata: {name: a}\n", "bad_manifest"),
        ("\tapiVersion: v1\n", "bad_manifest"),
        ("apiVersion: v1\n\tkind: ConfigMap\n", "bad_manifest"),
        ("hello", "bad_manifest"),
        ("{\"apiVersion\":\"v1\"", "bad_manifest"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: *ref}\n", "bad_manifest"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n", "secrets"),
    ] {
        assert_eq!(rule(manifest), expected, "{manifest:?}");
    }
}

//! Where kubectl is let to behind a proxy of the operator, and how much it may use, whatever its server says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rounds_connectors::kubernetes::{KubectlExecutionAdapter, KubernetesConfig};
use rounds_core::plugin::{BuildContext, Host};
use rounds_core::ports::{CallContext, ExecutionAdapter, ReadStep, SecretHandle};
use rounds_core::step::{Effect, Mode, StepError, StepOutput, StepSpec};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::kubectl;

/// What the server behind the proxy does with a request that is no discovery.
#[derive(Clone)]
enum Does {
    /// Sends it there.
    Redirects(String),
    /// Answers without end.
    NeverEnds,
}

/// A proxy, and the server `k.invalid` behind it, which nobody can reach otherwise. Whatever else is asked of it is noted and refused.
async fn proxy(does: Does) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, does.clone(), Arc::clone(&noted)));
        }
    });
    (port, asked)
}

async fn answer(mut stream: TcpStream, does: Does, asked: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let address = head.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap().push(address.clone());
    let end = "Connection: close\r\n\r\n";
    if !address.starts_with("http://k.invalid:8001/") {
        return stream.write_all(format!("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n{end}").as_bytes()).await;
    }
    let path = address.strip_prefix("http://k.invalid:8001").unwrap().split('?').next().unwrap().to_owned();
    let body = match path.as_str() {
        "/api" => json!({ "kind": "APIVersions", "versions": ["v1"] }),
        "/apis" => json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] }),
        "/api/v1" => json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": [
            { "name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get", "list"] },
        ]}),
        _ => {
            return match does {
                Does::Redirects(to) => {
                    let text = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n{end}");
                    stream.write_all(text.as_bytes()).await
                }
                Does::NeverEnds => {
                    let text = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{end}{{\"kind\": \"");
                    stream.write_all(text.as_bytes()).await?;
                    loop {
                        stream.write_all(&[b'x'; 256 * 1024]).await?;
                    }
                }
            };
        }
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{end}", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await
}

/// What a connector says of the pods, with that proxy in the environment of its server.
async fn pods(proxy: u16, no_proxy: &str, files: &tempfile::TempDir) -> Result<StepOutput, StepError> {
    let environment =
        [("HTTP_PROXY".to_owned(), format!("127.0.0.1:{proxy}")), ("NO_PROXY".to_owned(), no_proxy.to_owned())];
    let host = Host {
        run_dir: Some(files.path().to_owned()),
        programs: [("kubectl".to_owned(), kubectl().await.path)].into(),
        child_env: BTreeMap::from(environment),
        allowances: ["test:kubeconfig-insecure-tls".to_owned()].into(),
        ..Host::default()
    };
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": "http://k.invalid:8001" } }],
        "users": [{ "name": "u", "user": { "token": "hunter2-hunter2" } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
    });
    let cx = BuildContext::new("test", SecretHandle::inline(kubeconfig.to_string().into()), Arc::new(host));
    let adapter = KubectlExecutionAdapter::new(cx, KubernetesConfig::for_namespaces(["shop".to_owned()])).unwrap();
    let step = adapter.review(&StepSpec::command(["get", "pods", "-n", "shop"]), Mode::Read).unwrap();
    adapter.read(&CallContext::with_timeout(Duration::from_secs(60)), ReadStep::new(step).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_leads_kubectl_past_no_proxy_of_the_operators() {
    let files = tempfile::tempdir().unwrap();
    let victim = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = victim.local_addr().unwrap();
    let reached = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reached);
    tokio::spawn(async move {
        while victim.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    // Go goes to loopback without asking any proxy, and to what NO_PROXY takes in.
    for (to, no_proxy) in
        [(format!("http://{address}/latest"), ""), (format!("http://localhost:{}/", address.port()), "*.example")]
    {
        let (port, asked) = proxy(Does::Redirects(to.clone())).await;
        let error = pods(port, no_proxy, &files).await.unwrap_err();
        assert_eq!(error.effect, Effect::NotStarted, "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        assert_eq!(reached.load(Ordering::SeqCst), 0, "{to} was called past the proxy: {error}");
        assert!(asked.lock().unwrap().contains(&to), "the proxy is asked, and refuses: {:?}", asked.lock().unwrap());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_ends_behind_a_proxy_ends_kubectl_at_its_memory() {
    let files = tempfile::tempdir().unwrap();
    let (port, _) = proxy(Does::NeverEnds).await;
    let error = pods(port, "", &files).await.unwrap_err();
    assert_eq!(error.effect, Effect::NotStarted, "{error}");
    assert!(error.message.contains("it broke down") && error.message.contains("1 GiB of memory"), "{error}");
}

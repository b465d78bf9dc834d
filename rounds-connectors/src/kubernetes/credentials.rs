//! Which credentials kubectl is given: a kubeconfig, or those of the pod that this server runs in.
//!
//! The pod's are the server's own identity, so a connector has them only where the server's operator lends them, by the
//! power `in-cluster`. The kubelet replaces the token before it expires, so both files are read at each call.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::LazyLock;

use rounds_core::plugin::{BuildContext, BuildError, Host, InCluster};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::kubeconfig::{self, Kubeconfig};
use crate::reads::Reads;

/// The power that an operator of the server grants, as `NAME:in-cluster`.
const POWER: &str = "in-cluster";
/// Service account tokens have one or two KiB.
const MAX_TOKEN: u64 = 64 * 1024;
/// A bundle of every authority there is has about 250 KiB.
const MAX_CA: u64 = 1024 * 1024;
/// All connectors that are lent the pod's identity read the same files.
static READS: LazyLock<Reads> = LazyLock::new(Reads::default);

/// Whose credentials kubectl uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Credentials {
    /// Those of the kubeconfig that is this connector's secret.
    #[default]
    Kubeconfig,
    /// Those of the service account of the pod that Rounds runs in. The server's operator lends them to this connector by
    /// name, with `ROUNDS_ALLOW=NAME:in-cluster`, and the connector has no secret then.
    InCluster,
}

/// Whether the credentials can be had at all, before anything is connected to.
pub(super) fn check(credentials: Credentials, cx: &BuildContext) -> Result<(), BuildError> {
    match credentials {
        Credentials::Kubeconfig => Ok(()),
        Credentials::InCluster if cx.secret.is_present() => Err(BuildError::config(
            "credentials: found `inCluster` and a secret beside it, which would not be used; accepted: `inCluster` without a secret, or `kubeconfig` with one",
        )),
        Credentials::InCluster => lent(&cx.host, &cx.name).map(|_| ()).map_err(BuildError::host),
    }
}

/// The pod's way to its cluster, if there is one and the operator lends it.
pub(super) fn lent<'a>(host: &'a Host, connector: &str) -> Result<&'a InCluster, String> {
    if !host.allows(connector, POWER) {
        return Err(format!(
            "credentials: `inCluster` is the identity of the server of Rounds itself; its operator lends it to this connector with ROUNDS_ALLOW={connector}:{POWER}, or the connector has `kubeconfig` credentials"
        ));
    }
    host.in_cluster.as_ref().ok_or_else(|| {
        "credentials: `inCluster` needs a server of Rounds that runs in a pod, where KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are set; accepted here: `kubeconfig`".to_owned()
    })
}

/// Reads what the kubelet wrote, now.
pub(super) async fn read(lent: &InCluster) -> Result<Kubeconfig, String> {
    let InCluster { server, token_file, ca_file } = lent.clone();
    let read = READS.run(move || {
        let token = file(&token_file, MAX_TOKEN, "token")?;
        let token = std::str::from_utf8(&token).unwrap_or_default().trim();
        if token.is_empty() || !token.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(format!("{} holds no token: one word of text is expected", token_file.display()));
        }
        let ca = file(&ca_file, MAX_CA, "certificates")?;
        if !ca.windows(27).any(|part| part == b"-----BEGIN CERTIFICATE-----") {
            return Err(format!("{} holds no certificates in PEM", ca_file.display()));
        }
        kubeconfig::of_pod(&server, &SecretString::from(token), &ca).map_err(|error| error.to_string())
    });
    read.await.flatten().map_err(|why| format!("the pod's credentials cannot be used: {why}"))
}

/// A regular file within its size; links are followed, since projected volumes are made of them.
fn file(path: &Path, most: u64, what: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| format!("the file of the {what}, {shown}, cannot be read: {error}");
    // Before it is opened: opening a pipe waits for somebody to write to it.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(format!("{shown}, for the {what}, is not a regular file"));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path).map_err(unreadable)?.take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most {
        return Err(format!("{shown}, for the {what}, is larger than {most} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use rounds_core::ports::SecretHandle;
    use secrecy::ExposeSecret;

    use super::*;

    fn pod(dir: &Path) -> InCluster {
        let file = |name: &str| -> PathBuf { dir.join(name) };
        let server = "https://10.96.0.1:443".into();
        InCluster { server, token_file: file("token"), ca_file: file("ca.crt") }
    }

    const CA: &str = "-----BEGIN CERTIFICATE-----\nZm9v\n-----END CERTIFICATE-----\n";

    #[tokio::test]
    async fn the_pods_token_is_read_at_each_call_and_odd_files_are_refused_without_a_word_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let lent = pod(dir.path());
        let refused = async |why: &str| {
            let error = read(&lent).await.err().unwrap();
            assert!(error.contains(why) && !error.contains("s3cr3t"), "{error}");
        };
        refused("cannot be read").await;
        std::fs::write(&lent.token_file, "s3cr3t-1\n").unwrap();
        refused("certificates").await;
        std::fs::write(&lent.ca_file, CA).unwrap();
        assert!(read(&lent).await.unwrap().text.expose_secret().contains("\"s3cr3t-1\""));
        // As the kubelet rotates it: a link to another file.
        std::fs::write(dir.path().join("next"), "s3cr3t-2").unwrap();
        std::fs::remove_file(&lent.token_file).unwrap();
        std::os::unix::fs::symlink(dir.path().join("next"), &lent.token_file).unwrap();
        assert!(read(&lent).await.unwrap().text.expose_secret().contains("\"s3cr3t-2\""));
        for (token, why) in [("", "holds no token"), ("s3cr3t two", "holds no token"), ("\u{1}s3cr3t", "no token")] {
            std::fs::write(&lent.token_file, token).unwrap();
            refused(why).await;
        }
        std::fs::write(&lent.token_file, "s3cr3t".repeat(20_000)).unwrap();
        refused("is larger than").await;
        std::fs::remove_file(&lent.token_file).unwrap();
        std::fs::create_dir(&lent.token_file).unwrap();
        refused("not a regular file").await;
    }

    #[test]
    fn rule_11_the_servers_own_identity_is_lent_by_its_operator_or_not_had() {
        let dir = tempfile::tempdir().unwrap();
        let check = |host: Host, secret: SecretHandle| {
            check(Credentials::InCluster, &BuildContext::new("prod", secret, Arc::new(host))).unwrap_err().to_string()
        };
        let in_pod = Host { in_cluster: Some(pod(dir.path())), ..Host::default() };
        let lends =
            |name: &str, host: &Host| Host { allowances: [format!("{name}:in-cluster")].into(), ..host.clone() };
        assert!(check(in_pod.clone(), SecretHandle::none()).contains("ROUNDS_ALLOW=prod:in-cluster"));
        assert!(check(lends("other", &in_pod), SecretHandle::none()).contains("ROUNDS_ALLOW=prod:in-cluster"));
        assert!(check(lends("prod", &Host::default()), SecretHandle::none()).contains("runs in a pod"));
        let both = check(lends("prod", &in_pod), SecretHandle::inline(SecretString::from("s3cr3t")));
        assert!(both.contains("a secret beside it") && !both.contains("s3cr3t"), "{both}");
        let cx = BuildContext::new("prod", SecretHandle::none(), Arc::new(lends("prod", &in_pod)));
        super::check(Credentials::InCluster, &cx).unwrap();
    }
}

//! Secret references of connectors, kept away from what is the server's own.

use std::path::PathBuf;

use rounds_connectors::secrets::FileSecrets;

/// `file://` below the directories that the operator opened, but never the server's own files nor the system's
/// windows into processes: whoever configures a connector also says where its secret is sent.
pub(crate) fn guarded_files(open: &[PathBuf], own: impl IntoIterator<Item = PathBuf>) -> FileSecrets {
    let system = ["/proc", "/sys", "/dev"].map(PathBuf::from);
    FileSecrets::below(open).except(own.into_iter().chain(system))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rounds_core::ports::SecretResolver as _;
    use secrecy::ExposeSecret as _;

    use super::*;

    #[tokio::test]
    async fn rule_12_a_connector_reads_mounted_secrets_and_never_the_servers_own_files() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("data");
        std::fs::create_dir(&own).unwrap();
        for (path, text) in [(own.join("secret.key"), "the key"), (dir.path().join("mounted"), "s3cr3t")] {
            std::fs::write(path, text).unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(own.join("secret.key"), dir.path().join("link")).unwrap();
        let files = guarded_files(&[PathBuf::from("/")], [own.clone()]);
        let read = async |path: &Path| files.resolve(&format!("file://{}", path.display())).await;
        assert_eq!(read(&dir.path().join("mounted")).await.unwrap().expose_secret(), "s3cr3t");
        for closed in [
            own.join("secret.key"),
            own.join("../data/secret.key"),
            dir.path().join("link"),
            PathBuf::from("/proc/self/environ"),
        ] {
            let error = read(&closed).await.unwrap_err().to_string();
            assert!(!error.contains("the key"), "{error}");
            assert!(error.contains("not open to connectors"), "{}: {error}", closed.display());
        }
    }
}

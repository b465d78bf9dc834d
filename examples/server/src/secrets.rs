//! Secret references of connectors, kept away from what is the server's own.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rounds_connectors::secrets::FileSecrets;
use rounds_core::ports::{PortError, PortErrorKind, SecretResolver};
use secrecy::SecretString;

/// `file://` below the directories that the operator opened, but never the server's own files nor the system's
/// windows into processes: whoever configures a connector also says where its secret is sent.
pub(crate) struct GuardedFiles {
    inner: FileSecrets,
    closed: Vec<PathBuf>,
}

impl GuardedFiles {
    pub(crate) fn new(open: &[PathBuf], own: impl IntoIterator<Item = PathBuf>) -> Self {
        let system = ["/proc", "/sys", "/dev"].map(PathBuf::from);
        let closed = own.into_iter().chain(system);
        let closed = closed.map(|dir| std::fs::canonicalize(&dir).unwrap_or(dir)).collect();
        Self { inner: FileSecrets::below(open), closed }
    }
}

#[async_trait]
impl SecretResolver for GuardedFiles {
    fn scheme(&self) -> &'static str {
        "file"
    }

    async fn resolve(&self, reference: &str) -> Result<SecretString, PortError> {
        let path = reference.strip_prefix("file://").unwrap_or_default();
        // Links are followed first; what is not there is the inner resolver's to say.
        if let Ok(real) = tokio::fs::canonicalize(Path::new(path)).await
            && self.closed.iter().any(|closed| real.starts_with(closed))
        {
            let message = format!("{reference}: this place is not open to connectors");
            return Err(PortError::new(PortErrorKind::Unauthorized, message));
        }
        self.inner.resolve(reference).await
    }
}

#[cfg(test)]
mod tests {
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
        let files = GuardedFiles::new(&[PathBuf::from("/")], [own.clone()]);
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

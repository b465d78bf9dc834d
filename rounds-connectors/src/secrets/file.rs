//! `file:///abs/path`.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rounds_core::ports::{PortError, PortErrorKind, SecretResolver};
use secrecy::SecretString;
use zeroize::Zeroizing;

/// Larger files are not secrets.
const MAX_BYTES: u64 = 1024 * 1024;

/// Secrets in files below listed directories, such as those that an orchestrator mounts. One line feed at the end
/// is left out.
///
/// Links are followed before the directory is checked: mounted secrets are links, and a link must not lead out.
#[derive(Debug, Clone, Default)]
pub struct FileSecrets {
    directories: Vec<PathBuf>,
}

impl FileSecrets {
    /// Files below these directories; none: no file at all.
    pub fn below<P: Into<PathBuf>>(directories: impl IntoIterator<Item = P>) -> Self {
        Self { directories: directories.into_iter().map(Into::into).collect() }
    }

    fn read(&self, reference: &str) -> Result<SecretString, PortError> {
        let path = Path::new(super::behind("file", reference)?);
        if !path.is_absolute() {
            return Err(PortError::new(
                PortErrorKind::Invalid,
                format!("{reference}: the path is absolute, with three slashes: file:///run/secrets/name"),
            ));
        }
        let shown = || self.directories.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
        // The same words whether the file exists or not: a reference must not be a way to look around the server.
        let outside = || {
            PortError::new(
                PortErrorKind::Unauthorized,
                format!(
                    "{reference}: there is no such file below the directories that the server's operator lists for secrets ({})",
                    if self.directories.is_empty() { "none".to_owned() } else { shown() }
                ),
            )
        };
        let real = path.canonicalize().map_err(|_| outside())?;
        let below = |dir: &PathBuf| dir.canonicalize().is_ok_and(|dir| real.starts_with(dir));
        if !self.directories.iter().any(below) {
            return Err(outside());
        }
        let unreadable = |why: String| PortError::new(PortErrorKind::Unauthorized, format!("{reference}: {why}"));
        let meta = real.metadata().map_err(|_| outside())?;
        if !meta.is_file() || meta.len() > MAX_BYTES {
            return Err(unreadable(format!("it is not a regular file of at most {MAX_BYTES} bytes")));
        }
        let bytes = std::fs::read(&real)
            .map(Zeroizing::new)
            .map_err(|error| unreadable(format!("it cannot be read: {}", error.kind())))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| unreadable("it is not text".into()))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        Ok(SecretString::from(text.strip_suffix('\r').unwrap_or(text)))
    }
}

#[async_trait]
impl SecretResolver for FileSecrets {
    fn scheme(&self) -> &'static str {
        "file"
    }

    async fn resolve(&self, reference: &str) -> Result<SecretString, PortError> {
        let (this, reference) = (self.clone(), reference.to_owned());
        tokio::task::spawn_blocking(move || this.read(&reference)).await.map_err(|error| {
            PortError::new(PortErrorKind::Unavailable, format!("the file could not be read: {error}"))
        })?
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[tokio::test]
    async fn rule_12_only_files_below_the_listed_directories_are_read() {
        let (secrets, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(secrets.path().join("a"), "s3cr3t\n").unwrap();
        std::fs::write(elsewhere.path().join("b"), "other").unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join("b"), secrets.path().join("link")).unwrap();
        let resolver = FileSecrets::below([secrets.path()]);
        let reference = |path: &Path| format!("file://{}", path.display());

        let found = resolver.resolve(&reference(&secrets.path().join("a"))).await.unwrap();
        assert_eq!(found.expose_secret(), "s3cr3t");
        for bad in [
            reference(&elsewhere.path().join("b")),
            reference(&secrets.path().join("link")),
            reference(&secrets.path().join("../../etc/passwd")),
            reference(&secrets.path().join("absent")),
            "file://relative".into(),
            "env://X".into(),
        ] {
            assert!(resolver.resolve(&bad).await.is_err(), "{bad}");
        }
        assert!(FileSecrets::default().resolve(&reference(&secrets.path().join("a"))).await.is_err());
    }
}

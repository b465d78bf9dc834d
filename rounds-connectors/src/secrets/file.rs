//! `file:///abs/path`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::ports::{PortError, PortErrorKind, SecretResolver};
use secrecy::SecretString;

use super::open::{Unread, read_resolved};
use crate::reads::Reads;

/// A file on a disk that does not answer is nobody's secret.
const LIMIT: Duration = Duration::from_secs(10);

/// Secrets in files below listed directories, such as those that an orchestrator mounts: regular files of at most 1 MiB of
/// text. One line end at the end is left out; an empty file is no secret.
///
/// Links are followed before the directory is checked: mounted secrets are links, and a link must not lead out. The file is
/// then opened part by part without following any, so that what was checked is what is read.
#[derive(Debug, Clone, Default)]
pub struct FileSecrets {
    directories: Vec<PathBuf>,
    closed: Vec<PathBuf>,
    reads: Reads,
}

impl FileSecrets {
    /// Files below these directories; none: no file at all.
    pub fn below<P: Into<PathBuf>>(directories: impl IntoIterator<Item = P>) -> Self {
        Self {
            directories: directories.into_iter().map(Into::into).collect(),
            closed: Vec::new(),
            reads: Reads::default(),
        }
    }

    /// But not these files, nor what is below these directories, however a path leads there.
    #[must_use]
    pub fn except<P: Into<PathBuf>>(mut self, closed: impl IntoIterator<Item = P>) -> Self {
        self.closed.extend(closed.into_iter().map(Into::into));
        self
    }

    fn read(&self, reference: &str) -> Result<SecretString, PortError> {
        let path = Path::new(super::behind("file", reference)?);
        if !path.is_absolute() {
            return Err(PortError::new(
                PortErrorKind::Invalid,
                format!("{reference}: the path is absolute, with three slashes: file:///run/secrets/name"),
            ));
        }
        let mut tries = 0;
        loop {
            match self.read_once(reference, path) {
                // An orchestrator exchanges a whole directory at once when it rotates a secret.
                Err(Missed::Gone) if tries < super::ROTATIONS => tries += 1,
                Err(Missed::Gone) => return Err(self.outside(reference)),
                Err(Missed::Refused(error)) => return Err(error),
                Ok(text) => return Ok(text),
            }
        }
    }

    fn read_once(&self, reference: &str, path: &Path) -> Result<SecretString, Missed> {
        let refused =
            |why: &str| Missed::Refused(PortError::new(PortErrorKind::Unauthorized, format!("{reference}: {why}")));
        let real = path.canonicalize().map_err(|_| Missed::Refused(self.outside(reference)))?;
        let below = |dir: &PathBuf| dir.canonicalize().is_ok_and(|dir| real.starts_with(dir));
        if !self.directories.iter().any(below) {
            return Err(Missed::Refused(self.outside(reference)));
        }
        // A place that is not there (yet) is closed under the name it was given.
        if self.closed.iter().any(|place| real.starts_with(place) || below(place)) {
            return Err(refused("this place is not open to connectors"));
        }
        match read_resolved(&real) {
            Ok(text) => Ok(SecretString::from(text.as_str())),
            Err(Unread::Gone) => Err(Missed::Gone),
            Err(Unread::Because(why)) => Err(refused(&why)),
        }
    }

    /// The same words whether the file exists or not: a reference must not be a way to look around the server.
    fn outside(&self, reference: &str) -> PortError {
        let shown = || self.directories.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
        let listed = if self.directories.is_empty() { "none".to_owned() } else { shown() };
        PortError::new(
            PortErrorKind::Unauthorized,
            format!(
                "{reference}: there is no such file below the directories that the server's operator lists for secrets \
                 ({listed})"
            ),
        )
    }
}

/// Why one look found nothing.
enum Missed {
    Gone,
    Refused(PortError),
}

#[async_trait]
impl SecretResolver for FileSecrets {
    fn scheme(&self) -> &'static str {
        "file"
    }

    async fn resolve(&self, reference: &str) -> Result<SecretString, PortError> {
        let (this, shown) = (self.clone(), reference.to_owned());
        let unread = |why: &str| PortError::new(PortErrorKind::Unavailable, format!("{reference}: {why}"));
        let read = self.reads.run(move || this.read(&shown));
        match tokio::time::timeout(LIMIT, read).await {
            Ok(Ok(read)) => read,
            Ok(Err(why)) => Err(unread(&why)),
            Err(_) => Err(unread("the file could not be read in time: does its disk answer?")),
        }
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
        std::os::unix::fs::symlink(elsewhere.path(), secrets.path().join("dir")).unwrap();
        let resolver = FileSecrets::below([secrets.path()]);
        let reference = |path: &Path| format!("file://{}", path.display());

        let found = resolver.resolve(&reference(&secrets.path().join("a"))).await.unwrap();
        assert_eq!(found.expose_secret(), "s3cr3t");
        for bad in [
            reference(&elsewhere.path().join("b")),
            reference(&secrets.path().join("link")),
            reference(&secrets.path().join("../../etc/passwd")),
            reference(&secrets.path().join("dir/b")),
            reference(&secrets.path().join("absent")),
            "file://relative".into(),
            "env://X".into(),
        ] {
            assert!(resolver.resolve(&bad).await.is_err(), "{bad}");
        }
        assert!(FileSecrets::default().resolve(&reference(&secrets.path().join("a"))).await.is_err());
    }

    #[tokio::test]
    async fn a_mount_that_hangs_is_said_once_its_threads_are_all_taken() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "s3cr3t").unwrap();
        let resolver = FileSecrets::below([dir.path()]);
        let hung: Vec<_> = (0..crate::reads::MOST)
            .map(|_| {
                let (end, ended) = std::sync::mpsc::channel::<()>();
                let mut read = Box::pin(resolver.reads.run(move || ended.recv().is_ok()));
                assert!(futures::FutureExt::now_or_never(&mut read).is_none());
                end
            })
            .collect();
        let reference = format!("file://{}", dir.path().join("a").display());
        let error = resolver.clone().resolve(&reference).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Unavailable);
        assert!(error.to_string().contains("does their disk or mount answer?"), "{error}");
        drop(hung);
    }

    #[tokio::test]
    async fn rule_12_what_is_closed_stays_closed_by_whatever_way() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("own")).unwrap();
        std::fs::write(dir.path().join("own/key"), "s3cr3t").unwrap();
        std::fs::write(dir.path().join("mounted"), "theirs").unwrap();
        std::os::unix::fs::symlink("own/key", dir.path().join("link")).unwrap();
        let resolver = FileSecrets::below([dir.path()]).except([dir.path().join("own")]);
        let read = async |name: &str| resolver.resolve(&format!("file://{}", dir.path().join(name).display())).await;
        assert_eq!(read("mounted").await.unwrap().expose_secret(), "theirs");
        for closed in ["own/key", "link", "own/../own/key"] {
            let error = read(closed).await.unwrap_err().to_string();
            assert!(error.contains("not open to connectors") && !error.contains("s3cr3t"), "{closed}: {error}");
        }
    }
}

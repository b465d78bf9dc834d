//! Which kubectl runs: found once, asked for its version, seen through when it is a wrapper that picks another.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::gate::{Action, Command};
use super::process::{self, Exit, Invocation};

/// The oldest kubectl that is run.
const OLDEST: (u32, u32) = (1, 20);

/// A kubectl that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubectlInfo {
    /// The program that is run.
    pub path: PathBuf,
    /// Its version, as it says: `v1.31.9`.
    pub version: String,
    /// Major and minor version.
    pub release: (u32, u32),
    /// The wrapper that was asked for, when another program was found behind it.
    pub behind: Option<PathBuf>,
    /// What a reader should know: a wrapper that could not be seen through.
    pub note: Option<String>,
}

impl fmt::Display for KubectlInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kubectl {} at {}", self.version, self.path.display())?;
        if let Some(wrapper) = &self.behind {
            write!(f, " (behind the wrapper {})", wrapper.display())?;
        }
        if let Some(note) = &self.note {
            write!(f, " ({note})")?;
        }
        Ok(())
    }
}

/// Why there is no kubectl to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KubectlError(String);

/// Finds kubectl: the program that is named, or else the first on the path, and asks for its version.
///
/// # Errors
/// None is found, it cannot be run, or it is older than 1.20; the message says what to do.
pub async fn locate_kubectl(explicit: Option<&Path>, path_var: &OsStr) -> Result<KubectlInfo, KubectlError> {
    let path = match explicit {
        Some(path) => {
            std::path::absolute(path).map_err(|error| KubectlError(format!("{}: {error}", path.display())))?
        }
        None => std::env::split_paths(path_var)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join("kubectl"))
            .find(|path| is_program(path))
            .ok_or_else(|| {
                KubectlError(
                    "kubectl is not on the PATH: install it (1.20 or later), or set KUBECTL to its path".into(),
                )
            })?,
    };
    inspect(&path).await
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Asks a kubectl for its version and looks behind a wrapper.
pub(crate) async fn inspect(path: &Path) -> Result<KubectlInfo, KubectlError> {
    let (version, release) = client_version(path).await?;
    let mut info = KubectlInfo { path: path.to_owned(), version, release, behind: None, note: None };
    // Google Cloud's kubectl asks the server for its version and starts one of several programs beside it.
    if info.version.contains("-dispatcher") {
        match newest_beside(path) {
            Some(real) => {
                let (version, release) = client_version(&real).await?;
                info = KubectlInfo { path: real, version, release, behind: Some(path.to_owned()), note: None };
            }
            None => {
                info.note =
                    Some("a wrapper that picks another kubectl by the server's version; set KUBECTL to that one".into())
            }
        }
    }
    if info.release < OLDEST {
        return Err(KubectlError(format!("{info} is too old: 1.20 or later is needed")));
    }
    Ok(info)
}

fn newest_beside(wrapper: &Path) -> Option<PathBuf> {
    let real = wrapper.canonicalize().ok()?;
    let entries = std::fs::read_dir(real.parent()?).ok()?;
    entries
        .flatten()
        .filter_map(|entry| {
            let minor: u32 = entry.file_name().to_str()?.strip_prefix("kubectl.1.")?.parse().ok()?;
            is_program(&entry.path()).then(|| (minor, entry.path()))
        })
        .max()
        .map(|(_, path)| path)
}

async fn client_version(path: &Path) -> Result<(String, (u32, u32)), KubectlError> {
    let failed = |why: String| KubectlError(format!("{} is not a kubectl that can be run: {why}", path.display()));
    let done = process::run(Invocation {
        program: path,
        arguments: ["version", "--client", "--output=json"].map(Into::into).to_vec(),
        environment: vec![
            ("HOME".into(), "/nonexistent".into()),
            ("PATH".into(), "/usr/bin:/bin".into()),
            ("KUBECONFIG".into(), "/dev/null".into()),
        ],
        directory: Path::new("/"),
        stdin: None,
        deadline: Instant::now() + Duration::from_secs(15),
        cancel: None,
        keep: 16 * 1024,
        memory: process::MEMORY,
    })
    .await
    .map_err(|error| failed(error.to_string()))?;
    if done.exit != Exit::Code(0) {
        return Err(failed(format!(
            "`version --client` ended with {:?}: {}",
            done.exit,
            done.stderr.text(|text| text.chars().take(200).collect())
        )));
    }
    let answer: Value = serde_json::from_str(&done.stdout.text(str::to_owned))
        .map_err(|_| failed("`version --client -o json` did not answer JSON".into()))?;
    let version = answer.pointer("/clientVersion/gitVersion").and_then(Value::as_str).unwrap_or_default();
    let number = |pointer: &str| {
        let digits: String = answer.pointer(pointer)?.as_str()?.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    };
    match (number("/clientVersion/major"), number("/clientVersion/minor")) {
        (Some(major), Some(minor)) => Ok((version.chars().take(60).collect(), (major, minor))),
        _ => Err(failed("its version is not like v1.31.0".into())),
    }
}

/// What a client is too old for, and what to write instead.
pub(crate) fn lacks(info: &KubectlInfo, command: &Command) -> Option<String> {
    let needs = |what: &str, release: (u32, u32), instead: &str| {
        (info.release < release)
            .then(|| format!("{info} has no {what} (that came with {}.{}); {instead}", release.0, release.1))
    };
    match &command.action {
        Action::Events(_) => needs("`events`", (1, 23), "use `get events`"),
        Action::Get(get) if get.subresource.is_some() => needs("`get --subresource`", (1, 24), "leave it out"),
        Action::Patch(patch) if patch.on_scale => needs("`patch --subresource`", (1, 24), "use `scale`"),
        Action::Get(get) if get.printing.show_managed_fields => {
            needs("`--show-managed-fields`", (1, 21), "leave it out")
        }
        Action::Logs(logs) if logs.all_pods => needs("`logs --all-pods`", (1, 33), "name a pod, or use -l"),
        Action::Top(top) if top.sum => needs("`top --sum`", (1, 25), "leave it out"),
        _ => None,
    }
}

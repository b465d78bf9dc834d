//! Which images exist, and what their containers do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// What happens when a container of an image is pulled and started.
///
/// Durations are cluster time: the sandbox's speed factor shortens them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ImageBehaviour {
    /// Pulls, starts, becomes ready and stays so.
    Runs,
    /// Like [`ImageBehaviour::Runs`], having written these lines to its log.
    RunsWithLogs {
        /// The lines.
        lines: Vec<String>,
    },
    /// The registry does not know it: `ErrImagePull`, then `ImagePullBackOff`.
    Missing,
    /// Starts, writes its lines and exits, again and again: `CrashLoopBackOff`.
    Crashes {
        /// How long the process lives.
        after: Duration,
        /// Its exit code.
        exit_code: i32,
        /// What it writes before it dies.
        lines: Vec<String>,
    },
    /// Is killed for memory when its container's limit is below what it needs. Without a limit, or with
    /// enough, it runs.
    OutOfMemory {
        /// How long until it has grown to what it needs.
        after: Duration,
        /// What it needs, in bytes.
        needs_bytes: u64,
    },
    /// Runs, and its readiness probe never passes.
    NeverReady,
    /// Exits with code 0 after a while, as a job's container does.
    Completes {
        /// How long it runs.
        after: Duration,
        /// What it writes.
        lines: Vec<String>,
    },
}

/// What an image that was never registered does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownImages {
    /// Every image exists and runs.
    #[default]
    Run,
    /// Only registered images exist.
    Missing,
}

/// The image registry that the sandbox's nodes pull from. Clones share one registry.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    rules: Arc<Mutex<Rules>>,
}

#[derive(Debug, Default)]
struct Rules {
    images: BTreeMap<String, ImageBehaviour>,
    unknown: UnknownImages,
}

impl Registry {
    pub(crate) fn new(unknown: UnknownImages) -> Registry {
        Registry { rules: Arc::new(Mutex::new(Rules { images: BTreeMap::new(), unknown })) }
    }

    /// Says what an image does from now on. Containers that already run keep running until they restart;
    /// a pull that is backing off finds an image that has appeared.
    pub fn register(&self, image: impl Into<String>, behaviour: ImageBehaviour) {
        self.lock().images.insert(image.into(), behaviour);
    }

    pub(crate) fn register_if_unknown(&self, image: &str, behaviour: ImageBehaviour) {
        self.lock().images.entry(image.to_owned()).or_insert(behaviour);
    }

    /// What an image does.
    pub fn behaviour(&self, image: &str) -> ImageBehaviour {
        let rules = self.lock();
        match (rules.images.get(image), rules.unknown) {
            (Some(found), _) => found.clone(),
            (None, UnknownImages::Run) => ImageBehaviour::Runs,
            (None, UnknownImages::Missing) => ImageBehaviour::Missing,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

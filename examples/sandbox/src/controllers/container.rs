//! One container's life: pull, start, run, exit, back off, again.

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};

use crate::{
    cluster::obj::{self, stamp},
    registry::{ImageBehaviour, Registry},
};

/// How one run of a container ended.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    code: i32,
    reason: &'static str,
    started: DateTime<Utc>,
    finished: DateTime<Utc>,
    id: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Phase {
    Creating {
        until: DateTime<Utc>,
    },
    PullFailed {
        message: String,
        until: DateTime<Utc>,
    },
    PullBackOff {
        until: DateTime<Utc>,
    },
    ConfigError {
        message: String,
        until: DateTime<Utc>,
    },
    Running {
        since: DateTime<Utc>,
        ready_at: Option<DateTime<Utc>>,
        exit_at: Option<DateTime<Utc>>,
    },
    /// Exited, and about to be restarted for the first time.
    Restarting {
        exit: Exit,
        until: DateTime<Utc>,
    },
    CrashBackOff {
        wait_s: i64,
        until: DateTime<Utc>,
    },
    Exited {
        exit: Exit,
    },
}

/// A line of a container's log.
pub(crate) type LogLine = (DateTime<Utc>, String);

#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) phase: Phase,
    pub(crate) restarts: u32,
    pub(crate) logs: Vec<LogLine>,
    pub(crate) previous: Option<Vec<LogLine>>,
    pub(crate) memory: f64,
    pub(crate) cpu_seconds: f64,
    behaviour: ImageBehaviour,
    last: Option<Exit>,
    failed_pulls: u32,
    next_probe: DateTime<Utc>,
    reported_ready: bool,
    id: String,
}

/// What a container tells its pod: an event to record.
pub(crate) struct Note {
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

fn note(warning: bool, reason: &'static str, message: String) -> Note {
    Note { warning, reason, message }
}

/// What a container needs to know about where it runs.
pub(crate) struct Surroundings<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) speed: f64,
    pub(crate) now: DateTime<Utc>,
    pub(crate) spec: &'a Value,
    pub(crate) restart_policy: &'a str,
    /// `name_namespace(uid)`, as the kubelet writes it in messages.
    pub(crate) pod: &'a str,
    /// A referenced ConfigMap or Secret that does not exist.
    pub(crate) missing_config: Option<String>,
}

impl Surroundings<'_> {
    fn after(&self, ms: f64) -> DateTime<Utc> {
        self.now + Duration::microseconds((ms * 1000.0 / self.speed) as i64)
    }
}

const CREATE_MS: f64 = 800.0;
const READY_MS: f64 = 1200.0;
const ERR_PULL_MS: f64 = 1500.0;
const FIRST_RESTART_MS: f64 = 1000.0;
const PROBE_MS: f64 = 10_000.0;

fn back_off_s(failures: u32) -> i64 {
    (10i64 << failures.saturating_sub(1).min(5)).min(300)
}

fn new_id() -> String {
    format!("containerd://{}{}", uuid::Uuid::now_v7().simple(), uuid::Uuid::now_v7().simple())
}

impl Container {
    pub(crate) fn new(spec: &Value, at: &Surroundings<'_>) -> Container {
        Container {
            name: obj::text(spec, "/name").to_owned(),
            image: obj::text(spec, "/image").to_owned(),
            phase: Phase::Creating { until: at.after(CREATE_MS) },
            restarts: 0,
            logs: Vec::new(),
            previous: None,
            memory: 0.0,
            cpu_seconds: 0.0,
            behaviour: ImageBehaviour::Runs,
            last: None,
            failed_pulls: 0,
            next_probe: at.now,
            reported_ready: false,
            id: String::new(),
        }
    }

    pub(crate) fn ready(&self, now: DateTime<Utc>) -> bool {
        matches!(self.phase, Phase::Running { ready_at: Some(t), .. } if t <= now)
    }

    pub(crate) fn running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    /// The exit code, once it has ended for good.
    pub(crate) fn exited(&self) -> Option<i32> {
        match &self.phase {
            Phase::Exited { exit } => Some(exit.code),
            _ => None,
        }
    }

    /// The reason it waits, for metrics.
    pub(crate) fn waiting_reason(&self) -> Option<&'static str> {
        match self.phase {
            Phase::Creating { .. } => Some("ContainerCreating"),
            Phase::PullFailed { .. } => Some("ErrImagePull"),
            Phase::PullBackOff { .. } => Some("ImagePullBackOff"),
            Phase::ConfigError { .. } => Some("CreateContainerConfigError"),
            Phase::CrashBackOff { .. } => Some("CrashLoopBackOff"),
            Phase::Running { .. } | Phase::Restarting { .. } | Phase::Exited { .. } => None,
        }
    }

    pub(crate) fn last_reason(&self) -> Option<&'static str> {
        self.last.as_ref().map(|e| e.reason)
    }

    /// Moves on if it is time to; true when something about it changed.
    pub(crate) fn step(&mut self, at: &Surroundings<'_>, notes: &mut Vec<Note>) -> bool {
        let now = at.now;
        if self.image != obj::text(at.spec, "/image") && !matches!(self.phase, Phase::Exited { .. }) {
            self.image = obj::text(at.spec, "/image").to_owned();
            if self.running() {
                notes.push(note(
                    false,
                    "Killing",
                    format!("Container {} definition changed, will be restarted", self.name),
                ));
                self.restarts += 1;
            }
            self.phase = Phase::Creating { until: at.after(CREATE_MS) };
            return true;
        }
        match self.phase.clone() {
            Phase::Creating { until } | Phase::PullBackOff { until } | Phase::ConfigError { until, .. }
                if until <= now =>
            {
                self.pull(at, notes);
                true
            }
            Phase::PullFailed { until, .. } if until <= now => {
                notes.push(note(false, "BackOff", format!("Back-off pulling image \"{}\"", self.image)));
                notes.push(note(true, "Failed", "Error: ImagePullBackOff".to_owned()));
                self.phase = Phase::PullBackOff { until: at.after(back_off_s(self.failed_pulls) as f64 * 1000.0) };
                true
            }
            Phase::Running { since, exit_at: Some(exit_at), .. } if exit_at <= now => {
                self.exit(since, at, notes);
                true
            }
            Phase::Running { .. } => {
                if self.behaviour == ImageBehaviour::NeverReady && self.next_probe <= now {
                    self.next_probe = at.after(PROBE_MS);
                    notes.push(note(
                        true,
                        "Unhealthy",
                        "Readiness probe failed: HTTP probe failed with statuscode: 503".to_owned(),
                    ));
                }
                // Readiness is a function of time, so the tick in which it turns is a change.
                let ready = self.ready(now);
                std::mem::replace(&mut self.reported_ready, ready) != ready
            }
            Phase::Restarting { exit, until } if until <= now => {
                self.restart(exit, at, notes);
                true
            }
            Phase::CrashBackOff { until, .. } if until <= now => {
                self.restarts += 1;
                self.previous = Some(std::mem::take(&mut self.logs));
                self.pull(at, notes);
                true
            }
            _ => false,
        }
    }

    fn pull(&mut self, at: &Surroundings<'_>, notes: &mut Vec<Note>) {
        if let Some(missing) = &at.missing_config {
            notes.push(note(true, "Failed", format!("Error: {missing}")));
            self.phase = Phase::ConfigError { message: missing.clone(), until: at.after(10_000.0) };
            return;
        }
        let image = &self.image;
        notes.push(note(false, "Pulling", format!("Pulling image \"{image}\"")));
        self.behaviour = at.registry.behaviour(image);
        if self.behaviour == ImageBehaviour::Missing {
            let why = format!(
                "rpc error: code = NotFound desc = failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {image}: not found"
            );
            notes.push(note(true, "Failed", format!("Failed to pull image \"{image}\": {why}")));
            notes.push(note(true, "Failed", "Error: ErrImagePull".to_owned()));
            self.failed_pulls += 1;
            self.phase = Phase::PullFailed { message: why, until: at.after(ERR_PULL_MS) };
            return;
        }
        self.failed_pulls = 0;
        notes.push(note(false, "Pulled", format!("Successfully pulled image \"{image}\"")));
        notes.push(note(false, "Created", format!("Created container: {}", self.name)));
        notes.push(note(false, "Started", format!("Started container {}", self.name)));
        self.start(at);
    }

    fn start(&mut self, at: &Surroundings<'_>) {
        self.id = new_id();
        self.reported_ready = false;
        self.next_probe = at.after(PROBE_MS / 5.0);
        self.memory = 48.0 * 1024.0 * 1024.0;
        let mut lines = vec![format!("starting {}", self.image)];
        let delay = at.spec["readinessProbe"]["initialDelaySeconds"].as_f64().unwrap_or(0.0) * 1000.0;
        let mut ready_at = Some(at.after(READY_MS + delay));
        let mut exit_at = None;
        let ms = |d: &std::time::Duration| d.as_secs_f64() * 1000.0;
        match &self.behaviour {
            ImageBehaviour::Runs | ImageBehaviour::Missing => lines.push("ready to serve".to_owned()),
            ImageBehaviour::RunsWithLogs { lines: own } => lines = own.clone(),
            ImageBehaviour::Crashes { after, lines: own, .. } | ImageBehaviour::Completes { after, lines: own } => {
                lines = own.clone();
                exit_at = Some(at.after(ms(after)));
            }
            ImageBehaviour::OutOfMemory { after, needs_bytes } => {
                let limit = obj::quantity(obj::at(at.spec, "/resources/limits/memory"));
                self.memory = *needs_bytes as f64;
                if let Some(limit) = limit.filter(|limit| *limit < *needs_bytes as f64) {
                    self.memory = limit;
                    exit_at = Some(at.after(ms(after)));
                }
            }
            ImageBehaviour::NeverReady => {
                lines.push("waiting for dependencies".to_owned());
                ready_at = None;
            }
        }
        self.logs.extend(lines.into_iter().map(|line| (at.now, line)));
        self.phase = Phase::Running { since: at.now, ready_at, exit_at };
    }

    fn exit(&mut self, since: DateTime<Utc>, at: &Surroundings<'_>, notes: &mut Vec<Note>) {
        let (code, reason) = match &self.behaviour {
            ImageBehaviour::Crashes { exit_code: 0, .. } | ImageBehaviour::Completes { .. } => (0, "Completed"),
            ImageBehaviour::Crashes { exit_code, .. } => (*exit_code, "Error"),
            ImageBehaviour::OutOfMemory { .. } => (137, "OOMKilled"),
            ImageBehaviour::Runs
            | ImageBehaviour::RunsWithLogs { .. }
            | ImageBehaviour::Missing
            | ImageBehaviour::NeverReady => (0, "Completed"),
        };
        self.memory = 0.0;
        let exit = Exit { code, reason, started: since, finished: at.now, id: self.id.clone() };
        let again = match at.restart_policy {
            "Never" => false,
            "OnFailure" => code != 0,
            _ => true,
        };
        if !again {
            self.phase = Phase::Exited { exit };
        } else if self.restarts == 0 {
            self.phase = Phase::Restarting { exit, until: at.after(FIRST_RESTART_MS) };
        } else {
            let wait_s = back_off_s(self.restarts);
            notes.push(note(
                true,
                "BackOff",
                format!("Back-off restarting failed container {} in pod {}", self.name, at.pod),
            ));
            self.last = Some(exit);
            self.phase = Phase::CrashBackOff { wait_s, until: at.after(wait_s as f64 * 1000.0) };
        }
    }

    fn restart(&mut self, exit: Exit, at: &Surroundings<'_>, notes: &mut Vec<Note>) {
        self.last = Some(exit);
        self.restarts += 1;
        self.previous = Some(std::mem::take(&mut self.logs));
        self.pull(at, notes);
    }

    /// An entry of `status.containerStatuses`.
    pub(crate) fn status(&self, now: DateTime<Utc>, pod: &str) -> Value {
        let waiting = |reason: &str, message: &str| {
            if message.is_empty() {
                json!({"waiting": {"reason": reason}})
            } else {
                json!({"waiting": {"reason": reason, "message": message}})
            }
        };
        let state = match &self.phase {
            Phase::Creating { .. } => waiting("ContainerCreating", ""),
            Phase::PullFailed { message, .. } => waiting("ErrImagePull", message),
            Phase::PullBackOff { .. } => {
                waiting("ImagePullBackOff", &format!("Back-off pulling image \"{}\"", self.image))
            }
            Phase::ConfigError { message, .. } => waiting("CreateContainerConfigError", message),
            Phase::Running { since, .. } => json!({"running": {"startedAt": stamp(*since)}}),
            Phase::Restarting { exit, .. } | Phase::Exited { exit } => exit.state(),
            Phase::CrashBackOff { wait_s, .. } => waiting(
                "CrashLoopBackOff",
                &format!("back-off {wait_s}s restarting failed container={} pod={pod}", self.name),
            ),
        };
        let mut status = json!({
            "name": self.name, "image": self.image, "imageID": "", "ready": self.ready(now),
            "started": self.running(), "restartCount": self.restarts, "state": state,
            "lastState": self.last.as_ref().map_or_else(|| json!({}), Exit::state),
        });
        if !self.id.is_empty() {
            status["containerID"] = json!(self.id);
            status["imageID"] = json!(format!("{}@sha256:{:0>64}", self.image, ""));
        }
        status
    }
}

impl Exit {
    fn state(&self) -> Value {
        json!({"terminated": {
            "exitCode": self.code, "reason": self.reason, "containerID": self.id,
            "startedAt": stamp(self.started), "finishedAt": stamp(self.finished),
        }})
    }
}

//! The only place that starts processes. Arguments are passed as they are, never through a shell; the environment is
//! what the caller lists; the whole process group dies with the call.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What to start.
pub(crate) struct Invocation<'a> {
    pub(crate) program: &'a Path,
    pub(crate) arguments: Vec<OsString>,
    /// The whole environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) directory: &'a Path,
    pub(crate) stdin: Option<&'a str>,
    /// When the group is killed.
    pub(crate) deadline: Instant,
    /// Ends the process early; an approved effect has none.
    pub(crate) cancel: Option<&'a CancellationToken>,
    /// How many bytes of each output are kept.
    pub(crate) keep: usize,
    /// How many bytes of memory each process of the group may use for its data. Only Linux keeps to it.
    pub(crate) memory: u64,
}

/// What a kubectl may use for its data. It needs a tenth of it for what it is asked here, and what its server sends it is not ours
/// to say: it reads answers whole before it prints, and unpacks them before that.
pub(crate) const MEMORY: u64 = 1 << 30;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal,
    TimedOut,
    Cancelled,
    /// It was started, and the system would not say how it ended.
    Lost,
}

/// What a process left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) exit: Exit,
    pub(crate) stdout: Captured,
    pub(crate) stderr: Captured,
}

#[cfg(test)]
impl Finished {
    /// A program that failed with these words.
    pub(crate) fn said(stderr: &str) -> Self {
        let mut captured = Captured::new(64 * 1024);
        captured.push(stderr.as_bytes());
        Self { exit: Exit::Code(1), stdout: Captured::default(), stderr: captured }
    }
}

/// Output, of which head and tail are kept.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    half: usize,
    total: u64,
}

/// Bytes beyond each kept half that are there for redaction only: a credential that is cut through would not be
/// recognised, so what is shown ends well inside of what was looked at.
const MARGIN: usize = 16 * 1024;

impl Captured {
    fn new(keep: usize) -> Self {
        Self { half: keep / 2, ..Self::default() }
    }

    fn push(&mut self, mut bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let limit = self.half + MARGIN;
        let room = limit.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        bytes = &bytes[room..];
        self.tail.extend(bytes);
        let excess = self.tail.len().saturating_sub(limit);
        self.tail.drain(..excess);
    }

    /// Everything, when nothing had to be cut.
    pub(crate) fn whole(&self) -> Option<String> {
        let kept = self.head.len() as u64 + self.tail.len() as u64;
        (kept == self.total).then(|| {
            let mut bytes = self.head.clone();
            bytes.extend(&self.tail);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The text for people: `clean` sees all that was kept, then head and tail are cut to size.
    pub(crate) fn text(&self, clean: impl Fn(&str) -> String) -> String {
        if let Some(whole) = self.whole() {
            let whole = clean(&whole);
            if whole.len() <= self.half * 2 {
                return whole;
            }
            return self.joined(&whole, &whole, whole.len());
        }
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        let (head, tail) = (clean(&String::from_utf8_lossy(&self.head)), clean(&String::from_utf8_lossy(&tail)));
        self.joined(&head, &tail, usize::try_from(self.total).unwrap_or(usize::MAX))
    }

    fn joined(&self, head: &str, tail: &str, total: usize) -> String {
        const MARKER: usize = 64;
        let half = self.half.saturating_sub(MARKER / 2);
        let mut end = half.min(head.len());
        while !head.is_char_boundary(end) {
            end -= 1;
        }
        let mut start = tail.len() - half.min(tail.len());
        while !tail.is_char_boundary(start) {
            start += 1;
        }
        let cut = total.saturating_sub(end + (tail.len() - start));
        format!("{}\n[… {cut} bytes cut …]\n{}", &head[..end], &tail[start..])
    }
}

/// Kills the group of a child that is dropped while it runs.
struct Group {
    child: Child,
    id: Option<Pid>,
}

impl Group {
    fn kill(&mut self) {
        if let Some(id) = self.id.take() {
            // The group may be gone already, which is what is wanted.
            let _gone = kill_process_group(id, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How long a process that has ended may leave its output open in the hands of another.
const DRAIN: Duration = Duration::from_secs(1);

/// Starts a process and waits for its end.
///
/// # Errors
/// It could not be started: nothing ran.
#[allow(clippy::disallowed_methods, reason = "this is the one file where processes are spawned")]
pub(crate) async fn run(invocation: Invocation<'_>) -> std::io::Result<Finished> {
    if invocation.deadline <= Instant::now() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            "the time was over before the process was started",
        ));
    }
    let mut command = Command::new(invocation.program);
    command
        .args(&invocation.arguments)
        .env_clear()
        .envs(invocation.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(invocation.directory)
        .stdin(if invocation.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .process_group(0);
    let child = command.spawn()?;
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(id) = id {
        bound(id, invocation.memory);
    }
    let mut group = Group { child, id };
    let (input, output, errors) = (group.child.stdin.take(), group.child.stdout.take(), group.child.stderr.take());
    let mut stdout = Captured::new(invocation.keep);
    let mut stderr = Captured::new(invocation.keep);

    let exit = {
        let feed = async {
            if let (Some(mut pipe), Some(text)) = (input, invocation.stdin) {
                // A process that ends without reading everything says why on its error output.
                let _closed = pipe.write_all(text.as_bytes()).await;
            }
        };
        let talk = async { tokio::join!(feed, drain(output, &mut stdout), drain(errors, &mut stderr)) };
        tokio::pin!(talk);
        let cancelled = async {
            match invocation.cancel {
                Some(token) => token.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(cancelled);
        let deadline = tokio::time::sleep_until(invocation.deadline);
        tokio::pin!(deadline);
        let mut talking = true;
        loop {
            tokio::select! {
                biased;
                status = group.child.wait() => {
                    let exit = ended(status);
                    if talking && tokio::time::timeout(DRAIN, &mut talk).await.is_err() {
                        group.kill();
                    }
                    if exit == Exit::Lost {
                        // Nothing says that it is gone, so what is left of it is ended.
                        group.kill();
                    }
                    // The group's leader is gone and its id may be another's soon: no signal after this.
                    group.id = None;
                    break exit;
                }
                () = &mut cancelled => { group.kill(); break Exit::Cancelled; }
                () = &mut deadline => { group.kill(); break Exit::TimedOut; }
                _ = &mut talk, if talking => talking = false,
            }
        }
    };
    if matches!(exit, Exit::Cancelled | Exit::TimedOut) {
        let _reaped = group.child.wait().await;
    }
    Ok(Finished { exit, stdout, stderr })
}

/// Bounds what a process that has just been started, and whatever it starts, may use for its data: the heap and what is mapped for
/// writing (`RLIMIT_DATA`, which counts both since Linux 4.7). An allocation beyond it fails, and a Go program then ends. To do it
/// before the program begins would take code between fork and exec, which is unsafe; at this moment it has hardly been loaded.
#[cfg(target_os = "linux")]
fn bound(id: Pid, memory: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
    // A limit that this process was given itself stays: nobody may be given more than that.
    let most = getrlimit(Resource::Data).maximum.map_or(memory, |most| most.min(memory));
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    match prlimit(Some(id), Resource::Data, limit) {
        // It has ended already.
        Ok(_) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => tracing::warn!(%error, "the memory of a started process could not be bounded"),
    }
}

#[cfg(not(target_os = "linux"))]
fn bound(_: Pid, _: u64) {}

/// What waiting for a started process says. An error of the wait is no proof that nothing ran.
fn ended(status: std::io::Result<std::process::ExitStatus>) -> Exit {
    match status {
        Ok(status) => status.code().map_or(Exit::Signal, Exit::Code),
        Err(error) => {
            tracing::error!(%error, "a started process could not be waited for; how it ended is unknown");
            Exit::Lost
        }
    }
}

async fn drain(pipe: Option<impl AsyncRead + Unpin>, into: &mut Captured) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count) = pipe.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        into.push(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell<'a>(script: &str, stdin: Option<&'a str>, limit: Duration) -> Invocation<'a> {
        Invocation {
            program: Path::new("/bin/sh"),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            directory: Path::new("/"),
            stdin,
            deadline: Instant::now() + limit,
            cancel: None,
            keep: 64 * 1024,
            memory: MEMORY,
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_process_that_wants_more_memory_than_it_may_have_does_not_get_it() {
        // It waits for its bound, and then asks for more than that: `tail` keeps a line whole.
        let script = "while [ \"$(ulimit -d)\" = unlimited ]; do :; done; ulimit -d; head -c 400000000 /dev/zero | tail -n 1 | wc -c";
        let bounded = Invocation { memory: 64 << 20, ..shell(script, None, Duration::from_secs(30)) };
        let done = run(bounded).await.unwrap();
        let (text, errors) = (done.stdout.text(str::to_owned), done.stderr.text(str::to_owned));
        assert_eq!(text.lines().next(), Some("65536"), "{text} {errors}");
        assert!(!text.contains("400000000") && errors.contains("memory"), "{text} {errors}");
    }

    #[tokio::test]
    async fn output_is_bounded_and_says_what_was_cut() {
        let done = run(shell("head -c 1000000 /dev/zero | tr '\\0' x; echo end", None, Duration::from_secs(20)))
            .await
            .unwrap();
        let text = done.stdout.text(str::to_owned);
        assert_eq!(done.exit, Exit::Code(0));
        assert!(text.len() <= 64 * 1024, "{}", text.len());
        assert!(text.contains("bytes cut") && text.ends_with("end\n"));
        assert!(done.stdout.head.len() + done.stdout.tail.len() <= 64 * 1024 + 2 * MARGIN);
    }

    #[tokio::test]
    async fn at_the_deadline_the_whole_group_dies() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("survived");
        let script = format!("(sleep 1; touch {}) & sleep 30", mark.display());
        let begun = Instant::now();
        let done = run(shell(&script, None, Duration::from_millis(200))).await.unwrap();
        assert_eq!(done.exit, Exit::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(1300)).await;
        assert!(!mark.exists());
    }

    #[tokio::test]
    async fn a_dropped_call_leaves_no_process_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("survived");
        let script = format!("sleep 1; touch {}", mark.display());
        let call = run(shell(&script, None, Duration::from_secs(30)));
        assert!(tokio::time::timeout(Duration::from_millis(200), call).await.is_err());
        tokio::time::sleep(Duration::from_millis(1300)).await;
        assert!(!mark.exists());
    }

    #[tokio::test]
    async fn a_child_that_outlives_its_parent_does_not_hold_the_call() {
        let begun = Instant::now();
        let done = run(shell("sleep 30 & echo done", None, Duration::from_secs(20))).await.unwrap();
        assert_eq!(done.exit, Exit::Code(0));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn rule_12_the_environment_is_only_what_is_listed() {
        let done = run(shell("env", None, Duration::from_secs(5))).await.unwrap();
        let text = done.stdout.text(str::to_owned);
        assert!(
            text.lines()
                .all(|line| ["PATH=", "PWD=", "SHLVL=", "_=", "OLDPWD"].iter().any(|known| line.starts_with(known))),
            "{text}"
        );
    }

    #[tokio::test]
    async fn standard_input_is_written_and_closed() {
        let done = run(shell("cat", Some("hello"), Duration::from_secs(5))).await.unwrap();
        assert_eq!(done.stdout.text(str::to_owned), "hello");
    }

    #[test]
    fn rule_4_a_wait_that_fails_after_the_start_is_not_a_process_that_never_started() {
        assert_eq!(ended(Err(std::io::Error::from_raw_os_error(10))), Exit::Lost);
        assert_eq!(ended(Ok(std::os::unix::process::ExitStatusExt::from_raw(9))), Exit::Signal);
        assert_eq!(ended(Ok(std::os::unix::process::ExitStatusExt::from_raw(256))), Exit::Code(1));
    }

    #[test]
    fn a_credential_at_the_cut_is_not_shown_in_part() {
        let mut captured = Captured::new(64);
        captured.push(&[b'x'; 20]);
        captured.push(b" SECRETSECRETSECRET ");
        captured.push(&vec![b'y'; 100_000]);
        let text = captured.text(|text| text.replace("SECRETSECRETSECRET", "#"));
        assert!(!text.contains("SECRET"), "{text}");
    }
}

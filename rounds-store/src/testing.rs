//! For tests: a PostgreSQL of one's own.
//!
//! `TEST_DATABASE_URL` names a server whose user may create databases; without it a private server is started from the
//! binaries on this machine. It listens on a socket in a folder of its own and on no network address, serves every
//! test process of a run, and goes away by itself a few seconds after the last of them has ended, however it ended.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what prepares a test fails by panicking, and says why"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection};
use uuid::Uuid;

/// An empty database, dropped with this value where the server outlives the tests.
#[derive(Debug)]
pub struct TestDatabase {
    server: String,
    name: String,
    keeps: bool,
}

impl TestDatabase {
    /// Makes a database, on a server that is started if need be.
    ///
    /// # Panics
    /// There is no PostgreSQL: neither in `TEST_DATABASE_URL`, nor its programs on this machine (Debian's package
    /// `postgresql` has them).
    #[allow(clippy::disallowed_methods, reason = "tests read their environment")]
    pub async fn create() -> Self {
        let (server, keeps) = match std::env::var("TEST_DATABASE_URL") {
            Ok(url) => (url, true),
            Err(_) => (private_server(), false),
        };
        let name = format!("rounds_{}", Uuid::now_v7().simple());
        let database = Self { server, name, keeps };
        let admin = database.administer().await;
        admin.execute_unprepared(&format!("CREATE DATABASE {}", database.name)).await.expect("a database is made");
        admin.close().await.expect("the connection ends");
        database
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        let (base, parameters) = match self.server.split_once('?') {
            Some((base, parameters)) => (base, format!("?{parameters}")),
            None => (self.server.as_str(), String::new()),
        };
        let host = base.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        format!("{host}/{}{parameters}", self.name)
    }

    async fn administer(&self) -> DatabaseConnection {
        let mut options = ConnectOptions::new(&self.server);
        options.max_connections(1).sqlx_logging(false);
        Database::connect(options).await.expect("the test server answers")
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if !self.keeps {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        // A drop cannot wait in the runtime that it runs in, so it takes one of its own.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async {
                let admin = Database::connect(server).await.ok()?;
                admin.execute_unprepared(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.ok()
            })
        });
        let _ = dropped.join();
    }
}

/// The address of the private server, which runs when this returns.
fn private_server() -> String {
    let user = rustix::process::getuid().as_raw();
    let folder = std::env::temp_dir().join(format!("rounds-postgres-{user}"));
    std::fs::create_dir_all(folder.join("users")).expect("a folder for the test server");
    let lock = File::create(folder.join("lock")).expect("a lock file");
    lock.lock().expect("the lock is ours in the end");
    // Registered before the lock is given back: whoever decides that nobody is left takes it first.
    let me = folder.join("users").join(std::process::id().to_string());
    std::fs::write(me, "").expect("this process is registered");
    let socket = folder.join(".s.PGSQL.5432");
    if UnixStream::connect(&socket).is_err() {
        start(&folder);
        let limit = Instant::now() + Duration::from_secs(60);
        while UnixStream::connect(&socket).is_err() {
            let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < limit, "the test server did not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    format!("postgres://rounds@localhost/postgres?host={}", folder.display())
}

/// Waits until no registered process is left, then ends the server by its own process id.
const WATCH: &str = r#"
folder=$1; shift
"$@" >"$folder/log" 2>&1 &
server=$!
idle=0
busy() {
    found=1
    for user in "$folder"/users/*; do
        if [ -e "/proc/${user##*/}" ]; then found=0; else rm -f "$user"; fi
    done
    return $found
}
while kill -0 "$server" 2>/dev/null; do
    sleep 1
    if busy; then idle=0; else idle=$((idle + 1)); fi
    if [ "$idle" -ge 10 ]; then
        exec 9>"$folder/lock"
        flock 9
        if ! busy; then
            kill -INT "$server"
            wait "$server"
            rm -rf "$folder/data"
            exit 0
        fi
        exec 9>&-
        idle=0
    fi
done
"#;

#[allow(clippy::disallowed_methods, reason = "tests start the server that they need")]
#[allow(clippy::zombie_processes, reason = "it serves other processes, too, and ends by itself")]
fn start(folder: &Path) {
    let data = folder.join("data");
    let _ = std::fs::remove_dir_all(&data);
    std::fs::create_dir(&data).expect("a folder for the data");
    let is_root = rustix::process::getuid().is_root();
    // PostgreSQL refuses to run as root.
    let as_whom: &[&str] =
        if is_root { &["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] } else { &["env"] };
    if is_root {
        for owned in [folder, &data] {
            run(Command::new("chown").arg("nobody:nogroup").arg(owned));
        }
    }
    let mut initdb = Command::new(as_whom[0]);
    initdb.args(&as_whom[1..]).arg(program("initdb")).arg("--pgdata").arg(&data);
    initdb.args(["--username=rounds", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]);
    run(initdb.current_dir("/"));
    let mut server = Command::new("setsid");
    server.args(["sh", "-c", WATCH, "watch"]).arg(folder).args(as_whom).arg(program("postgres")).arg("-D").arg(&data);
    server.arg("-k").arg(folder);
    // The tests kill clients, never the server: what it loses with the power is not looked at.
    for setting in ["listen_addresses=", "fsync=off", "full_page_writes=off", "max_connections=400"] {
        server.args(["-c", setting]);
    }
    server.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    server.spawn().expect("the test server is started");
}

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A program of PostgreSQL: on the path, or where Debian keeps the newest.
#[allow(clippy::disallowed_methods, reason = "tests read their environment")]
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debians: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    let version = |bin: &PathBuf| bin.parent().and_then(Path::file_name).and_then(OsStr::to_str)?.parse::<u32>().ok();
    debians.sort_by_key(|bin| std::cmp::Reverse(version(bin)));
    let mut places = debians.into_iter().chain(std::env::split_paths(&path));
    places.find(|place| place.join(name).is_file()).map(|place| place.join(name)).unwrap_or_else(|| {
        panic!("{name} is not on this machine: install Debian's package postgresql, or set TEST_DATABASE_URL")
    })
}

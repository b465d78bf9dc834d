//! Deliberately broken connectors: each breaks one rule, and the check that protects it must notice.
//!
//! They speak HTTP/1.1 of their own over tokio's TCP (`wire.rs`), so that core's tests need no client. A flaw is a word that
//! the connector asks for where it would do right. The table of a file says which checks must fail for which flaw; each check
//! of a suite is in a table, and each passes for the connector without a flaw.

mod adapters;
mod others;
mod wire;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use rounds_core::conformance::connector::Check;

/// What a connector does wrong, how it is made, and the checks that must notice.
type Broken<T> = (&'static str, T, &'static [&'static str]);

/// What a check says.
fn verdict(run: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// Runs every check of a suite on the whole connector, and on each broken one those that must notice.
fn verdicts<T: Sync>(
    checks: &[Check],
    broken: &[Broken<T>],
    unable: &[&str],
    run: impl Fn(&str, &'static str, &T) + Sync,
    whole: impl Fn(&str) + Sync,
) {
    let covered: BTreeSet<&str> = broken.iter().flat_map(|(_, _, checks)| checks.iter().copied()).collect();
    let shown: Vec<&str> =
        checks.iter().map(|(name, _)| *name).filter(|name| !covered.contains(name) && !unable.contains(name)).collect();
    assert!(shown.is_empty(), "no broken connector shows that these checks can fail: {shown:?}");
    let wrong = Mutex::new(Vec::new());
    let mut work: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
    for (flaw, how, names) in broken {
        for name in *names {
            let (run, wrong) = (&run, &wrong);
            work.push(Box::new(move || match verdict(|| run(name, flaw, how)) {
                Ok(()) => wrong.lock().unwrap().push(format!("{name} does not notice a connector that {flaw}")),
                Err(said) => println!("{flaw}: {name}: {}", said.lines().next().unwrap_or_default()),
            }));
        }
    }
    for (name, _) in checks {
        let (whole, wrong) = (&whole, &wrong);
        work.push(Box::new(move || {
            if let Err(said) = verdict(|| whole(name)) {
                wrong.lock().unwrap().push(format!("{name} fails for a whole connector: {said}"));
            }
        }));
    }
    // Most of the time is waiting, so several at once are no more work.
    let work = Mutex::new(work);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(next) = { work.lock().unwrap().pop() } {
                    next();
                }
            });
        }
    });
    drop(work);
    let wrong = std::mem::take(&mut *wrong.lock().unwrap());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

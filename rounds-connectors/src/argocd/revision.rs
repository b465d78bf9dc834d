//! Which revision a sync goes to: what was approved, or none.
//!
//! `review` asks nobody, so the revision is a parameter of the step and thereby part of what is approved. A whole commit (40
//! digits), or the digest of an OCI artifact, is one content for ever: it is *pinned*. A name (a branch, a tag, a version, a range)
//! stands for whatever Git or the repository says when the step runs, and its review says so.
//!
//! What Argo CD's server does with the revision of a sync request (`server/application`, 2.11 to 3.x):
//!
//! - It is made a commit when the request comes in, and the operation carries that commit, so a branch that moves later moves
//!   nothing, but for one case: with `retry.refresh` (newer versions) a retry looks for the newest again. A pinned sync switches that off.
//! - Of several sources, `revisions` and `sourcePositions` (from 1) name those that are not to be the tracked ones.
//! - With auto-sync on, any revision but the very word that is tracked is refused, a commit that the word stands for included; asked
//!   without one, the server looks anew what the word stands for, which nobody approved. So a pinned sync is refused there, unless
//!   the application tracks that commit itself.
//! - `application.sync.requireOverridePrivilegeForRevisionSync` (newer versions) makes any other revision a matter of the right `override`.

use super::api::one_line;
use super::model::{Application, OperationState};

/// What is asked of Argo CD, and what has to come of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Aim {
    /// A revision for each source; empty: the tracked ones.
    pub(super) ask: Vec<String>,
    /// The pinned ones, each in its source's place; an empty word is any revision.
    pub(super) expect: Vec<String>,
}

/// The words of a `revision` parameter: one for each source.
pub(super) fn words(revision: &str) -> Vec<&str> {
    revision.split(", ").collect()
}

/// Whether a revision is one content for ever: all digits of a commit, or a digest, and not a name that may move. The 64 digits of a
/// SHA-256 commit are no commit to Argo CD (`IsCommitSHA`): a branch of that name would come first.
pub(super) fn is_pinned(revision: &str) -> bool {
    let hex = |text: &str| text.chars().all(|c| c.is_ascii_digit() || matches!(c, 'a'..='f'));
    match revision.strip_prefix("sha256:") {
        Some(digest) => digest.len() == 64 && hex(digest),
        None => revision.len() == 40 && hex(revision),
    }
}

impl Aim {
    /// What a sync to this revision asks for; without one, what is tracked.
    ///
    /// # Errors
    /// Argo CD would refuse it, or sync to something else.
    pub(super) fn of(app: &Application, revision: Option<&str>) -> Result<Self, String> {
        let Some(revision) = revision else { return Ok(Self::default()) };
        let (wanted, tracked) = (words(revision), app.tracked());
        if wanted.len() != tracked.len() {
            return Err(format!(
                "it has {}, and `revision` names {}: one for each source, in their order, with commas between them, is accepted",
                counted(tracked.len(), "source"),
                counted(wanted.len(), "revision"),
            ));
        }
        let expect = Self::pins(revision);
        if app.automated().is_none() {
            return Ok(Self { ask: wanted.into_iter().map(str::to_owned).collect(), expect });
        }
        // What it compares with now says nothing of what it will resolve the tracked word to: it looks only every few minutes.
        match wanted.iter().zip(&tracked).find(|(wanted, tracked)| wanted != tracked) {
            None => Ok(Self { ask: Vec::new(), expect }),
            Some((_, tracked)) => Err(format!(
                "auto-sync is on and set to {}, and Argo CD takes no other revision then, not even the commit that this stands \
                 for now: put argocd.set_auto_sync with `enabled: false` before it",
                one_line(tracked, 100)
            )),
        }
    }

    /// A revision's words, to be asked for whatever the application tracks.
    pub(super) fn asked(revision: Option<&str>) -> Vec<String> {
        revision.map(words).unwrap_or_default().into_iter().map(str::to_owned).collect()
    }

    /// The pinned ones of a revision.
    pub(super) fn pins(revision: &str) -> Vec<String> {
        words(revision).into_iter().map(|one| if is_pinned(one) { one.to_owned() } else { String::new() }).collect()
    }

    /// Whether any revision is pinned.
    pub(super) fn is_pinned(&self) -> bool {
        self.expect.iter().any(|one| !one.is_empty())
    }

    /// What an operation synced to instead of what is pinned; `None`: it is as it should be.
    pub(super) fn missed(&self, state: &OperationState) -> Option<String> {
        let found = state.revisions();
        let fits = |(at, expected): (usize, &String)| expected.is_empty() || found.get(at) == Some(&expected.as_str());
        if !self.is_pinned() || self.expect.iter().enumerate().all(fits) {
            return None;
        }
        let pinned: Vec<_> = self.expect.iter().map(|one| if one.is_empty() { "(any)" } else { one }).collect();
        Some(format!("found {}, expected {}", one_line(&found.join(", "), 300), pinned.join(", ")))
    }
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn app(change: Value) -> Application {
        let mut app = json!({
            "spec": { "source": { "targetRevision": "main" }, "syncPolicy": {} }, "status": { "sync": { "revision": A } },
        });
        for (pointer, value) in change.as_object().unwrap() {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            app.pointer_mut(parent).unwrap()[key] = value.clone();
        }
        serde_json::from_value(app).unwrap()
    }

    fn aim(ask: &[&str], expect: &[&str]) -> Result<Aim, String> {
        let owned = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        Ok(Aim { ask: owned(ask), expect: owned(expect) })
    }

    #[test]
    fn what_is_pinned_is_asked_for_and_auto_sync_takes_nothing_but_what_it_tracks() {
        let (plain, auto) = (app(json!({})), app(json!({ "/spec/syncPolicy/automated": {} })));
        for app in [&plain, &auto] {
            assert_eq!(Aim::of(app, None), aim(&[], &[]));
        }
        assert_eq!(Aim::of(&plain, Some(B)), aim(&[B], &[B]), "it may be another one than the tracked one is now");
        assert_eq!(Aim::of(&plain, Some("v1")), aim(&["v1"], &[""]));
        assert_eq!(Aim::of(&auto, Some("main")), aim(&[], &[""]));
        for other in [A, B, "v1"] {
            let refused = Aim::of(&auto, Some(other)).unwrap_err();
            assert!(
                refused.contains("auto-sync is on and set to main") && refused.contains("set_auto_sync"),
                "{refused}"
            );
        }
        let fixed = app(json!({ "/spec/syncPolicy/automated": {}, "/spec/source/targetRevision": A }));
        assert_eq!(Aim::of(&fixed, Some(A)), aim(&[], &[A]), "what it tracks moves never");
        let head = app(json!({ "/spec/syncPolicy/automated": {}, "/spec/source": {} }));
        assert_eq!(Aim::of(&head, Some("HEAD")), aim(&[], &[""]));
        let hydrated = json!({ "/spec/syncPolicy/automated": {}, "/spec/source": null,
            "/spec/sourceHydrator": { "syncSource": { "targetBranch": "env/prod", "path": "." } } });
        assert_eq!(Aim::of(&app(hydrated), Some("env/prod")), aim(&[], &[""]));
    }

    #[test]
    fn of_several_sources_each_has_a_revision_of_its_own() {
        let several = json!({ "/spec/sources": [{ "targetRevision": "1.2.*" }, { "targetRevision": "main" }],
            "/status/sync/revisions": ["1.2.3", A] });
        let plain = app(several.clone());
        let both = format!("1.2.3, {B}");
        assert_eq!(Aim::of(&plain, Some(&both)), aim(&["1.2.3", B], &["", B]));
        let few = Aim::of(&plain, Some(B)).unwrap_err();
        assert!(few.contains("it has 2 sources, and `revision` names 1 revision"), "{few}");
        let many = Aim::of(&app(json!({})), Some(&both)).unwrap_err();
        assert!(many.contains("it has 1 source, and `revision` names 2 revisions"), "{many}");
        let mut auto = several;
        auto["/spec/syncPolicy/automated"] = json!({});
        let auto = app(auto);
        assert_eq!(Aim::of(&auto, Some("1.2.*, main")), aim(&[], &["", ""]));
        assert!(Aim::of(&auto, Some(&format!("1.2.3, {A}"))).unwrap_err().contains("set to 1.2.*"));
        assert!(Aim::of(&auto, Some(&format!("1.2.*, {A}"))).unwrap_err().contains("set to main"));
    }

    #[test]
    fn an_operation_that_went_elsewhere_is_found_out() {
        let state = |result: Value, asked: Value| -> OperationState {
            serde_json::from_value(json!({ "operation": { "sync": asked }, "syncResult": result })).unwrap()
        };
        let one = Aim { ask: Vec::new(), expect: vec![A.into()] };
        assert_eq!(one.missed(&state(json!({ "revision": A }), json!({ "revision": B }))), None);
        assert_eq!(one.missed(&state(json!({}), json!({ "revision": A }))), None);
        for (result, asked) in [
            (json!({ "revision": B }), json!({ "revision": A })),
            (json!({}), json!({ "revision": B })),
            (json!({}), json!({})),
        ] {
            let missed = one.missed(&state(result, asked)).expect("another one");
            assert!(missed.contains(&format!("expected {A}")), "{missed}");
        }
        let two = Aim { ask: Vec::new(), expect: vec![String::new(), A.into()] };
        assert_eq!(two.missed(&state(json!({ "revisions": ["1.2.3", A] }), json!({}))), None);
        assert!(two.missed(&state(json!({ "revisions": [A, "1.2.3"] }), json!({}))).is_some());
        assert!(two.missed(&state(json!({ "revisions": [A] }), json!({}))).is_some());
        assert_eq!(Aim::default().missed(&state(json!({ "revision": B }), json!({}))), None);
    }

    #[test]
    fn only_what_never_moves_is_pinned() {
        for (revision, pinned) in [
            (A, true),
            (&"0".repeat(64), false),
            (&format!("sha256:{}", "0".repeat(64)), true),
            (&A[..39], false),
            (&A[..7], false),
            (&A.to_uppercase(), false),
            (&format!("sha256:{A}"), false),
            ("1.2.3", false),
            ("main", false),
            ("", false),
        ] {
            assert_eq!(is_pinned(revision), pinned, "{revision}");
        }
    }
}

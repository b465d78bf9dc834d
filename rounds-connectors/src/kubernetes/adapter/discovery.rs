//! Which kinds the cluster serves beside the built-in ones: asked for when a review met a word it does not know, and
//! asked again before a command on such a kind runs, because its scope may have changed since.

use std::time::Duration;

use rounds_core::step::StepError;
use tokio::time::Instant;

use super::super::gate::{CustomKind, CustomKinds, Gate};
use super::super::runner::{Call, KEEP_OBJECTS};
use super::KubectlExecutionAdapter;

/// How long what was discovered counts as known. Refusals come as often as a model tries words.
const FRESH: Duration = Duration::from_secs(15);

impl KubectlExecutionAdapter {
    /// Asks the cluster, unless it was asked a moment ago.
    pub(super) async fn discover_kinds(&self, call: &Call<'_>) -> Result<(), StepError> {
        // Held while asking: who comes meanwhile waits for the answer instead of asking, too.
        let mut discovered = self.discovered.lock().await;
        if discovered.is_some_and(|at| at.elapsed() < FRESH) {
            return Ok(());
        }
        let argv = [
            "api-resources".into(),
            "--no-headers".into(),
            "--output=wide".into(),
            format!("--request-timeout={}s", self.gate().policy().request_timeout()),
        ];
        let answer = self.runner.run(call, &argv, None, KEEP_OBJECTS).await?;
        let listed = answer.finished.stdout.whole().unwrap_or_default();
        let kinds: Vec<CustomKind> = listed.lines().filter_map(kind).collect();
        // One aggregated API that is down fails the command; the others are listed all the same.
        if kinds.is_empty() {
            return Err(StepError::not_started(format!(
                "{} did not say which kinds it serves: {}",
                answer.server,
                answer.complaint()
            )));
        }
        let mut policy = self.gate().policy().clone();
        policy.custom_kinds = CustomKinds::new(kinds);
        tracing::debug!(connector = %self.runner.name(), kinds = policy.custom_kinds.len(), "custom kinds discovered");
        self.set_gate(Gate::new(policy));
        *discovered = Some(Instant::now());
        Ok(())
    }
}

/// A line of `api-resources -o wide`: NAME, perhaps SHORTNAMES, APIVERSION, NAMESPACED, KIND, and what follows.
fn kind(line: &str) -> Option<CustomKind> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| matches!(*word, "true" | "false"))?;
    let (names, rest) = words.split_at(at);
    let (plural, short_names, api_version) = match names {
        [plural, version] => (plural, "", version),
        [plural, short, version] => (plural, *short, version),
        _ => return None,
    };
    let [namespaced, kind, ..] = rest else { return None };
    let (group, _) = api_version.split_once('/')?;
    Some(CustomKind {
        group: group.to_owned(),
        kind: (*kind).to_owned(),
        plural: (*plural).to_owned(),
        short_names: short_names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        namespaced: *namespaced == "true",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_old_and_new_clients_are_read() {
        let widget = CustomKind {
            group: "example.com".into(),
            kind: "Widget".into(),
            plural: "widgets".into(),
            short_names: vec!["w".into(), "wi".into()],
            namespaced: true,
        };
        for line in [
            "widgets   w,wi   example.com/v1   true   Widget   [delete get list]",
            "widgets   w,wi   example.com/v1   true   Widget   create,delete,get   all,mesh",
        ] {
            assert_eq!(kind(line), Some(widget.clone()), "{line}");
        }
        let zone = kind("zones      example.com/v1beta1   false   Zone   get,list").unwrap();
        assert!(!zone.namespaced && zone.short_names.is_empty());
        // The core group has no custom kinds; what is no line of the table is passed over.
        for line in ["pods po v1 true Pod get", "", "error: unable to retrieve the complete list", "a b c d e true"] {
            assert_eq!(kind(line), None, "{line}");
        }
    }
}

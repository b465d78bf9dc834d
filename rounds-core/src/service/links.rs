//! Where people look further: the addresses among the annotations of an alert.
//!
//! They are read where a notice is routed: its text is written in the commit that changes the alert, and what a reader may
//! want to open besides is no part of that. Each is kept apart from the text, so that a channel makes a link of it and of
//! nothing else.

use std::collections::BTreeMap;

use super::hearing::read;
use super::shared::Shared;
use crate::id::{AlertInstanceId, AlertRuleId};
use crate::ports::store::{StoreError, StoreExt};
use crate::ports::{Link, Notice};

/// How many addresses a notice has beside its page. More are in its text.
const MOST: usize = 5;

/// A notice of an alert gets the links of that alert. A row that cannot be read keeps nobody from being told.
pub(crate) async fn of_alert(shared: &Shared, notice: &mut Notice) -> Result<(), StoreError> {
    let Some((rule, instance)) = notice.about.as_deref().and_then(parties) else { return Ok(()) };
    let Some(rule) = read(shared.store.rule(rule).await)? else { return Ok(()) };
    let Some(instance) = read(shared.store.instance(instance).await)? else { return Ok(()) };
    let mut labels = instance.last_labels.clone();
    if labels.is_empty() {
        // A reset clears the labels of the sample; the notice has them, among the rule's own.
        labels.clone_from(&notice.labels);
        labels.retain(|name, _| !rule.labels.contains_key(name) && name != "alertname");
    }
    link(notice, &rule.said(Some(&instance), &labels, instance.last_value));
    Ok(())
}

/// And the annotations that are addresses as links. The text says them too, for channels that show text alone.
pub(crate) fn link(notice: &mut Notice, annotations: &BTreeMap<String, String>) {
    notice.links = annotations.iter().filter_map(|(name, text)| Link::new(name, text)).take(MOST).collect();
}

/// The rule and the instance that an [`about`](Notice::about) names.
fn parties(about: &str) -> Option<(AlertRuleId, AlertInstanceId)> {
    let mut parts = about.strip_prefix("alert/")?.split('/');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::NoticeKind;
    use crate::time::Timestamp;

    fn linked(body: &str, annotations: &[(&str, &str)]) -> Notice {
        let mut notice = Notice::new(NoticeKind::AlertFiring, "k", Timestamp::UNIX_EPOCH, "x");
        notice.body = body.into();
        let annotations = annotations.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        link(&mut notice, &annotations.collect());
        notice
    }

    #[test]
    fn an_annotation_that_is_an_address_is_a_link_and_every_other_one_stays_text() {
        let body = "dashboard_url: javascript:alert(1)\nrunbook_url: https://wiki.example/a\nsummary: see https://evil.example";
        let annotations = [
            ("dashboard_url", "javascript:alert(1)"),
            ("runbook_url", "https://wiki.example/a"),
            ("summary", "see https://evil.example"),
        ];
        let notice = linked(body, &annotations);
        assert_eq!(notice.links, [Link::new("runbook_url", "https://wiki.example/a").unwrap()]);
        assert_eq!(notice.body, body);
        // A text that looks like one of them is none.
        let forged = "summary: x\nrunbook_url: https://evil.example";
        let notice = linked(forged, &[("summary", "x\nrunbook_url: https://evil.example")]);
        assert!(notice.links.is_empty() && notice.body == forged);
    }

    #[test]
    fn of_many_addresses_there_are_as_many_links_as_a_message_holds() {
        let names: Vec<String> = (0..MOST + 2).map(|at| format!("url_{at}")).collect();
        let annotations: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "https://x.example")).collect();
        let notice = linked("", &annotations);
        assert_eq!(notice.links.len(), MOST);
    }
}

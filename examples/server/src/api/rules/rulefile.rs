//! A rule file of Prometheus, as drafts of rules.

use std::collections::BTreeMap;

use promql_parser::util::parse_duration;
use rounds_core::alert::{Condition, Severity, annotated};
use rounds_core::service::RuleDraft;
use serde::Deserialize;

use super::promql::split;

/// The label that says which group of which file a rule came from.
pub(super) const GROUP_LABEL: &str = "rule_group";

/// The most rules of one file.
const MAX_RULES: usize = 1_000;

/// One rule of a file.
pub(super) struct FileRule {
    pub(super) group: String,
    pub(super) name: String,
    /// What is made of it, or why nothing is.
    pub(super) read: Result<RuleDraft, Unread>,
    /// What a reader should know.
    pub(super) warnings: Vec<String>,
}

/// Why a rule of a file becomes none here.
pub(super) enum Unread {
    /// It is of a kind that there is none of here.
    Skipped(String),
    /// It does not hold.
    Wrong(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Option<Vec<Group>>,
    /// The same as a custom resource of the Prometheus operator.
    spec: Option<Spec>,
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    kind: Option<String>,
    #[serde(rename = "metadata")]
    _metadata: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    interval: Option<String>,
    limit: Option<u64>,
    query_offset: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
    expr: Option<String>,
    #[serde(rename = "for")]
    for_duration: Option<String>,
    keep_firing_for: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Reads a file. Names are unique in an organisation and not in a file, so alerts that share one get their severity or
/// their group into it.
///
/// # Errors
/// It cannot be read as a whole: where, and what was expected.
pub(super) fn read(text: &str) -> Result<Vec<FileRule>, String> {
    let expected = "`groups:`, a list of `{name, interval?, rules: [{alert, expr, for?, labels?, annotations?}]}`, is \
                    expected";
    let file: File = serde_saphyr::from_str(text).map_err(|error| format!("{error}; {expected}"))?;
    if file.kind.as_deref().is_some_and(|kind| kind != "PrometheusRule") {
        let kind = file.kind.unwrap_or_default();
        return Err(format!("kind: found `{kind}`; PrometheusRule is expected, or a rule file without a kind"));
    }
    let groups = match (file.groups, file.spec) {
        (Some(groups), None) => groups,
        (None, Some(spec)) => spec.groups,
        _ => return Err(format!("found neither groups nor spec.groups; {expected}")),
    };
    let mut rules: Vec<(FileRule, Option<String>)> = Vec::new();
    for group in &groups {
        for (place, rule) in group.rules.iter().enumerate() {
            if rules.len() == MAX_RULES {
                return Err(format!("the file has more than {MAX_RULES} rules: import it in parts"));
            }
            let severity = rule.labels.get("severity").or_else(|| group.labels.get("severity")).cloned();
            rules.push((of_rule(group, place, rule), severity));
        }
    }
    Ok(named_apart(rules))
}

fn of_rule(group: &Group, place: usize, rule: &Rule) -> FileRule {
    let mut warnings = Vec::new();
    let (name, read) = match (&rule.alert, &rule.record) {
        (Some(alert), None) => (alert.trim().to_owned(), draft(group, alert, rule, &mut warnings)),
        (None, Some(record)) => {
            let why = "a recording rule makes a series and no alert; the datasource keeps it";
            (record.clone(), Err(Unread::Skipped(why.into())))
        }
        (Some(alert), Some(_)) => {
            (alert.clone(), Err(Unread::Wrong("found alert and record; one of them is expected".into())))
        }
        (None, None) => {
            let why = "found neither alert nor record; one of them is expected";
            (format!("rule {}", place + 1), Err(Unread::Wrong(why.into())))
        }
    };
    FileRule { group: group.name.clone(), name, read, warnings }
}

fn draft(group: &Group, alert: &str, rule: &Rule, warnings: &mut Vec<String>) -> Result<RuleDraft, Unread> {
    let wrong = |field: &str, message: String| Unread::Wrong(format!("{field}: {message}"));
    let expr = rule.expr.as_deref().filter(|expr| !expr.trim().is_empty());
    let expr = expr.ok_or_else(|| wrong("expr", "PromQL is expected".into()))?;
    let condition = split(expr).map_err(|message| wrong("expr", message))?;
    warnings.extend(condition.note.map(|note| format!("expr: {note}")));
    let seconds = |field: &str, text: Option<&String>, or: u64| match text.map(|text| text.trim()) {
        None => Ok(or),
        // The parser wants a unit; zero has none that matters.
        Some("0") => Ok(0),
        Some(text) => match parse_duration(text) {
            Ok(length) => Ok(length.as_secs() + u64::from(length.subsec_nanos() > 0)),
            Err(_) => Err(wrong(field, format!("found `{text}`; a duration such as 5m or 1h30m is expected"))),
        },
    };
    let for_duration_sec = seconds("for", rule.for_duration.as_ref(), 0)?;
    let evaluation_interval_sec = seconds("interval", group.interval.as_ref(), 60)?.max(1);
    let keep_firing_for_sec = seconds("keep_firing_for", rule.keep_firing_for.as_ref(), 0)?;
    if group.limit.is_some_and(|limit| limit > 0) {
        warnings.push("limit is not imported: how many label sets a rule follows is a setting of the server".into());
    }
    if let Some(text) = &group.query_offset {
        warnings.push(format!("query_offset: {text} is not supported: write `offset` into the query"));
    }
    let mut labels = group.labels.clone();
    labels.extend(rule.labels.clone());
    let severity = match labels.get("severity").map(|word| (word.clone(), Severity::named(word))) {
        Some((_, Some(severity))) => {
            labels.remove("severity");
            severity
        }
        Some((word, None)) => {
            warnings.push(format!(
                "labels.severity: found `{word}`; info, low, medium, warning, high, critical are known; it is imported \
                 as warning, and the label is kept"
            ));
            Severity::Warning
        }
        None => Severity::Warning,
    };
    labels.insert(GROUP_LABEL.into(), group.name.clone());
    for (name, text) in &rule.annotations {
        let left = annotated(text, &BTreeMap::new(), Some(0.0));
        if left.contains("{{") {
            warnings.push(format!(
                "annotations.{name}: of its templates {{{{ $labels.x }}}} and {{{{ $value }}}} are filled in, the others are kept as text"
            ));
        }
    }
    Ok(RuleDraft {
        name: alert.trim().to_owned(),
        description: String::new(),
        condition: Condition {
            query: condition.query,
            operator: condition.operator,
            threshold: condition.threshold,
            for_duration_sec,
            keep_firing_for_sec,
        },
        evaluation_interval_sec,
        severity,
        labels,
        annotations: rule.annotations.clone(),
        series: condition.series,
        absent_is_zero: condition.absent_is_zero,
        datasource_id: None,
        owner_team_id: None,
    })
}

/// Gives every alert a name of its own. Which ones share one is a matter of the file alone, so the same file gives the
/// same names again.
fn named_apart(rules: Vec<(FileRule, Option<String>)>) -> Vec<FileRule> {
    let count = |names: &[String]| {
        let mut counts = BTreeMap::<String, usize>::new();
        for name in names {
            *counts.entry(name.clone()).or_default() += 1;
        }
        counts
    };
    let is_alert = |rule: &FileRule| rule.read.is_ok();
    let plain: Vec<String> =
        rules.iter().filter(|(rule, _)| is_alert(rule)).map(|(rule, _)| rule.name.clone()).collect();
    let plain = count(&plain);
    let shared = |name: &str| plain.get(name).is_some_and(|count| *count > 1);
    let by_severity = |rule: &FileRule, severity: &Option<String>| match severity {
        Some(severity) if shared(&rule.name) => format!("{} ({severity})", rule.name),
        _ => rule.name.clone(),
    };
    let second: Vec<String> =
        rules.iter().filter(|(rule, _)| is_alert(rule)).map(|(rule, severity)| by_severity(rule, severity)).collect();
    let second = count(&second);
    let mut taken = BTreeMap::<String, usize>::new();
    rules
        .into_iter()
        .map(|(mut rule, severity)| {
            let mut name = by_severity(&rule, &severity);
            if second.get(&name).is_some_and(|count| *count > 1) {
                name = format!("{name} in {}", rule.group);
            }
            if let Ok(draft) = &mut rule.read {
                let times = taken.entry(name.clone()).or_default();
                *times += 1;
                if *times > 1 {
                    name = format!("{name} #{times}");
                }
                if name != draft.name {
                    rule.warnings
                        .push(format!("several alerts of the file are called {}: this is `{name}`", draft.name));
                }
                draft.name.clone_from(&name);
                rule.name = name;
            }
            rule
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rounds_core::alert::SeriesMode;

    use super::*;

    fn drafts(text: &str) -> Vec<RuleDraft> {
        read(text).unwrap().into_iter().filter_map(|rule| rule.read.ok()).collect()
    }

    #[test]
    fn a_rule_keeps_what_the_file_says_of_it() {
        let text = r#"
groups:
- name: shop
  interval: 30s
  labels: { team: shop }
  rules:
  - alert: ErrorsHigh
    expr: sum(rate(errors_total[5m])) > 0.05
    for: 5m
    keep_firing_for: 2m
    labels: { severity: page, namespace: shop }
    annotations:
      summary: "Too many errors in {{ $labels.shop }}"
      description: More than 5 % fail.
      runbook_url: https://runbooks.example/errors
"#;
        let [rule] = &drafts(text)[..] else { panic!("one rule is expected") };
        assert_eq!(
            (rule.name.as_str(), rule.severity, rule.evaluation_interval_sec),
            ("ErrorsHigh", Severity::Critical, 30)
        );
        assert_eq!(
            (rule.condition.query.as_str(), rule.condition.for_duration_sec),
            ("sum(rate(errors_total[5m]))", 300)
        );
        assert_eq!((rule.condition.keep_firing_for_sec, rule.series), (120, SeriesMode::First));
        assert_eq!(rule.annotations["summary"], "Too many errors in {{ $labels.shop }}");
        assert_eq!(rule.annotations["runbook_url"], "https://runbooks.example/errors");
        let labels: Vec<_> = rule.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(labels, ["namespace=shop", "rule_group=shop", "team=shop"]);
    }

    #[test]
    fn alerts_that_share_a_name_are_told_apart_in_the_same_way_each_time() {
        let text = "groups:
- name: a
  rules:
  - { alert: Full, expr: max(x) > 1, labels: { severity: warning } }
  - { alert: Full, expr: max(x) > 2, labels: { severity: critical } }
- name: b
  rules:
  - { alert: Full, expr: max(y) > 2, labels: { severity: critical } }
  - { alert: Full, expr: max(y) > 3, labels: { severity: critical } }
  - { alert: Other, expr: max(y) > 3 }
";
        let names: Vec<String> = drafts(text).into_iter().map(|rule| rule.name).collect();
        let expected =
            ["Full (warning)", "Full (critical) in a", "Full (critical) in b", "Full (critical) in b #2", "Other"];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_custom_resource_of_the_operator_is_read_too_and_another_kind_is_not() {
        let resource = |kind: &str| {
            format!(
                "apiVersion: monitoring.coreos.com/v1\nkind: {kind}\nmetadata: {{ name: x, labels: {{ a: b }} }}\nspec:\n  \
                 groups:\n  - name: g\n    rules:\n    - {{ alert: A, expr: max(x) > 1 }}\n"
            )
        };
        assert_eq!(drafts(&resource("PrometheusRule")).len(), 1);
        assert!(read(&resource("ConfigMap")).err().unwrap().contains("found `ConfigMap`"));
    }

    #[test]
    fn a_file_that_cannot_be_read_says_where_and_what_is_expected() {
        for text in ["groups: [", "groups:\n- name: a\n  rulez: []\n", "a: 1", "", "- alert: x"] {
            let error = read(text).err().unwrap_or_else(|| panic!("{text:?} was read"));
            assert!(error.contains("groups"), "{text:?}: {error}");
        }
    }
}

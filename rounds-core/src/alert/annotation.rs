//! Annotations: texts for people, with places for what fires.

use std::collections::BTreeMap;

/// An annotation with its places filled in: `{{ $labels.pod }}` and `{{ .Labels.pod }}` with the label (nothing, when there
/// is none, as in Prometheus), `{{ $value }}` and `{{ .Value }}` with the value. A function behind a bar
/// (`{{ $value | humanize }}`) is left out, and every other template stays as it is written: what it would compute is
/// Prometheus' own.
///
/// ```
/// use rounds_core::alert::annotated;
/// let labels = [("pod".to_owned(), "web-0".to_owned())].into();
/// assert_eq!(annotated("{{ $labels.pod }} at {{ $value | humanize }}", &labels, Some(0.5)), "web-0 at 0.5");
/// assert_eq!(annotated("{{ range query }}", &labels, None), "{{ range query }}");
/// ```
#[must_use]
pub fn annotated(text: &str, labels: &BTreeMap<String, String>, value: Option<f64>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let Some(end) = rest[start..].find("}}").map(|at| start + at) else { break };
        out.push_str(&rest[..start]);
        let inner = rest[start + 2..end].trim_matches(|c: char| c.is_whitespace() || c == '-');
        match place(inner, labels, value) {
            Some(found) => out.push_str(&found),
            None => out.push_str(&rest[start..end + 2]),
        }
        rest = &rest[end + 2..];
    }
    out.push_str(rest);
    out
}

fn place(inner: &str, labels: &BTreeMap<String, String>, value: Option<f64>) -> Option<String> {
    let what = inner.split('|').next()?.trim();
    if matches!(what, "$value" | ".Value") {
        return Some(value.map_or_else(|| "no value".to_owned(), |value| value.to_string()));
    }
    let name = what.strip_prefix("$labels.").or_else(|| what.strip_prefix(".Labels."))?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| labels.get(name).cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_place_stays_as_it_is_written() {
        let labels = BTreeMap::from([("a".to_owned(), "{{ $value }}".to_owned())]);
        for (text, expected) in [
            ("plain", "plain"),
            ("{{", "{{"),
            ("{{ $labels.a", "{{ $labels.a"),
            ("}} {{ $labels.b }}.", "}} ."),
            ("{{ printf \"%.1f\" $value }}", "{{ printf \"%.1f\" $value }}"),
            // What a label says is a text and no template.
            ("{{- $labels.a -}}", "{{ $value }}"),
            ("{{ .Value }}", "2.5"),
        ] {
            assert_eq!(annotated(text, &labels, Some(2.5)), expected, "{text}");
        }
    }
}

//! Annotations: texts for people, with places for what fires.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{AlertInstance, AlertRule};

/// What a label may not be in a path or a query as it is: all but RFC 3986's unreserved characters, and `/` and `:`.
const NOT_OF_A_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b':');

/// An annotation with its places filled in: `{{ $labels.pod }}` and `{{ .Labels.pod }}` with the label (nothing, when there
/// is none, as in Prometheus), `{{ $value }}` and `{{ .Value }}` with the value. A function behind a bar
/// (`{{ $value | humanize }}`) is left out, and every other template stays as it is written: what it would compute is
/// Prometheus' own. In an annotation that is an address a label is written as addresses take it, behind the host: a pod's name
/// must not add a parameter.
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
            Some(found) if is_behind_a_host(&out) => out.extend(utf8_percent_encode(&found, NOT_OF_A_PATH)),
            Some(found) => out.push_str(&found),
            None => out.push_str(&rest[start..end + 2]),
        }
        rest = &rest[end + 2..];
    }
    out.push_str(rest);
    out
}

/// Whether what was written so far is an address whose host is complete.
fn is_behind_a_host(written: &str) -> bool {
    let address = written.trim_start().split_once("://");
    address.is_some_and(|(scheme, rest)| {
        (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
            && rest.contains(['/', '?', '#'])
            && !rest.contains(char::is_whitespace)
    })
}

impl AlertRule {
    /// What it says to people about what fires: its annotations with their places filled in, or those that its source has
    /// filled in for the instance.
    pub(crate) fn said(
        &self,
        instance: Option<&AlertInstance>,
        labels: &BTreeMap<String, String>,
        value: Option<f64>,
    ) -> BTreeMap<String, String> {
        match self.source {
            Some(_) => instance.map(|instance| instance.annotations.clone()).unwrap_or_default(),
            None => {
                self.annotations.iter().map(|(name, text)| (name.clone(), annotated(text, labels, value))).collect()
            }
        }
    }
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

    #[test]
    fn a_label_in_an_address_is_one_part_of_it() {
        let labels =
            BTreeMap::from([("pod".to_owned(), "a&b=c d/ü#?".to_owned()), ("host".to_owned(), "db1:9100".to_owned())]);
        for (text, expected) in [
            ("https://x.example/?pod={{ $labels.pod }}&x=1", "https://x.example/?pod=a%26b%3Dc%20d/%C3%BC%23%3F&x=1"),
            ("HTTP://{{ $labels.host }}/metrics?of={{ $labels.host }}", "HTTP://db1:9100/metrics?of=db1:9100"),
            ("see https://x.example/ of {{ $labels.pod }}", "see https://x.example/ of a&b=c d/ü#?"),
            ("https://x.example/ and {{ $labels.pod }}", "https://x.example/ and a&b=c d/ü#?"),
        ] {
            assert_eq!(annotated(text, &labels, None), expected, "{text}");
        }
    }
}

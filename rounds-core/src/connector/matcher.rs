//! Matchers on labels, written as Alertmanager's are: `severity="critical"`, `team=~"pay.*"`, `env!="test"`, `job!~"a|b"`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Op {
    Equal,
    NotEqual,
    Matches,
    MatchesNot,
}

impl Op {
    fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::MatchesNot => "!~",
        }
    }
}

/// One matcher on a label. A label that is absent is the empty text, as in Alertmanager; a regular expression is
/// anchored at both ends.
///
/// ```
/// # use rounds_core::connector::Matcher;
/// let matcher: Matcher = r#"team=~"pay.*""#.parse().unwrap();
/// assert!(matcher.matches("payments") && !matcher.matches("repayments"));
/// assert_eq!(matcher.to_string(), r#"team=~"pay.*""#);
/// assert!("team~pay".parse::<Matcher>().unwrap_err().to_string().contains("found `team~pay`"));
/// ```
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: Op,
    value: String,
    regex: Option<Regex>,
}

/// Two matchers are the same when they are written the same.
impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

/// A text that is no matcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidMatcher(String);

impl Matcher {
    /// The longest matcher, in bytes.
    pub const TEXT_MAX: usize = 1024;
    /// How much memory a compiled expression may take: `\w{1,1000}` and the like are refused, not compiled.
    const REGEX_MAX: usize = 256 * 1024;

    /// The label that it looks at.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a label with this value is wanted; an absent one has the empty value.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let matched = self.regex.as_ref().map_or_else(|| self.value == value, |regex| regex.is_match(value));
        matched == matches!(self.op, Op::Equal | Op::Matches)
    }
}

/// Whether a text is the name of a label.
pub(super) fn is_label_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn cut(text: &str) -> String {
    text.chars().take(120).flat_map(char::escape_debug).collect()
}

impl FromStr for Matcher {
    type Err = InvalidMatcher;

    fn from_str(text: &str) -> Result<Self, InvalidMatcher> {
        let invalid = |why: &str| InvalidMatcher(format!("found `{}`: {why}", cut(text)));
        if text.len() > Self::TEXT_MAX {
            return Err(invalid(&format!("at most {} bytes are accepted", Self::TEXT_MAX)));
        }
        let trimmed = text.trim();
        let expected =
            "a matcher such as severity=\"critical\", team=~\"pay.*\", env!=\"test\" or job!~\"a|b\" is accepted";
        let at = trimmed.find(['=', '!']).ok_or_else(|| invalid(expected))?;
        let (name, rest) = (trimmed[..at].trim_end(), &trimmed[at..]);
        if !is_label_name(name) {
            return Err(invalid("a label's name is letters, digits and _, and does not begin with a digit"));
        }
        let (op, value) = [("=~", Op::Matches), ("!~", Op::MatchesNot), ("!=", Op::NotEqual), ("=", Op::Equal)]
            .into_iter()
            .find_map(|(word, op)| rest.strip_prefix(word).map(|value| (op, value.trim_start())))
            .ok_or_else(|| invalid(expected))?;
        let value = unquoted(value).map_err(&invalid)?.into_owned();
        let regex = match op {
            Op::Equal | Op::NotEqual => None,
            Op::Matches | Op::MatchesNot => {
                let anchored = format!("^(?s:{value})$");
                let built = RegexBuilder::new(&anchored).size_limit(Self::REGEX_MAX).build();
                // The expression must hold by itself: `a)|(b` would leave the anchors.
                let alone = RegexBuilder::new(&value).size_limit(Self::REGEX_MAX).build();
                Some(built.and_then(|built| alone.map(|_| built)).map_err(|error| {
                    let why = match error {
                        regex::Error::CompiledTooBig(_) => "the regular expression is too large".to_owned(),
                        error => {
                            let text = error.to_string();
                            let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                            format!("its regular expression does not hold: {last}")
                        }
                    };
                    invalid(&why)
                })?)
            }
        };
        Ok(Self { name: name.into(), op, value, regex })
    }
}

/// The value between its quotes, or as it stands when it has none and needs none.
fn unquoted(value: &str) -> Result<Cow<'_, str>, &'static str> {
    let Some(inside) = value.strip_prefix('"') else {
        let odd =
            |c: char| c.is_whitespace() || matches!(c, '{' | '}' | '!' | '=' | '~' | ',' | '"' | '\'' | '`' | '\\');
        return match value.contains(odd) {
            true => Err("a value with such characters stands in double quotes; one matcher an entry"),
            false => Ok(value.into()),
        };
    };
    let mut found = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    loop {
        match chars.next() {
            None => return Err("the closing quote is missing"),
            Some('"') if chars.as_str().is_empty() => return Ok(found.into()),
            Some('"') => return Err("something follows the closing quote; one matcher an entry"),
            Some('\\') => match chars.next() {
                Some('n') => found.push('\n'),
                Some(quoted @ ('"' | '\\')) => found.push(quoted),
                // `\.` and its like belong to the regular expression, as in Alertmanager.
                Some(other) => found.extend(['\\', other]),
                None => return Err("the closing quote is missing"),
            },
            Some(other) => found.push(other),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        write!(f, "{}{}\"{value}\"", self.name, self.op.as_str())
    }
}

impl Serialize for Matcher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Matcher {
    fn schema_name() -> Cow<'static, str> {
        "Matcher".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A matcher on a label, as Alertmanager writes it: severity=\"critical\", team=~\"pay.*\"",
            "maxLength": Self::TEXT_MAX,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(text: &str) -> Matcher {
        text.parse().unwrap()
    }

    #[test]
    fn a_matcher_means_what_it_means_to_alertmanager() {
        for (text, yes, no) in [
            (r#"severity="critical""#, &["critical"][..], &["", "warning", "critical "][..]),
            ("severity=critical", &["critical"], &["warning"]),
            (r#" env != "test" "#, &["", "prod"], &["test"]),
            (r#"team=~"pay.*|core""#, &["pay", "payments", "core"], &["repay", "score", ""]),
            (r#"team!~"a|b""#, &["", "ab", "c"], &["a", "b"]),
            (r#"team="""#, &[""], &["a"]),
            (r#"team=~".+""#, &["a", "a\nb"], &[""]),
            (r#"host=~"db\.eu""#, &["db.eu"], &["dbxeu"]),
            (r#"host=~"db\\.eu""#, &["db.eu"], &["dbxeu"]),
            (r#"quote="a\"b""#, &["a\"b"], &["ab"]),
        ] {
            let found = matcher(text);
            assert!(yes.iter().all(|value| found.matches(value)), "{text}");
            assert!(!no.iter().any(|value| found.matches(value)), "{text}");
            assert_eq!(matcher(&found.to_string()), found, "{text}: what is shown is read back");
        }
    }

    #[test]
    fn what_is_no_matcher_is_refused_with_what_was_found() {
        for text in [
            "",
            "severity",
            "=a",
            "1a=b",
            "a b=c",
            "a=~\"(\"",
            "a=~\"b)|(c\"",
            "a=\"b",
            "a=\"b\" c",
            "a=b,c=d",
            "{a=\"b\"}",
            "a==b",
            r#"a=~"(\\w{1,99}){1,99}""#,
        ] {
            let error = text.parse::<Matcher>().unwrap_err().to_string();
            assert!(error.starts_with("found `"), "{text}: {error}");
        }
        assert!(format!("a=\"{}\"", "x".repeat(2000)).parse::<Matcher>().is_err());
    }
}

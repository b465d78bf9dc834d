//! Output formats. kubectl has several that read a file on the machine it runs on, one of them undocumented, so the
//! accepted ones are listed.

use rounds_core::step::Refusal;

use super::refusal::{Rule, quote, refuse};

/// How a command prints.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Output {
    /// kubectl's default for the verb.
    #[default]
    Default,
    Wide,
    Name,
    Json,
    Yaml,
    JsonPath(String),
    JsonPathAsJson(String),
    CustomColumns(String),
    GoTemplate(String),
}

impl Output {
    pub(crate) fn parse(text: Option<String>) -> Result<Self, Refusal> {
        let Some(text) = text else { return Ok(Self::Default) };
        let (format, body) = match text.split_once('=') {
            Some((format, body)) => (format, Some(body)),
            None => (text.as_str(), None),
        };
        Ok(match (format, body) {
            ("wide", None) => Self::Wide,
            ("name", None) => Self::Name,
            ("json", None) => Self::Json,
            ("yaml", None) => Self::Yaml,
            ("jsonpath", Some(body)) if !body.is_empty() => Self::JsonPath(body.to_owned()),
            ("jsonpath-as-json", Some(body)) if !body.is_empty() => Self::JsonPathAsJson(body.to_owned()),
            ("custom-columns", Some(body)) if !body.is_empty() => Self::CustomColumns(body.to_owned()),
            ("go-template", Some(body)) if !body.is_empty() => Self::GoTemplate(body.to_owned()),
            _ => {
                return Err(refuse(
                    Rule::OutputFormat,
                    format!(
                        "the output format {} is refused (formats that read files always are); accepted: wide, name, json, yaml, \
                         jsonpath=EXPR, jsonpath-as-json=EXPR, custom-columns=SPEC, go-template=TEXT",
                        quote(&text)
                    ),
                ));
            }
        })
    }

    /// The same for verbs that know only a few formats.
    pub(crate) fn parse_among(text: Option<String>, verb: &str, among: &[Self]) -> Result<Self, Refusal> {
        let output = Self::parse(text)?;
        if output == Self::Default || among.contains(&output) {
            return Ok(output);
        }
        let known = among.iter().filter_map(Self::render).collect::<Vec<_>>().join(", ");
        Err(refuse(Rule::OutputFormat, format!("`{verb}` prints only {known}")))
    }

    pub(crate) fn render(&self) -> Option<String> {
        Some(match self {
            Self::Default => return None,
            Self::Wide => "wide".into(),
            Self::Name => "name".into(),
            Self::Json => "json".into(),
            Self::Yaml => "yaml".into(),
            Self::JsonPath(body) => format!("jsonpath={body}"),
            Self::JsonPathAsJson(body) => format!("jsonpath-as-json={body}"),
            Self::CustomColumns(body) => format!("custom-columns={body}"),
            Self::GoTemplate(body) => format!("go-template={body}"),
        })
    }
}

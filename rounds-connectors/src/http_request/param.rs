//! What a parameter may be. A subset of JSON Schema of its own: the whole of it would bring references, formats and
//! their fetching, and a pattern that matches a part of a text is not what an allow-list means.

use regex::{Regex, RegexBuilder};
use rounds_core::step::Refusal;
use serde_json::{Value, json};

use super::config::ParamSchema;

/// The longest text that a schema may allow.
const MAX_LENGTH: usize = 4096;
/// Integers that every JSON reader takes as they are (RFC 8259, section 6).
const SAFE: i64 = 9_007_199_254_740_991;

/// A parameter's schema, checked.
#[derive(Debug)]
pub(super) struct Param {
    description: Option<String>,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    Text { pattern: Option<(String, Regex)>, one_of: Option<Vec<String>>, least: usize, most: usize },
    Integer { least: i64, most: i64 },
    Boolean,
}

impl Param {
    /// # Errors
    /// The schema accepts nothing, or cannot be read.
    pub(super) fn new(schema: &ParamSchema) -> Result<Self, String> {
        Ok(match schema {
            ParamSchema::Boolean { description } => Self { description: description.clone(), shape: Shape::Boolean },
            ParamSchema::Integer { description, minimum, maximum } => {
                let (least, most) = (minimum.unwrap_or(-SAFE), maximum.unwrap_or(SAFE));
                if least > most || least < -SAFE || most > SAFE {
                    return Err(format!(
                        "found minimum {least} and maximum {most}; a minimum up to the maximum, both within ±{SAFE}, is accepted"
                    ));
                }
                Self { description: description.clone(), shape: Shape::Integer { least, most } }
            }
            ParamSchema::String { description, pattern, one_of, min_length, max_length } => {
                let (least, most) = (*min_length, *max_length);
                if least > most || most == 0 || most > MAX_LENGTH {
                    return Err(format!(
                        "found minLength {least} and maxLength {most}; a minLength up to maxLength, and at most {MAX_LENGTH}, is accepted"
                    ));
                }
                let pattern = pattern.as_ref().map(|text| Ok::<_, String>((text.clone(), whole(text)?))).transpose()?;
                if one_of.as_ref().is_some_and(Vec::is_empty) {
                    return Err("found an empty `enum`, which accepts nothing".into());
                }
                Self {
                    description: description.clone(),
                    shape: Shape::Text { pattern, one_of: one_of.clone(), least, most },
                }
            }
        })
    }

    /// Whether it is a text that is never empty, as the names of targets are.
    pub(super) fn names(&self) -> bool {
        matches!(self.shape, Shape::Text { least: 1.., .. })
    }

    /// # Errors
    /// The value is not what the schema says; what would be is said.
    pub(super) fn check(&self, name: &str, value: &Value) -> Result<(), Refusal> {
        let refuse = |accepted: String| {
            let found: String = value.to_string().chars().take(100).collect();
            Err(Refusal::new("param_not_accepted", format!("params.{name}: found {found}; {accepted} is accepted")))
        };
        match (&self.shape, value) {
            (Shape::Boolean, Value::Bool(_)) => Ok(()),
            (Shape::Boolean, _) => refuse("true or false".into()),
            (Shape::Integer { least, most }, value) => match value.as_i64() {
                Some(number) if (*least..=*most).contains(&number) => Ok(()),
                _ => refuse(format!("a whole number from {least} to {most}")),
            },
            (Shape::Text { pattern, one_of, least, most }, Value::String(text)) => {
                if let Some(list) = one_of
                    && !list.contains(text)
                {
                    return refuse(list.join(", "));
                }
                if let Some((pattern, whole)) = pattern
                    && !whole.is_match(text)
                {
                    return refuse(format!("a text that matches {pattern}"));
                }
                if !(*least..=*most).contains(&text.chars().count()) {
                    return refuse(format!("a text of {least} to {most} characters"));
                }
                match text.chars().find(odd) {
                    Some(odd) => refuse(format!("a text in one line, without {odd:?},")),
                    None => Ok(()),
                }
            }
            (Shape::Text { most, .. }, _) => refuse(format!("a text of at most {most} characters")),
        }
    }

    /// For whoever writes steps.
    pub(super) fn usage(&self) -> Value {
        let mut usage = match &self.shape {
            Shape::Boolean => json!({ "type": "boolean" }),
            Shape::Integer { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Shape::Text { pattern, one_of, most, .. } => {
                let mut usage = json!({ "type": "string", "maxLength": most });
                if let Some((pattern, _)) = pattern {
                    usage["pattern"] = pattern.clone().into();
                }
                if let Some(one_of) = one_of {
                    usage["enum"] = one_of.clone().into();
                }
                usage
            }
        };
        if let Some(description) = &self.description {
            usage["description"] = description.clone().into();
        }
        usage
    }
}

/// A pattern of the whole text. The `regex` crate needs time in proportion to the text, whatever the pattern.
fn whole(pattern: &str) -> Result<Regex, String> {
    let unreadable =
        |error: regex::Error| format!("the pattern cannot be read: {}", error.to_string().replace('\n', " "));
    // By itself first: `a)|(b` would be whole only between our brackets.
    let build = |text: &str| RegexBuilder::new(text).size_limit(1 << 20).build().map_err(unreadable);
    build(pattern)?;
    build(&format!(r"\A(?:{pattern})\z"))
}

/// What would make a text look like another one, or end its line.
fn odd(c: &char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(schema: Value) -> Result<Param, String> {
        Param::new(&serde_json::from_value(schema).map_err(|error| error.to_string())?)
    }

    #[test]
    fn a_value_is_what_its_schema_says_in_the_whole() {
        let version = json!({ "type": "string", "pattern": r"v\d+|latest", "maxLength": 8 });
        let size = json!({ "type": "integer", "minimum": 0, "maximum": 10 });
        let any = json!({ "type": "string" });
        for (schema, value, fits) in [
            (&version, json!("v12"), true),
            (&version, json!("latest"), true),
            (&version, json!("xv12"), false),
            (&version, json!("v12x"), false),
            (&version, json!("v12\n"), false),
            (&version, json!("v123456789"), false),
            (&version, json!(12), false),
            (&size, json!(0), true),
            (&size, json!(10), true),
            (&size, json!(11), false),
            (&size, json!(-1), false),
            (&size, json!(1.5), false),
            (&size, json!("1"), false),
            (&size, json!(null), false),
            (&json!({ "type": "boolean" }), json!(true), true),
            (&json!({ "type": "boolean" }), json!("true"), false),
            (&json!({ "type": "string", "enum": ["a", "b"] }), json!("b"), true),
            (&json!({ "type": "string", "enum": ["a", "b"] }), json!("c"), false),
            (&any, json!("ü ✓"), true),
            (&any, json!(""), false),
            (&any, json!("a\u{202e}b"), false),
            (&any, json!("a\u{0}b"), false),
            (&any, json!("x".repeat(257)), false),
            (&any, json!(["a"]), false),
            (&any, json!({ "a": 1 }), false),
        ] {
            let checked = param(schema.clone()).unwrap().check("p", &value);
            assert_eq!(checked.is_ok(), fits, "{schema} {value}");
            if let Err(refused) = checked {
                assert!(
                    refused.message.starts_with("params.p: found ") && refused.message.ends_with("is accepted"),
                    "{refused}"
                );
            }
        }
    }

    #[test]
    fn a_schema_that_accepts_nothing_or_cannot_be_read_is_refused() {
        for schema in [
            json!({ "type": "string", "pattern": "(" }),
            json!({ "type": "string", "pattern": "a)|(b" }),
            json!({ "type": "string", "pattern": "(?:a{1000}){1000}" }),
            json!({ "type": "string", "enum": [] }),
            json!({ "type": "string", "maxLength": 0 }),
            json!({ "type": "string", "maxLength": 4097 }),
            json!({ "type": "string", "minLength": 9, "maxLength": 3 }),
            json!({ "type": "integer", "minimum": 2, "maximum": 1 }),
            json!({ "type": "integer", "maximum": 9_007_199_254_740_992_i64 }),
            json!({ "type": "integer", "multipleOf": 2 }),
            json!({ "type": "object" }),
            json!({ "type": "boolean", "enum": [true] }),
        ] {
            assert!(param(schema.clone()).is_err(), "{schema}");
        }
    }
}

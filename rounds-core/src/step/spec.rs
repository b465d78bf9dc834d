use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Refusal;

/// One action as somebody proposed it: nothing in it is believed until an adapter has reviewed it.
///
/// ```
/// use rounds_core::step::StepSpec;
///
/// let step = StepSpec::command(["restart", "nginx.service"]);
/// assert_eq!(step.argv().unwrap(), ["restart", "nginx.service"]);
///
/// let odd = StepSpec::new(StepSpec::RUN_COMMAND, serde_json::json!({ "argv": "restart nginx.service" }));
/// assert!(odd.argv().unwrap_err().message.contains("a list of texts is accepted"));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct StepSpec {
    /// The kind of step, such as `ops.run_command`. Rounds refuses a kind that the adapter does not
    /// [name](crate::ports::AdapterInfo::step_kinds) before the adapter is asked.
    pub kind: String,
    /// What the kind needs. For `ops.run_command`: `{"argv": [...], "stdin": "..."?}`, without the program's own name.
    pub params: Value,
}

impl StepSpec {
    /// The step kind of a command line.
    pub const RUN_COMMAND: &'static str = "ops.run_command";

    /// The step kind that changes one of Rounds' own alert rules; its parameters name the rule as `rule`.
    pub const ALERT_RULE_WRITE: &'static str = "alert_rule.write";

    /// A step of a kind of the adapter's own, with the parameters that the kind defines.
    pub fn new(kind: impl Into<String>, params: Value) -> Self {
        Self { kind: kind.into(), params }
    }

    /// A step of a kind of the adapter's own, with parameters that have a type. What an adapter renders must be made of the
    /// same value.
    ///
    /// ```
    /// # use rounds_core::step::StepSpec;
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// #[serde(deny_unknown_fields)]
    /// struct Flag {
    ///     name: String,
    ///     on: bool,
    /// }
    ///
    /// let step = StepSpec::typed("flags.set", &Flag { name: "checkout-v2".into(), on: false })?;
    /// assert!(!step.parse::<Flag>()?.on);
    ///
    /// let odd = StepSpec::new("flags.set", serde_json::json!({ "name": "checkout-v2", "off": true }));
    /// assert!(odd.parse::<Flag>().err().is_some_and(|refused| refused.message.contains("unknown field `off`")));
    /// # Ok::<_, rounds_core::step::Refusal>(())
    /// ```
    ///
    /// # Errors
    /// The value cannot be written as JSON.
    pub fn typed(kind: impl Into<String>, params: &impl Serialize) -> Result<Self, Refusal> {
        match serde_json::to_value(params) {
            Ok(params) => Ok(Self::new(kind, params)),
            Err(error) => Err(Refusal::new("shape", error.to_string())),
        }
    }

    /// The parameters as a type of the adapter's own. Give it `deny_unknown_fields`: what is not known is refused.
    ///
    /// # Errors
    /// They do not fit; the message says what was found and what is accepted.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        parsed(&self.params).map_err(|message| Refusal::new("shape", message))
    }

    /// A command without a shell: one string per argument, the program's name left out.
    pub fn command<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        let argv: Vec<String> = argv.into_iter().map(Into::into).collect();
        Self::new(Self::RUN_COMMAND, json!({ "argv": argv }))
    }

    /// The same command with text on its standard input.
    #[must_use]
    pub fn with_stdin(mut self, stdin: impl Into<String>) -> Self {
        if let Value::Object(params) = &mut self.params {
            params.insert("stdin".into(), Value::String(stdin.into()));
        }
        self
    }

    /// The arguments of a command line that has nothing else, for adapters whose programs read no standard input.
    ///
    /// # Errors
    /// The parameters are anything but `{"argv": [texts]}`, or an argument holds a control character, which could make
    /// what is shown look like another command.
    pub fn argv(&self) -> Result<Vec<&str>, Refusal> {
        let shape = |found: &Value| {
            let found: String = found.to_string().chars().take(200).collect();
            Refusal::new("shape", format!("found {found}; {{\"argv\": [...]}} with a list of texts is accepted"))
        };
        let params = self.params.as_object().ok_or_else(|| shape(&self.params))?;
        let words = match params.get("argv").and_then(Value::as_array) {
            Some(words) if params.len() == 1 => words,
            _ => return Err(shape(&self.params)),
        };
        let words: Vec<&str> =
            words.iter().map(|word| word.as_str().ok_or_else(|| shape(word))).collect::<Result<_, _>>()?;
        match words.iter().find(|word| word.chars().any(char::is_control)) {
            Some(word) => Err(Refusal::new(
                "control_character",
                format!("found {word:?}; arguments without control characters are accepted"),
            )),
            None => Ok(words),
        }
    }

    /// The arguments of a command line that always has `N` of them: `let [verb, unit] = step.words("<verb> <unit>")?;`.
    ///
    /// # Errors
    /// As [`argv`](Self::argv), or there are more or fewer; `accepted` says what there should be.
    pub fn words<const N: usize>(&self, accepted: &str) -> Result<[&str; N], Refusal> {
        let words = self.argv()?;
        <[&str; N]>::try_from(words).map_err(|words| {
            let found: String = words.join(" ").chars().take(200).collect();
            Refusal::new("shape", format!("found `{found}`; `{accepted}` is accepted"))
        })
    }
}

/// A type out of a JSON object; the error says where, what was found and what would be accepted.
pub(crate) fn parsed<T: DeserializeOwned>(object: &Value) -> Result<T, String> {
    // An array would do for a struct, and its fields would go by their order.
    if !object.is_object() {
        let found: String = object.to_string().chars().take(200).collect();
        return Err(format!("found {found}; an object is accepted"));
    }
    serde_path_to_error::deserialize(object).map_err(|error| match error.path().to_string().as_str() {
        "." | "" => error.into_inner().to_string(),
        // The message names the field itself.
        _ if error.inner().to_string().starts_with("unknown field") => error.into_inner().to_string(),
        path => format!("{path}: {}", error.inner()),
    })
}

/// What the caller is about to do with a step: the gate is wider for approved plans than for investigations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// An investigation looks: only reads pass. Rounds refuses what is not [`Tier::Read`](super::Tier::Read) by itself;
    /// an adapter only has to narrow it where some reads are not for investigations.
    Read,
    /// A plan acts: reads and writes pass.
    Write,
}

//! From an argv to a typed command. First refusal wins, in the order of the layers: grammar, permanent denials, mode,
//! targets, manifests.

mod reads;
mod writes;

pub(super) use writes::replicas;

use rounds_core::step::{Mode, Refusal};

use super::command::{Action, Command, ObjectRef, Place, Printing, RolloutVerb};
use super::flags::{self, Table};
use super::grammar::{self, Arguments};
use super::kinds::{self, KindRef};
use super::output::Output;
use super::policy::Policy;
use super::refusal::{Rule, quote, refuse};
use super::{deny, names};

/// The most objects that one command may name.
const MAX_OBJECTS: usize = 20;

/// A verb of the two lists, with the flags it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Describe,
    Logs,
    Top,
    Events,
    Version,
    ApiResources,
    RolloutStatus,
    RolloutHistory,
    Scale,
    RolloutUndo,
    Rollout(RolloutVerb),
    Patch,
    Apply,
    Label,
    Annotate,
    Delete,
}

impl Verb {
    /// Reads the verb, and what follows it when the verb has parts.
    fn find<'a>(word: &str, rest: &'a [String], leading: &mut Vec<String>) -> Result<(Self, &'a [String]), Refusal> {
        let verb = match word {
            "get" => Self::Get,
            "describe" => Self::Describe,
            "logs" => Self::Logs,
            "top" => Self::Top,
            "events" => Self::Events,
            "version" => Self::Version,
            "api-resources" => Self::ApiResources,
            "scale" => Self::Scale,
            "patch" => Self::Patch,
            "apply" => Self::Apply,
            "label" => Self::Label,
            "annotate" => Self::Annotate,
            "delete" => Self::Delete,
            "rollout" => {
                if rest.is_empty() {
                    return Err(rollout_part(""));
                }
                let words = grammar::split_verb(rest)?;
                leading.extend(words.leading);
                let verb = match words.verb {
                    "status" => Self::RolloutStatus,
                    "history" => Self::RolloutHistory,
                    "undo" => Self::RolloutUndo,
                    "restart" => Self::Rollout(RolloutVerb::Restart),
                    "pause" => Self::Rollout(RolloutVerb::Pause),
                    "resume" => Self::Rollout(RolloutVerb::Resume),
                    other => return Err(rollout_part(other)),
                };
                return Ok((verb, words.rest));
            }
            other => return Err(deny::verb(other)),
        };
        Ok((verb, rest))
    }

    fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Describe => "describe",
            Self::Logs => "logs",
            Self::Top => "top",
            Self::Events => "events",
            Self::Version => "version",
            Self::ApiResources => "api-resources",
            Self::RolloutStatus => "rollout status",
            Self::RolloutHistory => "rollout history",
            Self::Scale => "scale",
            Self::RolloutUndo => "rollout undo",
            Self::Rollout(RolloutVerb::Restart) => "rollout restart",
            Self::Rollout(RolloutVerb::Pause) => "rollout pause",
            Self::Rollout(RolloutVerb::Resume) => "rollout resume",
            Self::Patch => "patch",
            Self::Apply => "apply",
            Self::Label => "label",
            Self::Annotate => "annotate",
            Self::Delete => "delete",
        }
    }

    fn table(self) -> Table {
        match self {
            Self::Get => flags::GET,
            Self::Describe => flags::DESCRIBE,
            Self::Logs => flags::LOGS,
            Self::Top => flags::TOP,
            Self::Events => flags::EVENTS,
            Self::Version => flags::VERSION,
            Self::ApiResources => flags::API_RESOURCES,
            Self::RolloutStatus => flags::ROLLOUT_STATUS,
            Self::RolloutHistory => flags::ROLLOUT_HISTORY,
            Self::Scale => flags::SCALE,
            Self::RolloutUndo => flags::ROLLOUT_UNDO,
            Self::Rollout(_) => flags::ROLLOUT_CHANGE,
            Self::Patch => flags::PATCH,
            Self::Apply => flags::APPLY,
            Self::Label | Self::Annotate => flags::METADATA,
            Self::Delete => flags::DELETE,
        }
    }

    /// Layer 3: an investigation runs the read list only.
    fn allowed_in(self, mode: Mode, policy: &Policy) -> Result<(), Refusal> {
        match (mode, self) {
            (Mode::Write, _)
            | (
                Mode::Read,
                Self::Get | Self::Describe | Self::Logs | Self::Top | Self::Events | Self::Version | Self::ApiResources,
            ) => Ok(()),
            (Mode::Read, Self::RolloutStatus | Self::RolloutHistory) if policy.rollout_reads => Ok(()),
            (Mode::Read, Self::RolloutStatus | Self::RolloutHistory) => Err(refuse(
                Rule::ReadOnly,
                format!(
                    "`{}` is on the write list, for plans; in an investigation use `get deploy/NAME -o yaml`, `describe` or `get rs`",
                    self.word()
                ),
            )),
            (Mode::Read, _) => Err(refuse(
                Rule::ReadOnly,
                format!(
                    "`{}` changes things and an investigation only reads; propose it as a step of a plan",
                    self.word()
                ),
            )),
        }
    }
}

fn rollout_part(found: &str) -> Refusal {
    refuse(
        Rule::UnknownVerb,
        format!(
            "`rollout` is followed by status, history, undo, restart, pause or resume, before any flag; found {}",
            quote(found)
        ),
    )
}

/// Parses and checks an argv.
pub(crate) fn parse(argv: &[String], stdin: Option<&str>, policy: &Policy, mode: Mode) -> Result<Command, Refusal> {
    grammar::check_arguments(argv)?;
    let mut words = grammar::split_verb(argv)?;
    let (verb, rest) = Verb::find(words.verb, words.rest, &mut words.leading)?;
    verb.allowed_in(mode, policy)?;
    let mut arguments = grammar::split_arguments(verb.word(), verb.table(), rest)?;
    if stdin.is_some_and(|text| !text.is_empty()) && verb != Verb::Apply {
        return Err(refuse(
            Rule::UnexpectedStdin,
            format!("`{}` reads no standard input; only `apply -f -` does", verb.word()),
        ));
    }
    let common = Common::take(&words.leading, &mut arguments)?;
    let mut cx = Cx { verb: verb.word(), policy, arguments, namespace: common.namespace };
    let (place, action) = match verb {
        Verb::Get => reads::get(&mut cx),
        Verb::Describe => reads::describe(&mut cx),
        Verb::Logs => reads::logs(&mut cx),
        Verb::Top => reads::top(&mut cx),
        Verb::Events => reads::events(&mut cx),
        Verb::Version => reads::version(&mut cx),
        Verb::ApiResources => reads::api_resources(&mut cx),
        Verb::RolloutStatus => reads::rollout_status(&mut cx),
        Verb::RolloutHistory => reads::rollout_history(&mut cx),
        Verb::Scale => writes::scale(&mut cx),
        Verb::RolloutUndo => writes::rollout_undo(&mut cx),
        Verb::Rollout(part) => writes::rollout_change(&mut cx, part),
        Verb::Patch => writes::patch(&mut cx),
        Verb::Apply => writes::apply(&mut cx, stdin),
        Verb::Label => writes::metadata(&mut cx, true).map(|(place, metadata)| (place, Action::Label(metadata))),
        Verb::Annotate => writes::metadata(&mut cx, false).map(|(place, metadata)| (place, Action::Annotate(metadata))),
        Verb::Delete => writes::delete(&mut cx),
    }?;
    cx.arguments.finish(verb.word())?;
    // What waits needs its requests to live as long as the wait.
    let waits = matches!(&action, Action::RolloutStatus(status) if status.watch)
        || matches!(&action, Action::Scale(scale) if scale.timeout.is_some())
        || matches!(&action, Action::Delete(delete) if delete.wait);
    let longest = if waits { policy.timeout_sec } else { policy.request_timeout() };
    let request_timeout = common.request_timeout.unwrap_or(longest).min(longest);
    Ok(Command { place, request_timeout, verbosity: common.verbosity, action })
}

/// Flags that every verb takes.
struct Common {
    namespace: Option<String>,
    request_timeout: Option<u32>,
    verbosity: Option<u8>,
}

impl Common {
    fn take(leading: &[String], arguments: &mut Arguments) -> Result<Self, Refusal> {
        let mut namespace: Option<String> = None;
        for named in leading.iter().cloned().chain(arguments.value("namespace")) {
            let named = names::namespace(&named)?;
            match &namespace {
                Some(earlier) if *earlier != named => {
                    return Err(refuse(
                        Rule::NamespaceConflict,
                        format!("two namespaces are named, `{earlier}` and `{named}`; name one"),
                    ));
                }
                _ => namespace = Some(named),
            }
        }
        let request_timeout = arguments
            .value("request-timeout")
            // kubectl's word for no limit of its own; ours holds.
            .filter(|text| text != "0" && text != "0s")
            .map(|text| names::seconds("request-timeout", &text))
            .transpose()?;
        let verbosity = arguments.value("v").map(|text| names::number("v", &text, 0..=5)).transpose()?;
        Ok(Self { namespace, request_timeout, verbosity: verbosity.and_then(|level| u8::try_from(level).ok()) })
    }
}

/// What a verb's parser works with.
struct Cx<'a> {
    verb: &'static str,
    policy: &'a Policy,
    arguments: Arguments,
    namespace: Option<String>,
}

type Parsed = Result<(Place, Action), Refusal>;

impl Cx<'_> {
    fn text(&mut self, flag: &str) -> Option<String> {
        self.arguments.value(flag)
    }

    fn on(&mut self, flag: &str) -> Result<bool, Refusal> {
        Ok(self.arguments.switch(flag)?.unwrap_or(false))
    }

    fn count(&mut self, flag: &str, range: std::ops::RangeInclusive<u32>) -> Result<Option<u32>, Refusal> {
        let range = i64::from(*range.start())..=i64::from(*range.end());
        let number = self.text(flag).map(|text| names::number(flag, &text, range)).transpose()?;
        Ok(number.and_then(|number| u32::try_from(number).ok()))
    }

    fn selector(&mut self, flag: &str) -> Result<Option<String>, Refusal> {
        self.text(flag).map(|text| names::selector(flag, &text)).transpose()
    }

    /// A switch that makes a command endless: it may be there, switched off.
    fn ends(&mut self, flag: &str) -> Result<(), Refusal> {
        if self.on(flag)? {
            return Err(refuse(
                Rule::Endless,
                format!("`{} --{flag}` would not end by itself; leave it out, and read again later", self.verb),
            ));
        }
        Ok(())
    }

    /// How long to wait, cut to what the connector allows; zero is not to wait at all.
    fn bounded_wait(&mut self, flag: &str) -> Result<Option<u32>, Refusal> {
        let limit = self.policy.wait_timeout();
        let text = self.text(flag).filter(|text| text != "0" && text != "0s");
        Ok(text.map(|text| names::seconds(flag, &text)).transpose()?.map(|seconds| seconds.min(limit)))
    }

    fn chunk_size(&mut self) -> Result<Option<u32>, Refusal> {
        self.count("chunk-size", 0..=100_000)
    }

    fn printing(&mut self) -> Result<Printing, Refusal> {
        Ok(Printing {
            output: Output::parse(self.text("output"))?,
            allow_missing_template_keys: self.arguments.switch("allow-missing-template-keys")?,
            show_managed_fields: self.on("show-managed-fields")?,
        })
    }

    fn positional(&mut self) -> Vec<String> {
        std::mem::take(&mut self.arguments.positional)
    }

    fn bad_arguments(&self, accepted: &str) -> Refusal {
        refuse(Rule::BadArguments, format!("`{}` is written as: {accepted}", self.verb))
    }

    /// `TYPE NAME…` or `TYPE/NAME…`: objects by name, of one kind per word.
    fn objects(&self, words: &[String]) -> Result<Vec<ObjectRef>, Refusal> {
        let Some(first) = words.first() else {
            return Err(refuse(
                Rule::MissingName,
                format!("`{}` needs its objects by name: TYPE/NAME, or TYPE NAME", self.verb),
            ));
        };
        let objects = if first.contains('/') {
            words.iter().map(|word| pair(word, self.policy)).collect::<Result<Vec<_>, _>>()?
        } else {
            if first.contains(',') || first.eq_ignore_ascii_case("all") {
                return Err(refuse(
                    Rule::MassChange,
                    format!(
                        "`{}` names one kind at a time, and every object; {} is several kinds",
                        self.verb,
                        quote(first)
                    ),
                ));
            }
            let kind = kinds::resolve(first, self.policy)?;
            if words.len() == 1 {
                return Err(refuse(
                    Rule::MissingName,
                    format!("`{} {}` names no object: add its name, as {}/NAME", self.verb, first, kind.singular()),
                ));
            }
            words[1..].iter().map(|word| named(&kind, word)).collect::<Result<Vec<_>, _>>()?
        };
        distinct(objects)
    }

    fn one_object(&self, words: &[String]) -> Result<ObjectRef, Refusal> {
        let mut objects = self.objects(words)?;
        match (objects.pop(), objects.is_empty()) {
            (Some(object), true) => Ok(object),
            _ => Err(refuse(Rule::BadArguments, format!("`{}` takes one object: TYPE/NAME", self.verb))),
        }
    }
}

fn named(kind: &KindRef, word: &str) -> Result<ObjectRef, Refusal> {
    if word.contains('/') {
        return Err(refuse(
            Rule::BadArguments,
            format!("{} mixes the forms TYPE NAME and TYPE/NAME; use one of them", quote(word)),
        ));
    }
    Ok(ObjectRef { kind: kind.clone(), name: names::name(word)? })
}

fn pair(word: &str, policy: &Policy) -> Result<ObjectRef, Refusal> {
    match word.split_once('/') {
        Some((kind, name)) if !kind.contains(',') && !name.contains('/') => named(&kinds::resolve(kind, policy)?, name),
        _ => Err(refuse(
            Rule::BadArguments,
            format!("{} is not TYPE/NAME, the form of the words beside it", quote(word)),
        )),
    }
}

fn distinct(objects: Vec<ObjectRef>) -> Result<Vec<ObjectRef>, Refusal> {
    if objects.len() > MAX_OBJECTS {
        return Err(refuse(
            Rule::MassChange,
            format!("{} objects are named; at most {MAX_OBJECTS} per command", objects.len()),
        ));
    }
    for (i, object) in objects.iter().enumerate() {
        if objects[..i].contains(object) {
            return Err(refuse(Rule::BadArguments, format!("`{}` is named twice", super::render::object(object))));
        }
    }
    Ok(objects)
}

//! Splits an argv into verb, flags and positional arguments exactly as kubectl's flag library would, and refuses
//! whatever two readers could split differently.

use rounds_core::step::Refusal;

use super::flags::{Arity, Flag, Table};
use super::refusal::{Rule, quote, refuse};
use super::{deny, names};

const MAX_ARGUMENTS: usize = 64;
const MAX_ARGUMENT: usize = 16 * 1024;

/// The value of a long flag that takes text which may span lines: the body of a patch, before it is made canonical.
const MULTI_LINE: [&str; 3] = ["-p", "--patch", "--patch="];

/// Flags that kubectl reads as lists: given twice, they add up.
const LISTS: [&str; 4] = ["label-columns", "types", "verbs", "categories"];

/// Checks each argument by itself: size and characters.
pub(super) fn check_arguments(argv: &[String]) -> Result<(), Refusal> {
    if argv.is_empty() {
        return Err(refuse(Rule::EmptyCommand, "the command is empty: name a verb, such as `get pods`"));
    }
    if argv.len() > MAX_ARGUMENTS {
        return Err(refuse(Rule::TooLarge, format!("{} arguments; at most {MAX_ARGUMENTS} are accepted", argv.len())));
    }
    for (i, argument) in argv.iter().enumerate() {
        if argument.len() > MAX_ARGUMENT {
            return Err(refuse(
                Rule::TooLarge,
                format!("argument {} is {} bytes long; at most {MAX_ARGUMENT} are accepted", i + 1, argument.len()),
            ));
        }
        let is_patch = argument.starts_with("--patch=")
            || (argument.starts_with("-p") && argument.len() > 2)
            || (i > 0 && MULTI_LINE.contains(&argv[i - 1].as_str()));
        if let Some(c) = names::odd_character(argument, is_patch) {
            return Err(refuse(
                Rule::OddCharacter,
                format!(
                    "argument {} contains the character {}, which is invisible or breaks lines; write plain text",
                    i + 1,
                    c.escape_unicode()
                ),
            ));
        }
    }
    Ok(())
}

/// An argv, split.
#[derive(Debug)]
pub(super) struct Words<'a> {
    pub(super) verb: &'a str,
    /// Namespaces named before the verb.
    pub(super) leading: Vec<String>,
    pub(super) rest: &'a [String],
}

/// Finds the verb: the first word, with nothing but a namespace before it. Any other flag in front could take the
/// next word as its value, and another word would become the verb.
pub(super) fn split_verb(argv: &[String]) -> Result<Words<'_>, Refusal> {
    let mut leading = Vec::new();
    let mut i = 0;
    while let Some(word) = argv.get(i) {
        if !word.starts_with('-') {
            return Ok(Words { verb: word, leading, rest: &argv[i + 1..] });
        }
        if word == "--" {
            return Err(double_dash());
        }
        if word == "-n" || word == "--namespace" {
            let value = argv.get(i + 1).ok_or_else(|| missing_value("namespace"))?;
            separate_value("namespace", value)?;
            leading.push(value.clone());
            i += 2;
            continue;
        }
        if let Some(value) = word.strip_prefix("--namespace=") {
            leading.push(value.to_owned());
        } else if let Some(value) = word.strip_prefix("-n").filter(|_| !word.starts_with("--")) {
            leading.push(value.strip_prefix('=').unwrap_or(value).to_owned());
        } else {
            let long = word.strip_prefix("--").map(|long| long.split('=').next().unwrap_or(long));
            if let Some(refusal) = long.and_then(deny::flag) {
                return Err(refusal);
            }
            return Err(refuse(
                Rule::VerbNotFirst,
                format!(
                    "{} stands before the verb, where it could swallow it; the verb comes first, and only `-n NAMESPACE` may precede it",
                    quote(word)
                ),
            ));
        }
        i += 1;
    }
    Err(refuse(Rule::EmptyCommand, "the command has no verb: write one, such as `get pods`"))
}

/// The flags and positional arguments after the verb.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    flags: Vec<(&'static Flag, Option<String>)>,
    pub(super) positional: Vec<String>,
}

fn double_dash() -> Refusal {
    refuse(Rule::DoubleDash, "`--` ends the flags, and what follows it is read as names; leave it out")
}

fn missing_value(long: &str) -> Refusal {
    refuse(Rule::BadFlagValue, format!("--{long} has no value; write --{long}=VALUE"))
}

/// A value in an argument of its own. One that looks like a flag is more likely a forgotten value.
fn separate_value(long: &str, value: &str) -> Result<(), Refusal> {
    let negative =
        value.strip_prefix('-').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_digit()));
    if value.starts_with('-') && value != "-" && !negative {
        return Err(refuse(
            Rule::BadFlagValue,
            format!("--{long} would take {} as its value; if that is meant, write --{long}=VALUE", quote(value)),
        ));
    }
    Ok(())
}

/// A switch followed by `true` or `false`: kubectl reads the word as an object's name.
fn detached_switch(long: &str, next: Option<&String>) -> Result<(), Refusal> {
    match next.map(String::as_str) {
        Some(word @ ("true" | "false")) => Err(refuse(
            Rule::BadFlagValue,
            format!("--{long} {word}: `{word}` would be read as a name; write --{long}={word}"),
        )),
        _ => Ok(()),
    }
}

/// Splits what follows the verb by the verb's table of flags.
pub(super) fn split_arguments(verb: &str, table: Table, rest: &[String]) -> Result<Arguments, Refusal> {
    let mut arguments = Arguments::default();
    let mut i = 0;
    while let Some(word) = rest.get(i) {
        i += 1;
        if word == "--" {
            return Err(double_dash());
        }
        if let Some(long) = word.strip_prefix("--") {
            let (name, attached) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let flag = find_long(verb, table, name)?;
            let value = match (flag.arity, attached) {
                (_, Some(value)) => Some(value),
                (Arity::Bool, None) => {
                    detached_switch(name, rest.get(i))?;
                    None
                }
                (Arity::Attached, None) => {
                    return Err(refuse(
                        Rule::BadFlagValue,
                        format!("--{name} takes its value only when attached; write --{name}=VALUE ({})", flag.help),
                    ));
                }
                (Arity::Value, None) => {
                    let value = rest.get(i).ok_or_else(|| missing_value(name))?;
                    separate_value(name, value)?;
                    i += 1;
                    Some(value.clone())
                }
            };
            arguments.add(flag, value)?;
        } else if word.len() > 1 && word.starts_with('-') {
            i += split_bundle(verb, table, &word[1..], rest.get(i), &mut arguments)?;
        } else {
            arguments.positional.push(word.clone());
        }
    }
    Ok(arguments)
}

/// `-oyaml`, `-n=app`, `-Aw`: short flags in one word. Returns how many further words were used.
fn split_bundle(
    verb: &str,
    table: Table,
    bundle: &str,
    next: Option<&String>,
    arguments: &mut Arguments,
) -> Result<usize, Refusal> {
    let mut rest = bundle;
    while let Some(c) = rest.chars().next() {
        let flag = find_short(verb, table, c)?;
        rest = &rest[c.len_utf8()..];
        if let Some(value) = rest.strip_prefix('=') {
            if value.is_empty() {
                return Err(missing_value(flag.long));
            }
            arguments.add(flag, Some(value.to_owned()))?;
            return Ok(0);
        }
        match flag.arity {
            Arity::Bool => {
                if rest.is_empty() {
                    detached_switch(flag.long, next)?;
                }
                arguments.add(flag, None)?;
            }
            Arity::Value if rest.is_empty() => {
                let value = next.ok_or_else(|| missing_value(flag.long))?;
                separate_value(flag.long, value)?;
                arguments.add(flag, Some(value.clone()))?;
                return Ok(1);
            }
            Arity::Value => {
                arguments.add(flag, Some(rest.to_owned()))?;
                return Ok(0);
            }
            Arity::Attached => return Err(missing_value(flag.long)),
        }
    }
    Ok(0)
}

fn accepted(table: Table) -> String {
    table.iter().flat_map(|part| part.iter()).map(|flag| format!("--{}", flag.long)).collect::<Vec<_>>().join(", ")
}

fn find_long(verb: &str, table: Table, name: &str) -> Result<&'static Flag, Refusal> {
    if let Some(flag) = table.iter().flat_map(|part| part.iter()).find(|flag| flag.long == name) {
        return Ok(flag);
    }
    let dashed = name.replace('_', "-");
    if let Some(refusal) = deny::flag(&dashed).or_else(|| deny::flag_of(verb, &dashed)) {
        return Err(refusal);
    }
    Err(refuse(
        Rule::UnknownFlag,
        format!(
            "{} is not a flag that `{verb}` accepts here; accepted: {}",
            quote(&format!("--{name}")),
            accepted(table)
        ),
    ))
}

fn find_short(verb: &str, table: Table, c: char) -> Result<&'static Flag, Refusal> {
    if let Some(flag) = table.iter().flat_map(|part| part.iter()).find(|flag| flag.short == Some(c)) {
        return Ok(flag);
    }
    let known = match c {
        's' => deny::flag("server"),
        'h' => deny::flag("help"),
        _ => deny::short_of(verb, c),
    };
    Err(known.unwrap_or_else(|| {
        refuse(
            Rule::UnknownFlag,
            format!(
                "{} is not a flag that `{verb}` accepts here; accepted: {}",
                quote(&format!("-{c}")),
                accepted(table)
            ),
        )
    }))
}

impl Arguments {
    fn add(&mut self, flag: &'static Flag, value: Option<String>) -> Result<(), Refusal> {
        // kubectl lets the last one win; a reader may think that the first did. Saying the same thing twice is harmless.
        if let Some((_, earlier)) = self.flags.iter_mut().find(|(known, _)| known.long == flag.long) {
            if *earlier == value {
                return Ok(());
            }
            if let (true, Some(earlier), Some(value)) = (LISTS.contains(&flag.long), earlier, &value) {
                earlier.push(',');
                earlier.push_str(value);
                return Ok(());
            }
            let rule = if flag.long == "namespace" { Rule::NamespaceConflict } else { Rule::RepeatedFlag };
            return Err(refuse(rule, format!("--{} is given twice with different values; give it once", flag.long)));
        }
        self.flags.push((flag, value));
        Ok(())
    }

    /// Takes the value of a flag.
    pub(super) fn value(&mut self, long: &str) -> Option<String> {
        let at = self.flags.iter().position(|(flag, _)| flag.long == long)?;
        Some(self.flags.remove(at).1.unwrap_or_default())
    }

    /// Takes a switch.
    pub(super) fn switch(&mut self, long: &str) -> Result<Option<bool>, Refusal> {
        let Some(at) = self.flags.iter().position(|(flag, _)| flag.long == long) else { return Ok(None) };
        match self.flags.remove(at).1.as_deref() {
            None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(Some(true)),
            Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(Some(false)),
            Some(other) => {
                Err(refuse(Rule::BadFlagValue, format!("--{long}={} is neither true nor false", quote(other))))
            }
        }
    }

    /// Asserts that every flag was taken: one that the verb's table accepts but nobody reads must not be dropped.
    pub(super) fn finish(self, verb: &str) -> Result<(), Refusal> {
        match self.flags.first() {
            None => Ok(()),
            Some((flag, _)) => {
                Err(refuse(Rule::UnknownFlag, format!("`{verb}` does not take --{} in this form", flag.long)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rounds_core::step::{Mode, StepSpec};

    use crate::kubernetes::{Gate, Policy};

    #[test]
    fn a_list_flag_adds_up_and_any_other_is_given_once() {
        let review = |line: &str| {
            let step = StepSpec::command(line.split(' '));
            Gate::new(Policy::for_namespaces(["app"])).review(&step, Mode::Write)
        };
        for (line, canonical) in [
            ("get pods -L app -L version", "--label-columns=app,version"),
            ("events --types=Warning --types=Normal", "--types=Normal,Warning"),
            ("api-resources --verbs=list --verbs=get", "--verbs=list,get"),
        ] {
            let step = review(line).unwrap_or_else(|refusal| panic!("{line}: {refusal}"));
            assert!(step.command_text.contains(canonical), "{}", step.command_text);
        }
        for (line, rule) in [
            ("get pods -o json -o yaml", "repeated_flag"),
            ("get pods -l a=b -l c=d", "repeated_flag"),
            ("get pods -n app -n other", "namespace_conflict"),
            ("apply -f - -f /etc/x -n app", "repeated_flag"),
        ] {
            assert_eq!(review(line).unwrap_err().rule, rule, "{line}");
        }
    }
}

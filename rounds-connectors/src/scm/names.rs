//! Names, and words of other people: what they may hold, and how they are shown.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rounds_core::step::{Refusal, ReviewedStep};

use super::commands;

/// The longest title of a request and first line of a commit.
pub(crate) const MAX_TITLE: usize = 200;
/// The longest text of a request, in characters.
pub(crate) const MAX_BODY: usize = 16_000;

/// A text of somebody's as it is shown within a line: in quotes, on one line, at most so many characters, with what
/// cannot be seen, or turns the direction of writing round, written out.
pub(crate) fn quoted(text: &str, most: usize) -> String {
    let total = text.chars().count();
    if total <= most {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(most).collect();
    format!("{head:?} (cut: {most} of {total} characters)")
}

/// A text of several lines as it is shown: line breaks and tabs stay, whatever else cannot be seen is written out.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            // Quotes and backslashes are seen as they are; `escape_debug` would double them.
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

/// A title, which is one line.
///
/// # Errors
/// It is empty, too long, or holds what is not plain text in a line or what a forge takes for a command.
pub(crate) fn title(field: &str, text: &str) -> Result<String, Refusal> {
    let trimmed = text.trim();
    let odd = trimmed.chars().find(|c| *c != ' ' && !is_written(*c));
    let length = trimmed.chars().count();
    if let Some(odd) = odd {
        return Err(Refusal::new("title", format!("{field}: found {odd:?}; plain text in one line is accepted")));
    }
    commands::without(field, trimmed)?;
    match length {
        1..=MAX_TITLE => Ok(trimmed.to_owned()),
        _ => Err(Refusal::new("title", format!("{field}: found {length} characters; 1 to {MAX_TITLE} are accepted"))),
    }
}

/// A text of several lines.
///
/// # Errors
/// It is too long, or holds control characters, marks that cannot be seen, or what a forge takes for a command.
pub(crate) fn body(field: &str, text: &str) -> Result<String, Refusal> {
    let text = text.replace("\r\n", "\n");
    if let Some(odd) = text.chars().find(|c| !matches!(c, ' ' | '\n' | '\t') && !is_written(*c)) {
        return Err(Refusal::new("body", format!("{field}: found {odd:?}; plain text in lines is accepted")));
    }
    // What a forge renders invisibly would be approved by nobody who reads the page there.
    if text.contains("<!--") {
        return Err(Refusal::new("body", format!("{field}: found `<!--`; a text without hidden comments is accepted")));
    }
    let length = text.chars().count();
    if length > MAX_BODY {
        return Err(Refusal::new("body", format!("{field}: found {length} characters; up to {MAX_BODY} are accepted")));
    }
    commands::without(field, &text)?;
    Ok(text)
}

/// Whether a character is seen as what it is.
pub(crate) fn is_plain(c: char) -> bool {
    // What `Debug` writes out is control, format, private use, unassigned, or a mark that hangs on another character.
    let mut escaped = c.escape_debug();
    c == '"' || c == '\'' || c == '\\' || (escaped.next() == Some(c) && escaped.next().is_none())
}

/// Whether a character may be in somebody's prose: what is seen, and the mark after a sign that makes an emoji of it.
fn is_written(c: char) -> bool {
    is_plain(c) || c == '\u{fe0f}'
}

/// The name of a branch, by the rules of git (`git check-ref-format`), without what only makes trouble.
///
/// # Errors
/// What was found, and what is accepted.
pub(crate) fn branch(field: &str, name: &str) -> Result<String, Refusal> {
    let refuse = || {
        let found = quoted(name, 80);
        Err(Refusal::new(
            "ref_name",
            format!(
                "{field}: found {found}; the name of a branch such as `main` or `release/1.2` is accepted, without \
                 `refs/heads/`"
            ),
        ))
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+#@=,".contains(c);
    let component = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let wrong = name.is_empty()
        || name.len() > 200
        || !name.chars().all(plain)
        || !name.split('/').all(component)
        || name.contains("..")
        || name.contains("@{")
        || name.starts_with('-')
        || name.starts_with("refs/")
        || name.ends_with('.')
        || name == "@"
        || name == "HEAD"
        // A forge takes it for a commit.
        || is_object_id(name);
    if wrong { refuse() } else { Ok(name.to_owned()) }
}

/// The full id of an object of git's, in lower case.
///
/// # Errors
/// It is something else, an abbreviation among others: what one stands for can change.
pub(crate) fn object_id(field: &str, found: &str) -> Result<String, Refusal> {
    let id = found.to_ascii_lowercase();
    if is_object_id(&id) {
        return Ok(id);
    }
    let found = quoted(found, 80);
    Err(Refusal::new("object_id", format!("{field}: found {found}; the full id of 40 hexadecimal digits is accepted")))
}

/// Whether it is a full id: SHA-1's or SHA-256's.
pub(crate) fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A branch, or the full id of a commit.
///
/// # Errors
/// It is neither.
pub(crate) fn revision(name: &str) -> Result<String, Refusal> {
    if is_object_id(name) { object_id("ref", name) } else { branch("ref", name) }
}

/// The text of a request as the line of a step says it, as far as it is short.
pub(crate) fn saying(body: &str) -> String {
    if body.trim().is_empty() { String::new() } else { format!(", saying {}", quoted(body, 200)) }
}

/// The step, with the whole of a text that is too long for its line.
pub(crate) fn with_whole(step: ReviewedStep, body: &str) -> ReviewedStep {
    if body.chars().count() <= 200 {
        return step;
    }
    let lines: Vec<String> = body.lines().map(|line| format!("| {}", visible(line))).collect();
    step.note(format!("its text, whole:\n{}", lines.join("\n")))
}

/// The branches that something may run on, as globs. `*` stays between slashes.
#[derive(Debug, Clone)]
pub(crate) struct Branches {
    globs: Vec<String>,
    set: GlobSet,
}

impl Branches {
    /// # Errors
    /// A glob of the field `refs` cannot be read, with its number.
    pub(crate) fn new(globs: &[String]) -> Result<Self, String> {
        let mut set = GlobSetBuilder::new();
        for (at, glob) in globs.iter().enumerate() {
            let built = GlobBuilder::new(glob).literal_separator(true).backslash_escape(false).build();
            set.add(built.map_err(|error| {
                format!("refs[{at}]: found {} ({}); `main` or `release/*` is accepted", quoted(glob, 80), error.kind())
            })?);
        }
        Ok(Self { globs: globs.to_vec(), set: set.build().map_err(|error| format!("refs: {error}"))? })
    }

    /// The name, if it is a branch's and allowed.
    ///
    /// # Errors
    /// It is not, with what is accepted.
    pub(crate) fn permit(&self, name: &str) -> Result<String, Refusal> {
        let name = branch("ref", name)?;
        if !self.set.is_match(&name) {
            Refusal::unless_one_of("ref", &name, self.globs.iter().filter(|glob| **glob != name))?;
        }
        Ok(name)
    }

    /// What is allowed, for people and models.
    pub(crate) fn listed(&self) -> String {
        if self.globs.is_empty() { "none".into() } else { self.globs.join(", ") }
    }
}

/// The first digits of an id, for people.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Repositories that may be touched: `owner/name`, or `owner/*` for all of an owner's; deeper for forges with groups
/// in groups, where `group/**` is everything below.
#[derive(Debug, Clone)]
pub(crate) struct Repositories {
    what: &'static str,
    field: &'static str,
    entries: Vec<String>,
    deep: bool,
    any_case: bool,
}

impl Repositories {
    /// `what` is the forge's word for one; `deep`: whether there are groups in groups; `any_case`: whether the forge takes
    /// `Owner/Name` for `owner/name`.
    ///
    /// # Errors
    /// An entry is not such a name, with the number of the entry.
    pub(crate) fn new(
        what: &'static str,
        field: &'static str,
        entries: &[String],
        deep: bool,
        any_case: bool,
    ) -> Result<Self, String> {
        let rules = Self { what, field, entries: entries.to_vec(), deep, any_case };
        for (at, entry) in entries.iter().enumerate() {
            let stem = entry.strip_suffix("/**").filter(|_| deep).or_else(|| entry.strip_suffix("/*"));
            let fits = match stem {
                Some(owner) => owner.split('/').all(segment) && (deep || !owner.contains('/')),
                None => rules.is_name(entry),
            };
            if !fits {
                return Err(format!("{field}[{at}]: found {}; {} is accepted", quoted(entry, 80), rules.accepted()));
            }
        }
        Ok(rules)
    }

    fn accepted(&self) -> &'static str {
        if self.deep { "`group/project`, `group/*` or `group/**`" } else { "`owner/name` or `owner/*`" }
    }

    fn is_name(&self, name: &str) -> bool {
        let parts: Vec<&str> = name.split('/').collect();
        let many = if self.deep { (2..=20).contains(&parts.len()) } else { parts.len() == 2 };
        many && name.len() <= 255 && parts.into_iter().all(segment)
    }

    fn same(&self, a: &str, b: &str) -> bool {
        if self.any_case { a.eq_ignore_ascii_case(b) } else { a == b }
    }

    /// The name as it goes on: in the spelling of the entry that allows it.
    ///
    /// # Errors
    /// It is none, or no entry allows it.
    pub(crate) fn permit(&self, name: &str) -> Result<String, Refusal> {
        if !self.is_name(name) {
            let form = if self.deep { "group/project" } else { "owner/name" };
            let found = quoted(name, 80);
            return Err(Refusal::new("shape", format!("{}: found {found}; `{form}` is accepted", self.what)));
        }
        let (owner, last) = name.rsplit_once('/').unwrap_or(("", name));
        for entry in &self.entries {
            if self.same(entry, name) {
                return Ok(entry.clone());
            }
            if let Some(group) = entry.strip_suffix("/*").filter(|group| self.same(group, owner)) {
                return Ok(format!("{group}/{last}"));
            }
            if let Some(group) = entry.strip_suffix("/**") {
                let below = name.get(..group.len()).is_some_and(|head| self.same(head, group));
                if below && name.as_bytes().get(group.len()) == Some(&b'/') {
                    return Ok(name.to_owned());
                }
            }
        }
        let accepted = if self.entries.is_empty() { "none".to_owned() } else { self.entries.join(", ") };
        Err(Refusal::new(
            format!("{}_not_accepted", self.what),
            format!(
                "the {} `{name}` is not accepted; accepted: {accepted} (an operator adds more to `{}` of this connector)",
                self.what, self.field
            ),
        ))
    }

    /// The entries that name one, for a connection test.
    pub(crate) fn exact(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(String::as_str).filter(|entry| !entry.ends_with('*'))
    }

    /// What is allowed, for people and models.
    pub(crate) fn listed(&self) -> String {
        if self.entries.is_empty() { "none".into() } else { self.entries.join(", ") }
    }
}

/// A part of a repository's name: never one that an address would take for a folder.
fn segment(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !part.is_empty() && part.len() <= 100 && part.bytes().all(plain) && part != "." && part != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(list: &[&str]) -> Vec<String> {
        list.iter().map(|entry| (*entry).to_owned()).collect()
    }

    #[test]
    fn rule_11_an_empty_list_of_repositories_permits_none() {
        let none = Repositories::new("repository", "repositories", &[], false, true).unwrap();
        let refused = none.permit("acme/shop").unwrap_err().message;
        assert!(refused.contains("accepted: none") && refused.contains("`repositories`"), "{refused}");
    }

    #[test]
    fn a_repository_is_allowed_by_name_or_by_owner_and_goes_on_in_the_spelling_of_the_list() {
        let some =
            Repositories::new("repository", "repositories", &entries(&["Acme/Shop", "infra/*"]), false, true).unwrap();
        assert_eq!(some.permit("acme/shop").unwrap(), "Acme/Shop");
        assert_eq!(some.permit("Infra/k8s").unwrap(), "infra/k8s");
        for other in ["acme/shop2", "acme/sho", "infrastructure/x", "x/infra", "acme/shop/x", "acme", "", "infra/"] {
            assert!(some.permit(other).is_err(), "{other}");
        }
        for odd in ["../x", "infra/..", "infra/.", "infra/a b", "infra/a%2fb", "infra/*"] {
            assert!(some.permit(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn groups_in_groups_need_two_stars() {
        let some = Repositories::new("project", "projects", &entries(&["a/*", "b/**"]), true, false).unwrap();
        for (name, allowed) in
            [("a/x", true), ("a/x/y", false), ("b/x", true), ("b/x/y", true), ("bb/x", false), ("A/x", false)]
        {
            assert_eq!(some.permit(name).is_ok(), allowed, "{name}");
        }
        for wrong in ["*", "**", "a", "a/*/b", "/a/b", "a//b"] {
            assert!(Repositories::new("project", "projects", &entries(&[wrong]), true, false).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_branches_are_those_that_git_takes_and_no_commit() {
        for good in ["main", "release/1.2", "rounds/01-0", "feature_x", "dependabot/npm/a@b"] {
            branch("base", good).unwrap();
        }
        let id = "a".repeat(40);
        for bad in [
            "",
            "a..b",
            "a b",
            ".a",
            "a/.b",
            "a.lock",
            "a/",
            "/a",
            "-a",
            "refs/heads/x",
            "HEAD",
            "a@{1}",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "@",
            &id,
        ] {
            assert!(branch("base", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_of_somebodys_words_cannot_look_like_something_else() {
        let shown = quoted("fine\"\n; delete\u{202e}x", 100);
        assert_eq!(shown, r#""fine\"\n; delete\u{202e}x""#);
        assert!(quoted(&"x".repeat(50), 10).ends_with("(cut: 10 of 50 characters)"));
        assert_eq!(visible("a\tb\n\u{1b}[31m\u{200b}\"c\""), "a\tb\n\\u{1b}[31m\\u{200b}\"c\"");
        assert!(
            title("title", "two\nlines").is_err()
                && title("title", " ").is_err()
                && title("title", "\u{202e}").is_err()
        );
        assert!(body("body", "a <!-- hidden -->").is_err() && body("body", "a\u{0}").is_err());
    }
}

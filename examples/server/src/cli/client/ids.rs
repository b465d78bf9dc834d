//! Parts of ids: reading takes the beginning or the end of an id, as pages and lists show it. Deciding takes the whole id.

use serde_json::Value;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::print::{clean, field};
use super::{Client, Failure};

/// The fewest characters that are looked for.
const FEWEST: usize = 4;
/// How many pages of plans are looked through, the newest first; of a hundred each.
const PAGES: usize = 20;

/// An id goes into a path: nothing but a whole one.
pub(super) fn whole(text: &str) -> Result<String, Failure> {
    match Uuid::try_parse(text) {
        // As the server writes it: the events of a plan are known by it.
        Ok(id) if text.len() == Hyphenated::LENGTH => Ok(id.to_string()),
        _ => Err(Failure::usage(format!(
            "found `{}`; a whole id such as 0190a5b4-7c1e-7f00-8000-0123456789ab is expected here: the lists (`plans list`, \
             `alerts list`, `token list`) show them",
            clean(text)
        ))),
    }
}

/// The plan that is meant.
pub(super) async fn plan(client: &Client, text: &str) -> Result<String, Failure> {
    let part = match part(text)? {
        Part::Whole(id) => return Ok(id),
        Part::Some(part) => part,
    };
    let plans = client.api.get_pages("/api/plans?limit=100", PAGES).await?;
    one_of(&plans, &part, "plan", "summary")
}

/// The alert rule that is meant.
pub(super) async fn rule(client: &Client, text: &str) -> Result<String, Failure> {
    let part = match part(text)? {
        Part::Whole(id) => return Ok(id),
        Part::Some(part) => part,
    };
    let rules = client.api.get("/api/alert-rules").await?;
    one_of(rules["list"].as_array().map(Vec::as_slice).unwrap_or_default(), &part, "alert rule", "name")
}

/// What was said of an id.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole(String),
    Some(String),
}

/// What to look for.
fn part(text: &str) -> Result<Part, Failure> {
    if let Ok(id) = whole(text) {
        return Ok(Part::Whole(id));
    }
    let part = text.to_ascii_lowercase();
    if part.len() >= FEWEST && part.len() <= 36 && part.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        return Ok(Part::Some(part));
    }
    Err(Failure::usage(format!(
        "found `{}`; an id such as 0190a5b4-7c1e-7f00-8000-0123456789ab is expected, or at least {FEWEST} characters of its \
         beginning or its end",
        clean(text)
    )))
}

/// The one whose id begins or ends so.
fn one_of(found: &[Value], part: &str, what: &str, name: &str) -> Result<String, Failure> {
    let fits = |one: &&Value| one["id"].as_str().is_some_and(|id| id.starts_with(part) || id.ends_with(part));
    let fitting: Vec<&Value> = found.iter().filter(fits).collect();
    match fitting.as_slice() {
        [one] => Ok(field(one, "id")),
        [] => Err(Failure::new(
            super::Code::NotFound,
            format!("no {what}'s id begins or ends with `{part}`, of the {} that were looked through", found.len()),
        )),
        several => {
            let shown = several.iter().take(5).map(|one| format!("\n  {}  {}", field(one, "id"), field(one, name)));
            let more = several.len().saturating_sub(5);
            let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
            Err(Failure::usage(format!(
                "`{part}` is ambiguous: the ids of {} {what}s begin or end so; type more of it:{}{more}",
                several.len(),
                shown.collect::<String>()
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_beginning_or_the_end_of_an_id_is_enough_when_only_one_has_it() {
        let plans = [
            json!({ "id": "0190a5b4-7c1e-7f00-8000-0123456789ab", "summary": "one" }),
            json!({ "id": "0190a5b4-7c1f-7f00-8000-0123456789ac", "summary": "two" }),
        ];
        let found = |part: &str| one_of(&plans, part, "plan", "summary");
        assert_eq!(found("0190a5b4-7c1e").unwrap(), plans[0]["id"]);
        assert_eq!(found("6789ac").unwrap(), plans[1]["id"]);
        let ambiguous = found("0190a5b4").unwrap_err();
        assert_eq!(ambiguous.code, super::super::Code::Usage);
        assert!(ambiguous.message.contains("ambiguous") && ambiguous.message.contains("89ab  one"), "{ambiguous:?}");
        assert_eq!(found("ffff").unwrap_err().code, super::super::Code::NotFound);
    }

    #[test]
    fn deciding_takes_a_whole_id_and_reading_four_characters_at_least() {
        let id = "0190a5b4-7c1e-7f00-8000-0123456789ab";
        assert_eq!(whole(id).unwrap(), id);
        assert_eq!(whole(&id.to_uppercase()).unwrap(), id, "events are known by it as the server writes it");
        let odd = format!("{{{id}}}");
        for short in ["0190a5b4", "0190a5b47c1e7f0080000123456789ab", &odd, "../../x", ""] {
            assert!(whole(short).is_err(), "{short}");
        }
        assert_eq!(part("0190A5B4").unwrap(), Part::Some("0190a5b4".into()));
        assert_eq!(part(id).unwrap(), Part::Whole(id.into()));
        for wrong in ["019", "plan", "01/90", ""] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }
}

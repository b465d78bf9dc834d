//! Arguments as a person types them. Quotes group, nothing else is special: there is no shell, so whatever a shell
//! would act on is refused instead of passed on to surprise somebody.

/// What a shell would act on when it is not quoted.
const SHELL: &[char] = &['$', '`', ';', '|', '&', '<', '>', '(', ')', '*', '?', '!', '#', '~'];

/// Splits text into arguments: words, or one argument per line, or both.
///
/// # Errors
/// What was found, where, and how to write it.
pub(crate) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(found) = rest.next() {
        match found {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('\'') => break,
                        Some(inside) => word.push(inside),
                        None => return Err("a ' is not closed".into()),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('"') => break,
                        Some('\\') => match rest.next() {
                            Some(escaped @ ('"' | '\\')) => word.push(escaped),
                            _ => return Err("inside \" only \\\" and \\\\ are accepted after a backslash".into()),
                        },
                        Some(inside) => word.push(inside),
                        None => return Err("a \" is not closed".into()),
                    }
                }
            }
            '\\' => return Err("found a backslash outside quotes: put the argument in single quotes".into()),
            found if SHELL.contains(&found) => {
                return Err(format!(
                    "found `{found}` outside quotes: there is no shell, so put the argument in quotes"
                ));
            }
            found if found.is_control() => {
                return Err(format!("found the control character U+{:04X}", u32::from(found)));
            }
            found => word.get_or_insert_default().push(found),
        }
    }
    words.extend(word);
    if words.is_empty() {
        return Err("a command is expected, one argument per word or per line".into());
    }
    Ok(words)
}

/// Arguments as one line that [`split`] reads back.
pub(crate) fn join<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let special = |c: char| SHELL.contains(&c) || matches!(c, '\'' | '"' | '\\') || c.is_whitespace() || c.is_control();
    if !word.is_empty() && !word.contains(special) {
        word.to_owned()
    } else if word.contains('\'') {
        format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        format!("'{word}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_as_they_were() {
        for words in [
            vec!["scale", "deployment/web", "--replicas=3", "-n", "app"],
            vec!["patch", "deployment", "web", "-p", r#"{"spec":{"a b":"it's \"so\""}}"#],
            vec!["annotate", "x", "", "a=$HOME;b", "two\nlines", "*"],
        ] {
            assert_eq!(split(&join(words.clone())).unwrap(), words);
        }
    }

    #[test]
    fn one_argument_per_line_is_the_same_as_words() {
        assert_eq!(split("get\npods\r\n-n\napp\n").unwrap(), split("get pods -n app").unwrap());
    }

    #[test]
    fn what_a_shell_would_act_on_is_refused() {
        for text in
            ["get pods; id", "get $(id)", "get `id`", "get a | b", "get 'a", "get \"a", "get a\\ b", "x > y", ""]
        {
            assert!(split(text).is_err(), "{text}");
        }
    }
}

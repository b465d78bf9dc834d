//! What the small words of a command may look like: namespaces, names, selectors, durations.
//!
//! Stricter than the API server where the server is lenient, so that a value always means the same to every reader.

use rounds_core::step::Refusal;

use super::refusal::{Rule, quote, refuse};

/// Characters that are invisible, break lines for some readers, or turn the direction of text: what a person sees
/// would not be what runs.
pub(crate) fn is_odd(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The first character that may not be in a text; line feeds and tabs pass when `lines` says so.
pub(crate) fn odd_character(text: &str, lines: bool) -> Option<char> {
    text.chars().find(|&c| is_odd(c) || (c.is_control() && !(lines && matches!(c, '\n' | '\t'))))
}

fn is_alphanumeric(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// A DNS label: what a namespace is.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|&c| is_alphanumeric(c) || c == b'-')
        && is_alphanumeric(bytes[0])
        && is_alphanumeric(bytes[bytes.len() - 1])
}

/// A DNS subdomain: what an object's name is.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            let bytes = label.as_bytes();
            !bytes.is_empty()
                && bytes.iter().all(|&c| is_alphanumeric(c) || c == b'-')
                && is_alphanumeric(bytes[0])
                && is_alphanumeric(bytes[bytes.len() - 1])
        })
}

/// A namespace, as named on the command line or in a manifest.
pub(crate) fn namespace(text: &str) -> Result<String, Refusal> {
    if is_dns_label(text) {
        return Ok(text.to_owned());
    }
    Err(refuse(
        Rule::BadName,
        format!(
            "{} is not a namespace: lower-case letters, digits and dashes, at most 63, starting and ending with a letter or digit",
            quote(text)
        ),
    ))
}

/// An object's name.
pub(crate) fn name(text: &str) -> Result<String, Refusal> {
    if is_dns_subdomain(text) {
        return Ok(text.to_owned());
    }
    Err(refuse(
        Rule::BadName,
        format!(
            "{} is not an object name: lower-case letters, digits, dashes and dots, starting and ending with a letter or digit",
            quote(text)
        ),
    ))
}

/// The part of a label key or value after any prefix.
fn is_qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|&c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
        && bytes[0].is_ascii_alphanumeric()
        && bytes[bytes.len() - 1].is_ascii_alphanumeric()
}

/// A label or annotation key, with or without a prefix.
pub(crate) fn is_metadata_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, rest)) => is_dns_subdomain(prefix) && is_qualified_part(rest),
        None => is_qualified_part(text),
    }
}

/// A label's value.
pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_qualified_part(text)
}

/// A label or field selector. Its grammar is checked by kubectl and the server; here it may only contain what
/// selectors are made of.
pub(crate) fn selector(flag: &str, text: &str) -> Result<String, Refusal> {
    let fits = !text.is_empty()
        && text.len() <= 1024
        && text.bytes().all(|c| {
            c.is_ascii_alphanumeric()
                || matches!(c, b'.' | b'_' | b'-' | b'/' | b'=' | b'!' | b',' | b'(' | b')' | b' ' | b':')
        });
    if fits {
        return Ok(text.to_owned());
    }
    Err(refuse(
        Rule::BadFlagValue,
        format!(
            "--{flag} {} is not a selector: write `key=value`, `key!=value`, `key in (a,b)`, joined by commas, at most 1024 characters",
            quote(text)
        ),
    ))
}

/// A whole number in a range.
pub(crate) fn number(flag: &str, text: &str, range: std::ops::RangeInclusive<i64>) -> Result<i64, Refusal> {
    let plain = text.strip_prefix('-').unwrap_or(text);
    let digits = !plain.is_empty() && plain.len() <= 18 && plain.bytes().all(|c| c.is_ascii_digit());
    match text.parse::<i64>() {
        Ok(value) if digits && range.contains(&value) => Ok(value),
        _ => Err(refuse(
            Rule::BadFlagValue,
            format!("--{flag} {} is not a whole number from {} to {}", quote(text), range.start(), range.end()),
        )),
    }
}

/// A duration in whole seconds: `30`, `30s`, `5m`, `1h30m`.
pub(crate) fn seconds(flag: &str, text: &str) -> Result<u32, Refusal> {
    let bad = || {
        refuse(
            Rule::BadFlagValue,
            format!(
                "--{flag} {} is not a duration in whole seconds above zero, such as `30s`, `5m` or `1h30m`",
                quote(text)
            ),
        )
    };
    let mut total: u64 = 0;
    let mut digits = String::new();
    let mut units = 0;
    if text.len() > 20 || text.is_empty() {
        return Err(bad());
    }
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let factor = match c {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(bad()),
        };
        total = digits
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(factor))
            .and_then(|n| n.checked_add(total))
            .ok_or_else(bad)?;
        digits.clear();
        units += 1;
    }
    if !digits.is_empty() {
        if units > 0 {
            return Err(bad());
        }
        total = digits.parse().map_err(|_| bad())?;
    }
    u32::try_from(total).ok().filter(|&n| n > 0).ok_or_else(bad)
}

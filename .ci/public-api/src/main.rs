//! `rounds-public-api FROM TO CRATE...`: reads `FROM/<crate>.json`, as rustdoc wrote it, and writes the crate's public
//! API to `TO/<crate>.txt`, one item a line.
//!
//! rustdoc names a type of another crate by the module that defines it, which may be private. Such a name would change
//! whenever a file moves, and nobody can write it. So what an earlier crate of the arguments makes public is named as it
//! is there.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;

/// From where something is defined to where it is public.
type Names = BTreeMap<String, String>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut folder = || args.next().map(PathBuf::from).ok_or("usage: rounds-public-api FROM TO CRATE...");
    let (from, to) = (folder()?, folder()?);
    let mut names = Names::new();
    for package in args {
        let name = package.replace('-', "_");
        let json = from.join(format!("{name}.json"));
        let rustdoc = read(&json)?;
        let api = public_api::Builder::from_rustdoc_json(json)
            .omit_blanket_impls(true)
            .omit_auto_trait_impls(true)
            .omit_auto_derived_impls(true)
            .build()?;

        let mut text = String::new();
        let mut own = Names::new();
        for item in api.items() {
            let line = item.to_string();
            let public = paths(&line).find(|path| path.split("::").next() == Some(&name));
            let definition = &rustdoc["paths"][item.id().0.to_string()]["path"];
            if let (Some(public), Some(definition)) = (public, definition.as_array()) {
                let definition: Vec<&str> = definition.iter().filter_map(Value::as_str).collect();
                let known = own.entry(definition.join("::")).or_insert_with(|| public.to_owned());
                // Public in two places: the shorter one.
                if public.len() < known.len() {
                    *known = public.to_owned();
                }
            }
            text.push_str(&renamed(&line, &names));
            text.push_str(note(&rustdoc, item));
            text.push('\n');
        }
        std::fs::write(to.join(format!("{package}.txt")), text)?;
        names.append(&mut own);
    }
    Ok(())
}

fn read(json: &Path) -> Result<Value, Box<dyn Error>> {
    let text = std::fs::read_to_string(json)?;
    let mut reader = serde_json::Deserializer::from_str(&text);
    // A type within a type within a type: it nests as deep as the code does.
    reader.disable_recursion_limit();
    Ok(Value::deserialize(&mut reader)?)
}

/// What a change of breaks whoever implements the trait or writes the struct out, and the item does not say.
fn note(rustdoc: &Value, item: &public_api::PublicItem) -> &'static str {
    let inner = |id: u32| &rustdoc["index"][id.to_string()]["inner"];
    let this = inner(item.id().0);
    let of_a_trait = item.parent_id().is_some_and(|parent| !inner(parent.0)["trait"].is_null());
    if of_a_trait && this["function"]["has_body"] == true {
        " (provided)"
    } else if this["struct"]["kind"]["plain"]["has_stripped_fields"] == true {
        " (private fields)"
    } else {
        ""
    }
}

/// Each `a::b::c` of a line.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    line.split(not_of_a_path).map(|path| path.trim_end_matches(':'))
}

fn not_of_a_path(c: char) -> bool {
    !(c.is_alphanumeric() || c == '_' || c == ':')
}

fn renamed(line: &str, names: &Names) -> String {
    let mut text = String::new();
    for word in line.split_inclusive(not_of_a_path) {
        // The longest part that has a name: `a::b::Type::method` is renamed by its type.
        let path = word.trim_end_matches(|c| c == ':' || not_of_a_path(c));
        let ends = path.match_indices("::").map(|(end, _)| end).chain([path.len()]);
        match ends.filter_map(|end| Some((end, names.get(&path[..end])?))).last() {
            Some((end, public)) => text.extend([public, &word[end..]]),
            None => text.push_str(word),
        }
    }
    text
}

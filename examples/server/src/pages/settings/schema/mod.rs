//! From a JSON Schema to the fields of a form: what is asked for, how it is typed, and what stands beside it. What was typed
//! becomes a config again in `typed.rs`; core checks that against the real type.

mod typed;

use serde_json::Value;

use crate::pages::form::Fields;
pub(super) use typed::{config, typed};

/// Objects in objects in objects are typed as JSON.
const DEEP: usize = 2;

/// What hardly anybody sets: another address for tests and relays, a name for one odd kind of server.
const RARE: [&str; 2] = ["apiUrl", "ehloName"];

/// How a value is typed.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::pages) enum Input {
    /// One line.
    Text,
    /// Several lines, such as a certificate.
    Area,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Yes or no.
    Flag,
    /// Yes, no, or nothing said.
    YesNo,
    /// One of these.
    Choice(Vec<Word>),
    /// Any of these.
    Ticks(Vec<Word>),
    /// Texts, one per line.
    Lines,
    /// Names and texts, one `name=value` per line.
    Pairs,
    /// Anything else, as JSON.
    Json,
    /// An object, with fields of its own.
    Group(Vec<Field>),
    /// One of several objects: the member `tag` says which, and each field which of them have it.
    Variants {
        /// The member that says which.
        tag: String,
        /// Which there are.
        words: Vec<Word>,
        /// The fields of all of them.
        fields: Vec<Field>,
    },
}

/// A word of an enumeration.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::pages) struct Word {
    pub(in crate::pages) value: String,
    pub(in crate::pages) help: String,
}

/// One field of a form, or several under one heading.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::pages) struct Field {
    /// Where its value is in the config: `auth.username`.
    pub(in crate::pages) path: String,
    pub(in crate::pages) label: String,
    pub(in crate::pages) help: String,
    pub(in crate::pages) input: Input,
    /// Whether what it belongs to cannot do without it.
    pub(in crate::pages) required: bool,
    /// Whether the form cannot be sent without it: a field of a group that may be left out can be empty.
    pub(in crate::pages) must: bool,
    pub(in crate::pages) value: String,
    /// What holds when nothing is said.
    pub(in crate::pages) default: String,
    pub(in crate::pages) least: Option<String>,
    pub(in crate::pages) most: Option<String>,
    /// Of an object that may be one of several: which of them have it.
    pub(in crate::pages) of: Vec<String>,
    /// What the JSON of this field is made of.
    pub(in crate::pages) parts: Vec<Part>,
    pub(in crate::pages) wrong: Option<String>,
}

/// A member of what is typed as JSON.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::pages) struct Part {
    pub(in crate::pages) name: String,
    pub(in crate::pages) needed: bool,
    pub(in crate::pages) help: String,
}

impl Word {
    /// Its help, as [`Field::prose`].
    pub(in crate::pages) fn prose(&self) -> Vec<(bool, &str)> {
        prose(&self.help)
    }
}

impl Part {
    /// Its help, as [`Field::prose`].
    pub(in crate::pages) fn prose(&self) -> Vec<(bool, &str)> {
        prose(&self.help)
    }
}

/// What a form shows from top to bottom.
pub(in crate::pages) enum Row<'a> {
    /// Fields under a heading begin.
    Open(&'a Field),
    /// A field.
    Field(&'a Field),
    /// They end.
    Close,
}

impl Field {
    /// The name its input is sent under.
    pub(in crate::pages) fn key(&self) -> String {
        match &self.input {
            Input::Variants { tag, .. } => format!("config.{}.{tag}", self.path),
            _ => format!("config.{}", self.path),
        }
    }

    /// The id of its input.
    pub(in crate::pages) fn id(&self) -> String {
        format!("f-{}", self.path.replace('.', "-"))
    }

    /// What it is called in what it belongs to.
    fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    /// Shows what was typed; on a form that nobody touched, the defaults.
    pub(in crate::pages) fn fill(&mut self, typed: &Fields) {
        if typed.0.is_empty() {
            return;
        }
        let key = self.key();
        match &mut self.input {
            Input::Group(fields) => fields.iter_mut().for_each(|field| field.fill(typed)),
            Input::Variants { fields, .. } => {
                fields.iter_mut().for_each(|field| field.fill(typed));
                self.value = typed.get(&key).to_owned();
            }
            Input::Flag => self.value = if typed.ticked(&key) { "true".into() } else { String::new() },
            Input::Ticks(_) => {
                let ticked = typed.0.iter().filter(|(found, _)| *found == key).map(|(_, value)| value.as_str());
                self.value = ticked.collect::<Vec<_>>().join("\n");
            }
            _ => self.value = typed.get(&key).to_owned(),
        }
    }

    pub(in crate::pages) fn is_on(&self) -> bool {
        self.value == "true"
    }

    pub(in crate::pages) fn is(&self, choice: &str) -> bool {
        self.value == choice
    }

    /// Whether a box of several is ticked.
    pub(in crate::pages) fn has(&self, word: &str) -> bool {
        self.value.lines().any(|line| line == word)
    }

    /// The step of a number.
    pub(in crate::pages) fn step(&self) -> &'static str {
        if self.input == Input::Integer { "1" } else { "any" }
    }

    /// How many lines its box shows.
    pub(in crate::pages) fn height(&self) -> usize {
        self.value.lines().count().clamp(if self.input == Input::Json { 4 } else { 3 }, 20)
    }

    /// How it is written, for whoever types.
    pub(in crate::pages) fn hint(&self) -> &'static str {
        match self.input {
            Input::Lines => "one per line",
            Input::Pairs => "one name=value per line",
            Input::Json => "JSON",
            _ => "",
        }
    }

    /// Its help, in parts: whether one is code, and what it says.
    pub(in crate::pages) fn prose(&self) -> Vec<(bool, &str)> {
        prose(&self.help)
    }

    /// What describes its input, for programs that read pages aloud.
    pub(in crate::pages) fn described(&self) -> String {
        let mut ids = Vec::new();
        if !self.help.is_empty() || !self.hint().is_empty() {
            ids.push(format!("h-{}", self.id()));
        }
        if self.wrong.is_some() {
            ids.push(format!("w-{}", self.id()));
        }
        ids.join(" ")
    }

    /// Whether it, or anything under its heading, is wrong.
    fn has_wrong(&self) -> bool {
        self.wrong.is_some() || self.children().iter().any(Self::has_wrong)
    }

    fn children(&self) -> &[Self] {
        match &self.input {
            Input::Group(fields) | Input::Variants { fields, .. } => fields,
            _ => &[],
        }
    }

    fn children_mut(&mut self) -> &mut [Self] {
        match &mut self.input {
            Input::Group(fields) | Input::Variants { fields, .. } => fields,
            _ => &mut [],
        }
    }

    /// Whether it is about how much and how long, or whom to trust: what most people leave as it is.
    fn is_aside(&self) -> bool {
        let has_default = !self.default.is_empty();
        match self.input {
            Input::Integer | Input::Number => has_default && !self.required,
            Input::Area => !self.required,
            Input::Text => RARE.contains(&self.path.as_str()),
            _ => false,
        }
    }

    fn rows<'a>(&'a self, rows: &mut Vec<Row<'a>>) {
        if let Input::Group(_) | Input::Variants { .. } = self.input {
            rows.push(Row::Open(self));
            self.children().iter().for_each(|field| field.rows(rows));
            rows.push(Row::Close);
        } else {
            rows.push(Row::Field(self));
        }
    }
}

/// What a form shows: what everybody fills in, and what most leave as it is.
pub(in crate::pages) fn rows(fields: &[Field]) -> (Vec<Row<'_>>, Vec<Row<'_>>) {
    let (mut first, mut aside) = (Vec::new(), Vec::new());
    for field in fields {
        field.rows(if field.is_aside() { &mut aside } else { &mut first });
    }
    (first, aside)
}

/// Whether something among what most leave as it is needs a look.
pub(in crate::pages) fn aside_is_wrong(fields: &[Field]) -> bool {
    fields.iter().any(|field| field.is_aside() && field.has_wrong())
}

/// Puts what is wrong beside the field it is about. `false`: it is about none of them.
pub(in crate::pages) fn blame(fields: &mut [Field], message: &str) -> bool {
    // A path, and then what is wrong there.
    let (path, said) = match message.split_once(": ") {
        Some((path, said)) if !path.contains(' ') && !path.is_empty() => (path, said),
        _ => ("", message),
    };
    let steps: Vec<&str> = path.split(['.', '[']).filter(|step| !step.is_empty() && !step.ends_with(']')).collect();
    // "missing field `x`" says where by the last word.
    let quoted =
        said.split('`').nth(1).filter(|_| said.starts_with("missing field") || said.starts_with("unknown field"));
    let all: Vec<&str> = steps.iter().copied().chain(quoted).collect();
    if let Some(field) = deepest(fields, &all) {
        field.wrong = Some(said.to_owned());
        return true;
    }
    // No path: the first field that the message quotes.
    let quoted = message.split('`').skip(1).step_by(2).find(|word| fields.iter().any(|field| field.path == *word));
    match quoted.and_then(|word| fields.iter_mut().find(|field| field.path == word)) {
        Some(field) => {
            field.wrong = Some(message.to_owned());
            true
        }
        None => false,
    }
}

/// The field that a path leads to, or as far as there are fields.
fn deepest<'a>(fields: &'a mut [Field], path: &[&str]) -> Option<&'a mut Field> {
    let (first, rest) = path.split_first()?;
    let field = fields.iter_mut().find(|field| field.name() == *first)?;
    let next = rest.first();
    if next.is_some_and(|next| field.children().iter().any(|child| child.name() == *next)) {
        return deepest(field.children_mut(), rest);
    }
    Some(field)
}

/// A text in parts: what stands between backticks is code.
pub(in crate::pages) fn prose(text: &str) -> Vec<(bool, &str)> {
    text.split('`').enumerate().map(|(at, part)| (at % 2 == 1, part)).filter(|(_, part)| !part.is_empty()).collect()
}

/// What a kind is about, in its own words.
pub(in crate::pages) fn about(schema: &Value) -> String {
    words(schema)
}

/// The description of something, on one line.
fn words(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The fields of a config's schema, needed ones first.
pub(in crate::pages) fn fields(schema: &Value) -> Vec<Field> {
    build(schema, schema, "", &Value::Null, true, 0)
}

/// The fields of an object. `must`: the object is there whatever is typed.
fn build(root: &Value, object: &Value, prefix: &str, defaults: &Value, must: bool, depth: usize) -> Vec<Field> {
    let Some(properties) = object.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let required = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut fields: Vec<Field> = properties
        .iter()
        .map(|(name, property)| {
            let property = resolve(root, property);
            let path = format!("{prefix}{name}");
            let required = required.iter().any(|known| known == name);
            let default = defaults.get(name).or_else(|| property.get("default")).cloned().unwrap_or_default();
            // In a group that may be left out, a default must not be what puts it there. A switch stands as it does by default all
            // the same: its box says on or off, and nothing else.
            let default = if must || default.is_boolean() { default } else { Value::Null };
            let is_there = must && (required || !default.is_null());
            let input = input(root, &property, &path, &default, is_there, depth);
            let shown = match &input {
                Input::Variants { tag, .. } => default.get(tag).cloned().unwrap_or_default(),
                Input::Group(_) => Value::Null,
                _ => default,
            };
            let value = typed::text(&input, &shown);
            let bound = |key: &str| property.get(key).filter(|bound| bound.is_number()).map(ToString::to_string);
            Field {
                label: label(name),
                help: words(&property),
                must: must && required,
                parts: if input == Input::Json { parts(root, &property) } else { Vec::new() },
                least: bound("minimum"),
                most: bound("maximum"),
                default: value.clone(),
                of: Vec::new(),
                wrong: None,
                path,
                input,
                required,
                value,
            }
        })
        .collect();
    // What is typed comes before what is taken together, and that before what is switched on.
    fields.sort_by_key(|field| {
        let rank = match field.input {
            Input::Flag | Input::YesNo | Input::Ticks(_) => 2,
            Input::Group(_) | Input::Variants { .. } => 1,
            _ => 0,
        };
        (!field.required, rank)
    });
    fields
}

/// Words that are written in capitals.
const CAPITALS: [&str; 6] = ["api", "ca", "ehlo", "id", "tls", "url"];

/// `allowedNamespaces` → `Allowed namespaces`, `timeoutSec` → `Timeout, in seconds`.
pub(in crate::pages) fn label(name: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for letter in name.chars() {
        match words.last_mut() {
            _ if letter == '_' || letter == '-' => words.push(String::new()),
            Some(word) if !letter.is_uppercase() => word.push(letter),
            _ => words.push(letter.to_lowercase().collect()),
        }
    }
    words.retain(|word| !word.is_empty());
    let in_seconds = words.len() > 1 && words.last().is_some_and(|word| word == "sec");
    if in_seconds {
        words.pop();
    }
    for word in words.iter_mut().filter(|word| CAPITALS.contains(&word.as_str())) {
        *word = word.to_uppercase();
    }
    let mut label = words.join(" ");
    if let Some(first) = label.get(..1).map(str::to_uppercase) {
        label.replace_range(..1, &first);
    }
    if in_seconds { label + ", in seconds" } else { label }
}

/// Follows one reference, or the one that is not null of several; what stands beside it (help, default) wins.
fn resolve(schema: &Value, property: &Value) -> Value {
    let mut found = property.clone();
    for _ in 0..4 {
        let inner = ["anyOf", "allOf", "oneOf"].iter().find_map(|key| {
            let choices = found.get(*key)?.as_array()?;
            let real: Vec<&Value> =
                choices.iter().filter(|one| one.get("type") != Some(&Value::from("null"))).collect();
            (real.len() == 1).then(|| real[0].clone())
        });
        let inner = inner.or_else(|| {
            let pointer = found.get("$ref")?.as_str()?.strip_prefix('#')?;
            schema.pointer(pointer).cloned()
        });
        let Some(Value::Object(mut inner)) = inner else { break };
        for key in ["description", "default"] {
            if let Some(value) = found.get(key) {
                inner.insert(key.into(), value.clone());
            }
        }
        found = Value::Object(inner);
    }
    found
}

fn input(root: &Value, property: &Value, path: &str, default: &Value, is_there: bool, depth: usize) -> Input {
    if let Some(words) = choices(property) {
        return Input::Choice(words);
    }
    if let Some(variants) = variants(root, property, path, default, depth) {
        return variants;
    }
    let nullable = property.get("type").is_some_and(Value::is_array);
    match kind(property) {
        // An input of one line would lose the line ends of what is pasted.
        Some("string") if words(property).contains("PEM") => Input::Area,
        Some("string") => Input::Text,
        Some("integer") => Input::Integer,
        Some("number") => Input::Number,
        Some("boolean") if nullable => Input::YesNo,
        Some("boolean") => Input::Flag,
        Some("array") => {
            let items = property.get("items").map(|items| resolve(root, items)).unwrap_or_default();
            match (choices(&items), kind(&items)) {
                (Some(words), _) => Input::Ticks(words),
                (None, Some("string")) => Input::Lines,
                _ => Input::Json,
            }
        }
        Some("object") => {
            let has_members = property.get("properties").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
            let others = property.get("additionalProperties").map(|others| resolve(root, others));
            match others {
                _ if has_members && depth < DEEP => {
                    Input::Group(build(root, property, &format!("{path}."), default, is_there, depth + 1))
                }
                Some(others) if !has_members && kind(&others) == Some("string") => Input::Pairs,
                _ => Input::Json,
            }
        }
        _ => Input::Json,
    }
}

/// One of several objects that a member tells apart.
fn variants(root: &Value, property: &Value, path: &str, default: &Value, depth: usize) -> Option<Input> {
    if depth >= DEEP {
        return None;
    }
    let all = property.get("oneOf")?.as_array()?;
    let of = |variant: &Value| variant.get("properties").and_then(Value::as_object).cloned();
    let tag = of(all.first()?)?.iter().find(|(_, member)| member.get("const").is_some())?.0.clone();
    let (mut options, mut fields) = (Vec::new(), Vec::<Field>::new());
    for variant in all {
        let word = of(variant)?.get(&tag)?.get("const")?.as_str()?.to_owned();
        let defaults = if default.get(&tag).and_then(Value::as_str) == Some(&word) { default } else { &Value::Null };
        for mut field in build(root, variant, &format!("{path}."), defaults, false, depth + 1) {
            if field.name() == tag {
                continue;
            }
            field.of.push(word.clone());
            match fields.iter_mut().find(|known| known.path == field.path) {
                Some(known) => known.of.push(word.clone()),
                None => fields.push(field),
            }
        }
        options.push(Word { value: word, help: words(variant) });
    }
    Some(Input::Variants { tag, words: options, fields })
}

/// The type that is not null.
fn kind(property: &Value) -> Option<&str> {
    match property.get("type")? {
        Value::String(kind) => Some(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        _ => None,
    }
}

/// The words of an enumeration: `enum`, or `oneOf` with a `const` each (variants with help).
fn choices(property: &Value) -> Option<Vec<Word>> {
    let word = |value: &Value, help: String| Some(Word { value: value.as_str()?.to_owned(), help });
    if let Some(words) = property.get("enum").and_then(Value::as_array) {
        return words.iter().filter(|word| !word.is_null()).map(|value| word(value, String::new())).collect();
    }
    let variants = property.get("oneOf")?.as_array()?;
    // Words with help stand alone, those without as a list of them.
    let mut found = Vec::new();
    for variant in variants {
        match variant.get("const") {
            Some(value) => found.push(word(value, words(variant))?),
            None => found.extend(choices(variant)?),
        }
    }
    Some(found)
}

/// The members of what is typed as JSON, so that nobody has to guess them.
fn parts(root: &Value, property: &Value) -> Vec<Part> {
    let inner = ["items", "additionalProperties"].iter().find_map(|key| property.get(*key));
    let object = inner.map_or_else(|| property.clone(), |inner| resolve(root, inner));
    let Some(properties) = object.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let required = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let part = |(name, member): (&String, &Value)| Part {
        name: name.clone(),
        needed: required.iter().any(|known| known == name),
        help: words(&resolve(root, member)),
    };
    let mut parts: Vec<Part> = properties.iter().map(part).collect();
    parts.sort_by_key(|part| !part.needed);
    parts
}

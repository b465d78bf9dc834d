//! What a connector's test answers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that Rounds may have to do, and whether the connector's credentials permit it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Ability {
    /// Where: a namespace, for one. Empty: everywhere.
    #[serde(default, rename = "where")]
    pub place: String,
    /// What, in words for people: `delete pods`.
    pub what: String,
    /// Whether it is permitted.
    pub ok: bool,
    /// What exactly was asked, and what else was said about it.
    #[serde(default)]
    pub detail: String,
}

impl Ability {
    /// An ability, asked for in this place.
    pub fn new(place: impl Into<String>, what: impl Into<String>, ok: bool, detail: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), ok, detail: detail.into() }
    }
}

/// What a connector's test found.
///
/// ```
/// use rounds_core::ports::{Ability, CheckReport};
///
/// let report = CheckReport::new("v1.33 answers").with_abilities([Ability::new("shop", "read pods", false, "list pods")]);
/// assert!(report.lack.is_none(), "what is not permitted fails no test by itself");
/// let failed = report.lacking("pods cannot be read in shop");
/// assert!(failed.lack.is_some());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CheckReport {
    /// In a sentence: what was reached, as whom, which version.
    pub message: String,
    /// Facts worth showing: versions, names.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// What the credentials can and cannot do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abilities: Vec<Ability>,
    /// What is missing for the connector to be of any use, though the other side answered. A test with one has failed; its
    /// report is kept all the same, so that people see what there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lack: Option<String>,
}

impl CheckReport {
    /// A test that passed.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), facts: BTreeMap::new(), abilities: Vec::new(), lack: None }
    }

    /// The same with facts worth showing.
    #[must_use]
    pub fn with_facts(mut self, facts: impl IntoIterator<Item = (String, String)>) -> Self {
        self.facts.extend(facts);
        self
    }

    /// The same with what the credentials can and cannot do.
    #[must_use]
    pub fn with_abilities(mut self, abilities: impl IntoIterator<Item = Ability>) -> Self {
        self.abilities.extend(abilities);
        self
    }

    /// No larger than what can be kept with the connector.
    pub(crate) fn capped(mut self) -> Self {
        const TEXT: usize = 1000;
        const ROWS: usize = 1000;
        fn cap(text: &mut String) {
            if let Some((end, _)) = text.char_indices().nth(TEXT) {
                text.truncate(end);
                text.push('…');
            }
        }
        cap(&mut self.message);
        self.lack.iter_mut().for_each(cap);
        self.facts = self.facts.into_iter().take(100).collect();
        self.facts.values_mut().for_each(cap);
        self.abilities.truncate(ROWS);
        for ability in &mut self.abilities {
            for text in [&mut ability.place, &mut ability.what, &mut ability.detail] {
                cap(text);
            }
        }
        self
    }

    /// The same as a test that failed, because of what is missing.
    #[must_use]
    pub fn lacking(mut self, what: impl Into<String>) -> Self {
        self.lack = Some(what.into());
        self
    }
}

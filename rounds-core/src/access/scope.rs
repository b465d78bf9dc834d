use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Action;

/// The text is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a scope; write `<kind>:*`, `<kind>:<id>` or `plans:namespace:<namespace>`")]
pub struct InvalidScope {
    found: String,
}

/// What an action is allowed on: `plans:*`, `plans:namespace:app`, `connectors:018f…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// Everything of a kind: `plans:*`.
    All {
        /// The kind, such as `plans`.
        kind: String,
    },
    /// One object: `connectors:018f…`.
    One {
        /// The kind, such as `connectors`.
        kind: String,
        /// The object's id.
        id: String,
    },
    /// Plans whose every write step targets this namespace: `plans:namespace:app`.
    PlanNamespace {
        /// The namespace.
        namespace: String,
    },
}

impl Scope {
    /// Everything of a kind.
    #[must_use]
    pub fn all(kind: &str) -> Self {
        Self::All { kind: kind.into() }
    }

    /// Everything that an action is about: of `alert.rules:read`, `alert.rules:*`.
    #[must_use]
    pub fn of(action: Action) -> Self {
        let name = action.name();
        Self::all(name.rsplit_once(':').map_or(name, |(kind, _)| kind))
    }

    /// One object of a kind.
    #[must_use]
    pub fn one(kind: &str, id: impl fmt::Display) -> Self {
        Self::One { kind: kind.into(), id: id.to_string() }
    }

    /// Plans that write to one namespace only.
    #[must_use]
    pub fn plan_namespace(namespace: &str) -> Self {
        Self::PlanNamespace { namespace: namespace.into() }
    }

    /// The namespace of plans that it is narrowed to.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::PlanNamespace { namespace } => Some(namespace),
            Self::All { .. } | Self::One { .. } => None,
        }
    }

    /// The kind of object it speaks of.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::All { kind } | Self::One { kind, .. } => kind,
            Self::PlanNamespace { .. } => "plans",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All { kind } => write!(f, "{kind}:*"),
            Self::One { kind, id } => write!(f, "{kind}:{id}"),
            Self::PlanNamespace { namespace } => write!(f, "plans:namespace:{namespace}"),
        }
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let invalid = || InvalidScope { found: text.chars().take(80).collect() };
        let plain = |part: &str| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '/'))
        };
        let (kind, rest) = text.split_once(':').ok_or_else(invalid)?;
        if !plain(kind) {
            return Err(invalid());
        }
        match rest {
            "*" => Ok(Self::all(kind)),
            rest => match rest.split_once(':') {
                Some(("namespace", namespace)) if kind == "plans" && plain(namespace) => {
                    Ok(Self::plan_namespace(namespace))
                }
                None if plain(rest) => Ok(Self::one(kind, rest)),
                _ => Err(invalid()),
            },
        }
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_back_as_they_are_written_and_others_are_refused() {
        for text in ["plans:*", "plans:namespace:app", "connectors:018f4e1c"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for text in ["", "plans", "plans:", ":*", "plans:namespace:", "plans:namespace:*", "plans:a:b", "a b:*"] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }
}

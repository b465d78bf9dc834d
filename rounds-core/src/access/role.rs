use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Grant, Scope};

/// The text names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown role `{0}`; known roles: {known}", known = "Viewer, Editor, Admin")]
pub struct UnknownRole(pub String);

/// A role in an organisation. Each holds what the one before it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OrgRole {
    /// Sees.
    Viewer,
    /// Decides.
    Editor,
    /// Configures.
    Admin,
}

impl fmt::Display for OrgRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "Viewer",
            Self::Editor => "Editor",
            Self::Admin => "Admin",
        })
    }
}

impl FromStr for OrgRole {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        match text {
            "Viewer" => Ok(Self::Viewer),
            "Editor" => Ok(Self::Editor),
            "Admin" => Ok(Self::Admin),
            other => Err(UnknownRole(other.chars().take(80).collect())),
        }
    }
}

/// A named bundle of grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FixedRole {
    /// `fixed:plans:auto_editor`: `plans:auto_edit` on every plan.
    PlansAutoEditor,
}

impl FixedRole {
    /// Every fixed role.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &[Self::PlansAutoEditor]
    }

    /// The name that grants write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PlansAutoEditor => "fixed:plans:auto_editor",
        }
    }

    /// The grants it bundles.
    #[must_use]
    pub fn grants(self) -> Vec<Grant> {
        match self {
            Self::PlansAutoEditor => vec![Grant::new(Action::PlansAutoEdit, Scope::all("plans"))],
        }
    }

    /// The role of that name.
    ///
    /// # Errors
    /// The text is not a fixed role's name; the message lists them.
    pub fn find(name: &str) -> Result<Self, String> {
        Self::all().iter().copied().find(|role| role.name() == name).ok_or_else(|| {
            let known: Vec<_> = Self::all().iter().map(|role| role.name()).collect();
            format!("unknown role `{name}`; known roles: {}", known.join(", "))
        })
    }
}

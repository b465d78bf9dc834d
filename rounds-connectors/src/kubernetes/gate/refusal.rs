//! The stable words of refusals. Logs, tests and the model's feedback loop key on them; the message is for the
//! person or the model that has to write a better command.

use rounds_core::step::Refusal;

/// Which rule refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    BadParams,
    EmptyCommand,
    OddCharacter,
    TooLarge,
    VerbNotFirst,
    UnknownVerb,
    DeniedVerb,
    UnknownFlag,
    DeniedFlag,
    BadFlagValue,
    RepeatedFlag,
    ConflictingFlags,
    DoubleDash,
    ReadOnly,
    Endless,
    BadArguments,
    BadName,
    MissingName,
    UnknownKind,
    UnsupportedKind,
    DeniedKind,
    Secrets,
    ClusterScoped,
    AllNamespaces,
    NamespaceMissing,
    NamespaceNotAllowed,
    SystemNamespace,
    NamespaceConflict,
    OutputFormat,
    Subresource,
    FileSource,
    MassChange,
    ReplicasOutOfRange,
    UnexpectedStdin,
    MissingStdin,
    BadManifest,
    AmbiguousScalar,
    PodSecurity,
    DeniedField,
    DeniedMetadata,
    BadPatch,
    NotCanonical,
}

impl Rule {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::BadParams => "bad_params",
            Self::EmptyCommand => "empty_command",
            Self::OddCharacter => "odd_character",
            Self::TooLarge => "too_large",
            Self::VerbNotFirst => "verb_not_first",
            Self::UnknownVerb => "unknown_verb",
            Self::DeniedVerb => "denied_verb",
            Self::UnknownFlag => "unknown_flag",
            Self::DeniedFlag => "denied_flag",
            Self::BadFlagValue => "bad_flag_value",
            Self::RepeatedFlag => "repeated_flag",
            Self::ConflictingFlags => "conflicting_flags",
            Self::DoubleDash => "double_dash",
            Self::ReadOnly => "read_only",
            Self::Endless => "endless_command",
            Self::BadArguments => "bad_arguments",
            Self::BadName => "bad_name",
            Self::MissingName => "missing_name",
            Self::UnknownKind => "unknown_kind",
            Self::UnsupportedKind => "unsupported_kind",
            Self::DeniedKind => "denied_kind",
            Self::Secrets => "secrets",
            Self::ClusterScoped => "cluster_scoped",
            Self::AllNamespaces => "all_namespaces",
            Self::NamespaceMissing => "namespace_missing",
            Self::NamespaceNotAllowed => "namespace_not_allowed",
            Self::SystemNamespace => "system_namespace",
            Self::NamespaceConflict => "namespace_conflict",
            Self::OutputFormat => "output_format",
            Self::Subresource => "subresource",
            Self::FileSource => "file_source",
            Self::MassChange => "mass_change",
            Self::ReplicasOutOfRange => "replicas_out_of_range",
            Self::UnexpectedStdin => "unexpected_stdin",
            Self::MissingStdin => "missing_stdin",
            Self::BadManifest => "bad_manifest",
            Self::AmbiguousScalar => "ambiguous_scalar",
            Self::PodSecurity => "pod_security",
            Self::DeniedField => "denied_field",
            Self::DeniedMetadata => "denied_metadata",
            Self::BadPatch => "bad_patch",
            Self::NotCanonical => "not_canonical",
        }
    }
}

/// A refusal by a rule.
pub(crate) fn refuse(rule: Rule, message: impl Into<String>) -> Refusal {
    Refusal::new(rule.word(), message)
}

/// Shows a piece of untrusted text in a message: escaped, so that it cannot draw on the reader's terminal, and cut.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown = String::from("`");
    for c in text.chars().take(SHOWN) {
        if super::names::is_odd(c) || c.is_control() {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown.push('`');
    shown
}

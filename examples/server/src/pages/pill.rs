//! States and tiers: the words of the API, in a colour that says how they are meant.

use std::fmt;

use rounds_core::alert::{AlertState, Severity};
use rounds_core::connector::ConnectorStatus;
use rounds_core::investigation::InvestigationStatus;
use rounds_core::plan::{PlanStatus, RequestStatus, StepStatus, VerificationStatus};
use rounds_core::step::Tier;

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Neutral,
    Info,
    Ok,
    Warn,
    Danger,
}

/// A word with its tone. Renders a `<span>`; a shape before the word (in the style sheet) goes with each tone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pill {
    word: &'static str,
    tone: Tone,
}

// The words are constants of the model, none of which needs escaping.
impl askama::filters::HtmlSafe for Pill {}

impl fmt::Display for Pill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tone = match self.tone {
            Tone::Neutral => "neutral",
            Tone::Info => "info",
            Tone::Ok => "ok",
            Tone::Warn => "warn",
            Tone::Danger => "danger",
        };
        write!(f, "<span class=\"pill {tone}\">{}</span>", self.word)
    }
}

/// Whatever has a word and a tone.
pub(crate) trait Toned {
    fn pill(&self) -> Pill;
}

macro_rules! toned {
    ($type:ty, $word:expr, { $($pattern:pat => $tone:ident,)* }) => {
        impl Toned for $type {
            fn pill(&self) -> Pill {
                let tone = match self { $($pattern => Tone::$tone,)* };
                Pill { word: ($word)(*self), tone }
            }
        }
    };
}

toned!(PlanStatus, PlanStatus::as_str, {
    Self::PendingApproval => Warn,
    Self::Approved | Self::Executing => Info,
    Self::Completed => Ok,
    Self::Failed => Danger,
    Self::Draft | Self::Rejected | Self::Expired | Self::Cancelled => Neutral,
});
toned!(StepStatus, StepStatus::as_str, {
    Self::Executing => Info,
    Self::Done => Ok,
    Self::Failed | Self::Interrupted => Danger,
    Self::Pending | Self::Skipped => Neutral,
});
toned!(RequestStatus, RequestStatus::as_str, {
    Self::Pending => Warn,
    Self::Approved => Ok,
    Self::Rejected | Self::Expired | Self::Superseded => Neutral,
});
toned!(VerificationStatus, VerificationStatus::as_str, {
    Self::Watching => Info,
    Self::Recovered => Ok,
    Self::NotRecovered => Danger,
    Self::Inconclusive => Warn,
    Self::NotApplicable => Neutral,
});
toned!(AlertState, AlertState::as_str, {
    Self::Firing => Danger,
    Self::Pending => Warn,
    Self::Resolved | Self::Normal => Ok,
    Self::Disabled => Neutral,
});
toned!(InvestigationStatus, InvestigationStatus::as_str, {
    Self::Queued | Self::Running => Info,
    Self::Completed => Ok,
    Self::Failed => Danger,
    Self::Skipped => Warn,
    Self::Cancelled => Neutral,
});
toned!(Tier, tier_word, {
    Self::Read => Neutral,
    Self::Write => Warn,
    Self::Destructive => Danger,
});
toned!(ConnectorStatus, connector_word, {
    Self::Unverified => Neutral,
    Self::Ok => Ok,
    Self::Error => Danger,
});
toned!(Severity, severity_word, {
    Self::Info | Self::Low => Neutral,
    Self::Medium | Self::Warning => Warn,
    Self::High | Self::Critical => Danger,
});

fn tier_word(tier: Tier) -> &'static str {
    match tier {
        Tier::Read => "read",
        Tier::Write => "write",
        Tier::Destructive => "destructive",
    }
}

fn connector_word(status: ConnectorStatus) -> &'static str {
    match status {
        ConnectorStatus::Unverified => "unverified",
        ConnectorStatus::Ok => "ok",
        ConnectorStatus::Error => "error",
    }
}

fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::Warning => "warning",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

/// A yes or no that is worth a pill.
pub(crate) fn word(word: &'static str, tone: Tone) -> Pill {
    Pill { word, tone }
}

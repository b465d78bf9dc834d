//! Why an investigation did not run, or ended early, and what to do about it.

use rounds_core::investigation::SkipReason;

/// Why it did not run, and what to do about it.
pub(in crate::pages) fn skip_help(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::NoLiveToken => {
            "no_live_token: the service account @syntropize/rounds has no live token. Create one under Admin → \
             Service accounts; no restart is needed. Then use \"Investigate now\" on the alert."
        }
        SkipReason::AgentDenied => {
            "agent_denied: the service account @syntropize/rounds may not investigate. Grant it investigations:create on \
             investigations:*. Then use \"Investigate now\" on the alert."
        }
        SkipReason::Cooldown => "cooldown: this alert was investigated a moment ago.",
        SkipReason::EpisodeEnded => "episode_ended: the alert recovered before the investigation started.",
        SkipReason::Silenced => "silenced: a silence covers this alert.",
        SkipReason::SwitchedOff => {
            "switched_off: automatic investigation was switched off while it waited. \"Investigate now\" on the alert \
             still works."
        }
        SkipReason::Stale => "stale: it waited in the queue for longer than the setting allows.",
        SkipReason::BudgetSpent => {
            "budget_spent: the alert rule had its investigations of the day (UTC). \"Investigate now\" on the alert still \
             works; the variable INVESTIGATION_RUNS_PER_RULE_PER_DAY of the server raises it. An alert that fires this \
             often may want a longer forDurationSec."
        }
        _ => "for a reason that this page does not know",
    }
}

/// What raises a limit. Core names the limit before a colon; whatever stands behind it may be a model's words.
pub(super) fn limit_help(limit: &str) -> &'static str {
    let (which, what) = limit.split_once(": ").unwrap_or((limit, ""));
    let dollars = what.contains(" US dollars, ");
    match which {
        "budget" if what.starts_with("the run's") => match dollars {
            true => "INVESTIGATION_RUN_USD, a variable of the server, raises it.",
            false => "INVESTIGATION_RUN_TOKENS, a variable of the server, raises it.",
        },
        "budget" if what.starts_with("the rule's") => match dollars {
            true => {
                "It begins anew at midnight UTC. INVESTIGATION_RULE_USD_PER_DAY, a variable of the server, raises it."
            }
            false => {
                "It begins anew at midnight UTC. INVESTIGATION_RULE_TOKENS_PER_DAY, a variable of the server, raises it."
            }
        },
        "budget" => match dollars {
            true => "It begins anew at midnight UTC. INVESTIGATION_USD_PER_DAY, a variable of the server, raises it.",
            false => {
                "It begins anew at midnight UTC. INVESTIGATION_TOKENS_PER_DAY, a variable of the server, raises it."
            }
        },
        "turns" => {
            "How many turns a run has is AgentSettings::turns, which no variable of this server changes. A narrower \
             question needs fewer."
        }
        "time" => {
            "How long a run may take is AgentSettings::wall_time, which no variable of this server changes. A narrower \
             question, or a faster model, needs less."
        }
        "context" => {
            "contextTokens of the model, under Settings → Language model, raises it, if the model really takes more."
        }
        "loop" => "The model did not get on. Another model may do better: Settings → Language model.",
        "refused" => {
            "No setting changes what the model refuses. Another model may do better: Settings → Language model."
        }
        "model" => "Settings → Language model → Test says what is wrong with the model.",
        _ => "No setting of this server is known to raise it.",
    }
}

#[cfg(test)]
mod tests {
    use rounds_core::investigation::{Amount, Budget, Spending};

    use super::*;

    /// Core's own words, so that a change of them is noticed.
    #[test]
    fn each_budget_names_the_variable_that_raises_it() {
        let (none, much) = (Amount::default(), Amount { tokens: u64::MAX, cost_micros: u64::MAX });
        let budget = |run, rule_per_day, org_per_day| Budget { run, rule_per_day, org_per_day, ..Budget::default() };
        let said = |budget: Budget, wanted| {
            let row = Spending::new(rounds_core::OrgId::default(), None, chrono::DateTime::UNIX_EPOCH);
            let refused = budget.admit(wanted, Amount::default(), Some(&row), &row).unwrap_err();
            limit_help(&format!("budget: {refused}"))
        };
        let (tokens, money) = (Amount { tokens: 1, cost_micros: 0 }, Amount { tokens: 0, cost_micros: 1 });
        for (spent, wanted, variable) in [
            (budget(none, much, much), tokens, "INVESTIGATION_RUN_TOKENS,"),
            (budget(none, much, much), money, "INVESTIGATION_RUN_USD,"),
            (budget(much, none, much), tokens, "INVESTIGATION_RULE_TOKENS_PER_DAY,"),
            (budget(much, none, much), money, "INVESTIGATION_RULE_USD_PER_DAY,"),
            (budget(much, much, none), tokens, "INVESTIGATION_TOKENS_PER_DAY,"),
            (budget(much, much, none), money, "INVESTIGATION_USD_PER_DAY,"),
        ] {
            let help = said(spent, wanted);
            assert!(help.contains(variable), "{variable}: {help}");
        }
    }

    #[test]
    fn a_rule_that_had_its_runs_is_told_which_variable_says_how_many() {
        assert!(skip_help(SkipReason::BudgetSpent).contains("INVESTIGATION_RUNS_PER_RULE_PER_DAY"));
    }
}

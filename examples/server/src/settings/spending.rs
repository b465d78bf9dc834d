//! Who investigates, and how much that may cost.

use rounds_core::investigation::{Amount, Budget};

use super::{Env, InvalidVariable, invalid};

/// Who investigates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InvestigatorChoice {
    /// The orchestrator where there is a language model, else the playbook.
    #[default]
    Auto,
    /// The orchestrator alone: without a language model, investigations fail and say so.
    Orchestrator,
    /// The playbook alone, whatever models there are.
    Playbook,
}

/// What stands for "no ceiling".
const NONE: &str = "none";
/// More is a typing error.
const MAX_DOLLARS: u64 = 1_000_000;

pub(super) fn investigator(env: &Env<'_>) -> Result<InvestigatorChoice, InvalidVariable> {
    const NAME: &str = "ROUNDS_INVESTIGATOR";
    match env.text(NAME)?.as_deref().map(str::trim) {
        None | Some("auto") => Ok(InvestigatorChoice::Auto),
        Some("orchestrator") => Ok(InvestigatorChoice::Orchestrator),
        Some("playbook") => Ok(InvestigatorChoice::Playbook),
        Some(found) => Err(invalid(NAME, format!("found `{found}`; auto, orchestrator and playbook are accepted"))),
    }
}

pub(super) fn budget(env: &Env<'_>) -> Result<Budget, InvalidVariable> {
    let default = Budget::default();
    let amount = |tokens, dollars, default: Amount| {
        let cost_micros = micros(env, dollars, default.cost_micros)?;
        Ok(Amount { tokens: count(env, tokens, default.tokens, u64::MAX)?, cost_micros })
    };
    let runs = count(
        env,
        "INVESTIGATION_RUNS_PER_RULE_PER_DAY",
        u64::from(default.runs_per_rule_per_day),
        u64::from(u32::MAX),
    )?;
    Ok(Budget {
        run: amount("INVESTIGATION_RUN_TOKENS", "INVESTIGATION_RUN_USD", default.run)?,
        rule_per_day: amount(
            "INVESTIGATION_RULE_TOKENS_PER_DAY",
            "INVESTIGATION_RULE_USD_PER_DAY",
            default.rule_per_day,
        )?,
        org_per_day: amount("INVESTIGATION_TOKENS_PER_DAY", "INVESTIGATION_USD_PER_DAY", default.org_per_day)?,
        runs_per_rule_per_day: u32::try_from(runs).unwrap_or(u32::MAX),
    })
}

/// A whole number up to `most`, which `none` stands for.
pub(super) fn count(env: &Env<'_>, name: &'static str, default: u64, most: u64) -> Result<u64, InvalidVariable> {
    let Some(text) = env.text(name)? else { return Ok(default) };
    let written = text.trim();
    if written == NONE {
        return Ok(most);
    }
    match digits(&written.replace('_', "")) {
        Some(found) if found <= most => Ok(found),
        _ => Err(invalid(
            name,
            format!("found `{text}`; a whole number such as 1_000_000 is accepted, or `{NONE}` for no ceiling"),
        )),
    }
}

/// US dollars as millionths, read digit by digit: 0.1 has no exact floating point number.
fn micros(env: &Env<'_>, name: &'static str, default: u64) -> Result<u64, InvalidVariable> {
    let Some(text) = env.text(name)? else { return Ok(default) };
    let written = text.trim();
    if written == NONE {
        return Ok(u64::MAX);
    }
    dollars(written).ok_or_else(|| {
        invalid(
            name,
            format!(
                "found `{text}`; US dollars from 0 to {MAX_DOLLARS} with at most six decimals, such as 2.50, are \
                 accepted, or `{NONE}` for no ceiling"
            ),
        )
    })
}

fn dollars(text: &str) -> Option<u64> {
    let (whole, part) = match text.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, part)) => (whole, part),
        None => (text, ""),
    };
    let part = match part {
        "" => 0,
        part if part.len() <= 6 => digits(&format!("{part:0<6}"))?,
        _ => return None,
    };
    let whole = digits(&whole.replace('_', ""))?;
    let micros = whole.checked_mul(1_000_000)?.checked_add(part)?;
    (micros <= MAX_DOLLARS * 1_000_000).then_some(micros)
}

/// `str::parse` takes a sign, too.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn dollars_are_read_to_the_millionth() {
        for (text, micros) in [
            ("2.50", 2_500_000),
            ("2", 2_000_000),
            ("0", 0),
            ("0.1", 100_000),
            ("0.000001", 1),
            ("1_000.5", 1_000_500_000),
            ("1000000", 1_000_000_000_000),
        ] {
            assert_eq!(dollars(text), Some(micros), "{text}");
        }
        for text in ["", ".", "1.", ".5", "-1", "+1", "1,5", "$2", "1e3", "0.0000001", "1000000.000001", "1.2.3", "NaN"]
        {
            assert_eq!(dollars(text), None, "{text}");
        }
    }

    #[test]
    fn budgets_are_those_of_the_environment() {
        let settings = read(&[
            ("INVESTIGATION_RUN_USD", "0.75"),
            ("INVESTIGATION_RUN_TOKENS", "200_000"),
            ("INVESTIGATION_RULE_USD_PER_DAY", "3"),
            ("INVESTIGATION_RULE_TOKENS_PER_DAY", "1000"),
            ("INVESTIGATION_USD_PER_DAY", "none"),
            ("INVESTIGATION_TOKENS_PER_DAY", "none"),
            ("INVESTIGATION_RUNS_PER_RULE_PER_DAY", "7"),
            ("ROUNDS_INVESTIGATOR", "playbook"),
        ])
        .unwrap();
        let expected = Budget {
            run: Amount { tokens: 200_000, cost_micros: 750_000 },
            rule_per_day: Amount { tokens: 1_000, cost_micros: 3_000_000 },
            org_per_day: Amount { tokens: u64::MAX, cost_micros: u64::MAX },
            runs_per_rule_per_day: 7,
        };
        assert_eq!(settings.core.budget, expected);
        assert_eq!(settings.investigator, InvestigatorChoice::Playbook);
        assert_eq!(read(&[]).unwrap().investigator, InvestigatorChoice::Auto);
    }

    #[test]
    fn a_wrong_budget_says_what_was_found_and_what_is_accepted() {
        let error = |name, value| read(&[(name, value)]).unwrap_err().to_string();
        let usd = error("INVESTIGATION_RUN_USD", "2,50");
        assert!(usd.starts_with("INVESTIGATION_RUN_USD: found `2,50`;") && usd.contains("such as 2.50"), "{usd}");
        let tokens = error("INVESTIGATION_TOKENS_PER_DAY", "-1");
        assert!(tokens.contains("found `-1`") && tokens.contains("whole number"), "{tokens}");
        assert!(error("INVESTIGATION_RUNS_PER_RULE_PER_DAY", "4294967296").contains("found `4294967296`"));
        let who = error("ROUNDS_INVESTIGATOR", "gpt");
        assert_eq!(who, "ROUNDS_INVESTIGATOR: found `gpt`; auto, orchestrator and playbook are accepted");
    }
}

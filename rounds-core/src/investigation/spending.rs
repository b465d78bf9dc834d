//! What investigations cost, and how much they may.

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{AlertRuleId, OrgId};
use crate::time::Timestamp;

/// What calls of a model cost, in tokens. Providers count differently; a [`Model`](crate::ports::Model) translates into
/// these words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Usage {
    /// Tokens read, those of a cache included.
    pub input_tokens: u64,
    /// Those of `input_tokens` that came from the provider's cache.
    #[serde(default)]
    pub cache_read_tokens: u64,
    /// Those of `input_tokens` that were written to the provider's cache.
    #[serde(default)]
    pub cache_write_tokens: u64,
    /// Tokens written, reasoning included.
    pub output_tokens: u64,
}

impl Usage {
    /// So many tokens read and written, none of them cached.
    #[must_use]
    pub fn new(input_tokens: u64, output_tokens: u64) -> Self {
        Self { input_tokens, output_tokens, ..Self::default() }
    }

    /// The same, so many of the tokens read from the cache and so many written to it.
    #[must_use]
    pub fn with_cache(mut self, read: u64, written: u64) -> Self {
        (self.cache_read_tokens, self.cache_write_tokens) = (read, written);
        self
    }

    /// Everything read and written.
    #[must_use]
    pub fn total(self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cache_read_tokens = self.cache_read_tokens.saturating_add(other.cache_read_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(other.cache_write_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
    }
}

/// What a model's tokens cost, in US dollars a million tokens. Configuration: providers change it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prices {
    /// Tokens read.
    #[schemars(range(min = 0.0))]
    pub input: f64,
    /// Tokens written.
    #[schemars(range(min = 0.0))]
    pub output: f64,
    /// Tokens read from the provider's cache; as `input` when absent.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub cache_read: Option<f64>,
    /// Tokens written to the provider's cache; as `input` when absent.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub cache_write: Option<f64>,
}

impl Prices {
    /// Prices of tokens read and written.
    #[must_use]
    pub fn new(input: f64, output: f64) -> Self {
        Self { input, output, cache_read: None, cache_write: None }
    }

    /// What this costs, in millionths of a US dollar, rounded up. A price that is no number counts as nothing.
    #[must_use]
    pub fn cost_micros(&self, usage: Usage) -> u64 {
        let cached = usage.cache_read_tokens.saturating_add(usage.cache_write_tokens);
        let plain = usage.input_tokens.saturating_sub(cached);
        // A dollar a million tokens is a millionth of a dollar a token.
        let parts = [
            (plain, self.input),
            (usage.cache_read_tokens, self.cache_read.unwrap_or(self.input)),
            (usage.cache_write_tokens, self.cache_write.unwrap_or(self.input)),
            (usage.output_tokens, self.output),
        ];
        let micros: f64 = parts.iter().map(|(tokens, price)| *tokens as f64 * price.max(0.0)).sum();
        micros.ceil() as u64
    }
}

/// How much of a model an investigation used, over all its attempts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ModelUse {
    /// The model.
    pub model: String,
    /// How often it was called.
    pub calls: u32,
    /// What it read and wrote.
    pub usage: Usage,
    /// What that cost, in millionths of a US dollar; `None`: no price is configured.
    pub cost_micros: Option<u64>,
    /// What is set aside for a call that is under way. Committed before the call, so that a crash in the middle of it does
    /// not make it free: the next attempt counts it as spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Amount>,
}

impl ModelUse {
    /// Nothing yet, of this model.
    pub fn of(model: impl Into<String>, priced: bool) -> Self {
        Self { model: model.into(), cost_micros: priced.then_some(0), ..Self::default() }
    }

    /// What was spent and what is set aside.
    #[must_use]
    pub fn spent(&self) -> Amount {
        let spent = Amount { tokens: self.usage.total(), cost_micros: self.cost_micros.unwrap_or_default() };
        spent.plus(self.reserved.unwrap_or_default())
    }
}

/// Tokens and money.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Amount {
    /// Tokens, read and written.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micros: u64,
}

impl Amount {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            cost_micros: self.cost_micros.saturating_add(other.cost_micros),
        }
    }

    /// What is left of it without the other, at least nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            cost_micros: self.cost_micros.saturating_sub(other.cost_micros),
        }
    }
}

/// What one rule, or a whole organisation, spent on one day (UTC). A row of the store, so that a restart does not
/// reset it; it begins anew with the first run of another day. What a run that spans midnight spends counts to the day on
/// which it is spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Spending {
    /// The row.
    pub id: Uuid,
    /// The organisation.
    pub org_id: OrgId,
    /// The rule; `None`: the organisation altogether, with what nobody's rule started.
    pub rule_id: Option<AlertRuleId>,
    /// The day, in UTC.
    pub day: NaiveDate,
    /// Runs that were started.
    pub runs: u32,
    /// What they spent, with what is set aside for calls that are under way.
    pub spent: Amount,
}

impl Spending {
    /// Nothing yet, on the day of this moment.
    #[must_use]
    pub fn new(org_id: OrgId, rule_id: Option<AlertRuleId>, at: Timestamp) -> Self {
        Self { id: crate::id::fresh(), org_id, rule_id, day: at.date_naive(), runs: 0, spent: Amount::default() }
    }

    /// The same row on the day of this moment: as it is, or begun anew.
    #[must_use]
    pub fn on(self, at: Timestamp) -> Self {
        match at.date_naive() {
            // A clock that is behind does not give yesterday's budget back.
            day if day <= self.day => self,
            day => Self { day, runs: 0, spent: Amount::default(), ..self },
        }
    }

    /// What no two rows share.
    #[must_use]
    pub fn unique(org: &OrgId, rule: Option<AlertRuleId>) -> String {
        match rule {
            Some(rule) => format!("rule/{rule}"),
            None => format!("org/{org}"),
        }
    }
}

/// How much investigations may cost. Every number is a ceiling; `u64::MAX` is none.
///
/// Money is counted where a price is configured for the model, tokens always. A call is admitted when what it may cost at
/// most (an estimate of what it reads, and all that it may write) still fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Of one run. Default: 1,000,000 tokens and 2 US dollars.
    pub run: Amount,
    /// Of all runs about one rule on one day (UTC). Default: 5,000,000 tokens and 10 US dollars.
    pub rule_per_day: Amount,
    /// Of all runs of an organisation on one day (UTC). Default: 50,000,000 tokens and 50 US dollars.
    pub org_per_day: Amount,
    /// How many runs a rule starts by itself on one day (UTC), with a model or without. What a person asks for runs, and
    /// counts. Default: 100.
    pub runs_per_rule_per_day: u32,
}

impl Default for Budget {
    fn default() -> Self {
        let amount = |tokens, dollars: u64| Amount { tokens, cost_micros: dollars * 1_000_000 };
        Self {
            run: amount(1_000_000, 2),
            rule_per_day: amount(5_000_000, 10),
            org_per_day: amount(50_000_000, 50),
            runs_per_rule_per_day: 100,
        }
    }
}

/// A budget is used up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {whose} budget is used up: {spent} of {limit} {unit}, and the next call may need {wanted}")]
pub struct Exhausted {
    whose: &'static str,
    spent: String,
    limit: String,
    wanted: String,
    unit: &'static str,
}

impl Budget {
    /// Whether a call that may cost this much still fits.
    ///
    /// # Errors
    /// The first budget that would be exceeded: the run's, the rule's, the organisation's.
    pub fn admit(&self, wanted: Amount, run: Amount, rule: Option<&Spending>, org: &Spending) -> Result<(), Exhausted> {
        let mut budgets = vec![("run's", self.run, run)];
        budgets.extend(rule.map(|rule| ("rule's daily", self.rule_per_day, rule.spent)));
        budgets.push(("organisation's daily", self.org_per_day, org.spent));
        for (whose, limit, spent) in budgets {
            let after = spent.plus(wanted);
            if after.tokens > limit.tokens {
                let text = |tokens: u64| tokens.to_string();
                return Err(Exhausted {
                    whose,
                    spent: text(spent.tokens),
                    limit: text(limit.tokens),
                    wanted: text(wanted.tokens),
                    unit: "tokens",
                });
            }
            if after.cost_micros > limit.cost_micros {
                return Err(Exhausted {
                    whose,
                    spent: dollars(spent.cost_micros),
                    limit: dollars(limit.cost_micros),
                    wanted: dollars(wanted.cost_micros),
                    unit: "US dollars",
                });
            }
        }
        Ok(())
    }
}

/// Millionths of a US dollar as people write dollars: `0.0042`, `1.50`.
#[must_use]
pub fn dollars(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let least = text.len() - 4;
    let end = text.trim_end_matches('0').len().max(least);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(tokens: u64, cost_micros: u64) -> Amount {
        Amount { tokens, cost_micros }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn spending(spent: Amount) -> Spending {
        let mut row = Spending::new(OrgId::default(), None, at("2026-11-28T10:00:00Z"));
        row.spent = spent;
        row
    }

    #[test]
    fn a_call_that_may_exceed_any_budget_is_refused_and_the_refusal_says_whose() {
        let budget = Budget {
            run: amount(100, 100),
            rule_per_day: amount(1_000, 1_000),
            org_per_day: amount(10_000, 10_000),
            runs_per_rule_per_day: 1,
        };
        let (rule, org) = (spending(amount(0, 0)), spending(amount(0, 0)));
        let admit = |wanted, run, rule: &Spending, org: &Spending| budget.admit(wanted, run, Some(rule), org);
        assert_eq!(admit(amount(100, 100), amount(0, 0), &rule, &org), Ok(()), "up to the limit");
        let said = |result: Result<(), Exhausted>| result.unwrap_err().to_string();
        assert!(
            said(admit(amount(1, 0), amount(100, 0), &rule, &org))
                .contains("run's budget is used up: 100 of 100 tokens")
        );
        assert!(said(admit(amount(1, 1), amount(0, 100), &rule, &org)).contains("US dollars"));
        assert!(said(admit(amount(1, 0), amount(0, 0), &spending(amount(1_000, 0)), &org)).contains("rule's daily"));
        assert!(
            said(admit(amount(1, 1), amount(0, 0), &rule, &spending(amount(0, 10_000)))).contains("organisation's")
        );
        assert!(said(admit(amount(u64::MAX, 0), amount(1, 0), &rule, &org)).contains("tokens"), "no overflow");
    }

    #[test]
    fn a_day_begins_anew_at_midnight_utc() {
        let row = spending(amount(5, 5));
        assert_eq!(row.clone().on(at("2026-11-28T23:59:59Z")), row);
        assert_eq!(row.clone().on(at("2026-11-27T23:59:59Z")), row, "a clock that is behind changes nothing");
        let next = row.clone().on(at("2026-11-29T00:00:00Z"));
        assert_eq!((next.id, next.runs, next.spent), (row.id, 0, Amount::default()));
    }

    #[test]
    fn prices_count_cached_tokens_at_their_own_price() {
        let usage = Usage::new(1_000, 100).with_cache(600, 200);
        let prices = Prices { input: 3.0, output: 15.0, cache_read: Some(0.3), cache_write: Some(3.75) };
        // 200 · 3 + 600 · 0.3 + 200 · 3.75 + 100 · 15
        assert_eq!(prices.cost_micros(usage), 3_030);
        assert_eq!(Prices::new(3.0, 15.0).cost_micros(usage), 4_500);
        assert_eq!(Prices::new(f64::NAN, -1.0).cost_micros(usage), 0);
    }

    #[test]
    fn dollars_are_written_as_people_write_them() {
        for (micros, text) in [(0, "0.00"), (1_500_000, "1.50"), (4_200, "0.0042"), (12_345_678, "12.345678")] {
            assert_eq!(dollars(micros), text);
        }
    }
}

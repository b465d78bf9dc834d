//! What an investigation cost, in words.

use rounds_core::investigation::{ModelUse, dollars};

/// Model, calls, tokens and money.
pub(super) struct Cost {
    pub(super) model: String,
    pub(super) calls: String,
    pub(super) tokens: String,
    pub(super) money: String,
}

impl Cost {
    pub(super) fn of(used: &ModelUse) -> Self {
        let calls = if used.calls == 1 { "1 call".into() } else { format!("{} calls", used.calls) };
        Self {
            model: used.model.clone(),
            calls,
            tokens: format!("{} tokens", grouped(used.usage.total())),
            money: match used.cost_micros {
                Some(micros) => format!("${}", dollars(micros)),
                None => "no price is configured".into(),
            },
        }
    }
}

/// What it cost, for a list: nothing when no price is configured, or no model was used.
pub(super) fn short(used: Option<&ModelUse>) -> Option<String> {
    Some(format!("${}", dollars(used?.cost_micros?)))
}

/// `1234567` → `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use rounds_core::investigation::Usage;

    use super::*;

    #[test]
    fn a_cost_says_when_nobody_knows_the_price() {
        let mut used = ModelUse::of("some-model", false);
        used.usage = Usage::new(1_234_000, 567);
        used.calls = 1;
        let cost = Cost::of(&used);
        assert_eq!(
            (&*cost.calls, &*cost.tokens, &*cost.money),
            ("1 call", "1,234,567 tokens", "no price is configured")
        );
        assert_eq!(short(Some(&used)), None);
        used.cost_micros = Some(420_000);
        assert_eq!(Cost::of(&used).money, "$0.42");
        assert_eq!(short(Some(&used)), Some("$0.42".into()));
        assert_eq!([grouped(0), grouped(999), grouped(1_000)], ["0", "999", "1,000"]);
    }
}

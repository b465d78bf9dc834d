//! The model that an investigation is given: it counts what it costs before it costs it, and is patient with a provider
//! that is overloaded.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::guard::{SLACK, guarded};
use super::notebook::{Booking, Notebook, Unbooked};
use super::shared::{Shared, backoff_ms};
use crate::investigation::{Amount, Usage};
use crate::ports::{
    CallContext, CheckReport, Completion, CompletionRequest, Message, Model, ModelInfo, PortError, PortErrorKind,
};
use crate::time::elapsed;

/// How often a call is tried.
const TRIES: u32 = 5;
/// The longest that one try may take: a provider that hangs is asked again while there is time.
const TRY: Duration = Duration::from_secs(180);

pub(crate) struct Meter {
    pub shared: Arc<Shared>,
    pub notebook: Arc<Notebook>,
    pub model: Arc<dyn Model>,
}

#[async_trait]
impl Model for Meter {
    fn describe(&self) -> ModelInfo {
        self.model.describe()
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.model.check(cx).await
    }

    /// Completions change nothing anywhere, so whatever fails transiently is tried again; what a failed try cost is counted
    /// as far as it can be known.
    async fn complete(&self, cx: &CallContext, request: &CompletionRequest) -> Result<Completion, PortError> {
        let info = self.model.describe();
        let input = estimate(request);
        let began = self.shared.now();
        let mut tries = 0;
        loop {
            let left = cx.timeout.saturating_sub(elapsed(began, self.shared.now()));
            if left.is_zero() {
                return Err(PortError::new(PortErrorKind::Timeout, "no answer of the model in the time there was"));
            }
            let most = Usage::new(input, request.max_output_tokens.into());
            self.book(Booking::Reserve(&info, amount(&info, most))).await?;
            let mut own = CallContext::with_timeout(left.min(TRY));
            own.cancel = cx.cancel.clone();
            let answer = guarded(&self.shared, own.timeout + SLACK, self.model.complete(&own, request)).await;
            let answer = answer.unwrap_or_else(|broken| {
                Err(PortError::new(PortErrorKind::Timeout, format!("the model {}: {broken}", info.name)))
            });
            let used = match &answer {
                Ok(completion) => completion.usage,
                Err(error) => lost(error, input),
            };
            self.book(Booking::Settle(&info, used)).await?;
            tries += 1;
            let error = match answer {
                Ok(completion) => return Ok(completion),
                Err(error) => error,
            };
            let wait = error.retry_after.unwrap_or_default().max(Duration::from_millis(backoff_ms(tries)));
            let over = elapsed(began, self.shared.now()) + wait >= cx.timeout;
            if !error.is_transient() || tries >= TRIES || over {
                return Err(error);
            }
            tracing::info!(model = %info.name, %error, wait_s = wait.as_secs_f64(), "the model did not answer; trying again");
            metrics::counter!("rounds_model_retries_total").increment(1);
            self.shared.clock.sleep(wait).await;
        }
    }
}

impl Meter {
    async fn book(&self, booking: Booking<'_>) -> Result<(), PortError> {
        let settled = match &booking {
            Booking::Settle(info, usage) => Some((info.name.clone(), *usage, amount(info, *usage).cost_micros)),
            Booking::Reserve(..) => None,
        };
        self.notebook.book(booking).await.map_err(|unbooked| match unbooked {
            Unbooked::Exhausted(exhausted) => PortError::new(PortErrorKind::Exhausted, exhausted.to_string()),
            // Fail closed: what cannot be counted is not spent.
            Unbooked::Failed(error) => {
                let message = format!("what the model costs could not be written down: {error}");
                PortError::new(PortErrorKind::Unavailable, message).with_source(error)
            }
        })?;
        if let Some((model, usage, micros)) = settled {
            metrics::counter!("rounds_model_tokens_total", "model" => model.clone(), "direction" => "input")
                .increment(usage.input_tokens);
            metrics::counter!("rounds_model_tokens_total", "model" => model.clone(), "direction" => "output")
                .increment(usage.output_tokens);
            metrics::counter!("rounds_model_cost_micros_total", "model" => model).increment(micros);
        }
        Ok(())
    }
}

fn amount(info: &ModelInfo, usage: Usage) -> Amount {
    let cost_micros = info.prices.map_or(0, |prices| prices.cost_micros(usage));
    Amount { tokens: usage.total(), cost_micros }
}

/// What a call that failed has cost: nothing when the provider did not take it; otherwise at least reading it, when
/// nobody knows.
fn lost(error: &PortError, input: u64) -> Usage {
    match error.kind {
        PortErrorKind::Invalid
        | PortErrorKind::Unauthorized
        | PortErrorKind::RateLimited
        | PortErrorKind::Exhausted => Usage::default(),
        PortErrorKind::Unavailable | PortErrorKind::Timeout | PortErrorKind::Protocol => Usage::new(input, 0),
    }
}

/// About how many tokens a request has. A token is some four bytes of English and fewer of numbers and names; three are
/// counted, so that the estimate is rather too high.
fn estimate(request: &CompletionRequest) -> u64 {
    let messages = request.messages.iter().map(Message::size);
    let tools = request.tools.iter().map(|tool| tool.description.len() + tool.schema.to_string().len());
    let bytes = request.system.len() + messages.sum::<usize>() + tools.sum::<usize>();
    (bytes as u64).div_ceil(3)
}

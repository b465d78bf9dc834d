//! The loop: ask the model, run the tools it wants, until it is done or a limit is reached.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};

use super::desk::Desk;
use super::limits::Limits;
use super::tools::{self, Answer, Run, Tool};
use super::transcript::Transcript;
use super::untrusted::{Fence, clean};
use super::{brief, prompt};
use crate::canonical;
use crate::investigation::{Findings, ToolUse};
use crate::ports::{
    CallContext, Completion, FiredAlert, Investigator, Model, PortError, PortErrorKind, StopReason, ToolCall, ToolSpec,
    Toolbox,
};
use crate::redact::redact;
use crate::time::elapsed;

/// How many tool calls of one answer are run.
const CALLS: usize = 16;
/// The longest arguments of a call.
const MOST_ARGUMENTS: usize = 64 * 1024;
/// How much of a call's arguments the report keeps.
const ARGUMENTS: usize = 2 * 1024;
/// The longest that one completion may take, its retries included.
const COMPLETION: Duration = Duration::from_secs(300);
/// How many turns without a tool call end a run.
const SILENT: u32 = 2;

/// How the model-driven investigator works. Tokens and money are [`Budget`](crate::investigation::Budget)'s.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentSettings {
    /// The most turns, each one completion and the tools it asks for. Default: 40.
    pub turns: u32,
    /// How long a run may take; less, when the dispatcher allows less. Default: 10 min.
    pub wall_time: Duration,
    /// How long one tool may take. Default: 60 s.
    pub tool_timeout: Duration,
    /// How much of a tool's answer the model is shown, in bytes. Default: 16 KiB.
    pub tool_output_bytes: usize,
    /// How many reads of one turn run side by side. Default: 6.
    pub parallel_reads: usize,
    /// How many tokens the model may write in one turn. Default: 8,192.
    pub max_output_tokens: u32,
    /// How many tokens a conversation may have with a model that does not say so itself. Default: 120,000.
    pub context_tokens: u32,
    /// How many refused proposals a run may have. Default: 3.
    pub refused_proposals: u32,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            turns: 40,
            wall_time: Duration::from_secs(600),
            tool_timeout: Duration::from_secs(60),
            tool_output_bytes: 16 * 1024,
            parallel_reads: 6,
            max_output_tokens: 8_192,
            context_tokens: 120_000,
            refused_proposals: 3,
        }
    }
}

/// The model-driven investigator. It asks the [model of the toolbox](Toolbox::model), so a model that is configured counts
/// from the next alert on.
///
/// When a [limit](Findings::limit) is reached the report is what there is by then, and says which.
///
/// ```
/// use std::sync::Arc;
/// use rounds_core::agent::{AgentSettings, OrchestratorAgent};
/// use rounds_core::testing::ScriptedInvestigator;
///
/// let mut settings = AgentSettings::default();
/// settings.turns = 20;
/// let agent = OrchestratorAgent::new(settings).with_playbook(Arc::new(ScriptedInvestigator::default()));
/// ```
pub struct OrchestratorAgent {
    settings: AgentSettings,
    playbook: Option<Arc<dyn Investigator>>,
}

impl OrchestratorAgent {
    /// An agent without a playbook.
    #[must_use]
    pub fn new(settings: AgentSettings) -> Self {
        Self { settings, playbook: None }
    }

    /// The same, starting from what an investigator without a model finds, and with it as a tool.
    #[must_use]
    pub fn with_playbook(mut self, playbook: Arc<dyn Investigator>) -> Self {
        self.playbook = Some(playbook);
        self
    }
}

#[async_trait]
impl Investigator for OrchestratorAgent {
    fn name(&self) -> &str {
        "orchestrator"
    }

    async fn investigate(&self, tools: &dyn Toolbox, alert: &FiredAlert) -> Result<Findings, PortError> {
        let model = tools.model()?.ok_or_else(|| {
            let message =
                "no language model is configured: add one under Settings → Language model, or choose the playbook";
            PortError::new(PortErrorKind::Invalid, message)
        })?;
        let run = Run {
            tools,
            alert,
            settings: &self.settings,
            playbook: self.playbook.as_ref(),
            fence: Fence::new(),
            desk: Mutex::new(Desk::default()),
        };
        let facts = match &self.playbook {
            Some(playbook) => playbook.investigate(tools, alert).await.ok(),
            None => None,
        };
        drive(&run, model.as_ref(), facts).await
    }
}

/// Why a run ended.
enum End {
    /// The model said that it is done.
    Complete,
    /// The model ended without a conclusion.
    Silent(String),
    /// A limit.
    Limit(String),
    /// The model could not be asked.
    Failed(PortError),
}

async fn drive(run: &Run<'_>, model: &dyn Model, facts: Option<Findings>) -> Result<Findings, PortError> {
    let prompt = prompt::current();
    run.desk().prompt(prompt.version);
    let end = converse(run, model, prompt.text, facts.as_ref()).await;
    let mut desk = std::mem::take(&mut *run.desk());
    match end {
        End::Complete => {}
        End::Silent(words) => desk.last_words(&words),
        End::Limit(limit) => desk.cut_short(limit),
        End::Failed(error) => {
            let spent = error.kind == PortErrorKind::Exhausted;
            let limit = format!("{}: {error}", if spent { "budget" } else { "model" });
            if desk.findings().calls.is_empty() {
                // Nothing came of the model at all: what code found is the report, if there is any.
                let (Some(mut facts), Some(playbook)) = (facts, run.playbook) else { return Err(error) };
                facts
                    .unknowns
                    .push(format!("The language model could not be used, so no model looked at this: {error}"));
                facts.limit = spent.then_some(limit);
                facts.written_by = Some(playbook.name().to_owned());
                return Ok(facts);
            }
            desk.cut_short(limit);
        }
    }
    if let (Some(facts), true) = (facts, desk.lacks_a_cause()) {
        desk.fall_back_on(facts);
    }
    Ok(desk.into_findings())
}

async fn converse(run: &Run<'_>, model: &dyn Model, system: &str, facts: Option<&Findings>) -> End {
    let settings = run.settings;
    let room = model.describe().context_tokens.unwrap_or(settings.context_tokens);
    let mut limits = Limits::new(settings, run.tools);
    let mut transcript = Transcript::new(system.to_owned(), brief::first_message(run, facts), room.into());
    let mut offered = Vec::new();
    for tool in tools::ALL.iter().filter(|tool| tool.is_of_use(run)) {
        // What is refused anyway would only cost turns.
        if run.tools.permits(tool.action()).await.is_ok() {
            offered.push(*tool);
        }
    }
    let mut silent = 0;
    loop {
        if let Err(limit) = limits.begin_turn(run.tools.now()) {
            return End::Limit(limit);
        }
        let left = limits.left(run.tools.now());
        let last = limits.turns_left() == 0 || left < limits.closing();
        if last {
            transcript.say("This is the last turn: conclude now with `complete`, from what you know.");
        } else if limits.turns_left() == 3 {
            transcript.say("Three more turns after this one: come to a conclusion.");
        }
        if last {
            offered.retain(|tool| tools::concludes(&tool.spec().name));
        }
        let specs: Vec<ToolSpec> = offered.iter().map(|tool| tool.spec()).collect();
        let request = match transcript.request(specs, settings.max_output_tokens) {
            Ok(request) => request,
            Err(limit) => return End::Limit(limit),
        };
        let cx = CallContext::with_timeout(left.min(COMPLETION));
        // Dropped with the run, the call is cancelled, too.
        let _cancel = cx.cancel.clone().drop_guard();
        let completion = match model.complete(&cx, &request).await {
            Ok(completion) => completion,
            Err(error) => return End::Failed(error),
        };
        let mut completion = completion;
        let asked = completion.tool_calls.len();
        // What is not run is not kept either: a model that calls without end fills nobody's memory.
        completion.tool_calls.truncate(CALLS);
        transcript.answered(&completion);
        if completion.stop == StopReason::Refused {
            return End::Limit(format!("refused: the model would not go on{}", words(&completion)));
        }
        if completion.tool_calls.is_empty() {
            silent += 1;
            if last {
                run.desk().last_words(&completion.text);
                return End::Limit(limits.reached());
            }
            if silent >= SILENT {
                return End::Silent(completion.text);
            }
            transcript.say(match completion.stop {
                StopReason::Length => "Your answer was cut off at its limit. Be brief, and use the tools.",
                _ => {
                    "Nobody reads this text. Use `add_section` for what belongs into the report, and `complete` to end."
                }
            });
            continue;
        }
        silent = 0;
        let mut fruitful = false;
        for (call, answer) in answers(run, &offered, &mut limits, &completion.tool_calls).await {
            fruitful |= answer.error.is_none();
            transcript.result(&call.id, answer.text, answer.error.is_some());
        }
        if asked > CALLS {
            transcript
                .say(format!("{CALLS} calls are run in one turn; you made {asked}. Make the others in the next."));
        }
        limits.end_turn(fruitful);
        if run.desk().complete {
            return End::Complete;
        }
        if last {
            return End::Limit(limits.reached());
        }
    }
}

fn words(completion: &Completion) -> String {
    match clean(completion.text.trim(), 300) {
        said if said.is_empty() => String::new(),
        said => format!(": {said}"),
    }
}

/// Runs the calls of one answer: what reads runs side by side, what writes to the report after it, in its order. Each call
/// has its answer, in the order of the calls.
async fn answers<'c>(
    run: &Run<'_>,
    offered: &[&'static dyn Tool],
    limits: &mut Limits,
    calls: &'c [ToolCall],
) -> Vec<(&'c ToolCall, Answer)> {
    let mut ready: Vec<(usize, Answer)> = Vec::new();
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for (place, call) in calls.iter().enumerate() {
        let Some(tool) = offered.iter().find(|tool| tool.spec().name == call.name) else {
            let known: Vec<String> = offered.iter().map(|tool| tool.spec().name).collect();
            let found = clean(&call.name, 60);
            let error = format!("there is no tool called `{found}`; there are: {}", known.join(", "));
            note(run, call, run.tools.now(), &Answer::refused(error.clone()));
            ready.push((place, Answer::refused(error)));
            continue;
        };
        if limits.repeats(&call.name, &call.arguments) {
            let error = "this very call was made before, and its answer is above: cite it, or look at something else";
            note(run, call, run.tools.now(), &Answer::refused(error));
            ready.push((place, Answer::refused(error)));
        } else if tool.reads() {
            reads.push((place, *tool, call));
        } else {
            writes.push((place, *tool, call));
        }
    }
    let beside = run.settings.parallel_reads.max(1);
    let limit = run.settings.tool_timeout.min(limits.left(run.tools.now()));
    let reading: Vec<BoxFuture<'_, (usize, Answer)>> = reads
        .into_iter()
        .map(|(place, tool, call)| async move { (place, one(run, tool, call, limit).await) }.boxed())
        .collect();
    let read: Vec<(usize, Answer)> = stream::iter(reading).buffered(beside).collect().await;
    ready.extend(read);
    for (place, tool, call) in writes {
        // Whatever comes after the conclusion is not part of it.
        let complete = run.desk().complete;
        let answer = match complete {
            true => Answer::refused("the report is complete already"),
            false => one(run, tool, call, limit).await,
        };
        ready.push((place, answer));
    }
    ready.sort_by_key(|(place, _)| *place);
    ready.into_iter().filter_map(|(place, answer)| Some((calls.get(place)?, answer))).collect()
}

/// Runs one call, within its time and the service account's permissions.
async fn one(run: &Run<'_>, tool: &'static dyn Tool, call: &ToolCall, limit: Duration) -> Answer {
    let began = run.tools.now();
    let answer = async {
        // Asked at each call: a permission that is taken away counts at once.
        if let Err(denied) = run.tools.permits(tool.action()).await {
            return Answer::refused(denied.to_string());
        }
        // A question is sent elsewhere: whatever made the model write a credential into it, it does not leave.
        let asked = canonical::to_string(&call.arguments);
        if asked.len() > MOST_ARGUMENTS {
            return Answer::refused(format!("found {} bytes of arguments; {MOST_ARGUMENTS} are accepted", asked.len()));
        }
        if tool.reads() && redact(&asked, &[]) != asked {
            return Answer::refused("this holds what looks like a credential, and is not sent anywhere");
        }
        tool.call(run, &call.arguments).await
    };
    let answer = tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
        Answer::refused(format!("no answer within {} s; that rules nothing out", limit.as_secs_f64()))
    });
    note(run, call, began, &answer);
    answer
}

/// Notes a call in the report, where people see it.
fn note(run: &Run<'_>, call: &ToolCall, began: crate::time::Timestamp, answer: &Answer) {
    let mut used = ToolUse::new(clean(&call.name, 60), clean(&canonical::to_string(&call.arguments), ARGUMENTS), began);
    used.readings.clone_from(&answer.readings);
    used.error = answer.error.as_deref().map(|error| clean(error, 2_000));
    used.duration_ms = u64::try_from(elapsed(began, run.tools.now()).as_millis()).unwrap_or(u64::MAX);
    let findings = {
        let mut desk = run.desk();
        desk.called(used);
        desk.findings().clone()
    };
    run.tools.note(&findings);
}

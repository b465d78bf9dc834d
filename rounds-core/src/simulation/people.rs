//! People, and what they do: mostly what the line needs to go on, and now and then whatever comes to their mind.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::book::Book;
use super::ports::{proposal, steps};
use super::rules::retryable;
use super::sim::{Sim, lock};
use super::world::AGENT;
use crate::Rounds;
use crate::access::{Action, OrgRole, Principal, Scope};
use crate::alert::AlertRule;
use crate::connector::Connector;
use crate::connector::Role;
use crate::id::{InvestigationId, OrgId, PlanId, RequestId, TokenId};
use crate::plan::{Plan, PlanStatus, RequestKind, RequestStatus};
use crate::ports::store::{Record, RecordKind};
use crate::service::{Approval, ConnectorDraft, Modification, ProposeRequest, RuleDraft, SilenceDraft};
use crate::testing::StaticIdentity;
use crate::time::after_ms;

pub(super) struct People {
    pub identity: Arc<StaticIdentity>,
    admin: Principal,
    editor: Principal,
    auto_editor: Principal,
    agent: Principal,
    token: Arc<Mutex<Option<TokenId>>>,
    made: Arc<Mutex<u64>>,
}

/// What somebody may do; the first several as often as they stand here.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Propose,
    Approve,
    ApproveStep,
    RejectStep,
    Reject,
    Modify,
    Cancel,
    Retry,
    Submit,
    AgentDecides,
    Break,
    Mend,
    Switch,
    Edit,
    DeleteRule,
    MakeRule,
    Silence,
    InvestigateNow,
    CancelInvestigation,
    ChangeConnector,
    DeleteConnector,
    ChangeGate,
    Token,
}

const DEEDS: [Deed; 42] = {
    use Deed::*;
    [
        Propose,
        Propose,
        Propose,
        Approve,
        Approve,
        Approve,
        Approve,
        Approve,
        ApproveStep,
        ApproveStep,
        ApproveStep,
        ApproveStep,
        RejectStep,
        Reject,
        Modify,
        Modify,
        Cancel,
        Cancel,
        Retry,
        Retry,
        Retry,
        Submit,
        Submit,
        AgentDecides,
        Break,
        Break,
        Break,
        Break,
        Mend,
        Mend,
        Mend,
        Switch,
        Edit,
        DeleteRule,
        MakeRule,
        Silence,
        InvestigateNow,
        CancelInvestigation,
        ChangeConnector,
        DeleteConnector,
        ChangeGate,
        Token,
    ]
};

impl People {
    pub(super) fn new() -> Self {
        let org = OrgId::default();
        let admin = Principal::user(org.clone(), "admin", OrgRole::Admin);
        let editor = Principal::user(org.clone(), "editor", OrgRole::Editor);
        let auto_editor = Principal::user(org.clone(), "auto-editor", OrgRole::Editor)
            .with_grant(Action::PlansAutoEdit, Scope::all("plans"));
        let agent = Principal::agent(org, AGENT);
        let identity = StaticIdentity::new([admin.clone(), editor.clone(), auto_editor.clone(), agent.clone()]);
        let token = identity.add_token(agent.id, "a token", None);
        Self {
            identity: Arc::new(identity),
            admin,
            editor,
            auto_editor,
            agent,
            token: Arc::new(Mutex::new(Some(token))),
            made: Arc::default(),
        }
    }

    /// What there is before anything happens: two clusters, a datasource, a channel or two, and a few rules.
    pub(super) async fn settle_in(&self, sim: &Arc<Sim>, rounds: &Rounds) {
        for kind in ["cluster", "cluster", "metrics", "channel", "channel"].iter().take(4 + sim.below(2) as usize) {
            let draft = connector(kind, &self.name(kind), 0);
            rounds.connectors().create(&self.admin, draft).await.expect("the weather is calm");
        }
        for _ in 0..2 + sim.below(2) {
            rounds.alerts().create(&self.admin, self.rule(sim)).await.expect("the weather is calm");
        }
    }

    /// The agent has its token back, so that nothing is skipped for want of it.
    pub(super) fn calm(&self) {
        let mut token = lock(&self.token);
        if token.is_none() {
            *token = Some(self.identity.add_token(self.agent.id, "another token", None));
        }
    }

    fn name(&self, kind: &str) -> String {
        let mut made = lock(&self.made);
        *made += 1;
        format!("{kind}-{made}")
    }

    fn rule(&self, sim: &Sim) -> RuleDraft {
        let name = self.name("rule");
        let draft = json!({ "name": name, "evaluationIntervalSec": 3 + sim.below(6),
            "condition": { "query": name, "operator": ">", "threshold": 0.5, "forDurationSec": sim.below(3) * 4 } });
        serde_json::from_value(draft).expect("a rule")
    }

    /// Somebody does something, through one of the replicas. It may take a while, and the replica may die meanwhile.
    pub(super) fn act(&self, sim: &Arc<Sim>, rounds: &Rounds) {
        let Some(deed) = sim.pick(&DEEDS).copied() else { return };
        if let Some(doing) = self.deed(deed, Arc::clone(sim), rounds.clone()) {
            let task = tokio::spawn(doing).id();
            sim.book(|book| book.deeds.insert(task));
        }
    }

    fn who(&self, sim: &Sim) -> Principal {
        if sim.chance(500) { self.auto_editor.clone() } else { self.editor.clone() }
    }

    #[allow(clippy::too_many_lines, reason = "a list of deeds, each a few lines")]
    fn deed(&self, deed: Deed, sim: Arc<Sim>, rounds: Rounds) -> Option<futures::future::BoxFuture<'static, ()>> {
        use futures::FutureExt;
        let (who, admin) = (self.who(&sim), self.admin.clone());
        let plan = |statuses: &[PlanStatus]| a_plan(&sim, statuses);
        let waiting = [PlanStatus::PendingApproval];
        Some(match deed {
            Deed::Propose => {
                let cluster = a_connector(&sim)?;
                let rule = a_rule(&sim).filter(|_| sim.chance(500)).map(|rule| rule.id);
                let request = ProposeRequest {
                    plan: proposal(&sim, cluster.id),
                    rescue: sim.chance(400).then(|| proposal(&sim, cluster.id)),
                    investigation_id: None,
                    linked_alert_rule_id: rule,
                };
                let agent = self.agent.clone();
                done(sim, "propose", async move { rounds.plans().propose(&agent, request).await.map(drop) }).boxed()
            }
            Deed::Approve => {
                let id = plan(&waiting)?;
                let auto_edit = sim.chance(600);
                approve(sim, rounds, who, id, auto_edit).boxed()
            }
            Deed::AgentDecides => {
                let agent = self.agent.clone();
                let id = plan(&PlanStatus::ALL)?;
                match sim.below(3) {
                    0 => approve(sim, rounds, agent, id, true).boxed(),
                    1 => done(
                        sim,
                        "agent cancels",
                        async move { rounds.plans().cancel(&agent, id, None).await.map(drop) },
                    )
                    .boxed(),
                    _ => {
                        done(
                            sim,
                            "agent retries",
                            async move { rounds.plans().retry(&agent, id, 0, true).await.map(drop) },
                        )
                        .boxed()
                    }
                }
            }
            Deed::ApproveStep | Deed::RejectStep => {
                let request = a_request(&sim)?;
                let approves = matches!(deed, Deed::ApproveStep);
                done(sim, "decide a request", async move {
                    if approves {
                        rounds.approvals().approve(&who, request).await.map(drop)
                    } else {
                        rounds.approvals().reject(&who, request, None).await.map(drop)
                    }
                })
                .boxed()
            }
            Deed::Reject => {
                let id = plan(&waiting)?;
                done(sim, "reject", async move { rounds.plans().reject(&who, id, None).await.map(drop) }).boxed()
            }
            Deed::Cancel => {
                let any = sim.chance(500);
                let id = plan(if any { &PlanStatus::ALL } else { &[PlanStatus::Approved, PlanStatus::Executing] })?;
                done(sim, "cancel", async move { rounds.plans().cancel(&who, id, None).await.map(drop) }).boxed()
            }
            Deed::Modify => {
                let (id, cluster) = (plan(&waiting)?, a_connector(&sim)?);
                let change = Modification { summary: None, steps: steps(&sim, cluster.id), digest: None };
                done(sim, "modify", async move { rounds.plans().modify(&who, id, &change).await.map(drop) }).boxed()
            }
            Deed::Retry => {
                let failed = |plan: &Plan| plan.status == PlanStatus::Failed && retryable(plan).is_some();
                let (id, ordinal) = sim.book(|book| {
                    let of_them: Vec<_> = book.plans().into_iter().filter(failed).collect();
                    sim.pick(&of_them).and_then(|plan| Some((plan.id, retryable(plan)?)))
                })?;
                let acknowledges = sim.chance(600);
                done(sim, "retry", async move { rounds.plans().retry(&who, id, ordinal, acknowledges).await.map(drop) })
                    .boxed()
            }
            Deed::Submit => {
                let id = plan(&[PlanStatus::Draft])?;
                done(sim, "submit", async move { rounds.plans().submit(&who, id).await.map(drop) }).boxed()
            }
            Deed::Break | Deed::Mend => {
                let rule = a_rule(&sim)?;
                let value = if matches!(deed, Deed::Break) { 1.0 } else { 0.0 };
                sim.say(|| format!("{} is {value}", rule.condition.query));
                lock(&sim.signals).insert(rule.condition.query, value);
                return None;
            }
            Deed::Switch => {
                let rule = a_rule(&sim)?;
                done(sim, "switch a rule", async move {
                    rounds.alerts().set_enabled(&admin, rule.id, !rule.enabled).await.map(drop)
                })
                .boxed()
            }
            Deed::Edit => {
                let rule = a_rule(&sim)?;
                let draft = edited(&sim, &rule);
                done(sim, "edit a rule", async move { rounds.alerts().update(&admin, rule.id, draft).await.map(drop) })
                    .boxed()
            }
            Deed::DeleteRule => {
                let id = a_rule(&sim)?.id;
                done(sim, "delete a rule", async move { rounds.alerts().delete(&admin, id).await }).boxed()
            }
            Deed::MakeRule => {
                let draft = self.rule(&sim);
                done(sim, "make a rule", async move { rounds.alerts().create(&admin, draft).await.map(drop) }).boxed()
            }
            Deed::Silence => {
                let rule_id = Some(a_rule(&sim)?.id);
                let draft = SilenceDraft {
                    rule_id,
                    matchers: Default::default(),
                    comment: String::new(),
                    starts_at: None,
                    ends_at: after_ms(sim.now(), 5000 + sim.below(20_000)),
                };
                done(sim, "silence a rule", async move { rounds.alerts().silence(&admin, draft).await.map(drop) })
                    .boxed()
            }
            Deed::InvestigateNow => {
                let (id, force) = (a_rule(&sim)?.id, sim.chance(500));
                done(
                    sim,
                    "investigate now",
                    async move { rounds.alerts().investigate(&who, id, force).await.map(drop) },
                )
                .boxed()
            }
            Deed::CancelInvestigation => {
                let id = an_investigation(&sim)?;
                done(
                    sim,
                    "cancel an investigation",
                    async move { rounds.investigations().cancel(&who, id).await.map(drop) },
                )
                .boxed()
            }
            Deed::ChangeConnector => {
                let found = a_connector(&sim)?;
                let renames = sim.chance(300);
                let generation = found.config["generation"].as_u64().unwrap_or_default() + u64::from(!renames);
                let name = if renames { self.name("cluster") } else { found.name.clone() };
                let draft = connector("cluster", &name, generation);
                done(sim, "change a connector", async move {
                    rounds.connectors().update(&admin, found.id, draft).await.map(drop)
                })
                .boxed()
            }
            Deed::DeleteConnector => {
                // Another one takes its place, so that there is always something to mend.
                let id = a_connector(&sim).filter(|_| sim.chance(200))?.id;
                let draft = connector("cluster", &self.name("cluster"), 0);
                done(sim, "replace a connector", async move {
                    rounds.connectors().delete(&admin, id).await?;
                    rounds.connectors().create(&admin, draft).await.map(drop)
                })
                .boxed()
            }
            Deed::ChangeGate => {
                if sim.chance(600) {
                    return None;
                }
                let renders = *lock(&sim.renders) + 1;
                sim.say(|| format!("today's gate is version {renders}"));
                *lock(&sim.renders) = renders;
                return None;
            }
            Deed::Token => {
                let mut token = lock(&self.token);
                match token.take() {
                    Some(live) => self.identity.revoke(live),
                    None => *token = Some(self.identity.add_token(self.agent.id, "another token", None)),
                }
                sim.say(|| format!("the agent has a token: {}", token.is_some()));
                return None;
            }
        })
    }
}

/// Somebody does this, and the trace says how it went.
async fn done(sim: Arc<Sim>, what: &'static str, doing: impl Future<Output = Result<(), crate::Error>>) {
    let result = doing.await;
    sim.say(|| match &result {
        Ok(()) => format!("{what}: ok"),
        Err(error) => format!("{what}: {error}"),
    });
}

/// Somebody looks at a plan, thinks, and approves what was seen: or without saying what it was.
async fn approve(sim: Arc<Sim>, rounds: Rounds, who: Principal, id: PlanId, auto_edit: bool) {
    let Ok(seen) = rounds.plans().get(&who, id).await else { return };
    sim.book(|book| book.shown.insert((id, seen.digest.clone()), seen.clone()));
    tokio::time::sleep(sim.millis(4000)).await;
    let digest = if sim.chance(900) { Some(seen.digest) } else { None };
    done(Arc::clone(&sim), "approve", async {
        let auto_edit = auto_edit && who.login != "editor";
        rounds.plans().approve(&who, id, &Approval { auto_edit, digest }).await.map(drop)
    })
    .await;
}

fn connector(kind: &str, name: &str, generation: u64) -> ConnectorDraft {
    let draft = json!({ "type": kind, "name": name, "config": { "generation": generation } });
    serde_json::from_value(draft).expect("a connector")
}

fn edited(sim: &Sim, rule: &AlertRule) -> RuleDraft {
    let threshold = if sim.chance(500) { 0.5 } else { 0.4 };
    let draft = json!({ "name": rule.name, "evaluationIntervalSec": 2 + sim.below(5),
        "condition": { "query": rule.condition.query, "operator": ">", "threshold": threshold,
            "forDurationSec": rule.condition.for_duration_sec } });
    serde_json::from_value(draft).expect("a rule")
}

fn found<T>(book: &Book, kind: RecordKind, wanted: impl Fn(&Record) -> Option<T>) -> Vec<T> {
    book.of_kind(kind).filter_map(wanted).collect()
}

fn a_plan(sim: &Sim, statuses: &[PlanStatus]) -> Option<PlanId> {
    let all = sim.book(|book| {
        found(book, RecordKind::Plan, |record| match record {
            Record::Plan(plan) if statuses.contains(&plan.status) => Some(plan.id),
            _ => None,
        })
    });
    sim.pick(&all).copied()
}

fn a_request(sim: &Sim) -> Option<RequestId> {
    let all: Vec<RequestId> = sim.book(|book| {
        found(book, RecordKind::Plan, |record| match record {
            Record::Plan(plan) => plan
                .requests
                .iter()
                .find(|request| {
                    request.status == RequestStatus::Pending && matches!(request.kind, RequestKind::Step { .. })
                })
                .map(|request| request.id),
            _ => None,
        })
    });
    sim.pick(&all).copied()
}

fn a_rule(sim: &Sim) -> Option<AlertRule> {
    let all: Vec<AlertRule> = sim.book(|book| {
        found(book, RecordKind::AlertRule, |record| match record {
            Record::AlertRule(rule) => Some(rule.as_ref().clone()),
            _ => None,
        })
    });
    sim.pick(&all).cloned()
}

fn a_connector(sim: &Sim) -> Option<Connector> {
    let all: Vec<Connector> = sim.book(|book| {
        found(book, RecordKind::Connector, |record| match record {
            Record::Connector(row) if row.role == Role::Execution => Some(row.as_ref().clone()),
            _ => None,
        })
    });
    sim.pick(&all).cloned()
}

fn an_investigation(sim: &Sim) -> Option<InvestigationId> {
    let all = sim.book(|book| {
        found(book, RecordKind::Investigation, |record| match record {
            Record::Investigation(found) if !found.status.is_terminal() => Some(found.id),
            _ => None,
        })
    });
    sim.pick(&all).copied()
}

//! `/metrics`: what the services counted, and what the store holds right now.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, OnceLock, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics::gauge;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use rounds_core::alert::AlertState;
use rounds_core::plan::{Plan, PlanStatus, RequestStatus};
use rounds_core::ports::StoreExt as _;
use rounds_core::ports::store::{ListQuery, RecordKind};
use rounds_core::service::{Backlog, Recipient};
use rounds_core::{ConnectorId, OrgId};

use super::{Api, Op};
use crate::error::ApiError;
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(Op::get("/metrics", "Prometheus exposition").open().text(), metrics)
}

const SECONDS: [f64; 11] = [0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0];

/// Installs the process's recorder, once; `None` when another one was there first.
#[must_use]
pub fn install() -> Option<PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let seconds = Matcher::Suffix("_seconds".into());
            let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS);
            let handle = builder.and_then(PrometheusBuilder::install_recorder);
            handle.inspect_err(|error| tracing::warn!(%error, "/metrics is not available")).ok()
        })
        .clone()
}

async fn metrics(State(state): State<AppState>) -> Result<Response, ApiError> {
    let Some(handle) = &state.metrics else {
        let message = "this process has a metrics recorder of its own";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", message));
    };
    read_store(&state).await?;
    handle.run_upkeep();
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, handle.render()).into_response())
}

/// What waits for each channel and sink. Gauges keep their values, and so those that are gone from the backlog are set to
/// nothing.
async fn outbox(state: &AppState, org: &OrgId) -> Result<(), rounds_core::Error> {
    static SEEN: Mutex<BTreeSet<[String; 2]>> = Mutex::new(BTreeSet::new());
    let names = state.rounds.store().connectors(org).await?.into_iter().map(|found| (found.value.id, found.value.name));
    let names: HashMap<ConnectorId, String> = names.collect();
    let mut counts: BTreeMap<[String; 2], Backlog> = BTreeMap::new();
    for (to, backlog) in state.rounds.backlog(org).await? {
        let label = match to {
            None => ["channel".into(), "unrouted".into()],
            Some(Recipient::Channel(id)) => {
                ["channel".into(), names.get(&id).map_or_else(|| id.to_string(), String::clone)]
            }
            Some(Recipient::Sink(name)) => ["sink".into(), name],
            Some(other) => ["other".into(), other.to_string()],
        };
        counts.insert(label, backlog);
    }
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.extend(counts.keys().cloned());
    for label in seen.iter() {
        let backlog = counts.get(label).cloned().unwrap_or_default();
        let [kind, to] = label.clone();
        for (status, count) in [("pending", backlog.pending), ("dead", backlog.dead)] {
            gauge!("rounds_outbox_backlog", "kind" => kind.clone(), "to" => to.clone(), "status" => status)
                .set(count as f64);
        }
    }
    Ok(())
}

async fn read_store(state: &AppState) -> Result<(), rounds_core::Error> {
    let store = state.rounds.store();
    let org = OrgId::default();
    let rules = store.count(RecordKind::AlertInstance, Some(&org)).await?;
    for alert in AlertState::ALL {
        let count = rules.get(alert.as_str()).copied().unwrap_or_default();
        gauge!("rounds_alert_rules", "state" => alert.as_str()).set(count as f64);
        let series = rules.get(&format!("series:{}", alert.as_str())).copied().unwrap_or_default();
        gauge!("rounds_alert_series", "state" => alert.as_str()).set(series as f64);
    }
    let plans = store.count(RecordKind::Plan, Some(&org)).await?;
    for status in PlanStatus::ALL {
        let count = plans.get(status.as_str()).copied().unwrap_or_default();
        gauge!("rounds_plans", "status" => status.as_str()).set(count as f64);
    }
    let waiting = ListQuery {
        org: Some(org.clone()),
        child_status: Some(RequestStatus::Pending.as_str().into()),
        ..ListQuery::new(RecordKind::Plan)
    };
    let waiting = store.all::<Plan>(waiting).await?;
    let open = waiting.iter().flat_map(|plan| &plan.value.requests);
    let since: Vec<_> =
        open.filter(|request| request.status == RequestStatus::Pending).map(|request| request.created_at).collect();
    let oldest = since.iter().min().map(|since| rounds_core::time::elapsed(*since, state.rounds.now()));
    gauge!("rounds_approvals_waiting").set(since.len() as f64);
    gauge!("rounds_approvals_oldest_age_seconds").set(oldest.unwrap_or_default().as_secs_f64());
    let notices = store.count(RecordKind::Notice, Some(&org)).await?;
    for status in ["pending", "dead"] {
        let count = notices.get(status).copied().unwrap_or_default();
        gauge!("rounds_outbox_notices", "status" => status).set(count as f64);
    }
    outbox(state, &org).await?;
    for (name, health) in state.running.health() {
        let up = matches!(health, rounds_core::service::ServiceHealth::Running);
        gauge!("rounds_service_up", "service" => name.to_string()).set(f64::from(u8::from(up)));
    }
    Ok(())
}

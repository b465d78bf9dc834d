//! The numbers behind a reading, asked for again: over a longer window than the investigation looked at.

use std::time::Duration;

use super::error::Error;
use super::guard::{SLACK, guarded};
use super::investigations::Investigations;
use crate::access::Principal;
use crate::id::{ConnectorId, InvestigationId};
use crate::investigation::{EvidenceSource, ReadingId};
use crate::ports::{CallContext, DataSet, PortError, PortErrorKind, Query};
use crate::time::{Timestamp, elapsed};

/// The most points per series.
pub const EVIDENCE_POINTS: u64 = 500;

/// The longest window, in seconds: 31 days.
pub const EVIDENCE_RANGE_SEC: u64 = 31 * 86_400;

/// The numbers of a reading over a window.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EvidenceSeries {
    /// The reading.
    pub reading: ReadingId,
    /// The PromQL that was asked then and now.
    pub expr: String,
    /// The datasource.
    pub datasource_id: Option<ConnectorId>,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// Between two points, in seconds.
    pub step_sec: u64,
    /// The answer.
    pub answer: DataSet,
}

impl Investigations<'_> {
    /// Asks the datasource of a reading again, over a window. Only what the investigation asked is asked: nobody who reads
    /// a report can ask something else by this.
    ///
    /// # Errors
    /// `investigations:read` is missing, there is no such investigation or reading, the reading holds no numbers, the
    /// window is empty or longer than [`EVIDENCE_RANGE_SEC`], or the datasource did not answer.
    pub async fn series(
        &self,
        who: &Principal,
        id: InvestigationId,
        reading: ReadingId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<EvidenceSeries, Error> {
        let found = self.get(who, id).await?;
        let evidence = found.report.iter().flat_map(|report| &report.evidence).find(|found| found.id == reading);
        let evidence = evidence.ok_or_else(|| Error::not_found("reading", reading))?;
        let (datasource_id, expr) = match &evidence.source {
            EvidenceSource::Query { datasource_id, metric: Some(metric), .. } => (*datasource_id, metric.clone()),
            EvidenceSource::Query { .. } | EvidenceSource::Command { .. } => {
                let message = format!("{reading}: found a reading without numbers; one of a metric query is expected");
                return Err(Error::Invalid(message));
            }
        };
        if from >= to {
            return Err(Error::Invalid(format!("from: found {from}; a moment before {to} is expected")));
        }
        if elapsed(from, to).as_secs() > EVIDENCE_RANGE_SEC {
            let days = EVIDENCE_RANGE_SEC / 86_400;
            return Err(Error::Invalid(format!("from: found {from}; at most {days} days before {to} are accepted")));
        }
        let step_sec = elapsed(from, to).as_secs().div_ceil(EVIDENCE_POINTS - 1).max(1);
        let live = self.shared.live.datasource(self.shared.store.as_ref(), &who.org_id, datasource_id).await?;
        let cx = CallContext::with_timeout(self.shared.settings.query_timeout);
        let query = Query::Range { expr: expr.clone(), start: from, end: to, step: Duration::from_secs(step_sec) };
        let answer = guarded(self.shared, cx.timeout + SLACK, live.port.query(&cx, &query)).await;
        let answer = answer.map_err(|broken| {
            PortError::new(PortErrorKind::Unavailable, format!("the datasource {}: {broken}", live.row.name))
        })?;
        let mut answer = answer?;
        // A datasource that answers more than it was asked for does not fill a page.
        let most = usize::try_from(EVIDENCE_POINTS).unwrap_or(usize::MAX);
        for series in answer.series.iter_mut().filter(|series| series.points.len() > most) {
            series.points.truncate(most);
            answer.truncated = true;
        }
        Ok(EvidenceSeries { reading, expr, datasource_id, from, to, step_sec, answer })
    }
}

//! Charts of evidence: whoever may read a report may ask again what it asked, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;
use rounds_core::investigation::{Evidence, EvidenceSource, Investigation, ReadingId, Report, Trigger};
use rounds_core::ports::store::{Commit, Store as _};
use rounds_core::ports::{Point, Series};
use rounds_core::service::EVIDENCE_POINTS;
use rounds_core::{Error, InvestigationId, OrgId, Settings};

use crate::backtest::NotForAutoEditors;
use crate::harness::{World, later, lock, secs};

/// A world with an investigation that read a number (`R1`) and log lines (`R2`).
async fn investigated() -> (World, InvestigationId) {
    let settings = Settings { query_timeout: secs(5), ..Settings::default() };
    let world = World::built(settings, |builder| builder.authorizer(Arc::new(NotForAutoEditors))).await;
    let trigger = Trigger::Person { rule_id: None };
    let mut found = Investigation::queued(OrgId::default(), "why?", trigger, world.now());
    let read = |id, expr: &str, metric: Option<&str>| Evidence {
        id: ReadingId(id),
        source: EvidenceSource::Query { datasource_id: None, expr: expr.into(), metric: metric.map(Into::into) },
        at: world.now(),
        duration_ms: 1,
        ok: true,
        excerpt: "1".into(),
        truncated: false,
    };
    let evidence = vec![read(1, "errors", Some("errors")), read(2, "{app=\"web\"}", None)];
    found.report = Some(Report { evidence, ..Report::default() });
    world.store.commit(Commit::new().insert(found.clone())).await.unwrap();
    (world, found.id)
}

#[tokio::test(start_paused = true)]
async fn a_chart_of_evidence_needs_the_right_to_read_investigations_and_a_reading_of_numbers() {
    let (world, id) = investigated().await;
    let (from, to) = (world.now() - TimeDelta::hours(1), world.now());
    let investigations = world.rounds.investigations();
    let r1 = ReadingId(1);
    world.errors.set(0.5);
    let found = investigations.series(&world.viewer, id, r1, from, to).await.unwrap();
    assert_eq!((found.expr.as_str(), found.step_sec), ("errors", 8));
    let refused = investigations.series(&world.auto_editor, id, r1, from, to).await;
    assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
    let mut stranger = world.admin.clone();
    stranger.org_id = OrgId::new("elsewhere");
    let refused = investigations.series(&stranger, id, r1, from, to).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
    for (reading, from) in [(ReadingId(2), from), (r1, to), (r1, to - TimeDelta::days(32))] {
        let refused = investigations.series(&world.viewer, id, reading, from, to).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    let refused = investigations.series(&world.viewer, id, ReadingId(3), from, to).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_chart_of_evidence_is_cut_to_size_and_waits_for_no_datasource_for_ever() {
    let (world, id) = investigated().await;
    let (from, to) = (world.now() - TimeDelta::hours(1), world.now());
    let points = (0..5_000).map(|second| Point { at: later(from, secs(second)), value: 1.0 }).collect();
    world.errors.fake.set_series(vec![Series::new(BTreeMap::new(), points)]);
    let investigations = world.rounds.investigations();
    let found = investigations.series(&world.viewer, id, ReadingId(1), from, to).await.unwrap();
    assert_eq!(found.answer.series[0].points.len() as u64, EVIDENCE_POINTS);
    assert!(found.answer.truncated, "and that is said");
    *lock(&world.errors.takes) = secs(36_000);
    let refused = investigations.series(&world.viewer, id, ReadingId(1), from, to).await;
    assert!(matches!(&refused, Err(Error::Port(error)) if error.to_string().contains("longer than")), "{refused:?}");
}

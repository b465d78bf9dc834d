use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::ports::{
    CallContext, CheckReport, DataSet, Datasource, DatasourceInfo, Point, PortError, PortErrorKind, Query, Series,
};
use crate::time::Timestamp;

/// A datasource that answers every query with the series a test sets.
#[derive(Debug, Clone, Default)]
pub struct FakeDatasource {
    answer: Arc<Mutex<Answer>>,
}

#[derive(Debug, Default)]
struct Answer {
    series: Vec<Series>,
    fails_with: Option<String>,
    asked: usize,
}

impl FakeDatasource {
    /// Answers one series without labels with this value, from now on.
    pub fn set(&self, value: f64) {
        self.set_series(vec![Series {
            labels: Default::default(),
            points: vec![Point { at: Timestamp::UNIX_EPOCH, value }],
        }]);
    }

    /// Answers these series, from now on.
    pub fn set_series(&self, series: Vec<Series>) {
        let mut answer = self.lock();
        answer.series = series;
        answer.fails_with = None;
    }

    /// Fails, from now on.
    pub fn fail(&self, message: &str) {
        self.lock().fails_with = Some(message.into());
    }

    /// How often it was asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.lock().asked
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Datasource for FakeDatasource {
    fn describe(&self) -> DatasourceInfo {
        DatasourceInfo::metrics("PromQL")
    }

    async fn check(&self, _cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new("there is nothing to reach"))
    }

    async fn query(&self, _cx: &CallContext, _query: &Query) -> Result<DataSet, PortError> {
        let mut answer = self.lock();
        answer.asked += 1;
        match &answer.fails_with {
            Some(message) => Err(PortError::new(PortErrorKind::Unavailable, message.clone())),
            None => Ok(DataSet::of_series(answer.series.clone())),
        }
    }
}

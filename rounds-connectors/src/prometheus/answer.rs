//! What the server said, as a [`DataSet`].

use std::collections::BTreeMap;

use chrono::DateTime;
use rounds_core::Timestamp;
use rounds_core::ports::{DataSet, Line, Point, Series};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The envelope of every answer of the HTTP API.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<T> {
    pub(super) status: String,
    pub(super) data: Option<T>,
    #[serde(default, rename = "errorType")]
    pub(super) error_type: String,
    #[serde(default)]
    pub(super) error: String,
    #[serde(default)]
    pub(super) warnings: Option<Vec<String>>,
    #[serde(default)]
    pub(super) infos: Option<Vec<String>>,
    /// VictoriaMetrics in a cluster says here that some of its storage did not answer.
    #[serde(default, rename = "isPartial")]
    pub(super) is_partial: Option<bool>,
}

impl<T> Envelope<T> {
    /// Warnings, infos and what is said of partial answers, as one list.
    pub(super) fn notes(&mut self) -> Vec<String> {
        let infos = self.infos.take().unwrap_or_default();
        let partial = self.is_partial.take().unwrap_or_default();
        let partial = partial.then(|| "the answer is partial: a part of the storage did not answer".to_owned());
        self.warnings.take().unwrap_or_default().into_iter().chain(infos).chain(partial).collect()
    }
}

/// What a query answers.
#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub(super) enum QueryData {
    Vector(Vec<RawSeries>),
    Matrix(Vec<RawSeries>),
    Scalar((f64, String)),
    String((f64, String)),
}

/// A series of a vector (`value`) or of a matrix (`values`).
#[derive(Debug, Deserialize)]
pub(super) struct RawSeries {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: Option<(f64, String)>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    histogram: Option<IgnoredAny>,
    #[serde(default)]
    histograms: Vec<IgnoredAny>,
}

/// What `/api/v1/status/buildinfo` answers.
#[derive(Debug, Deserialize)]
pub(super) struct BuildInfo {
    #[serde(default)]
    pub(super) version: String,
}

/// How much of an answer is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) series: usize,
    pub(super) samples: usize,
}

/// An answer that is not what the protocol says.
#[derive(Debug)]
pub(super) struct Malformed(pub(super) String);

/// Seconds with a fraction, to the microsecond: servers answer whole milliseconds, which survive the float.
fn time(seconds: f64) -> Result<Timestamp, Malformed> {
    #[allow(clippy::cast_possible_truncation, reason = "out of range saturates, and chrono refuses it")]
    let micros = (seconds * 1e6).round() as i64;
    DateTime::from_timestamp_micros(micros).ok_or_else(|| Malformed(format!("found the time {seconds}")))
}

fn point((at, value): (f64, String)) -> Result<Point, Malformed> {
    let shown = || value.chars().take(40).collect::<String>();
    let number = value.parse().map_err(|_| Malformed(format!("found the value \"{}\"", shown())))?;
    Ok(Point { at: time(at)?, value: number })
}

/// Series in order of their labels, cut to the bounds; what was left out is said.
pub(super) fn data_set(data: QueryData, notes: Vec<String>, bounds: Bounds) -> Result<DataSet, Malformed> {
    let mut set = DataSet::default().with_warnings(notes);
    let raw = match data {
        QueryData::Scalar(sample) => {
            set.series.push(Series::new(BTreeMap::new(), vec![point(sample)?]));
            return Ok(set);
        }
        QueryData::String((at, text)) => {
            set.lines.push(Line::new(time(at)?, BTreeMap::new(), text));
            return Ok(set);
        }
        QueryData::Vector(series) | QueryData::Matrix(series) => series,
    };
    let (found, mut histograms) = (raw.len(), 0_usize);
    for series in raw {
        histograms += usize::from(series.histogram.is_some() || !series.histograms.is_empty());
        let points = series.value.into_iter().chain(series.values).map(point).collect::<Result<Vec<_>, _>>()?;
        if !points.is_empty() {
            set.series.push(Series::new(series.metric, points));
        }
    }
    set.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    if histograms > 0 {
        set.warnings.push(format!(
            "{histograms} series hold native histograms, which are not read: ask for numbers with \
             histogram_quantile(), histogram_count() or histogram_sum()"
        ));
    }
    let mut samples = 0;
    let fitting = set
        .series
        .iter()
        .take(bounds.series)
        .take_while(|series| {
            samples += series.points.len();
            samples <= bounds.samples
        })
        .count();
    if fitting < set.series.len() {
        set.truncated = true;
        set.warnings.push(format!(
            "the answer has {found} series, of which the first {fitting} in label order are kept (maxSeries {}, \
             maxSamples {}): aggregate with sum by (…) or topk()",
            bounds.series, bounds.samples
        ));
        set.series.truncate(fitting);
    }
    Ok(set)
}

/// Names or values of labels, sorted and cut to the bound.
pub(super) fn names(mut names: Vec<String>, notes: Vec<String>, bounds: Bounds) -> DataSet {
    names.sort_unstable();
    names.dedup();
    let mut set = DataSet::default().with_warnings(notes);
    if names.len() > bounds.samples {
        set.truncated = true;
        set.warnings.push(format!("{} names were found, the first {} are kept", names.len(), bounds.samples));
        names.truncate(bounds.samples);
    }
    set.names = names;
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Bounds = Bounds { series: 10, samples: 100 };

    fn vector(json: &str) -> QueryData {
        serde_json::from_str(&format!(r#"{{"resultType":"vector","result":{json}}}"#)).expect("a vector")
    }

    #[test]
    fn values_that_json_cannot_write_are_read() {
        let data = vector(
            r#"[{"metric":{"a":"1"},"value":[1,"NaN"]},{"metric":{"a":"2"},"value":[1,"+Inf"]},
                {"metric":{"a":"3"},"value":[1,"-Inf"]},{"metric":{"a":"4"},"value":[1,"1e-7"]}]"#,
        );
        let values: Vec<f64> =
            data_set(data, vec![], WIDE).expect("read").series.iter().map(|series| series.points[0].value).collect();
        assert!(values[0].is_nan());
        assert_eq!(values[1..], [f64::INFINITY, f64::NEG_INFINITY, 1e-7]);
    }

    #[test]
    fn times_are_exact_to_the_millisecond() {
        let data = vector(r#"[{"metric":{},"value":[1785424739.123,"1"]}]"#);
        let set = data_set(data, vec![], WIDE).expect("read");
        assert_eq!(set.series[0].points[0].at.timestamp_micros(), 1_785_424_739_123_000);
    }

    #[test]
    fn series_are_kept_in_label_order_and_what_is_left_out_is_said() {
        let data = vector(
            r#"[{"metric":{"pod":"c"},"value":[1,"3"]},{"metric":{"pod":"a"},"value":[1,"1"]},
                {"metric":{"pod":"b"},"value":[1,"2"]}]"#,
        );
        let set = data_set(data, vec!["slow".into()], Bounds { series: 2, samples: 9 }).expect("read");
        assert_eq!(set.series.iter().map(|series| &series.labels["pod"]).collect::<Vec<_>>(), ["a", "b"]);
        assert!(set.truncated);
        assert_eq!(set.warnings[0], "slow");
        assert!(set.warnings[1].contains("3 series"), "{:?}", set.warnings);
    }

    #[test]
    fn native_histograms_are_left_out_with_a_warning() {
        let data = vector(r#"[{"metric":{},"histogram":[1,{"count":"2","sum":"3"}]}]"#);
        let set = data_set(data, vec![], WIDE).expect("read");
        assert!(set.series.is_empty() && set.warnings[0].contains("histogram_quantile"), "{set:?}");
    }

    #[test]
    fn a_value_that_is_no_number_is_malformed() {
        let data = vector(r#"[{"metric":{},"value":[1,"many"]}]"#);
        assert!(data_set(data, vec![], WIDE).unwrap_err().0.contains("many"));
    }
}

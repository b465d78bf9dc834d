//! A datasource's answer as text for a model: the shape of a series and its turning points, not ten thousand numbers.

use crate::ports::{DataSet, Point, Series};

/// Series shown of one answer.
const SERIES: usize = 40;
/// Points shown of one series.
const POINTS: usize = 30;

pub(super) fn data_set(answer: &DataSet) -> String {
    let mut text = String::new();
    for series in answer.series.iter().take(SERIES) {
        text.push_str(&one(series));
        text.push('\n');
    }
    if answer.series.len() > SERIES {
        text.push_str(&format!("[truncated: {SERIES} of {} series shown; aggregate or select]\n", answer.series.len()));
    }
    for line in &answer.lines {
        let labels = if line.labels.is_empty() { String::new() } else { format!(" {}", labels(&line.labels)) };
        text.push_str(&format!("{}{labels} {}\n", line.at.format("%Y-%m-%dT%H:%M:%SZ"), line.text));
    }
    for name in &answer.names {
        text.push_str(name);
        text.push('\n');
    }
    if text.is_empty() {
        text.push_str("(an empty answer: nothing matches, which is not the same as zero)\n");
    }
    for warning in &answer.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    if answer.truncated {
        text.push_str("[truncated: the datasource left something out]\n");
    }
    text
}

fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn one(series: &Series) -> String {
    let labels = labels(&series.labels);
    match series.points.as_slice() {
        [] => format!("{labels} no points"),
        [point] => format!("{labels} {}", point.value),
        points => {
            let values = || points.iter().map(|point| point.value).filter(|value| value.is_finite());
            let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
            let shown: Vec<String> =
                thinned(points).map(|p| format!("{}={}", p.at.format("%H:%M:%S"), p.value)).collect();
            format!("{labels} {} points, min {least}, max {most}: {}", points.len(), shown.join(" "))
        }
    }
}

/// Evenly spread points, the last one always among them.
fn thinned(points: &[Point]) -> impl Iterator<Item = &Point> {
    let every = points.len().div_ceil(POINTS).max(1);
    let skip = (points.len() - 1) % every;
    points.iter().skip(skip).step_by(every)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: impl IntoIterator<Item = f64>) -> Series {
        let at = |i: usize| crate::time::after_ms(Default::default(), i as u64 * 1000);
        let points = values.into_iter().enumerate().map(|(i, value)| Point { at: at(i), value }).collect();
        Series::new([("pod".to_owned(), "a".to_owned())].into(), points)
    }

    #[test]
    fn a_long_series_shows_its_extremes_and_its_last_point() {
        let mut values = vec![1.0; 1000];
        values[501] = 99.5;
        values[999] = 7.25;
        let text = data_set(&DataSet::of_series(vec![series(values)]));
        assert!(text.contains("1000 points, min 1, max 99.5") && text.trim_end().ends_with("=7.25"), "{text}");
        assert!(text.matches('=').count() <= POINTS + 3, "{text}");
    }

    #[test]
    fn what_is_left_out_is_said() {
        let many = (0..50).map(|_| series([1.0])).collect();
        assert!(data_set(&DataSet::of_series(many)).contains("[truncated: 40 of 50 series"));
        assert!(data_set(&DataSet::default().with_truncated(true)).contains("left something out"));
        assert!(data_set(&DataSet::default()).contains("empty answer"));
    }
}

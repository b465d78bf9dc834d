//! A small chart of an alert's recent values, drawn here so that it needs no script: SVG with attributes only. The
//! lines are stretched to the width there is; words and numbers stand beside them, in the page's own size.

use std::fmt::Write as _;

use rounds_core::Timestamp;
use rounds_core::ports::Point;

use super::when::absolute;

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 100.0;

/// What is drawn.
pub(crate) struct Chart<'a> {
    pub(crate) points: &'a [Point],
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) threshold: f64,
    /// Moments worth a line, with a word: when it fired.
    pub(crate) moments: &'a [(Timestamp, &'static str)],
}

impl Chart<'_> {
    /// The figure. Its text is made of numbers and constants.
    pub(crate) fn svg(&self) -> String {
        let values = self.points.iter().map(|point| point.value).filter(|value| value.is_finite());
        let (low, high) = values
            .chain([self.threshold, 0.0])
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let high = if high > low { high + (high - low) * 0.1 } else { low + 1.0 };
        let span = (self.end - self.start).num_milliseconds().max(1) as f64;
        let x = |at: Timestamp| WIDTH * ((at - self.start).num_milliseconds() as f64 / span).clamp(0.0, 1.0);
        let y = |value: f64| 1.0 + (HEIGHT - 2.0) * (1.0 - (value - low) / (high - low));
        let mut svg = format!(
            "<figure class=\"plot\"><div class=\"ys\" aria-hidden=\"true\"><span>{}</span><span>{}</span><span>{}</span></div>\
             <svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{}\">",
            number(high),
            number((low + high) / 2.0),
            number(low),
            self.label()
        );
        for value in [low, (low + high) / 2.0, high] {
            let y = y(value);
            let _ = write!(svg, "<line class=\"grid\" x1=\"0\" y1=\"{y:.1}\" x2=\"{WIDTH}\" y2=\"{y:.1}\"/>");
        }
        let mut told = String::new();
        for (at, word) in self.moments.iter().filter(|(at, _)| (self.start..=self.end).contains(at)) {
            let x = x(*at);
            let _ = write!(svg, "<line class=\"moment {word}\" x1=\"{x:.1}\" y1=\"0\" x2=\"{x:.1}\" y2=\"{HEIGHT}\"/>");
            let _ = write!(
                told,
                "<span><span class=\"key moment {word}\"></span>{word} {}</span>",
                at.format("%H:%M:%S UTC")
            );
        }
        for run in self.points.split(|point| !point.value.is_finite()).filter(|run| !run.is_empty()) {
            svg.push_str("<polyline class=\"series\" fill=\"none\" points=\"");
            for point in run {
                let _ = write!(svg, "{:.1},{:.1} ", x(point.at), y(point.value));
            }
            svg.push_str("\"/>");
        }
        let line = y(self.threshold);
        let _ = write!(
            svg,
            "<line class=\"threshold\" x1=\"0\" y1=\"{line:.1}\" x2=\"{WIDTH}\" y2=\"{line:.1}\"/></svg>\
             <div class=\"xs\" aria-hidden=\"true\"><span>{}</span><span>{}</span></div>\
             <figcaption class=\"legend\"><span><span class=\"key\"></span>value</span>\
             <span><span class=\"key threshold\"></span>threshold {}</span>{told}</figcaption></figure>",
            self.start.format("%H:%M UTC"),
            self.end.format("%H:%M UTC"),
            number(self.threshold),
        );
        svg
    }

    /// What the chart says, for those who do not see it.
    fn label(&self) -> String {
        let last = self.points.last().map_or_else(|| "no data".to_owned(), |point| number(point.value));
        let mut text = format!(
            "values from {} to {}; the last is {last}; the threshold is {}",
            absolute(self.start),
            absolute(self.end),
            number(self.threshold)
        );
        for (at, word) in self.moments {
            let _ = write!(text, "; {word} {}", absolute(*at));
        }
        text
    }
}

/// A number in four significant digits: `0.4213`, `12.5k`.
pub(crate) fn number(value: impl std::borrow::Borrow<f64>) -> String {
    let value = *value.borrow();
    let magnitude = value.abs();
    if !value.is_finite() {
        return value.to_string();
    }
    if magnitude >= 1e15 || (magnitude > 0.0 && magnitude < 1e-4) {
        return format!("{value:.3e}");
    }
    let (scaled, unit) = match magnitude {
        m if m >= 1e9 => (value / 1e9, "G"),
        m if m >= 1e6 => (value / 1e6, "M"),
        m if m >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = match scaled.abs() {
        m if m >= 100.0 => 1,
        m if m >= 1.0 => 2,
        _ => 4,
    };
    let text = format!("{scaled:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{}{unit}", if text == "-0" { "0" } else { text })
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [(0.42134, "0.4213"), (5.0, "5"), (12_500.0, "12.5k"), (0.0, "0"), (-0.00001, "-1.000e-5")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_gap_in_the_values_is_a_gap_in_the_line_and_no_style_is_inline() {
        let start = DateTime::UNIX_EPOCH;
        let at = |minutes| start + TimeDelta::minutes(minutes);
        let points: Vec<Point> =
            [(0, 1.0), (1, f64::NAN), (2, 3.0)].map(|(minutes, value)| Point { at: at(minutes), value }).to_vec();
        let moments = [(at(1), "fired")];
        let chart = Chart { points: &points, start, end: at(2), threshold: 2.0, moments: &moments };
        let svg = chart.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("fired 00:01:00 UTC") && !svg.contains("style="), "{svg}");
    }
}

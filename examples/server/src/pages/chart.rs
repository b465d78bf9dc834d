//! A small chart of an alert's recent values, drawn here so that it needs no script: SVG with attributes only. The
//! lines are stretched to the width there is; words and numbers stand beside them, in the page's own size.

use std::borrow::Cow;
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
    /// Times worth a background, with a word: while it was pending.
    pub(crate) spans: &'a [(Timestamp, Timestamp, &'static str)],
}

/// More than this are not seen on any screen.
const MOST_POINTS: usize = 600;

/// Few enough points to draw: of each stretch the lowest and the highest, so that no peak is lost.
fn thinned(points: &[Point]) -> Cow<'_, [Point]> {
    if points.len() <= MOST_POINTS {
        return Cow::Borrowed(points);
    }
    let mut kept = Vec::with_capacity(MOST_POINTS);
    for stretch in points.chunks(points.len().div_ceil(MOST_POINTS / 2)) {
        let by_value = |a: &&Point, b: &&Point| a.value.total_cmp(&b.value);
        let finite = || stretch.iter().filter(|point| point.value.is_finite());
        match (finite().min_by(by_value), finite().max_by(by_value)) {
            (Some(low), Some(high)) if low.at < high.at => kept.extend([*low, *high]),
            (Some(low), Some(high)) if low.at > high.at => kept.extend([*high, *low]),
            (Some(only), _) => kept.push(*only),
            // A hole stays one.
            _ => kept.extend(stretch.first()),
        }
    }
    Cow::Owned(kept)
}

/// A moment on an axis: with its day when the axis is long.
fn tick(at: Timestamp, start: Timestamp, end: Timestamp) -> String {
    let format = if (end - start).num_hours() > 24 { "%m-%d %H:%M UTC" } else { "%H:%M UTC" };
    at.format(format).to_string()
}

/// A line of values small enough for a row, with its threshold. What it says is said in words by `label`.
pub(crate) fn spark(points: &[Point], threshold: f64, label: &str) -> String {
    const WIDTH: f64 = 100.0;
    const HEIGHT: f64 = 24.0;
    let values = || points.iter().map(|point| point.value).filter(|value| value.is_finite());
    let (low, high) = values()
        .chain([threshold])
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let span = if high > low { high - low } else { 1.0 };
    let y = |value: f64| 1.0 + (HEIGHT - 2.0) * (1.0 - (value - low) / span);
    let last = points.len().saturating_sub(1).max(1) as f64;
    let mut svg = format!(
        "<svg class=\"spark\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">\
         <line class=\"threshold\" x1=\"0\" y1=\"{y:.1}\" x2=\"{WIDTH}\" y2=\"{y:.1}\"/>",
        y = y(threshold)
    );
    svg.push_str("<polyline points=\"");
    for (place, point) in points.iter().enumerate().filter(|(_, point)| point.value.is_finite()) {
        let _ = write!(svg, "{:.1},{:.1} ", WIDTH * place as f64 / last, y(point.value));
    }
    svg.push_str("\"/></svg>");
    svg
}

/// A strip of states over time, each stretch `(from, to, word)`.
pub(crate) fn strip(stretches: &[(Timestamp, Timestamp, &'static str)], start: Timestamp, end: Timestamp) -> String {
    let span = (end - start).num_milliseconds().max(1) as f64;
    let x = |at: Timestamp| WIDTH * ((at - start).num_milliseconds() as f64 / span).clamp(0.0, 1.0);
    let mut svg = String::from("<figure class=\"plot\"><div class=\"ys\"></div>");
    let _ = write!(
        svg,
        "<svg class=\"strip\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"states from {} \
         to {}; the table below has them in words\">",
        absolute(start),
        absolute(end)
    );
    for (from, to, word) in stretches {
        // What is short is still seen.
        let (x, width) = (x(*from), (x(*to) - x(*from)).max(2.0));
        let _ = write!(
            svg,
            "<rect class=\"{word}\" x=\"{x:.1}\" y=\"0\" width=\"{width:.1}\" height=\"{HEIGHT}\"><title>{word} {} to {}</title></rect>",
            absolute(*from),
            absolute(*to)
        );
    }
    let _ = write!(
        svg,
        "</svg><div class=\"xs\" aria-hidden=\"true\"><span>{}</span><span>{}</span></div><figcaption class=\"legend\">",
        tick(start, start, end),
        tick(end, start, end)
    );
    for (class, words) in
        [("firing", "firing"), ("pending", "pending"), ("normal", "normal or resolved"), ("disabled", "disabled")]
    {
        let _ = write!(svg, "<span><span class=\"key span {class}\"></span>{words}</span>");
    }
    svg.push_str("</figcaption></figure>");
    svg
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
        let mut words = Vec::new();
        for (from, to, word) in self.spans {
            let (x, width) = (x(*from), (x(*to) - x(*from)).max(1.0));
            let _ = write!(
                svg,
                "<rect class=\"span {word}\" x=\"{x:.1}\" y=\"0\" width=\"{width:.1}\" height=\"{HEIGHT}\"/>"
            );
            if !words.contains(word) {
                words.push(*word);
                let _ = write!(told, "<span><span class=\"key span {word}\"></span>{word}</span>");
            }
        }
        for (at, word) in self.moments.iter().filter(|(at, _)| (self.start..=self.end).contains(at)) {
            let x = x(*at);
            let _ = write!(svg, "<line class=\"moment {word}\" x1=\"{x:.1}\" y1=\"0\" x2=\"{x:.1}\" y2=\"{HEIGHT}\"/>");
            let _ = write!(
                told,
                "<span><span class=\"key moment {word}\"></span>{word} {}</span>",
                at.format("%H:%M:%S UTC")
            );
        }
        let points = thinned(self.points);
        for run in points.split(|point| !point.value.is_finite()).filter(|run| !run.is_empty()) {
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
            tick(self.start, self.start, self.end),
            tick(self.end, self.start, self.end),
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
        let chart = Chart { points: &points, start, end: at(2), threshold: 2.0, moments: &moments, spans: &[] };
        let svg = chart.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("fired 00:01:00 UTC") && !svg.contains("style="), "{svg}");
    }

    #[test]
    fn a_long_series_is_drawn_with_few_points_and_all_of_its_peaks() {
        let start = DateTime::UNIX_EPOCH;
        let at = |second| start + TimeDelta::seconds(second);
        let value = |second| if second == 5_003 { 99.0 } else { 1.0 };
        let points: Vec<Point> = (0..11_000).map(|second| Point { at: at(second), value: value(second) }).collect();
        let few = thinned(&points);
        assert!(few.len() <= MOST_POINTS && few.iter().any(|point| point.value == 99.0), "{}", few.len());
        assert!(few.is_sorted_by_key(|point| point.at));
        let spans = [(at(10), at(20), "pending"), (at(20), at(30), "firing"), (at(40), at(50), "pending")];
        let chart = Chart { points: &points, start, end: at(11_000), threshold: 2.0, moments: &[], spans: &spans };
        let svg = chart.svg();
        assert_eq!((svg.matches("<rect").count(), svg.matches("key span pending").count()), (3, 1));
        assert!(!spark(&points, 2.0, "x").contains("style=") && !strip(&spans, start, at(50)).contains("style="));
    }
}

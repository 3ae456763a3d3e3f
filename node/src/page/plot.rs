//! Lines of plots: from points to the paths of an SVG. Pure.

use std::fmt::Write;

use super::history::{Point, SPAN};

/// The paths of a plot, in a box of [`WIDTH`] × [`HEIGHT`]: now is at the right, 0 at the bottom, `top` at the top. Where
/// there was nothing to measure there is a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Paths {
    pub(super) line: String,
    /// What is below the line.
    pub(super) area: String,
}

/// Draws.
pub(super) fn paths(points: &[Point], top: f64) -> Paths {
    let mut paths = Paths::default();
    for run in points.split(|point| point.value.is_none()) {
        let at = run.iter().filter_map(|point| Some((x(point.age_secs), y(point.value?, top))));
        let at: Vec<_> = at.collect();
        let (Some((first, _)), Some((last, _))) = (at.first(), at.last()) else { continue };
        let mut line = String::new();
        for (x, y) in &at {
            let command = if line.is_empty() { 'M' } else { 'L' };
            // Writing into a String cannot fail.
            let _ = write!(line, "{command}{x:.1} {y:.1}");
        }
        let _ = write!(paths.area, "{line}L{last:.1} {HEIGHT}L{first:.1} {HEIGHT}Z");
        if at.len() == 1 {
            // A dot, by its round ends.
            line.push_str("h0");
        }
        paths.line.push_str(&line);
    }
    paths
}

fn x(age_secs: f64) -> f64 {
    WIDTH * (1.0 - (age_secs / SPAN.as_secs_f64()).clamp(0.0, 1.0))
}

fn y(value: f64, top: f64) -> f64 {
    let part = if top > 0.0 { (value / top).clamp(0.0, 1.0) } else { 0.0 };
    // The line has a width of its own.
    HEIGHT - MARGIN - part * (HEIGHT - 2.0 * MARGIN)
}

pub(super) const WIDTH: f64 = 240.0;
pub(super) const HEIGHT: f64 = 60.0;
const MARGIN: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[(f64, Option<f64>)]) -> Vec<Point> {
        values.iter().map(|(age_secs, value)| Point { age_secs: *age_secs, value: *value }).collect()
    }

    #[track_caller]
    fn check(values: &[(f64, Option<f64>)], top: f64, line: &str, area: &str) {
        let expected = Paths { line: line.to_owned(), area: area.to_owned() };
        assert_eq!(paths(&points(values), top), expected, "{values:?}");
    }

    #[test]
    fn line_goes_from_left_to_right_between_0_and_the_top() {
        check(
            &[(3600.0, Some(0.0)), (1800.0, Some(5.0)), (0.0, Some(10.0))],
            10.0,
            "M0.0 58.0L120.0 30.0L240.0 2.0",
            "M0.0 58.0L120.0 30.0L240.0 2.0L240.0 60L0.0 60Z",
        );
        check(&[], 10.0, "", "");
    }

    #[test]
    fn nothing_measured_is_a_gap_and_a_point_alone_a_dot() {
        check(
            &[(3600.0, Some(1.0)), (1800.0, None), (900.0, Some(1.0)), (0.0, Some(1.0))],
            1.0,
            "M0.0 2.0h0M180.0 2.0L240.0 2.0",
            "M0.0 2.0L0.0 60L0.0 60ZM180.0 2.0L240.0 2.0L240.0 60L180.0 60Z",
        );
    }

    #[test]
    fn point_beyond_the_bounds_stays_in_the_box() {
        check(&[(7200.0, Some(2.0))], 1.0, "M0.0 2.0h0", "M0.0 2.0L0.0 60L0.0 60Z");
        check(&[(0.0, Some(0.0))], 0.0, "M240.0 58.0h0", "M240.0 58.0L240.0 60L240.0 60Z");
        check(&[(0.0, Some(-1.0))], 1.0, "M240.0 58.0h0", "M240.0 58.0L240.0 60L240.0 60Z");
    }
}

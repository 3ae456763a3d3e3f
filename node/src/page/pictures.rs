//! Bars and plots as inline SVG, each with its numbers in words: nothing is told by a picture alone.

use maud::{Markup, html};

use super::{
    history::Point,
    plot::{HEIGHT, WIDTH, paths},
};

/// How much of a whole, as a picture: `what` follows the percentage.
pub(super) fn bar(part: u64, whole: u64, what: &str) -> Markup {
    let share = if whole == 0 { 0.0 } else { (part as f64 / whole as f64).clamp(0.0, 1.0) };
    let label = format!("{} {what}", percent(share));
    html! {
        svg.bar role="img" aria-label=(label) {
            rect.track width="100%" height="100%" {}
            rect.fill width=(format!("{:.1}%", share * 100.0)) height="100%" {}
        }
        p.label aria-hidden="true" { (label) }
    }
}

/// A plot of the last hour. What is highest reaches the top, unless the top is given; `show` says a value in words.
pub(super) fn figure(title: &str, points: &[Point], show: fn(f64) -> String, top: Option<f64>) -> Markup {
    let values = points.iter().filter_map(|point| point.value);
    let Some(most) = values.reduce(f64::max) else {
        return html! { figure { figcaption { (title) } p.nothing { "Nothing to show yet." } } };
    };
    let last = points.last().and_then(|point| point.value).map_or_else(|| "none".to_owned(), show);
    let drawn = paths(points, top.unwrap_or(most));
    let most = show(most);
    html! {
        figure {
            figcaption { (title) }
            p.values { "now " strong { (last) } ", at most " (most) }
            svg.plot viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img"
                aria-label=(format!("{title}, over the last hour: now {last}, at most {most}")) {
                path.area d=(drawn.area) {}
                path.line d=(drawn.line) vector-effect="non-scaling-stroke" {}
            }
            p.axis aria-hidden="true" { span { "an hour ago" } span { "now" } }
        }
    }
}

/// A part from 0 to 1: `83 %`.
pub(super) fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.01 { "under 1 %".to_owned() } else { format!("{:.0} %", share * 100.0) }
}

/// Bytes that were reckoned: `1.5 MiB`.
pub(super) fn amount(bytes: f64) -> String {
    let (mut amount, mut unit) = (bytes, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, larger);
    }
    format!("{} {unit}", short(amount))
}

/// One digit behind the point, where that tells anything.
fn short(number: f64) -> String {
    let text = if number < 100.0 { format!("{number:.1}") } else { format!("{number:.0}") };
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[Option<f64>]) -> Vec<Point> {
        values.iter().map(|value| Point { age_secs: 0.0, value: *value }).collect()
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(amount(0.0), "0 B");
        assert_eq!((amount(1023.4), amount(1536.0)), ("1023 B".to_owned(), "1.5 KiB".to_owned()));
        assert_eq!(amount(5.0 * 1024.0_f64.powi(5)), "5120 TiB");
        assert_eq!(
            (percent(0.834), percent(0.0001), percent(0.0)),
            ("83 %".into(), "under 1 %".into(), "0 %".into())
        );
    }

    #[test]
    fn plot_says_in_words_what_it_shows() {
        let plot = figure("Hits", &points(&[Some(0.3), None, Some(0.1)]), percent, None).into_string();
        let label = r#"role="img" aria-label="Hits, over the last hour: now 10 %, at most 30 %""#;
        assert!(plot.contains(label), "{plot}");
        let idle = figure("Hits", &points(&[Some(0.5), None]), percent, None).into_string();
        assert!(idle.contains("now none, at most 50 %"), "{idle}");
        let empty = figure("Hits", &points(&[None]), percent, Some(1.0)).into_string();
        assert!(empty.contains("Nothing to show yet") && !empty.contains("<svg"), "{empty}");
    }

    #[test]
    fn bar_is_never_longer_than_its_whole() {
        for (part, whole, expected) in [(1, 2, "50.0%"), (3, 2, "100.0%"), (0, 0, "0.0%")] {
            let bar = bar(part, whole, "used").into_string();
            assert!(bar.contains(&format!(r#"class="fill" width="{expected}""#)), "{bar}");
        }
    }
}

//! The little of Prometheus' text format that the tests need.

use std::collections::BTreeMap;

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
}

/// What is said of one metric.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) help: String,
    pub(super) kind: Type,
    /// Each series' labels, and its value. Of a histogram only the counts: they say whether it moved.
    pub(super) series: BTreeMap<Labels, f64>,
}

/// Name and value of each label.
pub(super) type Labels = Vec<(String, String)>;

/// Every metric of a text, by name.
pub(super) fn families(text: &str) -> BTreeMap<String, Family> {
    let (mut families, mut helps) = (BTreeMap::<String, Family>::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            helps.insert(name.to_owned(), help.to_owned());
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let kind = match kind {
                "counter" => Type::Counter,
                "gauge" => Type::Gauge,
                "histogram" => Type::Histogram,
                other => panic!("{name} is a {other}"),
            };
            let help = helps.remove(name).unwrap_or_default();
            families.insert(name.to_owned(), Family { help, kind, series: BTreeMap::new() });
        } else if !line.is_empty() {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let is_part = name.ends_with("_bucket") || name.ends_with("_sum");
            let family = families.get_mut(name.strip_suffix("_count").unwrap_or(name));
            match family {
                Some(family) => drop(family.series.insert(pairs(labels), value.parse().unwrap())),
                None => assert!(is_part, "{line} belongs to no metric"),
            }
        }
    }
    families
}

/// The labels as they stand between braces; no value of ours has a comma or a quote.
fn pairs(labels: &str) -> Labels {
    let pairs = labels.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty());
    let split = pairs.map(|pair| pair.split_once('=').unwrap());
    split.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

#[test]
fn text_is_read_as_it_is_meant() {
    let text = "# HELP a_total What a is.\n# TYPE a_total counter\na_total{file=\"x\"} 3\na_total{file=\"y\"} 0\n\
                # TYPE b_seconds histogram\nb_seconds_bucket{le=\"1\"} 2\nb_seconds_sum 1.5\nb_seconds_count 2\n";
    let families = families(text);
    let a = &families["a_total"];
    let label = |value: &str| vec![("file".to_owned(), value.to_owned())];
    assert_eq!((a.help.as_str(), a.kind), ("What a is.", Type::Counter));
    assert_eq!(a.series, [(label("x"), 3.0), (label("y"), 0.0)].into());
    let b = &families["b_seconds"];
    assert_eq!((b.help.as_str(), b.kind, &b.series), ("", Type::Histogram, &[(vec![], 2.0)].into()));
}

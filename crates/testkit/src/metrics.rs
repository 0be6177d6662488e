//! What a program shows to Prometheus, as text for golden tests: names, types and labels without values.

use std::collections::BTreeSet;

use prometheus::proto::MetricFamily;

/// One line for each metric of ours: name, labels, type.
#[must_use]
pub fn catalogue(families: &[MetricFamily]) -> String {
    let mut lines: Vec<String> = families
        .iter()
        .filter(|family| family.name().starts_with("railhead_"))
        .map(line)
        .collect();
    lines.sort();
    lines.join("\n")
}

fn line(family: &MetricFamily) -> String {
    let labels: BTreeSet<&str> = family
        .get_metric()
        .iter()
        .flat_map(prometheus::proto::Metric::get_label)
        .map(prometheus::proto::LabelPair::name)
        .collect();
    let labels: Vec<_> = labels.into_iter().collect();
    let kind = format!("{:?}", family.get_field_type()).to_lowercase();
    format!("{}{{{}}} {kind}", family.name(), labels.join(","))
}

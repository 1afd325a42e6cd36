//! The tables of a comparison as rows of words, ready for any of the formats.

use super::report::{ComparisonReport, SystemReport};
use trimer_core::metrics::{METRICS, Task, summary};

/// A table of words, ready for any of the formats.
pub(super) struct Sheet {
    pub(super) title: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// The metrics that the main table shows, by task.
pub(super) fn shown(c: &ComparisonReport) -> Vec<&'static str> {
    let task = if c.classes.is_empty() {
        Task::Regression
    } else {
        Task::Classification
    };
    let has = |id: &str| c.systems.iter().any(|r| r.metrics.scalar(id).is_some());
    let mut ids = vec![c.metric];
    let short = summary(task).map(|info| info.id);
    ids.extend(short.filter(|id| *id != c.metric && has(id)));
    ids
}

/// `0.643 [0.601, 0.684]`.
fn value(system: &SystemReport, id: &str) -> String {
    match (system.metrics.scalar(id), system.metrics.interval(id)) {
        (Some(v), Some([low, high])) if !low.is_nan() => format!("{v:.3} [{low:.3}, {high:.3}]"),
        (Some(v), _) if !v.is_nan() => format!("{v:.3}"),
        _ => "-".into(),
    }
}

fn p_value(p: f64) -> String {
    if p.is_nan() {
        "-".into()
    } else if p < 0.001 {
        "<0.001".into()
    } else {
        format!("{p:.3}")
    }
}

/// Every table: scores, tests, classes, published numbers.
pub(super) fn sheets(c: &ComparisonReport) -> Vec<Sheet> {
    let mut all = vec![main_sheet(c)];
    if c.systems.len() > 1 {
        all.push(test_sheet(c));
    }
    if !c.classes.is_empty() {
        all.push(class_sheet(c));
    }
    if !c.published.is_empty() {
        all.push(published_sheet(c));
    }
    all
}

fn main_sheet(c: &ComparisonReport) -> Sheet {
    let ids = shown(c);
    let on_test = !c.warning.is_empty();
    let mut head: Vec<String> = vec!["row".into()];
    head.extend(ids.iter().map(|id| (*id).to_owned()));
    head.extend(["parameters", "training s", "latency ms", "seeds"].map(str::to_owned));
    if on_test {
        head.push("inflation".into());
    }
    let rows = c.systems.iter().map(|r| {
        let mut cells = vec![r.name.clone()];
        cells.extend(ids.iter().map(|id| value(r, id)));
        cells.push(r.parameters.to_string());
        cells.push(format!("{:.1}", r.train_s));
        cells.push(format!("{:.2}", r.latency_ms[0]));
        cells.push(r.seeds.to_string());
        if on_test {
            let gain = r.selection.inflation;
            cells.push(gain.map_or_else(|| "-".into(), |g| format!("{g:+.3}")));
        }
        cells
    });
    Sheet {
        title: format!(
            "{} utterances of the {} split of {}: means with 95 % intervals",
            c.n,
            c.split,
            c.corpora.join(", ")
        ),
        head,
        rows: rows.collect(),
    }
}

fn test_sheet(c: &ComparisonReport) -> Sheet {
    let rows = c.systems.iter().filter_map(|r| {
        let test = r.test.as_ref()?;
        let [low, high] = test.result.interval;
        Some(vec![
            r.name.clone(),
            format!("{:+.3} [{low:+.3}, {high:+.3}]", test.result.difference),
            p_value(test.result.p_value),
            p_value(test.p_holm),
        ])
    });
    Sheet {
        title: format!(
            "Difference of {} to {} (paired bootstrap over utterances and seeds; {} is better)",
            c.metric,
            c.reference,
            if c.higher_is_better {
                "higher"
            } else {
                "lower"
            }
        ),
        head: ["row", "difference", "p", "p (Holm)"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
    }
}

pub(super) fn class_sheet(c: &ComparisonReport) -> Sheet {
    let f1 = |system: &SystemReport, class: &String| {
        let all = system.metrics.per_class("f1");
        let value = all.and_then(|all| all.iter().find(|(name, _)| name == class));
        value.map_or_else(|| "-".into(), |(_, v)| format!("{v:.3}"))
    };
    let mut head = vec!["row".to_owned()];
    head.extend(c.classes.iter().cloned());
    let rows = c.systems.iter().map(|r| {
        let mut cells = vec![r.name.clone()];
        cells.extend(c.classes.iter().map(|class| f1(r, class)));
        cells
    });
    Sheet {
        title: "F1 per class".into(),
        head,
        rows: rows.collect(),
    }
}

pub(super) fn published_sheet(c: &ComparisonReport) -> Sheet {
    let known = METRICS.iter().map(|info| info.id);
    let ids: Vec<&str> = known
        .filter(|id| c.published.iter().any(|p| p.metrics.contains_key(*id)))
        .collect();
    let mut head = vec!["published, not measured here".to_owned()];
    head.extend(ids.iter().map(|id| (*id).to_owned()));
    head.push("source".into());
    let rows = c.published.iter().map(|p| {
        let mut cells = vec![p.name.clone()];
        let value = |id: &&str| {
            p.metrics
                .get(*id)
                .map_or_else(|| "-".into(), |v| format!("{v:.4}"))
        };
        cells.extend(ids.iter().map(value));
        cells.push(p.source.clone());
        cells
    });
    Sheet {
        title: "Published numbers on this corpus and split".into(),
        head,
        rows: rows.collect(),
    }
}

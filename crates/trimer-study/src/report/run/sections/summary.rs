//! The runs at a glance.

use crate::report::run::evaluated::EvaluatedRun;
use crate::report::run::options::ReportOptions;
use trimer_core::Head;
use trimer_core::metrics::Metrics;
use trimer_report::{Card, Cell, Column, Section, Table};

pub(in crate::report::run) fn section(
    runs: &[EvaluatedRun<'_>],
    options: &ReportOptions,
) -> Section {
    let mut section = Section::new("Summary");
    for run in runs {
        if let Some(warning) = run.protocol.warning_banner() {
            section = section.warning(format!("{}: {warning}", run.name));
        }
    }
    section = match runs {
        [one] => about_one(section, one, options),
        many => about_many(section, many),
    };
    for run in runs {
        if let Some(gain) = gain(run) {
            section = section.paragraph(if runs.len() > 1 {
                format!("{}: {gain}", run.name)
            } else {
                gain
            });
        }
    }
    section
}

fn about_one(mut section: Section, run: &EvaluatedRun<'_>, options: &ReportOptions) -> Section {
    let (metric, _) = run.main_metric();
    let mut cards = Vec::new();
    if let Some(m) = run.own.get(run.main) {
        let value = m.scalar(metric).unwrap_or(f64::NAN);
        let card = Card::new(
            format!("{} {metric}, {} head", options.split, run.main),
            format!("{value:.3}"),
        );
        cards.push(match m.interval(metric) {
            Some([low, high]) => card.note(format!("95 % interval {low:.3} to {high:.3}")),
            None => card,
        });
    }
    if let Some(ceiling) = run.corpus.ceiling() {
        let best = Head::ALL.into_iter().filter_map(Head::modality);
        let best = best.filter_map(|m| Some((m, *ceiling.multimodal_from.get(m.as_str())?)));
        if let Some((m, value)) = best.max_by(|a, b| a.1.total_cmp(&b.1)) {
            cards.push(
                Card::new("best possible from one modality", format!("{value:.3}"))
                    .note(format!("Bayes-optimal accuracy from {m} alone")),
            );
        }
        let all = ceiling
            .multimodal_from
            .iter()
            .max_by(|a, b| a.1.total_cmp(b.1));
        if let Some((_, value)) = all {
            cards.push(
                Card::new("best possible from all", format!("{value:.3}"))
                    .note("Bayes-optimal accuracy"),
            );
        }
    }
    cards.push(
        Card::new("utterances", run.corpus.len().to_string()).note(format!(
            "{} in {}",
            run.rows().len(),
            options.split
        )),
    );
    cards.push(Card::new("seeds", run.run.config.seeds.len().to_string()));
    section = section.cards(cards);
    section.table(head_table(run, options))
}

/// Value and interval of a metric.
fn cell(m: Option<&Metrics>, name: &str) -> Cell {
    let value = m.and_then(|m| Some((m.scalar(name)?, m.interval(name))));
    match value {
        Some((value, Some(interval))) => Cell::Interval(value, interval),
        Some((value, None)) => Cell::Number(value),
        None => Cell::Empty,
    }
}

fn head_table(run: &EvaluatedRun<'_>, options: &ReportOptions) -> Table {
    let (first, higher) = run.main_metric();
    let metrics = run.main_metrics();
    // Only the last column compares: in the others each head is evaluated against another label.
    let columns = std::iter::once(Column::text("head"))
        .chain(metrics.map(|name| Column::number(format!("{name}, own label"), 3)))
        .chain([Column::number(format!("{first}, multimodal label"), 3).best(higher)]);
    let title = format!(
        "Each head on the {} split, with 95 % intervals",
        options.split
    );
    let mut table = Table::new(title, columns);
    for head in run.heads() {
        let own = run.own.get(head).as_ref();
        let mut row = vec![Cell::from(head.as_str())];
        row.extend(metrics.map(|name| cell(own, name)));
        row.push(cell(run.joint.get(head).as_ref(), first));
        table.push(row);
    }
    table
}

fn about_many(mut section: Section, runs: &[EvaluatedRun<'_>]) -> Section {
    let differs =
        |f: &dyn Fn(&EvaluatedRun<'_>) -> String| runs.iter().any(|r| f(r) != f(&runs[0]));
    let one_corpus = !differs(&|r| r.corpus.fingerprint());
    let one_task = !differs(&|r| format!("{:?}{:?}", r.task(), r.classes()));
    if !one_corpus {
        section = section.warning(
            "The runs were evaluated on different corpora. They are shown side by side to be looked at; \
             their numbers cannot be compared.",
        );
    }
    let comparable = one_corpus && one_task;
    let (_, higher) = runs[0].main_metric();
    let number = |name: String, better: bool| {
        let column = Column::number(name, 3);
        if comparable {
            column.best(better)
        } else {
            column
        }
    };
    let mut columns = ["run", "model", "corpus"].map(Column::text).to_vec();
    columns.push(Column::number("seeds", 0));
    let names: Vec<&str> = if one_task {
        runs[0].main_metrics().to_vec()
    } else {
        vec!["accuracy", "weighted_f1", "mae", "pearson"]
    };
    columns.extend(names.iter().map(|name| {
        let better = if *name == "mae" {
            false
        } else {
            higher || one_task
        };
        number((*name).to_owned(), better)
    }));
    let title = "The main head of each run, with 95 % intervals";
    let mut table = Table::new(title, columns);
    for run in runs {
        let mut row = vec![
            Cell::from(run.name.as_str()),
            Cell::from(run.model()),
            Cell::from(run.corpus.info().name.as_str()),
            Cell::from(run.run.config.seeds.len() as f64),
        ];
        let m = run.own.get(run.main).as_ref();
        row.extend(names.iter().map(|name| cell(m, name)));
        table.push(row);
    }
    section = section.table(table);
    if comparable {
        section = section.info(
            "Whether a difference is more than chance is told by `trimer compare`, which tests it on \
             the same utterances.",
        );
    }
    section
}

/// One sentence that compares the fused head with the single modalities.
fn gain(run: &EvaluatedRun<'_>) -> Option<String> {
    let (metric, higher) = run.main_metric();
    let fused = run.joint.multimodal.as_ref()?.scalar(metric)?;
    let single = Head::ALL.into_iter().filter(|h| *h != Head::Multimodal);
    let values = single.filter_map(|h| Some((h, run.joint.get(h).as_ref()?.scalar(metric)?)));
    let (head, best) = values.max_by(|a, b| {
        if higher {
            a.1.total_cmp(&b.1)
        } else {
            b.1.total_cmp(&a.1)
        }
    })?;
    let better = if higher { fused > best } else { fused < best };
    let relation = if better {
        "better than"
    } else {
        "not better than"
    };
    Some(format!(
        "On the multimodal label the fused head reaches {metric} {fused:.3}, {relation} the best \
         single modality ({head}: {best:.3})."
    ))
}

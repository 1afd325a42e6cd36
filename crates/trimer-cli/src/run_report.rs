//! A run as one HTML page.

use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::{EvaluationOptions, Metrics};
use trimer_core::{Head, HeadMap};
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_nn::predict::Predictions;
use trimer_nn::train::{EpochReport, RunDir};
use trimer_report::{
    BarChart, Card, Cell, Column, ConfusionMatrix, LineChart, Report, Section, Series, Table,
};

/// Everything about a run that is known without training again.
pub(crate) fn report(run: &RunDir, corpus: &Corpus, device: &Device) -> anyhow::Result<Report> {
    let cfg = &run.config;
    let options = EvaluationOptions::default();
    let heads = run.evaluate(corpus, Split::Test, device, &options)?;
    let against_all = HeadMap::from_fn(|_| Head::Multimodal);
    let joint = run.evaluate_against(corpus, Split::Test, &against_all, device, &options)?;
    let title = format!("{} on {}", cfg.model.info().id, cfg.corpus_name);
    let mut report = Report::new(title)
        .subtitle(cfg.model.info().title)
        .section(summary(run, corpus, &heads, &joint))
        .section(training(run)?);
    if !cfg.classes.is_empty() {
        report.push(classes(run, &heads));
        if matches!(cfg.task, Task::Classification { .. }) {
            report.push(confusions(run, corpus, device)?);
        }
    }
    report.push(protocol(run)?);
    Ok(report.footer(format!("trimer {}", env!("CARGO_PKG_VERSION"))))
}

const fn main_metric(run: &RunDir) -> &'static str {
    if run.config.classes.is_empty() {
        "mae"
    } else {
        "accuracy"
    }
}

fn summary(
    run: &RunDir,
    corpus: &Corpus,
    heads: &HeadMap<Option<Metrics>>,
    joint: &HeadMap<Option<Metrics>>,
) -> Section {
    let metric = main_metric(run);
    let n_test = corpus.indices(Split::Test).len();
    let mut cards = Vec::new();
    if let Some(m) = &heads.multimodal {
        let value = m.scalar(metric).unwrap_or(f64::NAN);
        let card = Card::new(
            format!("test {metric}, multimodal head"),
            format!("{value:.3}"),
        );
        cards.push(match m.interval(metric) {
            Some([low, high]) => card.note(format!("95 % interval {low:.3} to {high:.3}")),
            None => card,
        });
    }
    if let Some(ceiling) = corpus.ceiling() {
        let best = Head::ALL.into_iter().filter_map(Head::modality);
        let best = best.filter_map(|m| Some((m, *ceiling.multimodal_from.get(m.as_str())?)));
        if let Some((m, value)) = best.max_by(|a, b| a.1.total_cmp(&b.1)) {
            cards.push(
                Card::new("best possible from one modality", format!("{value:.3}"))
                    .note(format!("a perfect observer of {m} alone")),
            );
        }
        let all = ceiling
            .multimodal_from
            .iter()
            .max_by(|a, b| a.1.total_cmp(b.1));
        if let Some((_, value)) = all {
            cards.push(
                Card::new("best possible from all", format!("{value:.3}"))
                    .note("a perfect observer"),
            );
        }
    }
    cards.push(Card::new("utterances", corpus.len().to_string()).note(format!("{n_test} in test")));
    cards.push(Card::new("seeds", run.config.seeds.len().to_string()));
    let mut section = Section::new("Summary");
    if let Some(stamp) = run.protocol().ok().and_then(|p| p.stamp()) {
        section = section.warning(stamp);
    }
    let mut section = section.cards(cards).table(head_table(run, heads, joint));
    if let Some(gain) = gain(run, joint) {
        section = section.paragraph(gain);
    }
    if n_test == 0 {
        section = section.warning("The corpus has no test split.");
    }
    section
}

/// One sentence that compares the fused head with the single modalities.
fn gain(run: &RunDir, joint: &HeadMap<Option<Metrics>>) -> Option<String> {
    let metric = main_metric(run);
    let fused = joint.multimodal.as_ref()?.scalar(metric)?;
    let single = Head::ALL.into_iter().filter(|h| *h != Head::Multimodal);
    let values = single.filter_map(|h| Some((h, joint.get(h).as_ref()?.scalar(metric)?)));
    let lower_is_better = metric == "mae";
    let (head, best) = values.max_by(|a, b| {
        if lower_is_better {
            b.1.total_cmp(&a.1)
        } else {
            a.1.total_cmp(&b.1)
        }
    })?;
    let better = if lower_is_better {
        fused < best
    } else {
        fused > best
    };
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

fn head_table(
    run: &RunDir,
    heads: &HeadMap<Option<Metrics>>,
    joint: &HeadMap<Option<Metrics>>,
) -> Table {
    let (metrics, higher): ([&str; 2], bool) = if run.config.classes.is_empty() {
        (["mae", "pearson"], false)
    } else {
        (["accuracy", "weighted_f1"], true)
    };
    let first = metrics[0];
    // Only the last column compares: in the others each head answers to another label.
    let columns = std::iter::once(Column::text("head"))
        .chain(
            metrics
                .iter()
                .map(|name| Column::number(format!("{name}, own label"), 3)),
        )
        .chain([Column::number(format!("{first}, multimodal label"), 3).best(higher)]);
    let mut table = Table::new("Each head on the test split, with 95 % intervals", columns);
    let cell = |m: Option<&Metrics>, name: &str| {
        let value = m.and_then(|m| Some((m.scalar(name)?, m.interval(name))));
        match value {
            Some((value, Some(interval))) => Cell::Interval(value, interval),
            Some((value, None)) => Cell::Number(value),
            None => Cell::Empty,
        }
    };
    for head in Head::ALL {
        let Some(own) = heads.get(head) else { continue };
        let mut row = vec![Cell::from(head.as_str())];
        row.extend(metrics.iter().map(|name| cell(Some(own), name)));
        row.push(cell(joint.get(head).as_ref(), first));
        table.push(row);
    }
    table
}

fn training(run: &RunDir) -> anyhow::Result<Section> {
    let (selector, _) = run.config.train.selector(run.config.task)?;
    let mut section = Section::new("Training");
    for &seed in &run.config.seeds {
        let log = run.log(seed)?;
        let valid = |r: &EpochReport, h: Head| r.valid.get(h).as_ref()?.get(selector)?.as_f64();
        let name = |what: String| {
            if run.config.seeds.len() > 1 {
                format!("{what}, seed {seed}")
            } else {
                what
            }
        };
        let loss = |r: &EpochReport, h: Head| *r.train_losses.get(h);
        section = section
            .figure(curves(
                name("Training loss per head".into()),
                "loss",
                &log,
                loss,
            ))
            .figure(curves(
                name(format!("Validation {selector} per head")),
                selector,
                &log,
                valid,
            ));
    }
    Ok(section)
}

fn curves(
    title: String,
    y: &str,
    log: &[EpochReport],
    value: impl Fn(&EpochReport, Head) -> Option<f64>,
) -> LineChart {
    let mut chart = LineChart::new(title, "epoch", y);
    for head in Head::ALL {
        let points: Vec<(f64, f64)> = log
            .iter()
            .filter_map(|r| Some((r.epoch as f64, value(r, head)?)))
            .collect();
        if !points.is_empty() {
            chart = chart.series(Series::new(head.as_str(), points));
        }
    }
    match log.iter().rfind(|r| r.is_best) {
        Some(best) => chart.mark_x(best.epoch as f64, "selected"),
        None => chart,
    }
}

fn classes(run: &RunDir, heads: &HeadMap<Option<Metrics>>) -> Section {
    let names = &run.config.classes;
    let mut chart = BarChart::new(
        "F1 per class, each head on its own label",
        "class",
        "F1",
        names.clone(),
    )
    .y_max(1.0);
    for head in Head::ALL {
        let Some(per_class) = heads.get(head).as_ref().and_then(|m| m.per_class("f1")) else {
            continue;
        };
        let value = |class: &String| {
            per_class
                .iter()
                .find(|(n, _)| n == class)
                .map_or(f64::NAN, |(_, v)| *v)
        };
        chart = chart.series(head.as_str(), names.iter().map(value).collect::<Vec<f64>>());
    }
    Section::new("Classes").figure(chart)
}

fn confusions(run: &RunDir, corpus: &Corpus, device: &Device) -> anyhow::Result<Section> {
    let columns = run.columns(corpus);
    let n = run.config.classes.len();
    let seeds = run
        .config
        .seeds
        .iter()
        .map(|s| run.predictions(*s, corpus, Split::Test, device))
        .collect::<Result<Vec<Predictions>, _>>()?;
    let mut section = Section::new("Confusions")
        .paragraph("Rows are the true classes, columns the predicted ones; all seeds together.");
    for head in Head::ALL {
        let mut counts = vec![vec![0.0; n]; n];
        let mut any = false;
        for predictions in &seeds {
            let Some(pred) = predictions.classes(head) else {
                continue;
            };
            for (row, class) in predictions.indices.iter().zip(pred) {
                if let Some(truth) = corpus.utterances()[*row].labels.get(*columns.get(head)) {
                    counts[*truth as usize][class as usize] += 1.0;
                    any = true;
                }
            }
        }
        if any {
            let title = format!("{head} head on its own label");
            section = section.figure(ConfusionMatrix::new(
                title,
                run.config.classes.clone(),
                counts,
            ));
        }
    }
    Ok(section)
}

fn protocol(run: &RunDir) -> anyhow::Result<Section> {
    let p = run.protocol()?;
    let section = match p.stamp() {
        Some(stamp) => Section::new("Protocol").warning(stamp),
        None => Section::new("Protocol"),
    };
    let text = format!(
        "Parameters and normalisation were fitted on {}. Epochs were selected on {} by {}. The test split was opened {} time(s), first after selection.",
        p.fitted_on,
        p.selected_on,
        p.selected_by,
        p.test_opened.len()
    );
    Ok(section.info(text).code(toml::to_string(&run.config)?))
}

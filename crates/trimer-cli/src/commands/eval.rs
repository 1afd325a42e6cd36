//! `trimer eval`: metrics of a run, head by head, with intervals.

use super::calibrate;
use crate::{Answer, ui, ui::Hinted};
use std::path::PathBuf;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::{EvaluationOptions, METRICS, Metrics};
use trimer_core::{Head, HeadMap};
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_train::RunDir;
use trimer_train::data::labelled_rows_of_any;

/// Arguments of `trimer eval`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run directory
    run: PathBuf,
    /// Judge on another corpus than the one the run was trained on
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// The split to judge on
    #[arg(long, default_value = "test", value_parser = ["train", "valid", "test"])]
    split: String,
    /// `test` shows a run that selected on test all the same, stamped
    #[arg(long, default_value = "valid", value_parser = ["valid", "test"])]
    select_on: String,
    /// Judge with less than the model was trained on: every subset of its modalities, lost frames,
    /// noise
    #[arg(long)]
    missing: bool,
    /// Shares of the frames that are lost, divided by commas
    #[arg(long, value_name = "RATES", value_delimiter = ',', default_values_t = super::missing::FRAME_LOSS, requires = "missing")]
    pub(super) frame_loss: Vec<f64>,
    /// Ratios of signal to noise power in decibels, divided by commas
    #[arg(long, value_name = "DB", value_delimiter = ',', allow_hyphen_values = true, default_values_t = super::missing::SNR, requires = "missing")]
    pub(super) snr: Vec<f64>,
    /// Which frames are lost and what noise is added follow from it
    #[arg(long, value_name = "S", default_value_t = 0, requires = "missing")]
    pub(super) corruption_seed: u64,
    /// Judge short conversations and long ones apart
    #[arg(long, conflicts_with = "missing")]
    by_length: bool,
    /// Most turns of each group but the last, divided by commas
    #[arg(long, value_name = "TURNS", value_delimiter = ',', default_values_t = [5, 10, 20, 40, 80], requires = "by_length")]
    pub(super) length_edges: Vec<usize>,
    /// Where to compute: cpu, cuda:0 or wgpu
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let run = RunDir::open(&args.run)?;
    run.check_selection(args.select_on == "test")?;
    let corpus = match &args.corpus {
        Some(other) => Corpus::open(other)?,
        None => run.open_corpus()?,
    };
    let split = parse_split(&args.split)?;
    let device = crate::device::opened(&args.device)?.device;
    if labelled_rows_of_any(&corpus, split, run.config.task).is_empty() {
        return Err(Hinted::new(
            nothing_to_judge(&corpus, split),
            "choose another split with `--split`, or another corpus with `--corpus DIR`",
        )
        .into());
    }
    if split == Split::Test {
        run.note_test_opened("eval")?;
    }
    if args.missing {
        super::missing::show(&run, &corpus, split, args, &device)?;
    } else if args.by_length {
        super::by_length::show(&run, &corpus, split, args, &device)?;
    } else {
        show(&run, &corpus, split, &device, args.json)?;
    }
    Ok(Answer::Yes)
}

/// The split of this name. No other name may open test.
pub(crate) fn parse_split(name: &str) -> anyhow::Result<Split> {
    let found = Split::ALL.into_iter().find(|s| s.as_str() == name);
    Ok(found.ok_or_else(|| {
        let known = Split::ALL.map(Split::as_str);
        let near = trimer_core::error::nearest(name, known);
        Hinted::new(
            format!("`{name}` is no split"),
            near.map_or_else(
                || format!("splits are {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            ),
        )
    })?)
}

/// Prints the metrics of a run.
pub(crate) fn show(
    run: &RunDir,
    corpus: &Corpus,
    split: Split,
    device: &Device,
    json: bool,
) -> anyhow::Result<()> {
    let heads = if labelled_rows_of_any(corpus, split, run.config.task).is_empty() {
        ui::warn(&nothing_to_judge(corpus, split));
        HeadMap::default()
    } else {
        run.evaluate(corpus, split, device, &EvaluationOptions::default())?
    };
    let judged = if heads.iter().any(|(_, h)| h.is_some()) {
        run.judge_calibration(corpus, split, device)?
    } else {
        HeadMap::default()
    };
    let calibration = calibrate::results(&judged, &[])?;
    if json {
        let kept: serde_json::Map<String, serde_json::Value> = heads
            .iter()
            .filter_map(|(head, m)| {
                Some((head.to_string(), serde_json::to_value(m.as_ref()?).ok()?))
            })
            .collect();
        let protocol = run.protocol()?;
        return ui::json(&serde_json::json!({
            "stamp": protocol.stamp(),
            "protocol": protocol,
            "corpus": corpus.info().name,
            "split": split,
            "seeds": run.config.seeds,
            "heads": kept,
            "calibration": calibrate::as_json(&judged, &calibration, &[])?,
        }));
    }
    let protocol = run.protocol()?;
    if let Some(stamp) = protocol.stamp() {
        ui::data(&format!("{stamp}\n"));
    }
    ui::data(&format!(
        "{} on `{}`, {split} split, {} seed(s); fitted on {}, selected on {} by {}\n",
        run.config.model.info().id,
        corpus.info().name,
        run.config.seeds.len(),
        protocol.fitted_on,
        protocol.selected_on,
        protocol.selected_by,
    ));
    ui::data(&metric_table(&heads));
    ui::data(&class_table(&heads, &run.config.classes));
    if calibration.iter().any(|(_, c)| c.is_some()) {
        ui::data("\nprobabilities at the temperatures fitted on valid\n");
        ui::data(&calibrate::table(&calibration));
    } else if run.config.task != Task::Regression {
        ui::note(&format!(
            "the probabilities are not calibrated; `trimer calibrate {}` fits temperatures on valid",
            run.path.display()
        ));
    }
    Ok(())
}

pub(crate) fn nothing_to_judge(corpus: &Corpus, split: Split) -> String {
    let name = &corpus.info().name;
    if corpus.indices(split).is_empty() {
        format!("the corpus `{name}` has no {split} split: nothing to judge on")
    } else {
        format!("the {split} split of `{name}` has no labels: nothing to judge on")
    }
}

/// One row per metric, one column per head: value and 95 % interval.
fn metric_table(heads: &HeadMap<Option<Metrics>>) -> String {
    let present: Vec<Head> = Head::ALL
        .into_iter()
        .filter(|h| heads.get(*h).is_some())
        .collect();
    let mut rows = Vec::new();
    for metric in METRICS {
        let cells: Vec<String> = present
            .iter()
            .map(|h| {
                heads
                    .get(*h)
                    .as_ref()
                    .map_or_else(String::new, |m| cell(m, metric.id))
            })
            .collect();
        if cells.iter().any(|c| !c.is_empty()) {
            rows.push(std::iter::once(metric.id.to_owned()).chain(cells).collect());
        }
    }
    let head: Vec<&str> = std::iter::once("metric")
        .chain(present.iter().map(|h| h.as_str()))
        .collect();
    ui::table(&head, &rows)
}

/// Value and interval of a metric.
pub(super) fn cell(metrics: &Metrics, name: &str) -> String {
    match (metrics.scalar(name), metrics.interval(name)) {
        (Some(value), Some([low, high])) => format!("{value:.4} [{low:.4}, {high:.4}]"),
        (Some(value), None) => format!("{value:.4}"),
        _ => String::new(),
    }
}

/// F1 of each class, one column per head.
fn class_table(heads: &HeadMap<Option<Metrics>>, classes: &[String]) -> String {
    let present: Vec<(Head, &Metrics)> = Head::ALL
        .into_iter()
        .filter_map(|h| Some((h, heads.get(h).as_ref()?)))
        .collect();
    if classes.is_empty() {
        return String::new();
    }
    let f1 = |m: &Metrics, class: &str| {
        let value = m
            .per_class("f1")
            .and_then(|all| all.iter().find(|(name, _)| name == class));
        value.map_or_else(String::new, |(_, v)| format!("{v:.4}"))
    };
    let rows: Vec<Vec<String>> = classes
        .iter()
        .map(|c| {
            std::iter::once(c.clone())
                .chain(present.iter().map(|(_, m)| f1(m, c)))
                .collect()
        })
        .collect();
    let head: Vec<&str> = std::iter::once("f1 of class")
        .chain(present.iter().map(|(h, _)| h.as_str()))
        .collect();
    ui::table(&head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_name_opens_test() {
        for split in Split::ALL {
            assert_eq!(parse_split(split.as_str()).unwrap(), split);
        }
        for name in ["tset", "Test", "", "all"] {
            let error = parse_split(name).unwrap_err();
            assert!(error.to_string().contains("is no split"), "{error}");
        }
    }
}

//! `trimer eval --by-length`: short conversations and long ones apart.

use super::eval::{Args, cell};
use crate::ui;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::EvaluationOptions;
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_train::{LengthBin, RunDir};

/// Prints metrics by the length of conversations.
pub(super) fn show(
    run: &RunDir,
    corpus: &Corpus,
    split: Split,
    args: &Args,
    device: &Device,
) -> anyhow::Result<()> {
    let options = EvaluationOptions::default();
    let bins = run.evaluate_by_length(corpus, split, &args.length_edges, device, &options)?;
    let stamp = run.protocol()?.stamp();
    if args.json {
        return ui::json(&serde_json::json!({
            "stamp": stamp,
            "corpus": corpus.info().name,
            "split": split,
            "seeds": run.config.seeds,
            "bins": bins,
        }));
    }
    if let Some(stamp) = stamp {
        ui::data(&format!("{stamp}\n"));
    }
    let metrics: &[&str] = match run.config.task {
        Task::Classification { .. } | Task::MultiBinary { .. } => &["accuracy", "weighted_f1"],
        Task::Regression => &["mae", "pearson"],
    };
    ui::data(&format!(
        "{} on `{}`, {split} split, {} seed(s), the multimodal head\n",
        run.config.model.info().id,
        corpus.info().name,
        run.config.seeds.len(),
    ));
    let head: Vec<&str> = ["turns", "conversations", "utterances"]
        .into_iter()
        .chain(metrics.iter().copied())
        .collect();
    let rows: Vec<Vec<String>> = bins.iter().map(|bin| row(bin, metrics)).collect();
    ui::data(&ui::table(&head, &rows));
    Ok(())
}

fn row(bin: &LengthBin, metrics: &[&str]) -> Vec<String> {
    let turns = match bin.to {
        Some(to) => format!("{} to {to}", bin.from),
        None => format!("{} and more", bin.from),
    };
    let judged = bin.heads.multimodal.as_ref();
    let values = metrics
        .iter()
        .map(|name| judged.map_or_else(String::new, |m| cell(m, name)));
    [
        turns,
        bin.conversations.to_string(),
        bin.utterances.to_string(),
    ]
    .into_iter()
    .chain(values)
    .collect()
}

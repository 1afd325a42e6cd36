//! `trimer eval --by-length`: short conversations and long ones apart.

use super::Args;
use super::show::cell;
use crate::ui;
use trimer_core::corpus::{Corpus, Split};
use trimer_nn::burn::tensor::Device;
use trimer_study::by_length::LengthBin;
use trimer_study::by_length::by_length;
use trimer_study::evaluation::main_metrics;
use trimer_study::text::table;
use trimer_train::RunDir;

/// Prints metrics by the length of conversations.
pub(super) fn show(
    run: &RunDir,
    corpus: &Corpus,
    split: Split,
    args: &Args,
    device: &Device,
) -> anyhow::Result<()> {
    let report = by_length(run, corpus, split, &args.length_edges, device)?;
    if args.json {
        return ui::json(&report.to_json()?);
    }
    if let Some(warning) = &report.warning {
        ui::data(&format!("{warning}\n"));
    }
    let metrics = main_metrics(run.config.task);
    ui::data(&format!(
        "{} on `{}`, {split} split, {} seed(s), the multimodal head\n",
        run.config.model.info().id,
        corpus.info().name,
        run.config.seeds.len(),
    ));
    let head: Vec<&str> = ["turns", "conversations", "utterances"]
        .into_iter()
        .chain(metrics)
        .collect();
    let rows: Vec<Vec<String>> = report.bins.iter().map(|bin| row(bin, &metrics)).collect();
    ui::data(&table(&head, &rows));
    Ok(())
}

fn row(bin: &LengthBin, metrics: &[&str]) -> Vec<String> {
    let turns = match bin.to {
        Some(to) => format!("{} to {to}", bin.from),
        None => format!("{} and more", bin.from),
    };
    let metrics_of_bin = bin.heads.multimodal.as_ref();
    let values = metrics
        .iter()
        .map(|name| metrics_of_bin.map_or_else(String::new, |m| cell(m, name)));
    [
        turns,
        bin.conversations.to_string(),
        bin.utterances.to_string(),
    ]
    .into_iter()
    .chain(values)
    .collect()
}

//! `trimer eval --missing`: what a run loses without a modality, without frames, and in noise.

use super::Args;
use super::show::cell;
use crate::ui::{self, ConditionBar};
use trimer_core::corpus::{Corpus, Split};
use trimer_nn::burn::tensor::Device;
use trimer_study::Robustness;
use trimer_study::robustness::Grid;
use trimer_study::text::table;
use trimer_train::RunDir;

/// Prints the multimodal head under every condition.
pub(super) fn show(
    run: &RunDir,
    corpus: &Corpus,
    split: Split,
    args: &Args,
    device: &Device,
) -> anyhow::Result<()> {
    let grid = Grid {
        frame_loss: args.frame_loss.clone(),
        snr: args.snr.clone(),
        seed: args.corruption_seed,
    };
    let report = Robustness::new(run, corpus)
        .split(split)
        .grid(grid)
        .device(device)
        .run(&mut ConditionBar::default())?;
    if args.json {
        return ui::json(&report.to_json()?);
    }
    if let Some(warning) = report.protocol.warning_banner() {
        ui::data(&format!("{warning}\n"));
    }
    ui::data(&format!(
        "{} on `{}`, {split} split: the multimodal head with less than it was trained on\n",
        run.config.model.info().id,
        corpus.info().name
    ));
    let mut head = vec!["modalities", "frames lost", "noise"];
    head.extend(report.metrics);
    let rows: Vec<Vec<String>> = report
        .cases
        .iter()
        .map(|case| {
            let mut cells = case.names(report.present).to_vec();
            let metrics = case.heads.multimodal.as_ref();
            let value = |name| metrics.map_or_else(String::new, |m| cell(m, name));
            cells.extend(report.metrics.map(value));
            cells
        })
        .collect();
    ui::data(&table(&head, &rows));
    Ok(())
}

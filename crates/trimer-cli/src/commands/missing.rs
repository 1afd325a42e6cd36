//! `trimer eval --missing`: what a run loses without a modality, without frames, and in noise.

use super::eval::Args;
use crate::{ui, ui::Hinted};
use serde::Serialize;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::{EvaluationOptions, Metrics};
use trimer_core::{Head, HeadMap, ModalitySet};
use trimer_nn::burn::tensor::Device;
use trimer_train::RunDir;
use trimer_train::data::corrupt::{Corruption, subsets};

/// One way of seeing the split, and what came of it.
pub(crate) struct Case {
    /// What was taken away or added.
    pub(crate) corruption: Corruption,
    /// Metrics of the heads whose modality is there.
    pub(crate) heads: HeadMap<Option<Metrics>>,
}

/// A case as JSON.
#[derive(Debug, Serialize)]
struct CaseJson {
    /// Modalities that the model got.
    keep: ModalitySet,
    /// Share of the frames that were lost.
    frame_loss: f64,
    /// Ratio of signal to noise power in decibels; absent without noise.
    snr_db: Option<f64>,
    /// Metrics of the heads whose modality is there.
    heads: serde_json::Map<String, serde_json::Value>,
}

impl Case {
    fn json(&self) -> CaseJson {
        let kept = self.heads.iter().filter_map(|(head, m)| {
            Some((head.to_string(), serde_json::to_value(m.as_ref()?).ok()?))
        });
        CaseJson {
            keep: self.corruption.keep,
            frame_loss: self.corruption.frame_loss,
            snr_db: self.corruption.snr_db,
            heads: kept.collect(),
        }
    }

    /// Modalities, lost frames and noise in words; `-` without.
    pub(crate) fn names(&self, present: ModalitySet) -> [String; 3] {
        let corruption = &self.corruption;
        let kept = present.iter().filter(|m| corruption.keep.contains(*m));
        let kept: ModalitySet = kept.collect();
        [
            kept.to_string(),
            if corruption.frame_loss > 0.0 {
                format!("{:.0} %", 100.0 * corruption.frame_loss)
            } else {
                "-".into()
            },
            corruption
                .snr_db
                .map_or_else(|| "-".into(), |snr| format!("{snr} dB")),
        ]
    }
}

/// Which losses are tried.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    /// Shares of the frames.
    pub(crate) frame_loss: Vec<f64>,
    /// Ratios of signal to noise power in decibels.
    pub(crate) snr: Vec<f64>,
    /// What is lost follows from it.
    pub(crate) seed: u64,
}

impl Default for Grid {
    /// That of `trimer eval --missing`.
    fn default() -> Self {
        Self {
            frame_loss: FRAME_LOSS.to_vec(),
            snr: SNR.to_vec(),
            seed: 0,
        }
    }
}

/// The frame losses of `--frame-loss` unless told otherwise.
pub(super) const FRAME_LOSS: [f64; 3] = [0.1, 0.3, 0.5];
/// The noises of `--snr` unless told otherwise.
pub(super) const SNR: [f64; 3] = [20.0, 10.0, 0.0];

/// Judges a run under one condition.
pub(crate) fn judge(
    run: &RunDir,
    corpus: &Corpus,
    split: Split,
    corruption: Corruption,
    device: &Device,
    options: &EvaluationOptions,
) -> anyhow::Result<Case> {
    let mut heads = run.evaluate_corrupted(corpus, split, &corruption, device, options)?;
    for head in Head::ALL {
        if head
            .modality()
            .is_some_and(|m| !corruption.keep.contains(m))
        {
            *heads.get_mut(head) = None;
        }
    }
    Ok(Case { corruption, heads })
}

/// Judges a run on every subset of its modalities, with lost frames and with noise.
pub(super) fn show(
    run: &RunDir,
    corpus: &Corpus,
    split: Split,
    args: &Args,
    device: &Device,
) -> anyhow::Result<()> {
    let present = run.config.input.modalities();
    if let Some(missing) = run.missing_modalities(corpus).iter().next() {
        return Err(Hinted::new(
            format!(
                "the corpus `{}` has no {missing} features to take away",
                corpus.info().name
            ),
            "judge on the corpus that the run was trained on",
        )
        .into());
    }
    let grid = Grid {
        frame_loss: args.frame_loss.clone(),
        snr: args.snr.clone(),
        seed: args.corruption_seed,
    };
    let corruptions = grid.corruptions(present)?;
    let bar = ui::bar(corruptions.len() as u64, "conditions");
    let mut cases = Vec::new();
    let options = EvaluationOptions::default();
    for corruption in corruptions {
        cases.push(judge(run, corpus, split, corruption, device, &options)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let protocol = run.protocol()?;
    if args.json {
        let cases: Vec<CaseJson> = cases.iter().map(Case::json).collect();
        return ui::json(&serde_json::json!({
            "stamp": protocol.stamp(),
            "protocol": protocol,
            "corpus": corpus.info().name,
            "split": split,
            "seeds": run.config.seeds,
            "corruption_seed": args.corruption_seed,
            "cases": cases,
        }));
    }
    if let Some(stamp) = protocol.stamp() {
        ui::data(&format!("{stamp}\n"));
    }
    ui::data(&format!(
        "{} on `{}`, {split} split: the multimodal head with less than it was trained on\n",
        run.config.model.info().id,
        corpus.info().name
    ));
    let names = main_metrics(run);
    let mut head = vec!["modalities", "frames lost", "noise"];
    head.extend(names);
    let rows: Vec<Vec<String>> = cases
        .iter()
        .map(|case| {
            let mut cells = case.names(present).to_vec();
            let metrics = case.heads.multimodal.as_ref();
            cells.extend(
                names.map(|name| metrics.map_or_else(String::new, |m| super::eval::cell(m, name))),
            );
            cells
        })
        .collect();
    ui::data(&ui::table(&head, &rows));
    Ok(())
}

const fn main_metrics(run: &RunDir) -> [&'static str; 2] {
    if run.config.classes.is_empty() {
        ["mae", "pearson"]
    } else {
        ["accuracy", "weighted_f1"]
    }
}

impl Grid {
    /// Subsets first, then lost frames, then noise, each with all modalities.
    pub(crate) fn corruptions(&self, present: ModalitySet) -> anyhow::Result<Vec<Corruption>> {
        let refuse = |what: &str, value: f64, expected: &str| {
            Err(Hinted::new(
                format!("`{what} {value}` is out of range; expected {expected}"),
                "several values are divided by commas: `--frame-loss 0.2,0.5`",
            )
            .into())
        };
        let base = Corruption {
            keep: present,
            seed: self.seed,
            ..Corruption::NONE
        };
        let mut all: Vec<Corruption> = subsets(present)
            .into_iter()
            .map(|keep| Corruption { keep, ..base })
            .collect();
        for &frame_loss in &self.frame_loss {
            if !(0.0..=1.0).contains(&frame_loss) {
                return refuse("--frame-loss", frame_loss, "0 to 1");
            }
            all.push(Corruption { frame_loss, ..base });
        }
        for &snr in &self.snr {
            if !(-60.0..=100.0).contains(&snr) {
                return refuse("--snr", snr, "-60 to 100 decibels");
            }
            all.push(Corruption {
                snr_db: Some(snr),
                ..base
            });
        }
        Ok(all)
    }
}

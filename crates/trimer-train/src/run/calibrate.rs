//! The calibration of a run's seeds: fitted once on validation, stored next to their weights.

use super::RunDir;
use crate::calibrate::{CalibratedSplit, Calibration, FILE};
use crate::error::{Result, TrainError};
use burn::tensor::Device;
use std::path::PathBuf;
use trimer_core::HeadMap;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::io::write_atomic;
use trimer_nn::error::NnError;

impl RunDir {
    fn calibration_path(&self, seed: u64) -> PathBuf {
        self.seed_dir(seed).join(FILE)
    }

    /// What was fitted for a seed; `None` where nothing was, as in runs of earlier versions.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn calibration(&self, seed: u64) -> Result<Option<Calibration>> {
        let path = self.calibration_path(seed);
        let bad = |reason: String| TrainError::Run {
            path: path.clone(),
            reason,
            hint: format!(
                "delete the file and fit it again with `trimer calibrate {}`",
                self.path.display()
            ),
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(NnError::io("read", &path)(error).into()),
        };
        let found: Calibration = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        found.check().map_err(bad)?;
        Ok(Some(found))
    }

    /// Fits a seed on the validation split of `corpus` and stores the result, unless that is done
    /// already and not asked for `again`. `None` for scores and without labels in validation.
    ///
    /// # Errors
    /// When the corpus is not the one that the run was trained on, or predictions cannot be had.
    pub fn calibrate(
        &self,
        seed: u64,
        corpus: &Corpus,
        device: &Device,
        again: bool,
    ) -> Result<Option<Calibration>> {
        if !again && let Some(known) = self.calibration(seed)? {
            return Ok(Some(known));
        }
        let cfg = &self.config;
        if corpus.fingerprint() != cfg.corpus_fingerprint {
            return Err(TrainError::Run {
                path: self.path.clone(),
                reason: format!(
                    "seed {seed} is not calibrated, and `{}` is not the corpus that the run was trained on",
                    corpus.path().display()
                ),
                hint: "calibrate it once on its own corpus; it can then be evaluated on any".into(),
            });
        }
        let predictions = self.predictions(seed, corpus, Split::Valid, device)?;
        let columns = self.columns(corpus);
        let fitted = Calibration::fit(&predictions, corpus, &columns, cfg.task, &cfg.classes)?;
        let fitted = fitted.filter(|c| c.heads.iter().any(|(_, h)| h.is_some()));
        if let Some(calibration) = &fitted {
            let mut text = serde_json::to_string_pretty(calibration).unwrap_or_default();
            text.push('\n');
            write_atomic(&self.calibration_path(seed), text.as_bytes())?;
        }
        Ok(fitted)
    }

    /// What the stored calibrations of all seeds do to a split, by head; without heads that some seed
    /// has no calibration for, or that have no labels in the split.
    ///
    /// # Errors
    /// When predictions or calibrations cannot be read.
    pub fn evaluate_calibration(
        &self,
        corpus: &Corpus,
        split: Split,
        device: &Device,
    ) -> Result<HeadMap<Option<CalibratedSplit>>> {
        let mut seeds = Vec::new();
        for &seed in &self.config.seeds {
            let Some(calibration) = self.calibration(seed)? else {
                return Ok(HeadMap::default());
            };
            let predictions = self.predictions(seed, corpus, split, device)?;
            seeds.push((seed, calibration, predictions));
        }
        let (columns, task) = (self.columns(corpus), self.config.task);
        Ok(HeadMap::from_fn(|head| {
            CalibratedSplit::of_seeds(&seeds, corpus, head, *columns.get(head), task)
        }))
    }
}

//! What a run says about rows of a corpus.

use super::{RunDir, predictions_file};
use crate::checkpoint;
use crate::config::{RunConfig, label_columns};
use crate::data::corrupt::Corruption;
use crate::data::{Loader, conversation, labelled_rows_of_any};
use crate::error::{Result, TrainError};
use crate::predict::{Predictions, predict_windows, predict_with};
use crate::trainer::BEST;
use burn::module::Module;
use burn::tensor::Device;
use std::path::PathBuf;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::{Head, HeadMap, ModalitySet};
use trimer_nn::batch::Batch;
use trimer_nn::error::NnError;
use trimer_nn::models::AnyModel;

/// In which parts a conversation is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parts {
    /// Each utterance from what was said before it.
    pub online: bool,
    /// So many turns at most.
    pub window: Option<usize>,
}

impl RunDir {
    /// The selected model of a seed, without autodiff, with its normalisation.
    ///
    /// # Errors
    /// When the seed is not trained, or the weights do not fit.
    pub fn load_model(
        &self,
        seed: u64,
        device: &Device,
    ) -> Result<(AnyModel, crate::data::Normaliser)> {
        let file = self.seed_dir(seed).join(BEST);
        if !file.exists() {
            return Err(TrainError::Run {
                path: file,
                reason: format!("seed {seed} has no selected weights yet"),
                hint: format!("finish it with `resume={}`", self.path.display()),
            });
        }
        let model =
            self.config
                .model
                .build_uninitialised(&self.config.input, self.config.task, device)?;
        checkpoint::load_weights(&file, model, &self.config.input)
    }

    /// Modalities that the model reads and the corpus does not have: the model sees padding there.
    pub fn missing_modalities(&self, corpus: &Corpus) -> ModalitySet {
        let dims = corpus.dims();
        let wanted = self.config.input.modalities();
        wanted.iter().filter(|m| dims.get(*m).is_none()).collect()
    }

    /// Which label column each head was trained on.
    pub fn columns(&self, corpus: &Corpus) -> HeadMap<Head> {
        self.config.label_columns.unwrap_or_else(|| {
            let (cfg, rows) = (&self.config, corpus.indices(Split::Train));
            label_columns(cfg.train.unimodal_labels, cfg.task, corpus, &rows)
        })
    }

    /// What a seed says about a split, without calibration: read from disk where this run wrote it about this corpus,
    /// else computed.
    ///
    /// # Errors
    /// When neither works.
    pub fn predictions(
        &self,
        seed: u64,
        corpus: &Corpus,
        split: Split,
        device: &Device,
    ) -> Result<Predictions> {
        let file = self.predictions_path(seed, split);
        if file.exists() && corpus.fingerprint() == self.config.corpus_fingerprint {
            return predictions_file::read(&file, corpus, &self.config.classes);
        }
        let rows = labelled_rows_of_any(corpus, split, self.config.task);
        self.predict_raw(seed, corpus, &rows, device)
    }

    /// Runs a seed's selected model over rows of a corpus. Where the seed is calibrated, probabilities are those that
    /// the temperatures fitted on validation give, as `trimer predict` prints them; [`Self::predict_raw`] is without.
    ///
    /// # Errors
    /// When the corpus does not have what the model reads, or the stored calibration cannot be read.
    pub fn predict(
        &self,
        seed: u64,
        corpus: &Corpus,
        rows: &[usize],
        device: &Device,
    ) -> Result<Predictions> {
        let raw = self.predict_raw(seed, corpus, rows, device)?;
        Ok(match self.calibration(seed)? {
            Some(calibration) => calibration.apply(&raw, self.config.task),
            None => raw,
        })
    }

    /// Runs a seed's selected model over rows of a corpus: its own probabilities, as they are stored in
    /// `predictions-<split>.parquet` and judged.
    ///
    /// # Errors
    /// When the corpus does not have what the model reads.
    pub fn predict_raw(
        &self,
        seed: u64,
        corpus: &Corpus,
        rows: &[usize],
        device: &Device,
    ) -> Result<Predictions> {
        self.predict_prepared(seed, corpus, rows, device, &|batch| batch)
    }

    /// As [`Self::predict_raw`], a conversation in parts.
    ///
    /// # Errors
    /// When the model does not read conversations, or as [`Self::predict_raw`].
    pub fn predict_in_parts(
        &self,
        seed: u64,
        corpus: &Corpus,
        rows: &[usize],
        parts: Parts,
        device: &Device,
    ) -> Result<Predictions> {
        self.check_online()?;
        let windows = match parts.window {
            Some(n) if !parts.online => conversation::windows(corpus, rows, n),
            _ => conversation::growing(corpus, rows, parts.window),
        };
        self.with_model(seed, corpus, device, |model, loader, plain| {
            let cfg = &self.config;
            let batch_size = cfg.train.batch_size;
            predict_windows(model, loader, rows, &windows, cfg.task, batch_size, plain)
        })
    }

    /// Refuses a model for which there is no before and after.
    pub(crate) fn check_online(&self) -> Result<()> {
        if self.config.input.n_speakers.is_some() {
            return Ok(());
        }
        Err(TrainError::Run {
            path: self.path.clone(),
            reason: format!(
                "its model `{}` reads single utterances, not conversations",
                self.config.model.info().id
            ),
            hint: "such a model never sees what follows; leave `online` out".into(),
        })
    }

    fn predict_prepared(
        &self,
        seed: u64,
        corpus: &Corpus,
        rows: &[usize],
        device: &Device,
        prepare: &dyn Fn(Batch) -> Batch,
    ) -> Result<Predictions> {
        self.with_model(seed, corpus, device, |model, loader, plain| {
            let cfg = &self.config;
            let batch_size = cfg.train.batch_size;
            predict_with(model, loader, rows, cfg.task, batch_size, plain, prepare)
        })
    }

    /// Hands a seed's selected model to `use_model`, with what it reads and where it computes.
    pub(crate) fn with_model<T>(
        &self,
        seed: u64,
        corpus: &Corpus,
        device: &Device,
        use_model: impl FnOnce(&AnyModel, &Loader<'_>, &Device) -> T,
    ) -> Result<T> {
        let plain = device.clone().inner();
        let cfg = &self.config;
        check_dims(cfg, corpus)?;
        let (model, normaliser) = self.load_model(seed, &plain)?;
        let loader = Loader {
            corpus,
            input: &cfg.input,
            normaliser: &normaliser,
        };
        Ok(use_model(&model.valid(), &loader, &plain))
    }

    /// As [`Self::predict_raw`], with the features changed before the model sees them.
    ///
    /// # Errors
    /// As [`Self::predict_raw`].
    pub fn predict_corrupted(
        &self,
        seed: u64,
        corpus: &Corpus,
        rows: &[usize],
        corruption: &Corruption,
        device: &Device,
    ) -> Result<Predictions> {
        self.predict_prepared(seed, corpus, rows, device, &|batch| corruption.apply(batch))
    }

    pub(super) fn predictions_path(&self, seed: u64, split: Split) -> PathBuf {
        self.seed_dir(seed)
            .join(format!("predictions-{split}.parquet"))
    }
}

/// Refuses a corpus whose features are not those that the model reads. Where a modality is missing
/// altogether, the model can still predict from the others.
fn check_dims(cfg: &RunConfig, corpus: &Corpus) -> Result<()> {
    let dims = corpus.dims();
    for (modality, wanted) in cfg.input.dims.iter() {
        if let (Some(wanted), Some(found)) = (wanted, dims.get(modality))
            && wanted != found
        {
            return Err(NnError::Corpus {
                reason: format!(
                    "the model reads {modality} features {wanted} wide, the corpus `{}` has them {found} wide",
                    corpus.info().name
                ),
                hint: "use features from the same extractor that the model was trained on".into(),
            }.into());
        }
    }
    Ok(())
}

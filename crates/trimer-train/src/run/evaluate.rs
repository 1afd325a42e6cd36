//! How good a run is on a split.

use super::RunDir;
use crate::config::RunConfig;
use crate::data::corrupt::Corruption;
use crate::data::labelled_rows_of_any;
use crate::error::Result;
use crate::predict::{Predictions, evaluate};
use burn::tensor::Device;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::{EvaluationOptions, Metrics};
use trimer_core::{Head, HeadMap};
use trimer_nn::error::NnError;
use trimer_nn::models::Task;

impl RunDir {
    /// Metrics of all seeds on a split, head by head, each against the label that it was trained on.
    ///
    /// # Errors
    /// When predictions cannot be had.
    pub fn evaluate(
        &self,
        corpus: &Corpus,
        split: Split,
        device: &Device,
        options: &EvaluationOptions,
    ) -> Result<HeadMap<Option<Metrics>>> {
        self.evaluate_against(corpus, split, &self.columns(corpus), device, options)
    }

    /// As [`Self::evaluate`], against label columns of one's choice.
    ///
    /// # Errors
    /// When predictions cannot be had.
    pub fn evaluate_against(
        &self,
        corpus: &Corpus,
        split: Split,
        columns: &HeadMap<Head>,
        device: &Device,
        options: &EvaluationOptions,
    ) -> Result<HeadMap<Option<Metrics>>> {
        check_labels(&self.config, corpus)?;
        if let Some(missing) = self.missing_modalities(corpus).iter().next() {
            return Err(NnError::Corpus {
                reason: format!(
                    "the model reads {missing} features, the corpus `{}` has none",
                    corpus.info().name
                ),
                hint:
                    "a model is evaluated on all that it was trained on; `trimer predict` does without"
                        .into(),
            }
            .into());
        }
        let all = self
            .config
            .seeds
            .iter()
            .map(|seed| self.predictions(*seed, corpus, split, device))
            .collect::<Result<Vec<_>>>()?;
        self.judge_predictions(corpus, &all, *columns, options)
    }

    /// As [`Self::evaluate`], with the features changed before the model sees them.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn evaluate_corrupted(
        &self,
        corpus: &Corpus,
        split: Split,
        corruption: &Corruption,
        device: &Device,
        options: &EvaluationOptions,
    ) -> Result<HeadMap<Option<Metrics>>> {
        check_labels(&self.config, corpus)?;
        let rows = labelled_rows_of_any(corpus, split, self.config.task);
        let all = self
            .config
            .seeds
            .iter()
            .map(|seed| self.predict_corrupted(*seed, corpus, &rows, corruption, device))
            .collect::<Result<Vec<_>>>()?;
        self.judge_predictions(corpus, &all, self.columns(corpus), options)
    }

    fn judge_predictions(
        &self,
        corpus: &Corpus,
        seeds: &[Predictions],
        columns: HeadMap<Head>,
        options: &EvaluationOptions,
    ) -> Result<HeadMap<Option<Metrics>>> {
        let seeds: Vec<&Predictions> = seeds.iter().collect();
        evaluate(
            corpus,
            &seeds,
            &columns,
            self.config.task,
            &self.config.classes,
            self.config.score_range(),
            options,
        )
    }
}

/// Refuses to evaluate against labels that mean something else.
fn check_labels(cfg: &RunConfig, corpus: &Corpus) -> Result<()> {
    let space = &corpus.info().label_space;
    let refuse = |ours: String, theirs: String| {
        Err(NnError::Corpus {
            reason: format!(
                "the run predicts {ours}, the corpus `{}` has {theirs}",
                corpus.info().name
            ),
            hint: "predict instead of evaluating: that needs no labels".into(),
        }
        .into())
    };
    match cfg.task {
        Task::Classification { .. } if space.classes != cfg.classes => refuse(
            format!("the classes `{}`", cfg.classes.join("`, `")),
            match &space.classes[..] {
                [] => "none".into(),
                theirs => format!("`{}`", theirs.join("`, `")),
            },
        ),
        Task::MultiBinary { .. } if space.binary != cfg.classes => refuse(
            format!("the yes/no labels `{}`", cfg.classes.join("`, `")),
            match &space.binary[..] {
                [] => "none".into(),
                theirs => format!("`{}`", theirs.join("`, `")),
            },
        ),
        Task::Regression if space.score.is_none() => refuse("scores".into(), "none".into()),
        _ => Ok(()),
    }
}

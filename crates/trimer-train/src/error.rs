//! What can go wrong between a configuration and a trained model.

use std::path::PathBuf;
use trimer_core::Hint;
use trimer_nn::NnError;

/// A run that cannot be made, opened or trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A configuration, a network or its weights.
    #[error(transparent)]
    Nn(#[from] NnError),
    /// A run directory that cannot be used.
    #[error("`{}`: {reason}", path.display())]
    Run {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What to try.
        hint: String,
    },
    /// A plug-in that cannot be applied to a model.
    #[error("the plug-in `{plugin}` cannot be applied to `{model}`: {reason}")]
    Plugin {
        /// The plug-in.
        plugin: &'static str,
        /// The model.
        model: &'static str,
        /// What the model lacks.
        reason: String,
        /// What to try.
        hint: String,
    },
    /// Training went out of bounds.
    #[error("the training loss became {value} in epoch {epoch}, step {step}")]
    Diverged {
        /// NaN or infinite.
        value: f64,
        /// From 1.
        epoch: usize,
        /// From 1 within the epoch.
        step: usize,
    },
    /// A corpus could not be read.
    #[error(transparent)]
    CorpusFile(#[from] trimer_core::corpus::CorpusError),
    /// Predictions could not be evaluated.
    #[error(transparent)]
    Metric(#[from] trimer_core::metrics::MetricError),
}

impl From<trimer_core::io::WriteError> for TrainError {
    fn from(error: trimer_core::io::WriteError) -> Self {
        Self::Nn(error.into())
    }
}

impl Hint for TrainError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Nn(e) => e.hint(),
            Self::Run { hint, .. } | Self::Plugin { hint, .. } => Some(hint.clone()),
            Self::Diverged { .. } => {
                Some("lower `train.lr`, or clip gradients with `train.clip_norm=1.0`; `trimer corpus check` finds features that are NaN".into())
            }
            Self::CorpusFile(e) => e.hint(),
            Self::Metric(e) => e.hint(),
        }
    }
}

/// Result of this crate.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;

//! What can go wrong between a configuration and a network with its weights.

use std::path::PathBuf;
use trimer_core::Hint;
use trimer_core::io::WriteError;

/// A configuration that cannot be used, or weights that do not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NnError {
    /// A configuration value outside its range.
    #[error("`{key} = {value}` is out of range; expected {expected}")]
    ConfigRange {
        /// Dotted name of the key.
        key: String,
        /// What was given.
        value: String,
        /// The allowed range, in words.
        expected: String,
    },
    /// A key that nothing reads.
    #[error("unknown configuration key `{key}`")]
    UnknownKey {
        /// Dotted name of the key.
        key: String,
        /// The closest known key, or the list of known ones.
        known: String,
    },
    /// A value of the wrong type.
    #[error("`{key}` cannot be read: {reason}")]
    ConfigType {
        /// Dotted name of the key.
        key: String,
        /// What the parser said.
        reason: String,
    },
    /// A model id that is not registered.
    #[error("unknown model `{id}`")]
    UnknownModel {
        /// What was asked for.
        id: String,
        /// Registered ids.
        known: String,
    },
    /// The corpus cannot serve this model or task.
    #[error("{reason}")]
    Corpus {
        /// What is missing or inconsistent.
        reason: String,
        /// What to try.
        hint: String,
    },
    /// A device that this binary or machine does not have.
    #[error("device `{device}` cannot be used: {reason}")]
    Device {
        /// What was asked for.
        device: String,
        /// Why not.
        reason: String,
    },
    /// A weights file whose tensors are not those of the model.
    #[error("`{}` does not hold the weights of this model: {reason}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// Missing, surplus or misshapen keys by name.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// `read`, `write`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A PyTorch checkpoint could not be read.
    #[error(transparent)]
    Torch(#[from] trimer_core::store::torch::TorchError),
}

impl NnError {
    /// An I/O error with its file.
    pub fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

impl From<WriteError> for NnError {
    fn from(WriteError { path, source }: WriteError) -> Self {
        Self::io("write", path)(source)
    }
}

impl Hint for NnError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { known, .. } | Self::UnknownModel { known, .. } => Some(known.clone()),
            Self::Corpus { hint, .. } => Some(hint.clone()),
            Self::Weights { .. } => {
                Some("a model is fully described by its run directory; give the run that wrote the weights".into())
            }
            Self::Device { .. } => Some("`device=cpu` always works".into()),
            Self::Io { source, .. } if is_full(source) => {
                Some("free some space and continue with `resume=RUN`; what was saved before is whole".into())
            }
            Self::ConfigType { reason, .. } => nearest_variant(reason),
            Self::Torch(e) => e.hint(),
            Self::ConfigRange { .. } | Self::Io { .. } => None,
        }
    }
}

/// Whether the disk, a quota or a limit on file sizes refused to take more.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// A suggestion for "unknown variant `a`, expected one of `b`, `c`".
fn nearest_variant(reason: &str) -> Option<String> {
    let quoted: Vec<&str> = reason
        .strip_prefix("unknown variant ")?
        .split('`')
        .skip(1)
        .step_by(2)
        .collect();
    let (given, known) = quoted.split_first()?;
    let near = trimer_core::error::nearest(given, known.iter().copied())?;
    Some(format!("did you mean `{near}`?"))
}

/// Result of this crate.
pub type Result<T, E = NnError> = std::result::Result<T, E>;

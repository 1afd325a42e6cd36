//! What can go wrong in a study.

use std::path::PathBuf;
use trimer_core::Hint;
use trimer_core::corpus::CorpusError;
use trimer_core::import::ImportError;
use trimer_core::io::WriteError;
use trimer_core::labels::LabelError;
use trimer_core::metrics::MetricError;
use trimer_core::store::npy::NpyError;
use trimer_nn::NnError;
use trimer_report::ReportError;
use trimer_train::TrainError;

/// Why a study could not be made.
///
/// Messages and hints name options as they are called here (`out`, `frame_loss`); a program with
/// other names for them, such as the command line, translates what stands in backticks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StudyError {
    /// An option outside its range.
    #[error("`{key} = {value}` is out of range; expected {expected}")]
    Range {
        /// The option.
        key: &'static str,
        /// What was given.
        value: String,
        /// The allowed range, in words.
        expected: String,
        /// What to try.
        hint: String,
    },
    /// Something that cannot be done with these runs, this corpus or these options.
    #[error("{reason}")]
    Refused {
        /// What is missing or inconsistent.
        reason: String,
        /// What to try.
        hint: String,
    },
    /// The study was asked to stop; what was done is saved.
    #[error("interrupted; {saved}")]
    Interrupted {
        /// What is kept.
        saved: &'static str,
    },
    /// A file of settings that cannot be used.
    #[error("in the {what} `{}`", path.display())]
    InFile {
        /// `recipe`, `rows`, ...
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        #[source]
        source: Box<Self>,
    },
    /// A system of a comparison whose configuration cannot be resolved.
    #[error("system `{name}`")]
    InSystem {
        /// The system.
        name: String,
        /// What is wrong with it.
        #[source]
        source: Box<Self>,
    },
    /// A file could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// `read the recipe`, `write`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A table of columns could not be written.
    #[error("cannot write `{}`: {reason}", path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// What the writer said.
        reason: String,
    },
    /// TOML that cannot be read.
    #[error(transparent)]
    TomlRead(#[from] toml::de::Error),
    /// A value that TOML cannot hold.
    #[error(transparent)]
    TomlWrite(#[from] toml::ser::Error),
    /// JSON that cannot be read or written.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A configuration or a network cannot be used.
    #[error(transparent)]
    Nn(#[from] NnError),
    /// Training or prediction failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A corpus could not be read.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// Features could not be read.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// Features are no features.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Labels or votes could not be read.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// Predictions could not be evaluated.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// A page could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
}

impl StudyError {
    /// A refusal with what to try.
    pub(crate) fn refused(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused {
            reason: reason.into(),
            hint: hint.into(),
        }
    }

    /// An I/O error with its file.
    pub(crate) fn io(
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

    /// The same, found in a file of settings.
    pub(crate) fn in_file(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(Self) -> Self {
        let path = path.into();
        move |source| Self::InFile {
            what,
            path,
            source: Box::new(source),
        }
    }
}

impl Hint for StudyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Range { hint, .. } | Self::Refused { hint, .. } => Some(hint.clone()),
            Self::Interrupted { .. } => Some("the same study with the same `out` continues".into()),
            Self::InFile { source, .. } | Self::InSystem { source, .. } => source.hint(),
            Self::Nn(e) => e.hint(),
            Self::Train(e) => e.hint(),
            Self::Write(e) => e.hint(),
            Self::Corpus(e) => e.hint(),
            Self::Npy(e) => e.hint(),
            Self::Import(e) => e.hint(),
            Self::Labels(e) => e.hint(),
            Self::Metric(e) => e.hint(),
            Self::Report(e) => e.hint(),
            Self::Io { .. }
            | Self::Columns { .. }
            | Self::TomlRead(_)
            | Self::TomlWrite(_)
            | Self::Json(_) => None,
        }
    }
}

/// Result of this crate.
pub type Result<T, E = StudyError> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_of_a_cause_is_not_lost_on_the_way() {
        let unknown = NnError::UnknownModel {
            id: "lfmmi".into(),
            known: "did you mean `lfmim`?".into(),
        };
        let error = StudyError::in_file("recipe", "r.toml")(unknown.into());
        assert_eq!(error.to_string(), "in the recipe `r.toml`");
        assert_eq!(error.hint().as_deref(), Some("did you mean `lfmim`?"));
        let metric = MetricError::Probability {
            value: 2.0,
            class: 0,
            sample: 0,
        };
        assert!(StudyError::from(metric).hint().is_some());
    }
}

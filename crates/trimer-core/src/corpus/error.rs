//! What can go wrong with a corpus, and what to try then.

use super::{FeatureDtype, MAX_FRAMES_PER_UTTERANCE};
use crate::{Hint, Modality, io::is_full};
use std::{io, path::PathBuf};

/// Why a corpus could not be written, opened or trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// Nothing is there.
    #[error("there is no directory `{}`", path.display())]
    NotFound {
        /// The directory that was asked for.
        path: PathBuf,
    },
    /// Something is there, but it is no corpus.
    #[error("`{}` is not a corpus: it has no `{missing}`", path.display())]
    NotACorpus {
        /// The directory that was asked for.
        path: PathBuf,
        /// The file that every corpus has and this directory lacks.
        missing: &'static str,
    },
    /// The output would overwrite something.
    #[error("`{}` exists already and is not an empty directory", path.display())]
    Exists {
        /// The output directory that was asked for.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb (`read`, `create`, ...).
        action: &'static str,
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `corpus.toml` cannot be read or says something impossible.
    #[error("`{}`: {message}", path.display())]
    Descriptor {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong, with the place where it is known.
        message: String,
    },
    /// `utterances.parquet` cannot be read or says something impossible.
    #[error("`{}`: {message}", path.display())]
    Table {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong, with row and column where they are known.
        message: String,
    },
    /// A file of features cannot be read or says something impossible.
    #[error("`{}`: {message}", path.display())]
    Shard {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file differs from what was written.
    #[error("`{}` has the SHA-256 {found}, but `corpus.toml` records {expected}", path.display())]
    Checksum {
        /// The file that differs.
        path: PathBuf,
        /// The stored checksum, in hexadecimal.
        expected: String,
        /// The checksum of what is there now.
        found: String,
    },
    /// The label space contradicts itself.
    #[error("the label space is unusable: {message}")]
    LabelSpace {
        /// What is wrong.
        message: String,
    },
    /// An utterance has no name.
    #[error("utterance number {position} has an empty id")]
    EmptyId {
        /// Its place in the order of writing, from 1.
        position: usize,
    },
    /// Two utterances have the same name.
    #[error("the id `{id}` occurs twice")]
    DuplicateId {
        /// The repeated id.
        id: String,
    },
    /// A class index that the label space does not have.
    #[error("utterance `{id}`: class index {value} in column `{column}`, expected {expected}")]
    LabelRange {
        /// The utterance.
        id: String,
        /// The label column (`label_text`, `label`, ...).
        column: String,
        /// The offending class index.
        value: u32,
        /// What would be accepted.
        expected: String,
    },
    /// A score outside the declared range, or not a number.
    #[error("utterance `{id}`: score {value} in column `{column}`, expected {expected}")]
    ScoreRange {
        /// The utterance.
        id: String,
        /// The score column (`score_text`, `score`, ...).
        column: String,
        /// The offending score.
        value: f32,
        /// What would be accepted.
        expected: String,
    },
    /// A number of yes/no labels that the label space does not have.
    #[error("utterance `{id}`: {found} yes/no labels, expected none or {expected}")]
    BinaryCount {
        /// The utterance.
        id: String,
        /// How many there are.
        found: usize,
        /// How many the label space names.
        expected: usize,
    },
    /// Frames of another width than the corpus has.
    #[error(
        "utterance `{id}`: {modality} frames have {found} values, those before it have {expected}"
    )]
    Dim {
        /// The utterance.
        id: String,
        /// The modality concerned.
        modality: Modality,
        /// The width of the first frames of that modality.
        expected: usize,
        /// The offending width.
        found: usize,
    },
    /// Values that do not divide into frames.
    #[error("utterance `{id}`: {values} {modality} values do not divide into frames of {dim}")]
    Ragged {
        /// The utterance.
        id: String,
        /// The modality concerned.
        modality: Modality,
        /// How many values were given.
        values: usize,
        /// The width of a frame that was given.
        dim: usize,
    },
    /// More frames than any utterance has.
    #[error(
        "utterance `{id}`: {frames} {modality} frames, expected at most {MAX_FRAMES_PER_UTTERANCE}"
    )]
    TooLong {
        /// The utterance.
        id: String,
        /// The modality concerned.
        modality: Modality,
        /// How many frames were given.
        frames: usize,
    },
    /// A finite value that the storage type turns into infinity.
    #[error(
        "utterance `{id}`: {modality} value {value} at frame {frame}, feature {feature} does not fit {dtype}"
    )]
    Overflow {
        /// The utterance.
        id: String,
        /// The modality concerned.
        modality: Modality,
        /// Frame, from 0.
        frame: usize,
        /// Place in the frame, from 0.
        feature: usize,
        /// The offending value.
        value: f32,
        /// The type it does not fit.
        dtype: FeatureDtype,
    },
    /// An id that cannot name a file.
    #[error("the id `{}` cannot be turned into a file name: {reason}", id.escape_debug())]
    FileName {
        /// The utterance.
        id: String,
        /// Why not.
        reason: &'static str,
    },
}

impl CorpusError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source,
        }
    }
}

impl Hint for CorpusError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotFound { .. } => {
                "give the directory that holds `corpus.toml`; importing data or making a synthetic corpus writes one"
            }
            Self::NotACorpus { path, .. } => {
                if path.join("manifest.csv").is_file() {
                    "this looks like data in the format `folder`: import it first"
                } else {
                    "a corpus is a directory with `corpus.toml`, `utterances.parquet` and `features/`; \
                     data in another format must be imported first"
                }
            }
            Self::Exists { .. } => "choose another output directory or remove this one first",
            Self::Checksum { .. } => {
                "the file was changed or damaged after the corpus was written: copy it again or repeat the import"
            }
            Self::Table { .. } | Self::Shard { .. } => {
                "the corpus is damaged or incomplete: copy it again or repeat the import"
            }
            Self::DuplicateId { .. } => {
                "ids must be unique in the whole corpus: put the conversation or the split into them"
            }
            Self::Overflow {
                dtype: FeatureDtype::F16,
                ..
            } => "store the features as `bf16` or `f32`",
            Self::Overflow { .. } => "store the features as `f32`",
            Self::Ragged { .. } => {
                "features are row-major [time, feature]: pass the width of one frame"
            }
            Self::Dim { .. } => {
                "all frames of a modality must have the same width: check which extractor made this file"
            }
            Self::Io { source, .. } if is_full(source) => {
                "free some space and repeat the command; nothing half-made was left behind"
            }
            Self::ScoreRange { .. } => "set the range in the label space to that of the data",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

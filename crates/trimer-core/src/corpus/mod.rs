//! A corpus: a directory that any tool can read.
//!
//! ```text
//! my-corpus/
//!   corpus.toml            name, version, licence, citation, label space, modalities, checksums
//!   utterances.parquet     one row per utterance
//!   features/text-00000.safetensors ...   one packed [frames, dim] tensor per modality and shard
//! ```

mod check;
mod descriptor;
mod error;
mod export;
mod file_name;
mod label_space;
mod map;
mod memory;
mod partial;
mod reader;
mod shard;
mod split_counts;
mod stats;
pub mod synth;
mod table;
mod writer;

pub use check::{CheckOptions, CheckReport, Disagreement, Finding, FindingKind, check, check_dir};
pub(crate) use descriptor::{Descriptor, is_plain_relative};
pub use error::CorpusError;
pub use export::export_folder;
pub use file_name::file_stem;
pub use label_space::{label_column, score_column};
pub use partial::remove_stale_partials;
pub use reader::{Corpus, FrameView};
pub use split_counts::SplitCounts;
pub use stats::{ClassCount, CorpusStats, ModalityStats, Quantiles};
pub use synth::Ceiling;
pub use writer::CorpusWriter;

use crate::{HeadMap, Hint, LabelSpace, ModalityMap, error::nearest};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, str::FromStr};

/// No utterance has more frames than this in one modality: a day at 40 frames per second.
pub const MAX_FRAMES_PER_UTTERANCE: usize = 1 << 22;
/// No corpus has more utterances than this.
pub const MAX_UTTERANCES: usize = 50_000_000;

/// The part of a protocol that an utterance belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Parameters are fitted on it.
    Train,
    /// Choices are made on it.
    Valid,
    /// Opened once, after every choice was made.
    Test,
}

impl Split {
    /// All splits in the order train, valid, test.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// The lower-case name, as in files and in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that is no split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a split; expected `train`, `valid` or `test`")]
pub struct UnknownSplit(pub String);

impl Hint for UnknownSplit {
    fn hint(&self) -> Option<String> {
        let split = nearest(&self.0, Split::ALL.map(Split::as_str))?;
        Some(format!("did you mean `{split}`?"))
    }
}

impl FromStr for Split {
    type Err = UnknownSplit;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|split| split.as_str() == name)
            .ok_or_else(|| UnknownSplit(name.to_owned()))
    }
}

/// One annotated stretch of speech by one speaker: everything but its features.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Utterance {
    /// Unique within the corpus.
    pub id: String,
    /// The part of the protocol it belongs to; `None` when not assigned.
    pub split: Option<Split>,
    /// The conversation or video it was cut from.
    pub conversation: Option<String>,
    /// Its place in the conversation, from 0.
    pub turn: Option<i64>,
    /// Who speaks.
    pub speaker: Option<String>,
    /// What is said.
    pub transcript: Option<String>,
    /// Class index per label column.
    pub labels: HeadMap<Option<u32>>,
    /// Score per label column.
    pub scores: HeadMap<Option<f32>>,
    /// Independent yes/no labels in the order of [`LabelSpace::binary`]; empty when there are none.
    pub binary: Vec<bool>,
}

/// How feature values are stored on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureDtype {
    /// 32-bit float.
    #[default]
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
}

/// What the maker of a corpus says about it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CorpusInfo {
    /// Short name, also the default directory name.
    pub name: String,
    /// Version of the data, as its maker counts.
    pub version: String,
    /// Licence or terms of use; empty when unknown.
    pub licence: String,
    /// How to cite it; empty when unknown.
    pub citation: String,
    /// Free text, Markdown.
    pub description: String,
    /// What the labels mean.
    pub label_space: LabelSpace,
    /// How feature values are stored.
    pub dtype: FeatureDtype,
    /// What made the features of each modality (`bert-base-chinese`, ...); `None` when unknown.
    pub extractors: ModalityMap<Option<String>>,
    /// Feature frames per second; `None` when not constant or unknown.
    pub rates_hz: ModalityMap<Option<f64>>,
}

/// The features of one modality of one utterance, row-major `[time, feature]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Frames<'a> {
    /// `time * dim` values.
    pub values: Cow<'a, [f32]>,
    /// Width of one frame.
    pub dim: usize,
}

impl Frames<'_> {
    /// Number of frames.
    pub fn time(&self) -> usize {
        self.values.len().checked_div(self.dim).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_known_by_its_name_alone() {
        for split in Split::ALL {
            assert_eq!(split.to_string().parse(), Ok(split));
        }
        for name in ["", "Test", "tests", "dev", " test"] {
            let error = name.parse::<Split>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("`{name}` is not a split; expected `train`, `valid` or `test`")
            );
        }
        let hint = |name: &str| name.parse::<Split>().unwrap_err().hint();
        assert_eq!(hint("tset").unwrap(), "did you mean `test`?");
        assert_eq!(hint("everything"), None);
    }
}

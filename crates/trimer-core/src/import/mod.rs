//! Foreign formats, each turned into a corpus.
//!
//! One format is one file here and one line in [`IMPORTERS`].

pub mod cherma;
pub mod erc;
mod error;
pub mod folder;
pub mod mmsa;
pub mod mult;
mod pickled;
mod score;

pub use error::{ImportError, Refusal};
pub use score::ScoreClasses;

use crate::{
    Modality,
    corpus::{FeatureDtype, Split, Utterance},
    error::nearest,
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// All importers, in the order in which they are listed to users.
pub const IMPORTERS: &[&dyn Importer] = &[
    &folder::Folder,
    &cherma::Cherma,
    &mmsa::Mmsa,
    &mult::MulT,
    &erc::Erc,
];

/// The importer with this id.
///
/// # Errors
/// [`ImportError::UnknownFormat`], which knows the nearest id.
pub fn importer(id: &str) -> Result<&'static dyn Importer, ImportError> {
    IMPORTERS
        .iter()
        .copied()
        .find(|i| i.info().id == id)
        .ok_or_else(|| ImportError::UnknownFormat {
            given: id.to_owned(),
            known: IMPORTERS.iter().map(|i| i.info().id).collect(),
            nearest: nearest(id, IMPORTERS.iter().map(|i| i.info().id)),
        })
}

/// What is known about a foreign format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ImporterInfo {
    /// Name on the command line.
    pub id: &'static str,
    /// Name in lists.
    pub title: &'static str,
    /// How to cite the data that come in this format; empty when it holds anybody's data.
    pub citation: &'static str,
    /// What users must know about the terms of use; empty when there is nothing to say.
    pub licence: &'static str,
    /// What the source must be: which file or directory, with what inside.
    pub source: &'static str,
}

/// A reader of one foreign format.
pub trait Importer: Sync {
    /// Id, title and origin of the format.
    fn info(&self) -> &ImporterInfo;

    /// Writes the corpus at `options.out` from `options.source`. `progress` is told from time to time
    /// how many of how many utterances are done.
    ///
    /// # Errors
    /// Every refusal names the file and, where there is one, the key, the offset and the utterance.
    /// Nothing is left at `options.out` then.
    fn import(
        &self,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<ImportSummary, ImportError>;
}

/// What to do with features that are NaN or infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NonFinite {
    /// Stop and name the file and the place.
    #[default]
    Refuse,
    /// Put 0 in their place and say how many there were.
    Zero,
}

/// Sizes beyond which a source is taken for damaged or hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportLimits {
    /// Most utterances in a source.
    pub max_utterances: usize,
    /// Most frames of one modality of one utterance.
    pub max_frames: usize,
    /// Widest frame.
    pub max_dim: usize,
    /// Largest single file, in bytes.
    pub max_file_bytes: u64,
}

impl Default for ImportLimits {
    fn default() -> Self {
        Self {
            max_utterances: 10_000_000,
            max_frames: 1_000_000,
            max_dim: 1 << 17,
            max_file_bytes: 64 << 30,
        }
    }
}

/// What every importer is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportOptions {
    /// The file or directory to read.
    pub source: PathBuf,
    /// Where the corpus will lie.
    pub out: PathBuf,
    /// Name of the corpus; `None` takes what the source says or the name of `out`.
    pub name: Option<String>,
    /// How feature values are stored; `None` takes what the source says or `f32`.
    pub dtype: Option<FeatureDtype>,
    /// Into how many classes scores are divided (5, 3 or 2); `None` keeps scores alone.
    pub classes: Option<usize>,
    /// What to do with features that are not finite.
    pub non_finite: NonFinite,
    /// Sizes beyond which the source is refused.
    pub limits: ImportLimits,
}

impl ImportOptions {
    /// Reads `source`, writes `out`, everything else as by default.
    pub fn new(source: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            out: out.into(),
            name: None,
            dtype: None,
            classes: None,
            non_finite: NonFinite::default(),
            limits: ImportLimits::default(),
        }
    }

    /// The name that was asked for, else the one given here, else that of the output directory.
    pub fn corpus_name(&self, from_source: &str) -> String {
        match (&self.name, from_source) {
            (Some(name), _) => name.clone(),
            (None, "") => self
                .out
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default(),
            (None, name) => name.to_owned(),
        }
    }
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ImportSummary {
    /// Where the corpus lies.
    pub path: PathBuf,
    /// How many utterances it has.
    pub utterances: usize,
    /// How many of them are in each split.
    pub splits: SplitCounts,
    /// What the user should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Numbers of utterances per split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SplitCounts {
    /// In the part that parameters are fitted on.
    pub train: usize,
    /// In the part that choices are made on.
    pub valid: usize,
    /// In the part that is opened once.
    pub test: usize,
    /// In none of them.
    pub unassigned: usize,
}

impl SplitCounts {
    /// Counts one more utterance.
    pub fn add(&mut self, split: Option<Split>) {
        match split {
            Some(Split::Train) => self.train += 1,
            Some(Split::Valid) => self.valid += 1,
            Some(Split::Test) => self.test += 1,
            None => self.unassigned += 1,
        }
    }

    /// Counts the splits of utterances.
    pub fn of<'a>(utterances: impl IntoIterator<Item = &'a Utterance>) -> Self {
        let mut counts = Self::default();
        for utterance in utterances {
            counts.add(utterance.split);
        }
        counts
    }
}

/// Handles values that are not finite as asked; returns how many were replaced.
///
/// `values` are row-major `[time, dim]`.
///
/// # Errors
/// [`ImportError::NonFinite`] with the place of the first one, when they are to be refused.
pub fn resolve_non_finite(
    policy: NonFinite,
    values: &mut [f32],
    dim: usize,
    file: &Path,
    id: &str,
    modality: Modality,
) -> Result<u64, ImportError> {
    let mut replaced = 0;
    for (at, value) in values.iter_mut().enumerate() {
        if value.is_finite() {
            continue;
        }
        match policy {
            NonFinite::Refuse => {
                return Err(ImportError::NonFinite {
                    path: file.to_owned(),
                    id: id.to_owned(),
                    modality,
                    frame: at / dim.max(1),
                    feature: at % dim.max(1),
                    value: *value,
                });
            }
            NonFinite::Zero => {
                *value = 0.0;
                replaced += 1;
            }
        }
    }
    Ok(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_importer_has_its_own_id() {
        let mut ids: Vec<_> = IMPORTERS.iter().map(|i| i.info().id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), IMPORTERS.len());
        for id in ids {
            assert_eq!(importer(id).unwrap().info().id, id);
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_refused_with_its_place_or_becomes_zero() {
        let (file, m) = (Path::new("a.npy"), Modality::Audio);
        let mut values = [0.0, 1.0, 2.0, f32::NAN, 4.0, f32::NEG_INFINITY];
        let error =
            resolve_non_finite(NonFinite::Refuse, &mut values, 2, file, "a", m).unwrap_err();
        // The value number 3 in rows of 2 is row 1, column 1.
        assert!(
            matches!(
                error,
                ImportError::NonFinite {
                    frame: 1,
                    feature: 1,
                    ..
                }
            ),
            "{error}"
        );
        let replaced = resolve_non_finite(NonFinite::Zero, &mut values, 2, file, "a", m).unwrap();
        assert_eq!((replaced, values), (2, [0.0, 1.0, 2.0, 0.0, 4.0, 0.0]));
    }
}

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

pub use crate::corpus::SplitCounts;
pub use error::{ImportError, Refusal};
pub use score::ScoreClasses;

use crate::{Modality, corpus::FeatureDtype, error::nearest};
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
    /// Name by which users choose it.
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
///
/// # Contract
///
/// [`info`](Self::info) costs nothing and always says the same. [`import`](Self::import) is called once
/// for each source, possibly from several threads for different ones, and keeps nothing between calls.
/// It goes through these steps, in this order:
///
/// 1. refuse options that the format cannot follow ([`ImportError::Option`]), before reading: `classes`
///    for example where the source holds classes instead of scores;
/// 2. read the source within `options.limits`. No byte of it is trusted: sizes are checked before
///    memory is taken for them, and what cannot be right is a [`Refusal`] with the file and, where there
///    is one, line, key, offset and utterance;
/// 3. start a [`CorpusWriter`](crate::corpus::CorpusWriter) at `options.out`, with the name of
///    [`ImportOptions::corpus_name`] and the type of `options.dtype`;
/// 4. for each utterance: pass the values of every modality through [`resolve_non_finite`], push the
///    utterance, and tell `progress` how many of how many are done;
/// 5. finish the writer. A writer that is dropped before removes what it wrote, so an import that fails
///    leaves nothing behind without doing anything for it.
///
/// The same source and options give the same bytes: utterances are pushed in an order that the source
/// fixes, never in that of a hash map or of a directory listing.
///
/// An importer of another crate needs no registration: call it. Those of [`IMPORTERS`] are also known by
/// their id.
///
/// # Example
///
/// ```
/// use trimer_core::corpus::{Corpus, CorpusInfo, CorpusWriter, Frames, Split, Utterance};
/// use trimer_core::import::{
///     ImportError, ImportOptions, ImportSummary, Importer, ImporterInfo, Refusal, SplitCounts,
///     resolve_non_finite,
/// };
/// use trimer_core::{LabelSpace, Modality, ModalityMap};
///
/// const CLASSES: [&str; 2] = ["sad", "happy"];
///
/// /// One line per utterance: id, split, class and one frame of audio features.
/// struct Lines;
///
/// impl Importer for Lines {
///     fn info(&self) -> &ImporterInfo {
///         &ImporterInfo {
///             id: "lines",
///             title: "one line per utterance",
///             citation: "",
///             licence: "",
///             source: "a text file of lines `id split class value ...`",
///         }
///     }
///
///     fn import(
///         &self,
///         options: &ImportOptions,
///         progress: &mut dyn FnMut(u64, u64),
///     ) -> Result<ImportSummary, ImportError> {
///         let file = &options.source;
///         let text = std::fs::read_to_string(file)
///             .map_err(|e| Refusal::new(file, "the file cannot be read").source(e))?;
///         let info = CorpusInfo {
///             name: options.corpus_name(""),
///             label_space: LabelSpace::of_classes(CLASSES),
///             dtype: options.dtype.unwrap_or_default(),
///             ..CorpusInfo::default()
///         };
///         let mut writer = CorpusWriter::create(&options.out, info)?;
///         let mut splits = SplitCounts::default();
///         for (row, line) in (1..).zip(text.lines()) {
///             let refuse = |message: String| Refusal::new(file, message).row(row);
///             let mut words = line.split_whitespace();
///             let [Some(id), Some(split), Some(class)] = [(); 3].map(|()| words.next()) else {
///                 return Err(refuse("fewer than three words".into()).into());
///             };
///             let split = split.parse::<Split>().map_err(|e| refuse(format!("{e}")).id(id))?;
///             let label = CLASSES.iter().position(|known| *known == class);
///             let label = label.ok_or_else(|| refuse(format!("`{class}` is not a class")).id(id))?;
///             let mut values = words
///                 .map(|word| word.parse().map_err(|_| refuse(format!("`{word}` is not a number"))))
///                 .collect::<Result<Vec<f32>, _>>()?;
///             let dim = values.len();
///             resolve_non_finite(options.non_finite, &mut values, dim, file, id, Modality::Audio)?;
///             let mut utterance = Utterance {
///                 id: id.into(),
///                 split: Some(split),
///                 ..Utterance::default()
///             };
///             utterance.labels.multimodal = Some(label as u32);
///             let mut features = ModalityMap::default();
///             features.audio = Some(Frames { values: values.into(), dim });
///             splits.add(utterance.split);
///             writer.push(utterance, features)?;
///             progress(writer.len() as u64, text.lines().count() as u64);
///         }
///         Ok(ImportSummary {
///             utterances: writer.len(),
///             path: writer.finish()?,
///             splits,
///             warnings: Vec::new(),
///         })
///     }
/// }
///
/// let dir = tempfile::tempdir()?;
/// let (source, out) = (dir.path().join("lines.txt"), dir.path().join("corpus"));
/// std::fs::write(&source, "a train happy 0.5 1.5\nb test glad 0.1 0.2\n")?;
/// let error = Lines.import(&ImportOptions::new(&source, &out), &mut |_, _| {}).unwrap_err();
/// assert!(error.to_string().ends_with("line 2, utterance `b`: `glad` is not a class"));
/// assert!(!out.exists());
///
/// std::fs::write(&source, "a train happy 0.5 1.5\nb test sad 0.1 0.2\n")?;
/// Lines.import(&ImportOptions::new(&source, &out), &mut |_, _| {})?;
/// let corpus = Corpus::open(&out)?;
/// assert_eq!((corpus.len(), corpus.dims().audio), (2, Some(2)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

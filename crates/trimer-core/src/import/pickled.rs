//! What the importers of pickled feature files share: a dictionary of three splits, each a
//! dictionary of arrays and lists with one member per utterance.

use super::{ImportError, ImportOptions, Refusal, resolve_non_finite};
use crate::{
    Modality,
    corpus::{Frames, Split},
    error::nearest,
    store::{
        ByteView, NdArray,
        pickle::{self, Allowed, Node, Pickle, PickleError},
    },
};
use std::path::{Path, PathBuf};

/// Longest id in bytes: ids become names of exported files.
const MAX_ID: usize = 512;
/// Longest transcript in bytes.
const MAX_TRANSCRIPT: usize = 1 << 20;

/// A pickle file and its content.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pickle: Pickle,
}

impl Source {
    /// Reads the file that `options` name.
    pub(super) fn open(options: &ImportOptions) -> Result<Self, ImportError> {
        let path = options.source.clone();
        let io = |source| ImportError::Io {
            action: "read",
            path: path.clone(),
            source,
        };
        let meta = match std::fs::metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(ImportError::Missing {
                    path,
                    expected: "a pickle file".to_owned(),
                });
            }
            other => other.map_err(io)?,
        };
        if !meta.is_file() {
            return Err(Refusal::new(&path, "not a file; expected a pickle file").into());
        }
        if meta.len() > options.limits.max_file_bytes {
            return Err(Refusal::new(
                &path,
                format!(
                    "{} bytes, at most {} are accepted",
                    meta.len(),
                    options.limits.max_file_bytes
                ),
            )
            .into());
        }
        let bytes = ByteView::open(&path).map_err(io)?;
        let pickle = pickle::parse(bytes, Allowed::Numpy).map_err(|e| refusal(&path, e))?;
        Ok(Self { path, pickle })
    }

    pub(super) fn root(&self) -> Node<'_> {
        self.pickle.root()
    }

    /// The splits `train`, `valid` and `test`.
    pub(super) fn parts<'a>(
        &'a self,
        options: &'a ImportOptions,
    ) -> Result<Vec<Part<'a>>, ImportError> {
        let root = self.root();
        let Some(entries) = root.entries() else {
            return Err(Refusal::new(
                &self.path,
                format!(
                    "the pickle holds a value of type {}; expected a dictionary of the splits `train`, `valid` and `test`",
                    root.type_name()
                ),
            )
            .into());
        };
        let found: Vec<&str> = entries.filter_map(|(key, _)| short(key)).take(50).collect();
        Split::ALL
            .into_iter()
            .map(|split| {
                let Some(node) = root.get(split.as_str()) else {
                    return Err(Refusal::new(
                        &self.path,
                        format!("the split is missing; found {}", list(&found)),
                    )
                    .key(split.as_str())
                    .into());
                };
                if node.entries().is_none() {
                    return Err(Refusal::new(
                        &self.path,
                        format!("expected a dictionary, found {}", node.type_name()),
                    )
                    .key(split.as_str())
                    .into());
                }
                Ok(Part {
                    path: &self.path,
                    options,
                    split,
                    node,
                })
            })
            .collect()
    }
}

/// The error of the pickle reader as that of an importer.
pub(super) fn refusal(path: &Path, error: PickleError) -> ImportError {
    use crate::Hint;
    let hint = error.hint();
    let refusal = match &error {
        PickleError::At {
            offset,
            opcode,
            fault,
        } => Refusal::new(path, format!("opcode `{opcode}`: {fault}")).offset(*offset as u64),
        PickleError::Trailing { offset, .. } => {
            Refusal::new(path, error.to_string()).offset(*offset as u64)
        }
        PickleError::Empty => Refusal::new(path, error.to_string()).offset(0),
        _ => Refusal::new(path, error.to_string()),
    };
    match hint {
        Some(hint) => refusal.hint(hint),
        None => refusal,
    }
    .into()
}

/// A key that a message can show.
fn short(key: Node<'_>) -> Option<&str> {
    key.as_utf8().filter(|key| key.len() <= 60)
}

/// The names in backticks, or that there are none.
fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        format!("`{}`", names.join("`, `"))
    }
}

/// One split of a source.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    path: &'a Path,
    options: &'a ImportOptions,
    pub(super) split: Split,
    node: Node<'a>,
}

impl<'a> Part<'a> {
    pub(super) fn refuse(&self, key: &str, message: impl Into<String>) -> Refusal {
        Refusal::new(self.path, message).key(format!("{}.{key}", self.split))
    }

    /// The value of a key that may be absent; `None` also when it is Python's `None`.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        self.node.get(key).filter(|node| !node.is_none())
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, key: &str) -> Result<Node<'a>, ImportError> {
        self.node.get(key).ok_or_else(|| {
            let keys: Vec<&str> = self
                .node
                .entries()
                .into_iter()
                .flatten()
                .filter_map(|(key, _)| short(key))
                .take(50)
                .collect();
            let refusal = self.refuse(key, format!("the key is missing; found {}", list(&keys)));
            match nearest(key, keys.iter().copied()) {
                Some(similar) => refusal.hint(format!("is `{similar}` meant?")),
                None => refusal,
            }
            .into()
        })
    }

    /// The features of one modality, `[utterance, time, feature]`.
    pub(super) fn features(&self, modality: Modality) -> Result<Features<'a>, ImportError> {
        let key = modality.as_str();
        let node = self.require(key)?;
        let array = node.as_array().ok_or_else(|| {
            self.refuse(
                key,
                format!(
                    "expected a numeric array [utterance, time, feature], found {}",
                    node.type_name()
                ),
            )
            .hint(
                "pad sequences of different length with zeros to one array and give their lengths",
            )
        })?;
        let &[count, time, dim] = array.shape() else {
            return Err(self
                .refuse(
                    key,
                    format!(
                        "expected an array [utterance, time, feature], found shape {:?}",
                        array.shape()
                    ),
                )
                .into());
        };
        let limits = &self.options.limits;
        if count == 0 {
            return Err(self.refuse(key, "the split has no utterances").into());
        }
        if time == 0 || dim == 0 || time > limits.max_frames || dim > limits.max_dim {
            return Err(self
                .refuse(
                    key,
                    format!(
                        "shape {:?}; expected 1 to {} frames of 1 to {} features",
                        array.shape(),
                        limits.max_frames,
                        limits.max_dim
                    ),
                )
                .into());
        }
        if count > limits.max_utterances {
            return Err(self
                .refuse(
                    key,
                    format!("{count} utterances, at most {}", limits.max_utterances),
                )
                .into());
        }
        Ok(Features {
            part: *self,
            modality,
            array,
            count,
            time,
            dim,
        })
    }

    fn check_count(&self, key: &str, found: usize, count: usize) -> Result<(), ImportError> {
        if found == count {
            return Ok(());
        }
        Err(self
            .refuse(
                key,
                format!("{found} values for {count} utterances in this split"),
            )
            .into())
    }

    /// One number per utterance.
    pub(super) fn numbers(&self, key: &str, count: usize) -> Result<Vec<f64>, ImportError> {
        let node = self.require(key)?;
        let numbers = node.numbers().ok_or_else(|| {
            self.refuse(key, format!("expected numbers, found {}", node.type_name()))
        })?;
        self.check_count(key, numbers.len(), count)?;
        Ok(numbers)
    }

    /// One text per utterance where the key exists. Bytes that are not UTF-8 are read as Latin-1,
    /// as the reference loaders do.
    pub(super) fn transcripts(
        &self,
        key: &str,
        count: usize,
    ) -> Result<Option<Vec<String>>, ImportError> {
        let Some(node) = self.get(key) else {
            return Ok(None);
        };
        let texts = node.texts().ok_or_else(|| {
            self.refuse(key, format!("expected texts, found {}", node.type_name()))
        })?;
        self.check_count(key, texts.len(), count)?;
        texts
            .into_iter()
            .enumerate()
            .map(|(place, text)| {
                if text.len() > MAX_TRANSCRIPT {
                    return Err(self
                        .refuse(
                            key,
                            format!("text {place} has more than {MAX_TRANSCRIPT} bytes"),
                        )
                        .into());
                }
                Ok(match String::from_utf8(text.into_owned()) {
                    Ok(text) => text,
                    Err(bytes) => bytes.as_bytes().iter().map(|&b| b as char).collect(),
                })
            })
            .collect::<Result<_, ImportError>>()
            .map(Some)
    }

    /// Texts that identify something: UTF-8, neither empty nor overlong, without control
    /// characters.
    pub(super) fn ids(&self, key: &str) -> Result<Vec<String>, ImportError> {
        let node = self.require(key)?;
        let texts = node.texts().ok_or_else(|| {
            self.refuse(key, format!("expected texts, found {}", node.type_name()))
        })?;
        texts
            .iter()
            .enumerate()
            .map(|(place, text)| {
                let id = std::str::from_utf8(text).map_err(|_| {
                    self.refuse(key, format!("id {place} is not UTF-8"))
                        .id(String::from_utf8_lossy(&text[..text.len().min(80)]))
                })?;
                self.check_id(key, place, id)?;
                Ok(id.to_owned())
            })
            .collect()
    }

    pub(super) fn check_id(&self, key: &str, place: usize, id: &str) -> Result<(), ImportError> {
        let what = if id.is_empty() {
            "is empty"
        } else if id.len() > MAX_ID {
            "has more than 512 bytes"
        } else if id.chars().any(char::is_control) {
            "has a control character"
        } else {
            return Ok(());
        };
        let shown: String = id.chars().take(80).collect();
        Err(self
            .refuse(key, format!("id {place} {what}"))
            .id(shown)
            .into())
    }
}

/// The features of one modality in one split.
pub(super) struct Features<'a> {
    part: Part<'a>,
    modality: Modality,
    array: &'a NdArray,
    /// Number of utterances.
    pub(super) count: usize,
    /// Frames per utterance, padding included.
    pub(super) time: usize,
    /// Features per frame.
    pub(super) dim: usize,
}

impl Features<'_> {
    /// Checks that there are as many utterances as ids.
    pub(super) fn expect_count(&self, count: usize) -> Result<(), ImportError> {
        self.part
            .check_count(self.modality.as_str(), self.count, count)
    }

    /// Checks that time and width equal those of another split.
    pub(super) fn expect_like(&self, other: &Self) -> Result<(), ImportError> {
        if (self.time, self.dim) == (other.time, other.dim) {
            return Ok(());
        }
        Err(self
            .part
            .refuse(
                self.modality.as_str(),
                format!(
                    "{} frames of {} features, but split `{}` has {} of {}",
                    self.time, self.dim, other.part.split, other.time, other.dim
                ),
            )
            .into())
    }

    /// The values of one utterance, row-major `[time, feature]`, all finite. What is not is
    /// handled as the options say, except that `-inf` in audio becomes 0, as in the reference
    /// loaders: feature extractors write it for silence. Returns how many values were replaced.
    pub(super) fn values(
        &self,
        place: usize,
        id: &str,
    ) -> Result<(Vec<f32>, Replaced), ImportError> {
        let mut values = self
            .array
            .index(place)
            .expect("callers stay below `count`, the size of the first axis")
            .to_f32();
        let mut replaced = Replaced::default();
        if self.modality == Modality::Audio {
            for value in &mut values {
                if *value == f32::NEG_INFINITY {
                    *value = 0.0;
                    replaced.silence += 1;
                }
            }
        }
        replaced.other = resolve_non_finite(
            self.part.options.non_finite,
            &mut values,
            self.dim,
            self.part.path,
            id,
            self.modality,
        )?;
        Ok((values, replaced))
    }

    /// Cuts rows to a part of the time axis.
    pub(super) fn frames(
        &self,
        mut values: Vec<f32>,
        rows: std::ops::Range<usize>,
    ) -> Frames<'static> {
        values.truncate(rows.end * self.dim);
        values.drain(..rows.start * self.dim);
        Frames {
            values: values.into(),
            dim: self.dim,
        }
    }
}

/// How many values were replaced by 0.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Replaced {
    /// `-inf` in audio.
    pub(super) silence: u64,
    /// Others, because the options ask for it.
    pub(super) other: u64,
}

impl Replaced {
    pub(super) fn add(&mut self, other: Self) {
        self.silence += other.silence;
        self.other += other.other;
    }

    pub(super) fn warn(self, warnings: &mut Vec<String>) {
        if self.silence > 0 {
            warnings.push(format!(
                "{} values of audio that were -inf became 0, as in the reference loaders",
                self.silence
            ));
        }
        if self.other > 0 {
            warnings.push(format!(
                "{} values that were NaN or infinite became 0",
                self.other
            ));
        }
    }
}

#[cfg(test)]
mod tests;

//! Where the search space of a model is from.

use crate::error::{Result, StudyError};
use std::path::{Path, PathBuf};

/// What is searched when no space is given: what every model has.
const STANDARD_SPACE: &str = "\
[train]
lr = { log = [1e-4, 5e-3] }
batch_size = { choices = [16, 32, 64] }
label_smoothing = { choices = [0.0, 0.1] }
optimizer.weight_decay = { log = [1e-3, 0.2] }
";

/// Where a search space is from.
#[derive(Debug)]
pub(super) enum SpaceSource {
    /// What every model has.
    Standard,
    /// TOML.
    Text(String),
    /// A file, or a directory with one per model.
    Path(PathBuf),
}

impl SpaceSource {
    /// The space of a model as TOML.
    pub(super) fn text(&self, model: &str) -> Result<String> {
        match self {
            Self::Standard => Ok(STANDARD_SPACE.to_owned()),
            Self::Text(text) => Ok(text.clone()),
            Self::Path(path) => match file_of(path, model) {
                Some(file) => std::fs::read_to_string(&file)
                    .map_err(StudyError::io("read the search space", file)),
                None => Ok(STANDARD_SPACE.to_owned()),
            },
        }
    }
}

/// The file of a model, where `path` may be a directory with one per model.
pub(super) fn file_of(path: &Path, model: &str) -> Option<PathBuf> {
    if !path.is_dir() {
        return Some(path.to_owned());
    }
    let file = path.join(format!("{model}.toml"));
    file.is_file().then_some(file)
}

//! Why a source was refused.

use crate::{Hint, Modality, corpus::CorpusError};
use std::{error::Error, fmt, io, path::PathBuf};

/// Why an import stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// There is no importer of that name.
    #[error("`{given}` is not a format; expected one of `{}`", known.join("`, `"))]
    UnknownFormat {
        /// What was asked for.
        given: String,
        /// What there is.
        known: Vec<&'static str>,
        /// The most similar one.
        nearest: Option<&'static str>,
    },
    /// The source lacks something it must have.
    #[error("`{}` does not exist; expected {expected}", path.display())]
    Missing {
        /// The file or directory that is not there.
        path: PathBuf,
        /// What it should have been.
        expected: String,
    },
    /// The operating system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The source is there, but its content cannot be right.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// A feature that is NaN or infinite.
    #[error(
        "`{}`: utterance `{id}`: {modality} value {value} at frame {frame}, feature {feature} is not finite",
        path.display()
    )]
    NonFinite {
        /// The file that holds it.
        path: PathBuf,
        /// The utterance.
        id: String,
        /// The modality.
        modality: Modality,
        /// Frame, from 0.
        frame: usize,
        /// Place in the frame, from 0.
        feature: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// An option that this importer cannot follow.
    #[error("the option `{option}` is {value}, expected {expected}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// The corpus could not be written.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
}

/// A place in a source, and what is wrong there.
///
/// ```
/// use trimer_core::import::Refusal;
/// let refusal = Refusal::new("train.pkl", "the array has no rows").key("train.audio").offset(12);
/// assert_eq!(refusal.to_string(), "`train.pkl`: key `train.audio`, byte 12: the array has no rows");
/// ```
#[derive(Debug)]
pub struct Refusal {
    path: PathBuf,
    row: Option<u64>,
    id: Option<String>,
    key: Option<String>,
    offset: Option<u64>,
    message: String,
    pub(crate) hint: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Refusal {
    /// The file and what is wrong with it, as part of a sentence.
    pub fn new(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            row: None,
            id: None,
            key: None,
            offset: None,
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    /// The line of a text file, from 1.
    pub fn row(mut self, row: u64) -> Self {
        self.row = Some(row);
        self
    }

    /// The utterance.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The key, column or path inside the file.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The place in the file, in bytes.
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// What the user can try.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error behind it.
    pub fn source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = [
            self.row.map(|row| format!("line {row}")),
            self.id
                .as_ref()
                .map(|id| format!("utterance `{}`", id.escape_debug())),
            self.key
                .as_ref()
                .map(|key| format!("key `{}`", key.escape_debug())),
            self.offset.map(|offset| format!("byte {offset}")),
        ];
        let places: Vec<_> = places.into_iter().flatten().collect();
        write!(f, "`{}`: ", self.path.display())?;
        if !places.is_empty() {
            write!(f, "{}: ", places.join(", "))?;
        }
        f.write_str(&self.message)
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}

impl From<Refusal> for ImportError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl Hint for ImportError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownFormat { nearest, .. } => {
                nearest.map(|name| format!("did you mean `{name}`?"))
            }
            Self::Refused(refusal) => refusal.hint.clone(),
            Self::NonFinite { .. } => Some(
                "look at what made the features; `import.non_finite=zero` puts 0 in place of such values"
                    .to_owned(),
            ),
            Self::Corpus(error) => error.hint(),
            _ => None,
        }
    }
}

//! Why votes or labels cannot be used.

use crate::{Hint, corpus::CorpusError, import::Refusal};
use std::{io, path::PathBuf};

/// Why votes or labels cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// The operating system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The table is there, but its content cannot be right.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// A name that is none of the registered ones.
    #[error("`{given}` is not a {kind}; expected one of `{}`", known.join("`, `"))]
    Unknown {
        /// What kind of thing: `rule`, `format of votes`.
        kind: &'static str,
        /// What was asked for.
        given: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// An option out of its range.
    #[error("the option `{option}` is {found}, expected {expected}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// Votes that the chosen rule has no answer for.
    #[error("the rule `{rule}` cannot decide on utterance `{id}`: {message}")]
    Undecidable {
        /// The rule.
        rule: &'static str,
        /// The utterance.
        id: String,
        /// What stands in the way.
        message: String,
        /// What can be done.
        hint: &'static str,
    },
    /// A corpus that has no class labels.
    #[error("the corpus `{name}` has no class labels")]
    NoClasses {
        /// Name of the corpus.
        name: String,
    },
    /// The corpus cannot be read.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
}

impl From<Refusal> for LabelError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl Hint for LabelError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => refusal.hint.clone(),
            Self::Unknown { given, known, .. } => {
                crate::error::nearest(given, known.iter().copied())
                    .map(|near| format!("did you mean `{near}`?"))
            }
            Self::Undecidable { hint, .. } => Some((*hint).to_owned()),
            Self::NoClasses { .. } => Some(
                "import it with `import.classes=5`, `3` or `2` to divide its scores into classes"
                    .into(),
            ),
            Self::Corpus(error) => error.hint(),
            Self::Io { .. } => Some("check the path and its permissions".into()),
            Self::Option { .. } => None,
        }
    }
}

//! Why a command failed, and what to try.
#![allow(clippy::print_stderr, reason = "the modules of `ui` alone print")]

use super::keys::{self, Words};
use std::error::Error;
use trimer_core::Hint;
use trimer_core::corpus::synth::SynthError;
use trimer_core::corpus::{CorpusError, UnknownSplit};
use trimer_core::import::ImportError;
use trimer_core::io::WriteError;
use trimer_core::labels::LabelError;
use trimer_core::metrics::MetricError;
use trimer_core::store::npy::NpyError;
use trimer_core::store::npz::NpzError;
use trimer_core::store::pickle::PickleError;
use trimer_core::store::torch::TorchError;
use trimer_nn::NnError;
use trimer_report::ReportError;
use trimer_study::StudyError;
use trimer_train::TrainError;
use trimer_train::conformance::{Fault, Faults};

/// Tells why a command failed: message, causes, hint.
pub(crate) fn fail(error: &anyhow::Error) {
    let mut chain = error.chain().map(message_of);
    let mut last = chain.next().unwrap_or_default();
    eprintln!("error: {last}");
    for text in chain {
        if text != last {
            eprintln!("  caused by: {text}");
        }
        last = text;
    }
    if let Some(hint) = error.chain().find_map(told) {
        eprintln!("hint: {hint}");
    }
}

/// What an error says, with flags for the options that it names.
fn message_of(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    if error.is::<StudyError>() || error.is::<TrainError>() || error.is::<NnError>() {
        keys::with_flags(&text, Words::Message)
    } else {
        text
    }
}

/// The hint of an error, as the user is told it.
fn told(cause: &(dyn Error + 'static)) -> Option<String> {
    let hint = hint_of(cause)?;
    if cause.is::<Hinted>() {
        return Some(hint);
    }
    let words = if names_options(cause) {
        Words::Hint
    } else {
        Words::Foreign
    };
    Some(keys::with_flags(&hint, words))
}

/// Whether the hint of this error is of a crate that names options by a bare word. Others put paths
/// and columns in backticks, which may be called the same.
fn names_options(cause: &(dyn Error + 'static)) -> bool {
    match cause.downcast_ref() {
        Some(StudyError::InFile { source, .. } | StudyError::InSystem { source, .. }) => {
            names_options(&**source)
        }
        Some(StudyError::Nn(error)) => names_options(error),
        Some(StudyError::Train(error)) => names_options(error),
        Some(error) => matches!(
            error,
            StudyError::Range { .. } | StudyError::Refused { .. } | StudyError::Interrupted { .. }
        ),
        None => match cause.downcast_ref() {
            Some(TrainError::Nn(error)) => names_options(error),
            Some(error) => !matches!(error, TrainError::CorpusFile(_) | TrainError::Metric(_)),
            None => matches!(
                cause.downcast_ref(),
                Some(NnError::Corpus { .. } | NnError::Device { .. })
            ),
        },
    }
}

/// Writes `hint_of` from the list of errors that give hints. An error whose type was erased can only be asked by
/// its type, so that the list must be whole: a test compares it with the sources.
macro_rules! hinted {
    ($($error:ident),+ $(,)?) => {
        fn hint_of(cause: &(dyn Error + 'static)) -> Option<String> {
            $(if let Some(error) = cause.downcast_ref::<$error>() {
                return error.hint();
            })+
            None
        }

        #[cfg(test)]
        const HINTED: &[&str] = &[$(stringify!($error)),+];
    };
}

hinted! {
    CorpusError,
    Fault,
    Faults,
    Hinted,
    ImportError,
    LabelError,
    MetricError,
    NnError,
    NpyError,
    NpzError,
    PickleError,
    ReportError,
    StudyError,
    SynthError,
    TorchError,
    TrainError,
    UnknownSplit,
    WriteError,
}

/// An error of the command line itself, with its hint.
#[derive(Debug)]
pub(crate) struct Hinted {
    message: String,
    hint: String,
}

impl Hinted {
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl std::fmt::Display for Hinted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Hinted {}

impl Hint for Hinted {
    fn hint(&self) -> Option<String> {
        Some(self.hint.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The types for which the sources under `folder` implement `Hint`.
    fn implementors(folder: &std::path::Path, found: &mut std::collections::BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                implementors(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let lines = text.lines().filter(|line| line.starts_with("impl"));
                let names =
                    lines.filter_map(|line| line.split_once("Hint for ")?.1.split(' ').next());
                found.extend(names.map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_error_that_gives_hints_is_asked_for_them() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = std::collections::BTreeSet::new();
        implementors(&crates, &mut found);
        // The crate of reports depends on no other: its hint is no trait's.
        found.insert("ReportError".into());
        assert!(found.iter().eq(HINTED), "{found:?}, asked are {HINTED:?}");
    }

    #[test]
    fn an_option_becomes_a_flag_and_a_path_of_that_name_stays() {
        let option = StudyError::Refused {
            reason: "`out` holds another search".into(),
            hint: "choose another `out`".into(),
        };
        assert_eq!(message_of(&option), "`out` holds another search");
        assert_eq!(told(&option).unwrap(), "choose another `--out`");
        let path = StudyError::from(WriteError {
            path: "out/results.json".into(),
            source: std::io::ErrorKind::NotFound.into(),
        });
        assert_eq!(told(&path).unwrap(), "create the directory `out` first");
        let range = StudyError::Range {
            key: "points",
            value: "9000".into(),
            expected: "0 to 2000".into(),
            hint: String::new(),
        };
        let wanted = "`--points 9000` is out of range; expected 0 to 2000";
        assert_eq!(message_of(&range), wanted);
    }

    #[test]
    fn a_hint_is_found_wherever_the_error_comes_from() {
        let class = || MetricError::Class {
            what: "truth",
            class: 3,
            sample: 0,
            n_classes: 2,
        };
        let bare = anyhow::Error::from(class());
        let wrapped = anyhow::Error::from(TrainError::from(class())).context("cannot evaluate");
        for error in [bare, wrapped] {
            let hint = error.chain().find_map(hint_of);
            assert!(hint.is_some_and(|h| h.contains("class list")), "{error:?}");
        }
    }
}

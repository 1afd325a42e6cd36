//! Why a command failed, and what to try.
#![allow(clippy::print_stderr, reason = "the modules of `ui` alone print")]

use super::keys;
use std::error::Error;
use trimer_core::Hint;
use trimer_core::corpus::CorpusError;
use trimer_core::corpus::synth::SynthError;
use trimer_core::import::ImportError;
use trimer_core::labels::LabelError;
use trimer_core::metrics::MetricError;
use trimer_core::store::npy::NpyError;
use trimer_core::store::npz::NpzError;
use trimer_core::store::pickle::PickleError;
use trimer_core::store::torch::TorchError;
use trimer_nn::NnError;
use trimer_report::ReportError;
use trimer_study::StudyError;

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
    if let Some(hint) = error.chain().find_map(hint_of) {
        eprintln!("hint: {}", keys::with_flags(&hint));
    }
}

/// What an error says, with flags for the options of a study.
fn message_of(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    if error.is::<StudyError>() {
        keys::with_flags(&text)
    } else {
        text
    }
}

/// The hint of an error whose type is known to have one.
fn hint_of(cause: &(dyn Error + 'static)) -> Option<String> {
    fn of<E: Hint + 'static>(cause: &(dyn Error + 'static)) -> Option<String> {
        cause.downcast_ref::<E>().and_then(Hint::hint)
    }
    let known = [
        of::<Hinted>,
        of::<StudyError>,
        of::<NnError>,
        of::<CorpusError>,
        of::<SynthError>,
        of::<ImportError>,
        of::<LabelError>,
        of::<MetricError>,
        of::<NpyError>,
        of::<NpzError>,
        of::<PickleError>,
        of::<TorchError>,
        of::<ReportError>,
    ];
    known.iter().find_map(|hint| hint(cause))
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

    #[test]
    fn no_hint_is_lost_on_the_way_to_the_user() {
        let metric = || MetricError::Length {
            what: "pred",
            found: 1,
            expected: 2,
        };
        let bare = anyhow::Error::from(metric());
        assert!(bare.chain().find_map(hint_of).is_some());
        let wrapped = anyhow::Error::from(StudyError::from(metric())).context("on the way");
        assert!(wrapped.chain().find_map(hint_of).is_some());
    }
}

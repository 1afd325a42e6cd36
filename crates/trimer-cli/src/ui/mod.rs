//! Everything that is printed: data to stdout, everything else to stderr. Libraries name options by
//! their keys; [`keys`] turns these into flags.

mod fail;
mod keys;
mod print;
mod progress;

pub(crate) use fail::{Hinted, fail};
pub(crate) use print::{data, json, note, warn};
pub(crate) use progress::{Board, ConditionBar, Notes, StageBar, TrainingView, bar};

/// Tells of a doubt of a library, with flags for the options that it names.
pub(crate) fn warn_of_library(text: &str) {
    warn(&keys::with_flags(text, keys::Words::Foreign));
}

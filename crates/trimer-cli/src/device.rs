//! `--device`: opening what it names, and telling the user what became of it.

use crate::ui;
use trimer_nn::device::{Opened, open};

/// The device of a name, or the CPU with a warning.
pub(crate) fn opened(name: &str) -> anyhow::Result<Opened> {
    let opened = open(name)?;
    if let Some(warning) = &opened.warning {
        ui::warn_of_library(warning);
    }
    Ok(opened)
}

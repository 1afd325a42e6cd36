//! Words of the command line that several verbs share.

use crate::ui;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use trimer_core::corpus::Split;
use trimer_nn::train::SelectOn;

/// The split of a name.
pub(crate) fn parse_split(name: &str) -> anyhow::Result<Split> {
    let found = Split::ALL.into_iter().find(|s| s.as_str() == name);
    found.ok_or_else(|| {
        ui::Hinted::new(
            format!("`{name}` is no split"),
            "expected train, valid or test",
        )
        .into()
    })
}

/// The selecting split of a name.
pub(crate) fn parse_select_on(name: &str) -> anyhow::Result<SelectOn> {
    match parse_split(name)? {
        Split::Test => Ok(SelectOn::Test),
        Split::Valid => Ok(SelectOn::Valid),
        Split::Train => {
            Err(ui::Hinted::new("no epoch is selected on train", "expected valid or test").into())
        }
    }
}

/// A flag that the first Ctrl-C sets; the second ends the process at once.
pub(crate) fn stop_on_ctrl_c() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let installed = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "the user insists")]
            std::process::exit(130);
        }
    });
    if let Err(error) = installed {
        ui::warn(&format!("Ctrl-C ends the process at once: {error}"));
    }
    stop
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_split_opens_none() {
        assert_eq!(parse_split("valid").unwrap(), Split::Valid);
        assert!(parse_split("tset").is_err());
        assert!(parse_select_on("train").is_err());
    }
}

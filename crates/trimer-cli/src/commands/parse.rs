//! Words of the command line that several verbs share.

use crate::ui;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use trimer_core::corpus::Split;
use trimer_train::SelectOn;

/// The split of this name. No other name may open test.
pub(crate) fn parse_split(name: &str) -> anyhow::Result<Split> {
    Ok(name.parse()?)
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
    fn only_its_own_name_opens_test() {
        for split in Split::ALL {
            assert_eq!(parse_split(split.as_str()).unwrap(), split);
        }
        for name in ["tset", "Test", "", "all"] {
            let error = parse_split(name).unwrap_err();
            assert!(error.to_string().contains("is not a split"), "{error}");
            assert!(parse_select_on(name).is_err());
        }
        assert!(parse_select_on("train").is_err());
    }
}

//! `trials.jsonl`: every trial of a search, one per line.

use super::trials::Trial;
use crate::error::Result;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use trimer_core::io::write_atomic;
use trimer_train::json_lines::read_json_lines;

/// The log of a search, whose file is always whole.
#[derive(Debug)]
pub(super) struct TrialLog {
    file: PathBuf,
    trials: Mutex<Vec<Trial>>,
}

impl TrialLog {
    /// The log in a directory, with what an earlier start left in it.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let file = dir.join("trials.jsonl");
        let mut trials = Vec::new();
        if file.exists() {
            // A last line that was cut off is trained (or read) again.
            trials = read_json_lines(&file)?;
        }
        Ok(Self {
            file,
            trials: Mutex::new(trials),
        })
    }

    /// A trial at the end of a round, where it is known.
    pub(super) fn find(&self, trial: usize, rung: usize) -> Option<Trial> {
        let trials = self.trials.lock().ok()?;
        let found = trials.iter().find(|t| t.trial == trial && t.rung == rung);
        found.cloned()
    }

    /// Appends a trial.
    pub(super) fn push(&self, trial: &Trial) -> Result<()> {
        let Ok(mut all) = self.trials.lock() else {
            return Ok(());
        };
        all.push(trial.clone());
        let mut text = String::new();
        for trial in all.iter() {
            text.push_str(&serde_json::to_string(trial)?);
            text.push('\n');
        }
        write_atomic(&self.file, text.as_bytes())?;
        Ok(())
    }
}

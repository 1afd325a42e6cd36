//! How many utterances each split has.

use super::{Split, Utterance};
use serde::{Deserialize, Serialize};

/// Numbers of utterances per split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SplitCounts {
    /// In the part that parameters are fitted on.
    pub train: usize,
    /// In the part that choices are made on.
    pub valid: usize,
    /// In the part that is opened once.
    pub test: usize,
    /// In none of them.
    pub unassigned: usize,
}

impl SplitCounts {
    /// Counts one more utterance.
    pub fn add(&mut self, split: Option<Split>) {
        match split {
            Some(Split::Train) => self.train += 1,
            Some(Split::Valid) => self.valid += 1,
            Some(Split::Test) => self.test += 1,
            None => self.unassigned += 1,
        }
    }

    /// Counts the splits of utterances.
    pub fn of<'a>(utterances: impl IntoIterator<Item = &'a Utterance>) -> Self {
        let mut counts = Self::default();
        for utterance in utterances {
            counts.add(utterance.split);
        }
        counts
    }
}

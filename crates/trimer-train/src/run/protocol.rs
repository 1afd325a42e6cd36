//! Which split was used for what: the record that travels with every result.

use super::{PROTOCOL, RunDir, pretty, read_json};
use crate::config::{SelectOn, TuningRecord};
use crate::error::{Result, TrainError};
use crate::trainer::{EpochReport, LOG, Logged};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trimer_core::corpus::Split;

/// Which split was used for what; travels with every result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Parameters and normalisation were fitted on it.
    pub fitted_on: String,
    /// Epochs were chosen on it; `none` when the last epoch was kept.
    pub selected_on: String,
    /// By which metric.
    pub selected_by: String,
    /// Each time the test split was opened: seconds since 1970 and by which command.
    pub test_opened: Vec<TestOpened>,
    /// The epoch that was kept, by seed; filled when training is over.
    #[serde(default)]
    pub selected_epochs: BTreeMap<u64, usize>,
    /// How the settings were found, when a search found them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<TuningRecord>,
    /// What selecting on test has added to the score; only of a run that did so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inflation: Option<SelectionBias>,
}

impl Protocol {
    /// What must stand over every result of a run that selected on test.
    pub fn warning_banner(&self) -> Option<String> {
        if self.selected_on != Split::Test.as_str() {
            return None;
        }
        let by = self.inflation.as_ref().map_or_else(String::new, |i| {
            format!("; that adds {:+.4} to its {}", i.gain(), i.metric)
        });
        Some(format!(
            "SELECTED ON TEST: the epoch was chosen on the split that is evaluated{by}"
        ))
    }
}

/// The selecting metric on test at the epoch that test chose and at the one that validation would
/// have chosen, both of the same training, by seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelectionBias {
    /// The metric, of [`crate::TrainConfig::select_head`].
    pub metric: String,
    /// One entry per seed.
    pub seeds: BTreeMap<u64, Chosen>,
}

/// What the two splits chose.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// Epoch that is best on test.
    pub test_epoch: usize,
    /// Epoch that is best on validation.
    pub valid_epoch: usize,
    /// The metric on test at the first of them.
    pub at_test_epoch: f64,
    /// The metric on test at the second.
    pub at_valid_epoch: f64,
}

impl SelectionBias {
    /// The difference, mean over seeds.
    pub fn gain(&self) -> f64 {
        let gains: Vec<f64> = self
            .seeds
            .values()
            .map(|c| c.at_test_epoch - c.at_valid_epoch)
            .collect();
        trimer_core::stats::mean(&gains)
    }
}

/// One opening of the test split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestOpened {
    /// Seconds since 1970.
    pub wall_time: f64,
    /// The command.
    pub by: String,
}

impl RunDir {
    /// Which split was used for what.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn protocol(&self) -> Result<Protocol> {
        read_json(&self.path.join(PROTOCOL))
    }

    /// Notes that the test split is about to be opened.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub fn note_test_opened(&self, by: &str) -> Result<()> {
        let mut protocol = self.protocol()?;
        protocol.test_opened.push(TestOpened {
            wall_time: crate::clock::now(),
            by: by.into(),
        });
        self.write(PROTOCOL, &pretty(&protocol))
    }

    /// Refuses a run that selected on test, unless the caller was told to accept it.
    ///
    /// # Errors
    /// Names the run and how to look at it all the same.
    pub fn check_selection(&self, accept_test: bool) -> Result<()> {
        if accept_test || self.config.train.select_on == SelectOn::Valid {
            return Ok(());
        }
        Err(TrainError::Run {
            path: self.path.clone(),
            reason: "the run selected its epoch on the test split: its test scores show nothing"
                .into(),
            hint: "train it with selection on validation; `select_on=test` shows it all the same, under a warning banner, with its selection bias".into(),
        })
    }

    /// The epoch that each seed kept, from its log; seeds without one are left out.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn selected_epochs(&self) -> Result<BTreeMap<u64, usize>> {
        let mut epochs = BTreeMap::new();
        for &seed in &self.config.seeds {
            if !self.seed_dir(seed).join(LOG).exists() {
                continue;
            }
            if let Some(best) = self.log(seed)?.iter().rfind(|r| r.is_best) {
                epochs.insert(seed, best.epoch);
            }
        }
        Ok(epochs)
    }

    /// What selecting on test has added; `None` for a run that did not, or that has no test scores.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn inflation(&self) -> Result<Option<SelectionBias>> {
        let train = &self.config.train;
        if train.select_on != SelectOn::Test {
            return Ok(None);
        }
        let (metric, higher) = train.selector(self.config.task)?;
        let mut seeds = BTreeMap::new();
        for &seed in &self.config.seeds {
            let log = self.log(seed)?;
            let value =
                |heads: &Logged| heads.get(train.select_head).as_ref()?.get(metric)?.as_f64();
            let on_test = |r: &EpochReport| r.test.as_ref().and_then(value);
            let test = first_best(log.iter().map(on_test), higher);
            let valid = first_best(log.iter().map(|r| value(&r.valid)), higher);
            let (Some(test), Some(valid)) = (test, valid) else {
                continue;
            };
            if let (Some(at_test_epoch), Some(at_valid_epoch)) =
                (on_test(&log[test]), on_test(&log[valid]))
            {
                let chosen = Chosen {
                    test_epoch: log[test].epoch,
                    valid_epoch: log[valid].epoch,
                    at_test_epoch,
                    at_valid_epoch,
                };
                seeds.insert(seed, chosen);
            }
        }
        Ok((!seeds.is_empty()).then(|| SelectionBias {
            metric: metric.into(),
            seeds,
        }))
    }

    /// Writes down what selection came to.
    pub(super) fn note_selection(&self) -> Result<()> {
        let mut protocol = self.protocol()?;
        protocol.selected_epochs = self.selected_epochs()?;
        protocol.inflation = self.inflation()?;
        self.write(PROTOCOL, &pretty(&protocol))
    }
}

/// The place of the best value, the first of equals; values that do not exist are passed over.
fn first_best(values: impl Iterator<Item = Option<f64>>, higher: bool) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (i, value) in values.enumerate() {
        let Some(value) = value else { continue };
        let better = |old: f64| if higher { value > old } else { value < old };
        if best.is_none_or(|(_, old)| better(old)) {
            best = Some((i, value));
        }
    }
    best.map(|(i, _)| i)
}

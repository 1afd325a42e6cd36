//! How settings are searched.

use super::space::SpaceSource;
use super::trials::{Method, plan};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use trimer_core::corpus::Corpus;
use trimer_nn::burn::tensor::Device;

/// What a model may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// Epochs that all trials of a model take together.
    Epochs(usize),
    /// As many epochs as it takes to begin so many trials.
    Trials(usize),
}

/// How settings are searched.
#[derive(Debug, Clone)]
pub struct TuneOptions {
    /// How the budget is spent.
    pub method: Method,
    /// What every model may spend.
    pub budget: Budget,
    /// Halving keeps one of so many trials.
    pub eta: usize,
    /// Seed of the search and of every trial.
    pub seed: u64,
    /// Trials to train at a time.
    pub jobs: usize,
    /// Where to compute.
    pub device: Device,
}

impl Default for TuneOptions {
    fn default() -> Self {
        Self {
            method: Method::Halving,
            budget: Budget::Epochs(200),
            eta: 3,
            seed: 1,
            jobs: 1,
            device: Device::flex(),
        }
    }
}

/// All that the searches of a [`super::Tuner`] share.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    pub(super) corpus: &'a Corpus,
    pub(super) space: SpaceSource,
    /// What does not vary: a recipe, or a directory with one per model.
    pub(super) recipe: Option<PathBuf>,
    pub(super) sets: Vec<String>,
    pub(super) options: TuneOptions,
    pub(super) out: Option<PathBuf>,
    pub(super) stop: Option<&'a AtomicBool>,
}

impl Budget {
    /// The budget in epochs, where a full training takes `epochs`.
    pub(super) fn in_epochs(self, method: Method, epochs: usize, eta: usize) -> usize {
        let wanted = match self {
            Self::Epochs(n) => return n,
            Self::Trials(n) => n,
        };
        let reaches = |budget: usize| {
            plan(method, budget, epochs, eta)
                .first()
                .is_some_and(|rung| rung.trials >= wanted)
        };
        // Training every trial in full pays for all of them.
        let (mut low, mut high) = (0, wanted.saturating_mul(epochs.max(1)));
        while low + 1 < high {
            let middle = low.midpoint(high);
            if reaches(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_trials_costs_as_little_as_possible() {
        for method in [Method::Random, Method::Halving] {
            for wanted in 1..20 {
                let budget = Budget::Trials(wanted).in_epochs(method, 9, 3);
                let trials = |budget| plan(method, budget, 9, 3).first().map_or(0, |r| r.trials);
                assert!(trials(budget) >= wanted, "{method:?} {wanted}");
                assert!(trials(budget - 1) < wanted, "{method:?} {wanted}");
            }
        }
        assert_eq!(Budget::Epochs(7).in_epochs(Method::Random, 9, 3), 7);
    }
}

//! Watching a study: what it is doing, and how each of its runs gets on.

use trimer_train::{EpochReport, StepReport, TrainError};

/// Somebody who watches a study. Every method may be left out.
///
/// Runs that train at the same time report from threads of their own, one at a time.
pub trait StudyObserver: Send {
    /// What is being done.
    fn message(&mut self, text: &str) {
        let _ = text;
    }
    /// A doubt about data or settings.
    fn warning(&mut self, text: &str) {
        let _ = text;
    }
    /// So many of so many equal pieces of work are done.
    fn progress(&mut self, done: usize, total: usize) {
        let _ = (done, total);
    }
    /// These runs are about to be trained; events give their place in this list.
    fn runs_begin(&mut self, names: &[&str]) {
        let _ = names;
    }
    /// Something happened in the run at this place.
    fn run(&mut self, at: usize, event: &RunEvent<'_>) {
        let _ = (at, event);
    }
    /// No run trains any more.
    fn runs_end(&mut self) {}
}

/// What happens in a run that is trained.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunEvent<'a> {
    /// A doubt about data or settings.
    Warning(&'a str),
    /// After a step.
    Step {
        /// The step.
        report: &'a StepReport,
        /// Which of the run's seeds it belongs to.
        seed: SeedPlace,
    },
    /// After an epoch.
    Epoch {
        /// The epoch.
        report: &'a EpochReport,
        /// Which of the run's seeds it belongs to.
        seed: SeedPlace,
    },
    /// All seeds are trained.
    Trained,
    /// Asked to stop; what was done is saved.
    Interrupted,
    /// It cannot be trained.
    Failed(&'a TrainError),
}

/// A seed among those of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedPlace {
    /// The seed.
    pub seed: u64,
    /// Its place, from 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl StudyObserver for Unwatched {}

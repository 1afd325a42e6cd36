//! How systems are evaluated and tested, and a system with its runs.

use super::systems::System;
use trimer_core::corpus::Split;
use trimer_nn::burn::tensor::Device;
use trimer_train::{RunDir, SelectOn};

/// How systems are evaluated and tested.
#[derive(Debug, Clone)]
pub struct CompareOptions {
    /// The metric of the tests; accuracy, or mae for scores, by default.
    pub metric: Option<String>,
    /// Name of the system that the others are tested against; the first by default.
    pub reference: Option<String>,
    /// The evaluated split; validation only for systems that neither learn nor select on it.
    pub split: Split,
    /// The split that selects the epoch. Test shows what that adds, under a warning banner.
    pub select_on: SelectOn,
    /// Where to compute.
    pub device: Device,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self {
            metric: None,
            reference: None,
            split: Split::Test,
            select_on: SelectOn::Valid,
            device: Device::flex(),
        }
    }
}

/// A system with its runs, one per corpus.
#[derive(Debug)]
pub(super) struct SystemRuns {
    pub(super) system: System,
    pub(super) runs: Vec<RunDir>,
}

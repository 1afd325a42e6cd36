//! What a report of runs shows.

use trimer_core::corpus::Split;
use trimer_nn::burn::tensor::Device;

/// What a report shows.
#[derive(Debug, Clone)]
pub struct ReportOptions {
    /// The split that the runs are evaluated on.
    pub split: Split,
    /// Ids of sections that are not wanted, of [`super::section_ids`].
    pub without: Vec<String>,
    /// So many utterances at most are drawn in a map of representations.
    pub points: usize,
    /// Which utterances these are, and the map's small noise, follow from it.
    pub seed: u64,
    /// Where to compute.
    pub device: Device,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self {
            split: Split::Test,
            without: Vec::new(),
            points: 600,
            seed: 0,
            device: Device::flex(),
        }
    }
}

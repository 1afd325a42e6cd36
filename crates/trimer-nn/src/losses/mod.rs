//! Losses: one file each.

mod cross_entropy;
mod focal;

pub use cross_entropy::{CrossEntropy, Reduction};
pub use focal::{FocalLoss, MmgcnFocalLoss};

//! From single numbers to claims: spread over seeds, bootstrap intervals, paired tests; and maps of many
//! dimensions in the plane.
//!
//! Everything random takes a seed and gives the same result on every machine and for any number of
//! threads.

pub mod bootstrap;
pub mod describe;
pub mod embed;
pub mod multiple;
pub mod paired;
pub mod proportion;
mod ranks;
pub mod shapley;
pub mod student;

pub use bootstrap::{BootstrapOptions, bootstrap_interval, bootstrap_many};
pub use describe::{Summary, mean, population_std, quantile, sample_std, summarise};
pub use multiple::holm;
pub use paired::{
    PairedBootstrap, TestResult, mcnemar_exact, paired_bootstrap, paired_t, wilcoxon_signed_rank,
};
pub use proportion::wilson;
pub use ranks::ranks;
pub use shapley::shapley;

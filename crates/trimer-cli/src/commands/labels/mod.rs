//! `trimer labels`: annotators' votes to labels, and how labels of modalities contradict each other.

mod aggregate;
mod stats;

use crate::Answer;

/// `trimer labels <verb>`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Measure how often labels of different modalities contradict each other
    Stats(stats::Args),
    /// Turn annotators' votes into labels
    Aggregate(aggregate::Args),
}

pub(crate) fn run(verb: &Verb) -> anyhow::Result<Answer> {
    match verb {
        Verb::Stats(args) => stats::run(args),
        Verb::Aggregate(args) => aggregate::run(args),
    }
}

fn share(value: f64, [low, high]: [f64; 2]) -> String {
    if value.is_nan() {
        "-".to_owned()
    } else {
        format!("{value:.4} [{low:.4}, {high:.4}]")
    }
}

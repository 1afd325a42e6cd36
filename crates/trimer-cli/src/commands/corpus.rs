//! `trimer corpus`: make, convert, examine, describe and hand on corpora.

mod check;
mod export;
mod import;
mod stats;
mod synth;

use crate::Answer;
use trimer_core::Head;
use trimer_core::corpus::ClassCount;
use trimer_core::corpus::synth::Ceiling;
use trimer_study::text::table;

/// `trimer corpus <verb>`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Make a synthetic corpus whose best reachable accuracy is known
    Synth(synth::Args),
    /// Examine a corpus; exit code 1 when something is wrong with it
    Check(check::Args),
    /// Describe a corpus in numbers
    Stats(stats::Args),
    /// Convert features in a foreign format
    Import(import::Args),
    /// Hand on a corpus in a form that other tools read
    Export(export::Args),
}

pub(crate) fn run(verb: &Verb) -> anyhow::Result<Answer> {
    match verb {
        Verb::Synth(args) => synth::run(args),
        Verb::Check(args) => check::run(args),
        Verb::Stats(args) => stats::run(args),
        Verb::Import(args) => import::run(args),
        Verb::Export(args) => export::run(args),
    }
}

/// What can be reached at best from each subset of the modalities.
pub(super) fn ceiling_table(ceiling: &Ceiling) -> String {
    let rows: Vec<Vec<String>> = ceiling
        .multimodal_from
        .iter()
        .map(|(seen, a)| vec![seen.clone(), format!("{a:.4}")])
        .collect();
    table(
        &["Bayes-optimal, from", "accuracy on the multimodal label"],
        &rows,
    )
}

/// Utterances of each class by split.
fn class_table(head: Head, classes: &[ClassCount]) -> String {
    let rows: Vec<Vec<String>> = classes
        .iter()
        .map(|c| {
            vec![
                c.class.clone(),
                c.splits.train.to_string(),
                c.splits.valid.to_string(),
                c.splits.test.to_string(),
            ]
        })
        .collect();
    table(&[&format!("{head} label"), "train", "valid", "test"], &rows)
}

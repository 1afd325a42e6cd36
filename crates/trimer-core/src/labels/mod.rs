//! What the annotators saw: votes to labels, agreement of annotators, and how often the labels of
//! different modalities contradict each other.
//!
//! - [`Votes`] are read by one of the [`formats`] (one row per vote, or counts per class);
//! - a rule of [`rules`] turns the votes of every utterance and modality into a [`Decision`];
//! - [`agreement()`] says how well annotators agree, beyond chance;
//! - [`stats`] streams a table of labels and measures the inconsistency between modalities.

pub mod aggregate;
pub mod agreement;
mod error;
pub mod formats;
pub mod inconsistency;
pub mod rows;
pub mod rules;
pub mod stats;
mod votes;

pub use aggregate::{Aggregation, ColumnResult, StateCounts, aggregate, aggregate_by};
pub use agreement::{Agreement, Estimate, agreement};
pub use error::LabelError;
pub use formats::{FORMATS, VoteFormat, read_votes};
pub use inconsistency::{Inconsistency, LabelTally};
pub use rules::{Decision, RULES, Rule, RuleOptions, Verdict};
pub use stats::{Conflict, LabelStats, StatsOptions, corpus_stats, table_stats};
pub use votes::{Ballot, Expected, Vote, Votes};

use crate::Head;

/// More classes than this in one label column are refused: it is no column of classes then.
pub const MAX_CLASSES: usize = 256;

/// The head that a word in a file means: its name or its letter, in any case.
pub fn parse_head(text: &str) -> Option<Head> {
    match text.to_ascii_lowercase().as_str() {
        "text" | "t" | "transcript" => Some(Head::Text),
        "audio" | "a" | "voice" => Some(Head::Audio),
        "vision" | "v" | "visual" | "video" | "face" => Some(Head::Vision),
        "multimodal" | "m" => Some(Head::Multimodal),
        _ => None,
    }
}

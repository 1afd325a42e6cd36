//! Annotators' votes as labels, and how labels of modalities contradict each other: what is worth
//! writing down. Rules and statistics are in [`trimer_core::labels`]; pages in
//! [`crate::report::labels`].

mod aggregated;
mod conflicts;

pub use aggregated::{AggregatedLabels, LabelFiles};
pub use conflicts::ConflictFile;

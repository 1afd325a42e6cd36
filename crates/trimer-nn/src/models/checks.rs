//! What several configurations check in the same way, and readers of a batch.

use crate::batch::{Batch, InputSpec, Sequence};
use crate::config::check_range;
use crate::error::{NnError, Result};
use trimer_core::Modality;

/// Refuses sizes outside `low..=high`; each row is key, value, low, high.
pub(crate) fn check_sizes(rows: &[(&str, usize, usize, usize)]) -> Result<()> {
    rows.iter().try_for_each(|(key, value, low, high)| {
        check_range(
            &format!("model.{key}"),
            *value as f64,
            *low as f64,
            *high as f64,
        )
    })
}

/// Refuses dropout probabilities outside `0..=0.95`.
pub(crate) fn check_probabilities(rows: &[(&str, f64)]) -> Result<()> {
    rows.iter()
        .try_for_each(|(key, p)| check_range(&format!("model.{key}"), *p, 0.0, 0.95))
}

/// Refuses a number of heads that does not divide the width.
pub(crate) fn check_heads(d_model: usize, n_heads: usize) -> Result<()> {
    if d_model.is_multiple_of(n_heads) {
        return Ok(());
    }
    Err(NnError::ConfigRange {
        key: "model.n_heads".into(),
        value: n_heads.to_string(),
        expected: format!("a divisor of `model.d_model = {d_model}`"),
    })
}

/// Refuses an input of fewer than two modalities.
pub(crate) fn check_two_modalities(id: &str, input: &InputSpec) -> Result<()> {
    let present = input.modalities();
    if present.len() >= 2 {
        return Ok(());
    }
    Err(NnError::Corpus {
        reason: format!("`{id}` needs at least two modalities, the input has `{present}`"),
        hint: "add a modality to `data.modalities`, or to the corpus".into(),
    })
}

/// The width of the features of a modality that the input has.
pub(crate) fn dim_of(input: &InputSpec, modality: Modality) -> usize {
    input
        .dims
        .get(modality)
        .expect("asked only for modalities of `InputSpec::modalities`")
}

/// The sequence of a modality that the model reads.
pub(crate) fn sequence(batch: &Batch, modality: Modality) -> &Sequence {
    batch
        .sequences
        .get(modality)
        .as_ref()
        .expect("a batch has every modality of the input that the model was built for")
}

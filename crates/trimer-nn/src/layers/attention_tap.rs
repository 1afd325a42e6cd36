//! Attention made visible: what a transformer block looks at, for those who ask.

use super::TransformerBlock;
use crate::recorder::Recorder;
use burn::tensor::{Bool, Tensor};
use trimer_core::Modality;

/// What the names of attention taps begin with.
///
/// `attention.<tower>.<layer>.<keys>` holds `[batch, 1, time]`: the share of attention that each
/// position of `<keys>` gets in that block, mean over heads and queries. `<keys>` is the modality
/// whose frames they are, in the model's order with its padding, or `tokens` for learned ones. The
/// shares of all keys of a tower and layer sum to 1.
pub const ATTENTION: &str = "attention.";

/// Consecutive keys of an attention: whose frames they are, `None` for learned tokens, and how many.
pub type Keys = (Option<Modality>, usize);

/// Keeps the attention of `block` over its input `x`, if somebody asked. The forward pass never makes
/// these weights, so a pass that records is slower, and computes nothing else differently.
///
/// # Shapes
/// - `x`: `[batch, time, d_model]`, where `time` is the sum of the lengths of `keys`
pub fn tap_attention(
    block: &TransformerBlock,
    x: &Tensor<3>,
    pad_mask: Option<&Tensor<2, Bool>>,
    (tower, layer): (&str, usize),
    keys: &[Keys],
    rec: &mut Recorder,
) {
    if !rec.wants(ATTENTION) {
        return;
    }
    let shares = block.attention_weights(x.clone(), pad_mask.cloned()); // [batch, queries, keys]
    let shares = shares.mean_dim(1); // [batch, 1, keys]
    let mut start = 0;
    let mut tokens: Vec<Tensor<3>> = Vec::new();
    for &(modality, len) in keys {
        let part = shares.clone().narrow(2, start, len);
        match modality {
            Some(modality) => rec.tap(&format!("{ATTENTION}{tower}.{layer}.{modality}"), &part),
            None => tokens.push(part),
        }
        start += len;
    }
    if !tokens.is_empty() {
        rec.tap(
            &format!("{ATTENTION}{tower}.{layer}.tokens"),
            &Tensor::cat(tokens, 2),
        );
    }
}

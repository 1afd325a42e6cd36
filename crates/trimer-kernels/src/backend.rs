//! The fused operations as extensions of Burn's backends: one trait per operation, and the sum of them.
//!
//! Use the functions of the crate instead, which fall back to plain compositions where an extension is not implemented.

pub use crate::ops::attention::op::AttentionOps;
pub use crate::ops::concat::op::ConcatOps;
pub use crate::ops::dialogue_rnn::op::DialogueRnnOps;
pub use crate::ops::dropout::op::DropoutOps;
pub use crate::ops::layer_norm::op::LayerNormOps;
pub use crate::ops::lfmim_block::op::LfmimBlockOps;
pub use crate::ops::lfmim_fusion::op::LfmimFusionOps;
pub use crate::ops::linear::op::LinearOps;
pub use crate::ops::outer::op::OuterOps;
pub use crate::ops::recurrent::op::RecurrentOps;
pub use crate::ops::similarity_graph::op::SimilarityGraphOps;

/// A backend with all fused operations.
pub trait KernelOps:
    AttentionOps
    + ConcatOps
    + DialogueRnnOps
    + DropoutOps
    + LayerNormOps
    + LfmimBlockOps
    + LfmimFusionOps
    + LinearOps
    + OuterOps
    + RecurrentOps
    + SimilarityGraphOps
{
}

impl<B> KernelOps for B where
    B: AttentionOps
        + ConcatOps
        + DialogueRnnOps
        + DropoutOps
        + LayerNormOps
        + LfmimBlockOps
        + LfmimFusionOps
        + LinearOps
        + OuterOps
        + RecurrentOps
        + SimilarityGraphOps
{
}

//! Fused CPU operations of Trimer, each with its plain composition.
//!
//! On f32 tensors of Burn's Flex backend, with or without autodiff, [`lfmim_block`], [`attention()`], [`linear()`],
//! [`layer_norm()`], [`recurrent()`] and the smaller operations run hand-written kernels with hand-written gradients;
//! on every other backend, and after [`set_kernel_path`]`(`[`KernelPath::Plain`]`)`, they are compositions of Burn's own operations
//! (of [`similarity_links`] where the graph is made, since it needs rectangles of blocks). Both forms take the same dropout
//! decisions ([`DropoutStream`]) on the Flex backend, so that they can be compared with dropout too.
//!
//! Three things make the difference on a CPU: buffers that are used again from step to step instead of being taken from
//! the system (see [`release_pooled`]), attention that never writes its matrix of weights, and biases, activations,
//! dropout, residual sums and norms folded into the matrix products. Instructions are chosen when the program runs
//! ([`Isa`]), so a binary for any x86-64 CPU uses AVX-512 where there is any.
//!
//! Results do not depend on the number of threads.
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use trimer_kernels::{AttentionMasks, AttentionOptions, attention};
//!
//! let device = Device::flex();
//! let x = Tensor::<3>::random([2, 10, 32], Distribution::Normal(0.0, 1.0), &device);
//! let y = attention(x.clone(), x.clone(), x, AttentionMasks::default(), &AttentionOptions::new(4));
//! assert_eq!(y.dims(), [2, 10, 32]);
//! ```

#![warn(clippy::undocumented_unsafe_blocks)]

pub mod backend;
mod engine;
mod kernel_path;
mod ops;
#[cfg(test)]
mod testing;

pub use engine::dropout_bits::{DropoutSite, DropoutStream};
pub use engine::pool::pooled_bytes;
pub use engine::release_pooled;
pub use engine::simd::Isa;
pub use engine::threads::{join, threads, use_other_threads, use_threads};
pub use kernel_path::{KernelPath, kernel_path, on_cpu, set_kernel_path};
pub use ops::attention::{AttentionMasks, AttentionOptions, attention};
pub use ops::concat::concat;
pub use ops::dialogue_rnn::{
    DialogueRnnInputs, DialogueRnnOptions, DialogueRnnWeights, dialogue_rnn,
};
pub use ops::dropout::{add_rows_dropout, dropout};
pub use ops::layer_norm::layer_norm;
pub use ops::lfmim_block::{LfmimBlockOptions, LfmimBlockWeights, lfmim_block};
pub use ops::lfmim_fusion::{LfmimFusionInputs, lfmim_fusion};
pub use ops::linear::{Activation, LinearOptions, linear};
pub use ops::outer::outer_product;
pub use ops::recurrent::{CellKind, RecurrentOutput, RecurrentState, recurrent};
pub use ops::sgd::sgd_step;
pub use ops::similarity_graph::{Links, has_similarity_links, propagate_links, similarity_links};

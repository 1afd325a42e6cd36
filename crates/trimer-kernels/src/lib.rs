//! Fused CPU operations of Trimer, each with its plain composition.
//!
//! On f32 tensors of Burn's Flex backend, with or without autodiff, [`lfmim_block`], [`attention()`], [`linear()`],
//! [`layer_norm()`], [`recurrent()`] and the smaller operations run hand-written kernels with hand-written gradients;
//! on every other backend, and after [`set_path`]`(`[`Path::Plain`]`)`, they are compositions of Burn's own operations
//! (of [`similarity_links`] where the graph is made, since it needs rectangles of blocks). Both forms take the same dropout
//! decisions ([`dropout`]) on the Flex backend, so that they can be compared with dropout too.
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
mod ops;
mod path;
#[cfg(test)]
mod testing;

pub use engine::pool::pooled_bytes;
pub use engine::release_pooled;
pub use engine::simd::Isa;
pub use engine::threads::{join, threads, use_other_threads, use_threads};
pub use ops::attention::{AttentionMasks, AttentionOptions, attention};
pub use ops::concat::side_by_side;
pub use ops::dialogue_rnn::{PartyInputs, PartyOptions, PartyWeights, party_recurrence};
pub use ops::dropout::{add_rows_dropout, dropout};
pub use ops::layer_norm::layer_norm;
pub use ops::lfmim_block::{BlockOptions, BlockWeights, lfmim_block};
pub use ops::lfmim_fusion::{FusionInputs, fuse_streams};
pub use ops::linear::{Activation, LinearOptions, linear};
pub use ops::outer::outer;
pub use ops::recurrent::{CellKind, RecurrentOutput, RecurrentState, recurrent};
pub use ops::sgd::descend;
pub use ops::similarity_graph::{Links, has_similarity_links, propagate_links, similarity_links};
pub use path::{Path, on_cpu, path, set_path};

/// Which values a dropout keeps.
pub mod dropout {
    pub use crate::engine::dropout_bits::{Site, Stream};
}

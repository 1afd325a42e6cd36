//! Fused CPU operations of Trimer, each beside its plain composition.
//!
//! On f32 tensors of Burn's Flex backend, with or without autodiff, [`lfmim_block`], [`attention()`], [`linear()`],
//! [`layer_norm()`], [`recurrent()`] and the smaller ones beside them run hand-written kernels with hand-written gradients;
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

pub mod attention;
pub mod beside;
pub mod block;
pub mod dropout;
pub mod elementwise;
pub mod extension;
mod fused;
pub mod fusion;
#[cfg(test)]
mod gradient_tests;
pub mod layer_norm;
pub mod linear;
mod mask;
pub mod outer;
mod packed;
pub mod parties;
mod path;
mod plain;
mod pool;
pub mod recurrent;
mod simd;
pub mod similarity;
#[cfg(test)]
mod testing;
mod threads;
pub mod update;

pub use attention::{AttentionMasks, AttentionOptions, attention};
pub use beside::side_by_side;
pub use block::{BlockOptions, BlockWeights, lfmim_block};
pub use elementwise::{add_rows_dropout, dropout};
pub use fusion::{FusionInputs, fuse_streams};
pub use layer_norm::layer_norm;
pub use linear::{Activation, LinearOptions, linear};
pub use outer::outer;
pub use parties::{PartyInputs, PartyOptions, PartyWeights, party_recurrence};
pub use path::{Path, on_cpu, path, set_path};
pub use pool::{pooled_bytes, release_pooled};
pub use recurrent::{CellKind, RecurrentOutput, RecurrentState, recurrent};
pub use simd::Isa;
pub use similarity::{Links, has_similarity_links, propagate_links, similarity_links};
pub use threads::{join, threads, use_other_threads, use_threads};
pub use update::descend;

//! One folder per operation: `mod` holds its function and the types of its interface, `op` the extension of Burn's
//! backends with the backward pass, `kernel` the work on plain slices of f32, `plain` the composition of Burn's own
//! operations.
#![allow(
    clippy::inline_always,
    reason = "a kernel must end up in the one function that enables the instructions, see `engine::simd`"
)]

pub(crate) mod attention;
pub(crate) mod concat;
pub(crate) mod dialogue_rnn;
pub(crate) mod dropout;
pub(crate) mod layer_norm;
pub(crate) mod lfmim_block;
pub(crate) mod lfmim_fusion;
pub(crate) mod linear;
mod mask;
pub(crate) mod outer;
pub(crate) mod recurrent;
pub(crate) mod sgd;
pub(crate) mod similarity_graph;

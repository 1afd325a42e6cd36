//! What the operations are built of: vectors of any instruction set, matrix products, norms of rows, buffers, threads.
//! Nothing here knows an operation.
#![allow(
    clippy::inline_always,
    reason = "a kernel must end up in the one function that enables the instructions, see `simd`"
)]

pub(crate) mod dropout_bits;
pub(crate) mod gemm;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod rows;
pub(crate) mod simd;
pub(crate) mod tensors;
pub(crate) mod threads;
pub(crate) mod weight_cache;

/// Gives all buffers on the shelf back to the system, say after training, with the weights that inference has packed.
pub fn release_pooled() {
    weight_cache::forget();
    pool::release();
}

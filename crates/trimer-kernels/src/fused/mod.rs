//! The kernels on plain slices of f32; nothing here knows Burn.
#![allow(
    clippy::inline_always,
    reason = "a kernel must end up in the one function that enables the instructions, see `simd`"
)]

pub(crate) mod attention;
pub(crate) mod block;
pub(crate) mod few;
pub(crate) mod fusion;
pub(crate) mod gemm;
pub(crate) mod norm;
pub(crate) mod outer;
#[cfg(test)]
pub(crate) mod reference;
pub(crate) mod rows;
mod single;
#[cfg(test)]
mod tests;

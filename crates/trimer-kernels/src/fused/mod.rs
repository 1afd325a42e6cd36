//! The kernels on plain slices of f32; nothing here knows Burn.
pub(crate) mod attention;
pub(crate) mod block;
pub(crate) mod gemm;
pub(crate) mod norm;
pub(crate) mod rows;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

//! Fused CPU operations, each beside its plain composition.
#![expect(dead_code, reason = "WIP")]
pub mod dropout;
mod fused;
mod pool;
mod simd;
pub use simd::Isa;

//! Fused CPU operations, each beside its plain composition.
pub mod attention;
pub mod block;
pub mod dropout;
pub mod extension;
mod fused;
pub mod layer_norm;
pub mod linear;
mod mask;
mod path;
mod plain;
mod pool;
mod simd;

pub use attention::{AttentionOptions, attention};
pub use block::{BlockOptions, BlockWeights, lfmim_block};
pub use layer_norm::layer_norm;
pub use linear::{Activation, LinearOptions, linear};
pub use path::{Path, path, set_path};
pub use pool::{pooled_bytes, release_pooled};
pub use simd::Isa;

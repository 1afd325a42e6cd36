//! Layers that several models share. Each file has the layer's configuration, the layer and its
//! forward pass; parameters have the names and the layout of the PyTorch modules they mirror, so
//! that checkpoints travel in both directions.

mod attention;
mod batch_norm;
mod dropout;
pub mod graph;
mod init;
mod layer_norm;
mod linear;
mod mlp;
mod positional;
mod recurrent;
mod transformer_block;
pub mod turns;

pub use attention::{AttentionMask, MultiHeadAttention};
pub use batch_norm::BatchNorm1d;
pub use dropout::dropout;
pub(crate) use dropout::dropout_mask;
pub use init::Initializer;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use mlp::Mlp;
pub use positional::SinusoidalPositions;
pub use recurrent::{
    CellKind, Recurrent, RecurrentCell, RecurrentConfig, RecurrentLayer, RecurrentState,
    RecurrentStates,
};
pub use transformer_block::{BlockConfig, TransformerBlock};

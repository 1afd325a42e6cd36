//! Layers that several models share. Each file has the layer's configuration, the layer and its
//! forward pass; parameters have the names and the layout of the PyTorch modules they mirror, so
//! that checkpoints travel in both directions.

mod attention;
mod attention_tap;
mod batch_norm;
mod buffer;
mod conv1d;
mod crossmodal;
mod dropout;
mod frame_embedding;
pub mod graph;
mod init;
mod layer_norm;
mod linear;
mod mlp;
mod pooling;
mod positional;
mod recurrent;
mod residual_head;
mod transformer_block;
pub mod turns;

pub use attention::{AttentionMask, MultiHeadAttention};
pub use attention_tap::{ATTENTION, Keys, tap_attention};
pub use batch_norm::BatchNorm1d;
pub use buffer::Buffer;
pub use conv1d::Conv1d;
pub use crossmodal::{CrossmodalConfig, CrossmodalEncoder, EncoderLayer};
pub use dropout::{drop_path, dropout};
pub use frame_embedding::FrameEmbedding;
pub use init::Initializer;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use mlp::Mlp;
pub use pooling::{PositionPooling, last_step, mean_step};
pub use positional::SinusoidalPositions;
pub use recurrent::{
    CellKind, Recurrent, RecurrentCell, RecurrentConfig, RecurrentLayer, RecurrentState,
    RecurrentStates,
};
pub use residual_head::ResidualHead;
pub use transformer_block::{BlockConfig, TransformerBlock};

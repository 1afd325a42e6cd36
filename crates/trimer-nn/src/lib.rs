//! Everything that needs tensors: layers, models, losses, the training loop and inference.

pub mod batch;
pub mod bench;
pub mod calibrate;
pub mod compare;
pub mod config;
pub mod conversation;
pub mod corrupt;
pub mod data;
pub mod device;
pub mod error;
pub mod explain;
pub mod layers;
pub mod lbfgs;
pub mod losses;
pub mod models;
pub mod optim;
pub mod plugins;
pub mod predict;
pub mod predictions_file;
pub mod probe;
pub mod recorder;
pub mod representations;
pub mod train;
pub mod tune;
pub mod weights;

pub use batch::{Batch, Conversations, InputSpec, Sampling, Sequence};
pub use burn;
pub use error::{NnError, Result};
pub use models::{FusionModel, MODELS, ModelConfig, ModelOutput, Task};
pub use recorder::Recorder;
pub use trimer_kernels as kernels;

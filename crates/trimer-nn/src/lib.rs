//! Networks: layers, losses, models and their registry, batches, and weights in files.

pub mod batch;
pub mod config;
pub mod device;
pub mod error;
pub mod layers;
pub mod losses;
pub mod models;
pub mod params;
pub mod probe;
pub mod recorder;
pub mod registry;
pub mod task;
pub mod weights;

pub use batch::{Batch, Conversations, InputSpec, Sampling, Sequence};
pub use burn;
pub use error::{NnError, Result};
pub use models::{AnyModel, FusionModel, ModelConfig, ModelOutput};
pub use recorder::Recorder;
pub use task::Task;
pub use trimer_kernels as kernels;

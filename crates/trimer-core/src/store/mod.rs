//! Foreign containers of numbers, read without trusting a byte: NumPy's `.npy` and `.npz`, Python
//! pickles, PyTorch checkpoints.

mod archive;
pub mod array;
pub mod bytes;
pub mod columns;
pub mod npy;
pub mod npz;
pub mod pickle;
pub mod torch;

pub use archive::ArchiveError;
pub use array::{ArrayError, Element, ElementKind, NdArray};
pub use bytes::ByteView;
pub use npz::Npz;
pub use torch::TorchFile;

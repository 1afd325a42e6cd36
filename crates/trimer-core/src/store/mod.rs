//! Foreign containers of numbers, read without trusting a byte: NumPy's `.npy` and `.npz`, Python
//! pickles, PyTorch checkpoints.

pub mod array;
pub mod bytes;
pub mod npy;

pub use array::{ArrayError, Element, ElementKind, NdArray};
pub use bytes::ByteView;

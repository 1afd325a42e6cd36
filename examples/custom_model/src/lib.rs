//! A model of one's own, in a crate that depends on `trimer` alone: `gmu.rs` is the model, `main.rs` the
//! command line that knows it, `tests/` trains it, goes on with it, compares, predicts and explains.

pub mod gmu;

pub use gmu::{Gmu, GmuConfig};

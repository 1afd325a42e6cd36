//! Integration tests.

mod golden;
mod parity_checkpoints;
mod parity_importers;
mod parity_store;

//! Integration tests.

mod parity_metrics;

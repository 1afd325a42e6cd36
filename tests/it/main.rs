//! Integration tests.

// `cfg(test)` lets helpers unwrap and print as test functions may
#[cfg(test)]
mod parity_metrics;

//! All integration tests in one binary. Tests against reference fixtures are named `parity_*`; they
//! read the folder named by `TRIMER_GOLDEN`, else `$TRIMER_SHARED/golden`, and are shown as ignored without either.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy knows only functions marked as tests, not their helpers; output is shown for failures"
)]

mod cli;
mod cli_calibrate;
mod cli_compare;
mod cli_conversations;
mod cli_device;
mod cli_errors;
mod cli_explain;
mod cli_hostile;
mod cli_import;
mod cli_labels;
mod cli_report;
mod cli_results;
mod conformance;
mod conformance_plugins;
mod documents;
mod fixture;
mod golden;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod gpu;
mod hosts;
mod parameter_counts;
mod parity_blocks;
mod parity_checkpoints;
mod parity_dialogue_rnn;
mod parity_fagm;
mod parity_graphs;
mod parity_importers;
mod parity_lfmim;
mod parity_metrics;
mod parity_mmsa;
mod parity_mult;
mod parity_ogm;
mod parity_peers;
mod parity_rnn;
mod parity_store;
mod plain_path;
mod study;
mod train_binary;
mod train_lfmim;
mod train_resume;

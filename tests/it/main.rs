//! All integration tests in one binary. Tests against reference fixtures are named `parity_*`; they
//! read the folder named by `TRIMER_GOLDEN`, else `$TRIMER_SHARED/golden`, and skip without either.

mod fixture;
mod golden;
mod parity_blocks;
mod parity_checkpoints;
mod parity_importers;
mod parity_lfmim;
mod parity_metrics;

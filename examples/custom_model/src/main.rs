//! `trimer` with one more model: every command knows it.
//!
//! ```text
//! cargo run -p custom_model -- models gmu
//! cargo run -p custom_model -- corpus synth --utterances 300 corpus
//! cargo run -p custom_model -- compare --models gmu,lfmim --corpus corpus --out cmp
//! ```

use custom_model::GmuConfig;
use std::process::ExitCode;

fn main() -> ExitCode {
    match trimer::models::register::<GmuConfig>() {
        Ok(()) => trimer::cli::main(),
        Err(error) => trimer::cli::fail(&error.into()),
    }
}

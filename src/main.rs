//! The command line tool `trimer`.

use std::process::ExitCode;

fn main() -> ExitCode {
    trimer_cli::main()
}

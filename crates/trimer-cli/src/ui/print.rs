//! Data on stdout, everything else on stderr.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the modules of `ui` alone print"
)]

use std::io::Write as _;

/// Prints data, as it is, with a line end.
pub(crate) fn data(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush());
    if let Err(error) = written {
        // The reader has seen enough, as with `trimer models | head -1`: that is no failure.
        let code = if error.kind() == std::io::ErrorKind::BrokenPipe {
            0
        } else {
            eprintln!("error: cannot write the result to standard output: {error}");
            2
        };
        #[expect(clippy::exit, reason = "nothing is left to do without a reader")]
        std::process::exit(code);
    }
}

/// Prints a value as JSON.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> anyhow::Result<()> {
    data(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Says what is going on.
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

/// Tells of a doubt.
pub(crate) fn warn(text: &str) {
    eprintln!("warning: {text}");
}

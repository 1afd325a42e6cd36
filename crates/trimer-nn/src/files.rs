//! Writing files so that a crash never leaves half of one.

use crate::error::{NnError, Result};
use std::fs;
use std::io::Write;
use std::path::Path;

/// What a file is called while it is being written.
pub fn partial(name: &str) -> String {
    format!("{name}.partial")
}

/// Writes `bytes` to a sibling of `path`, makes sure they are on disk, and renames.
///
/// # Errors
/// When the file cannot be written; an older file of that name is then still whole.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut sibling = path.as_os_str().to_owned();
    sibling.push(".partial");
    let sibling = Path::new(&sibling);
    let written = fs::File::create(sibling)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(sibling, path));
    if written.is_err() {
        // Nothing to do about a failure to tidy up after a failure.
        let _ = fs::remove_file(sibling);
    }
    written.map_err(NnError::io("write", path))
}

//! Files with one JSON value per line, which only grow.

use crate::error::{Result, TrainError};
use serde::de::DeserializeOwned;
use std::fs;
use std::io::Write;
use std::path::Path;
use trimer_nn::error::NnError;

/// Adds `bytes` at the end of a file and makes sure that they are on disk.
///
/// # Errors
/// When the file cannot be written; as far as the system lets us it then ends where it did.
pub(crate) fn append(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .create(true)
        .append(true)
        .open(path)
        .map_err(NnError::io("open", path))?;
    let length = file.metadata().map_err(NnError::io("read", path))?.len();
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Nothing to do about a failure to tidy up after a failure; readers leave out a line that was cut off.
        let _ = file.set_len(length);
    }
    Ok(written.map_err(NnError::io("write", path))?)
}

/// The values in a file with one JSON value per line. What follows the last line end was cut off when it is no whole
/// value, and is left out; blank lines do not count.
///
/// # Errors
/// When the file cannot be read, or any other line is no such value: it would be lost where the file is written anew.
pub fn read_json_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let bytes = fs::read(path).map_err(NnError::io("read", path))?;
    let mut values = Vec::new();
    for (number, line) in (1..).zip(bytes.split_inclusive(|b| *b == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(value) => values.push(value),
            Err(_) if !line.ends_with(b"\n") => {}
            Err(error) => {
                return Err(TrainError::Run {
                    path: path.to_owned(),
                    reason: format!("line {number} cannot be read: {error}"),
                    hint: "it was changed by hand or written by another version; restore it, for what cannot be \
                           read would be lost"
                        .into(),
                });
            }
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimer_core::Hint as _;

    #[test]
    fn only_a_last_line_that_was_cut_off_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let read = |text: &[u8]| {
            fs::write(&path, text).unwrap();
            read_json_lines::<[u32; 2]>(&path)
        };
        assert_eq!(read(b"").unwrap(), [[0; 2]; 0]);
        assert_eq!(read(b"[1, 2]\n\n[3, 4]\n").unwrap(), [[1, 2], [3, 4]]);
        assert_eq!(read(b"[1, 2]\n[3, 4]").unwrap(), [[1, 2], [3, 4]]);
        // In the middle of a letter, too.
        for cut in [&b"[3"[..], b"\0\0", b"\"\xc3"] {
            assert_eq!(read(&[b"[1, 2]\n", cut].concat()).unwrap(), [[1, 2]]);
        }
        for (text, line) in [
            (&b"[1, 2]\n[3\n[5, 6]\n"[..], "line 2"),
            (b"[1, 2]\n[3, 4, 5]\n", "line 2"),
            (b"{}\n[1, 2]\n[3", "line 1"),
        ] {
            let error = read(text).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains(line) && message.contains("log.jsonl"),
                "{message}"
            );
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn what_is_added_stands_behind_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        append(&path, b"[1]\n").unwrap();
        append(&path, b"[2]\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"[1]\n[2]\n");
    }
}

//! Writing files so that a crash never leaves half of one.

use crate::Hint;
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What the name of a file ends in while it is being written.
const SUFFIX: &str = ".partial";

/// A file that could not be written. What stood under its name before is still whole.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`", path.display())]
pub struct WriteError {
    /// The file that was wanted.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl Hint for WriteError {
    fn hint(&self) -> Option<String> {
        if is_full(&self.source) {
            return Some("free some space and try again; no half-written file was left".into());
        }
        (self.source.kind() == io::ErrorKind::NotFound)
            .then(|| self.path.parent())
            .flatten()
            .map(|dir| format!("create the directory `{}` first", dir.display()))
    }
}

/// Whether the disk, a quota or a limit on file sizes refused to take more.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// What a file is called while it is being written.
///
/// ```
/// assert_eq!(trimer_core::io::partial("log.jsonl"), "log.jsonl.partial");
/// ```
pub fn partial(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

/// Writes `bytes` to a sibling of `path` (see [`partial`]), makes sure they are on disk, and renames.
///
/// # Errors
/// When the file cannot be written; an older file of that name is then still whole.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    write_atomic_with(path, |mut file| file.write_all(bytes))
}

/// Like [`write_atomic`] for content that `write` puts into the file. Nothing is buffered on the way:
/// `write` wraps the file where it writes in small pieces, and flushes what it wrapped.
///
/// # Errors
/// When `write` fails or the file cannot be written; an older file of that name is then still whole.
pub fn write_atomic_with(
    path: &Path,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> Result<(), WriteError> {
    let mut sibling = OsString::from(path);
    sibling.push(SUFFIX);
    let sibling = Path::new(&sibling);
    File::create(sibling)
        .and_then(|file| write(&file).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(sibling, path))
        .map_err(|source| {
            // Nothing to do about a failure to tidy up after a failure.
            let _ = fs::remove_file(sibling);
            let path = path.to_owned();
            WriteError { path, source }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_leaves_no_sibling() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        write_atomic(&path, b"a long first line\n").unwrap();
        write_atomic(&path, b"b").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"b");
        assert_eq!(names(dir.path()), ["log.jsonl"]);
    }

    #[test]
    fn a_failure_keeps_the_older_file_and_removes_the_sibling() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomic(&path, b"older").unwrap();
        let error = write_atomic_with(&path, |mut file| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot write `{}`", path.display())
        );
        assert!(error.hint().unwrap().contains("free some space"));
        assert_eq!(fs::read(&path).unwrap(), b"older");
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_atomic(&dir.path().join("no/a"), b"").unwrap_err();
        assert!(error.hint().unwrap().contains("create the directory"));
    }
}

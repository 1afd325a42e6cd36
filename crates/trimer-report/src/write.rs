//! Files that appear whole or not at all.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Why a report or figure could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The file could not be made or put in its place.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file that was wanted.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl ReportError {
    /// A sentence that tells what to try, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Write { path, source } if source.kind() == io::ErrorKind::NotFound => path
                .parent()
                .map(|dir| format!("create the directory `{}` first", dir.display())),
            Self::Write { .. } => None,
        }
    }
}

/// Writes to a sibling of `path`, which then takes its name.
pub(crate) fn write_whole(path: &Path, content: &str) -> Result<(), ReportError> {
    let fail = |source| ReportError::Write {
        path: path.to_owned(),
        source,
    };
    let name = path.file_name().ok_or_else(|| {
        fail(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a file name",
        ))
    })?;
    let mut sibling = std::ffi::OsString::from(".");
    sibling.push(name);
    sibling.push(format!(".{}.part", std::process::id()));
    let sibling = path.with_file_name(sibling);
    fs::write(&sibling, content)
        .and_then(|()| fs::rename(&sibling, path))
        .map_err(|source| {
            // the half-written sibling is of no use to anyone; that it may stay does less harm than a second error
            let _ = fs::remove_file(&sibling);
            fail(source)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_and_a_missing_directory_is_named() {
        let dir = std::env::temp_dir().join(format!("trimer-report-{}", std::process::id()));
        let path = dir.join("x.html");
        let error = write_whole(&path, "a").unwrap_err();
        assert!(error.hint().unwrap().contains("create the directory"));
        fs::create_dir_all(&dir).unwrap();
        write_whole(&path, "a").unwrap();
        write_whole(&path, "b").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "b");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}

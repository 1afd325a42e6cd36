//! The list of all utterances whose labels differ.

use crate::error::{Result, StudyError};
use crate::files::parent;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use trimer_core::corpus::label_column;
use trimer_core::io::csv_field;
use trimer_core::{Head, HeadMap};

/// A file that appears under its name when it is whole.
#[derive(Debug)]
struct Whole {
    part: tempfile::NamedTempFile,
    path: PathBuf,
}

impl Whole {
    fn create(path: &Path) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // temporary files are closed to others, results need not be
            builder.permissions(fs::Permissions::from_mode(0o644));
        }
        let part = builder
            .tempfile_in(parent(path))
            .map_err(StudyError::io("write", path))?;
        Ok(Self {
            part,
            path: path.to_owned(),
        })
    }

    fn finish(self) -> Result<()> {
        let Self { part, path } = self;
        part.persist(&path)
            .map_err(|e| StudyError::io("write", path)(e.error))?;
        Ok(())
    }
}

/// A CSV file of all utterances whose labels differ, written while the labels are read. It appears
/// under its name when it is whole.
#[derive(Debug)]
pub struct ConflictFile {
    out: BufWriter<File>,
    whole: Whole,
}

impl ConflictFile {
    /// A new file with a header.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let whole = Whole::create(path)?;
        let mut out = BufWriter::new(whole.part.reopen().map_err(StudyError::io("write", path))?);
        let columns = Head::ALL.map(label_column).join(",");
        writeln!(out, "id,{columns}").map_err(StudyError::io("write", path))?;
        Ok(Self { out, whole })
    }

    /// One more utterance.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, id: &str, labels: &HeadMap<Option<&str>>) -> io::Result<()> {
        write!(self.out, "{}", csv_field(id))?;
        for (_, label) in labels.iter() {
            write!(self.out, ",{}", csv_field(label.unwrap_or_default()))?;
        }
        writeln!(self.out)
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<()> {
        self.out
            .flush()
            .map_err(StudyError::io("write", &self.whole.path))?;
        drop(self.out);
        self.whole.finish()
    }
}

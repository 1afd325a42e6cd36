//! NumPy's `.npz`: a zip archive of `.npy` files, stored or deflated.

use super::{
    ByteView, NdArray,
    archive::{Archive, ArchiveError},
    npy::{self, NpyError},
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a file is no readable `.npz`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpzError {
    /// The fault lies in this file.
    #[error("{}: {fault}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Box<Self>,
    },
    /// The file system said no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// One of the arrays cannot be read.
    #[error("array `{name}`: {fault}")]
    Array {
        /// Name of the array.
        name: String,
        /// What is wrong with it.
        fault: NpyError,
    },
}

impl crate::Hint for NpzError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::InFile { fault, .. } => fault.hint(),
            Self::Array { fault, .. } => fault.hint(),
            _ => None,
        }
    }
}

/// An open `.npz` file.
#[derive(Debug)]
pub struct Npz {
    path: Option<PathBuf>,
    archive: Archive,
}

impl Npz {
    /// Opens a file and reads its directory, not its arrays.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is no zip archive.
    pub fn open(path: &Path) -> Result<Self, NpzError> {
        let mut npz = ByteView::open(path)
            .map_err(NpzError::from)
            .and_then(Self::parse)
            .map_err(|fault| NpzError::InFile {
                path: path.to_owned(),
                fault: Box::new(fault),
            })?;
        npz.path = Some(path.to_owned());
        Ok(npz)
    }

    /// Reads the directory of an archive in memory.
    ///
    /// # Errors
    ///
    /// When the bytes are no zip archive.
    pub fn parse(bytes: ByteView) -> Result<Self, NpzError> {
        Ok(Self {
            path: None,
            archive: Archive::parse(bytes)?,
        })
    }

    /// Names of the arrays, without `.npy`, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.archive
            .names()
            .iter()
            .map(|name| name.strip_suffix(".npy").unwrap_or(name))
    }

    /// Reads one array.
    ///
    /// # Errors
    ///
    /// When there is no such array, or it is damaged or not numeric.
    pub fn read(&mut self, name: &str) -> Result<NdArray, NpzError> {
        self.read_entry(name).map_err(|fault| match &self.path {
            Some(path) => NpzError::InFile {
                path: path.clone(),
                fault: Box::new(fault),
            },
            None => fault,
        })
    }

    fn read_entry(&mut self, name: &str) -> Result<NdArray, NpzError> {
        let bytes = self.archive.read(&format!("{name}.npy"))?;
        npy::parse_view(bytes).map_err(|fault| NpzError::Array {
            name: name.to_owned(),
            fault,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Cursor, Write};
    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    fn archive(method: CompressionMethod, n: usize) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        npy::write_f32(&path, &[n], &vec![0.0; n]).unwrap();
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        for name in ["a.npy", "b.npy"] {
            writer.start_file(name, options).unwrap();
            writer.write_all(&std::fs::read(&path).unwrap()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn stored_and_deflated_arrays_are_read() {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let mut npz = Npz::parse(ByteView::from(archive(method, 1000))).unwrap();
            assert_eq!(npz.names().collect::<Vec<_>>(), ["a", "b"]);
            assert_eq!(npz.read("b").unwrap().to_f32(), vec![0.0; 1000]);
            assert!(npz.read("c").is_err());
        }
    }

    /// The declared size is raised in both headers of the first entry.
    #[test]
    fn a_false_size_is_refused_without_allocating_it() {
        for declared in [999_u32, u32::MAX - 1] {
            let mut bytes = archive(CompressionMethod::Deflated, 1000);
            let central = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
            bytes[22..26].copy_from_slice(&declared.to_le_bytes());
            bytes[central + 24..central + 28].copy_from_slice(&declared.to_le_bytes());
            let result = Npz::parse(ByteView::from(bytes)).and_then(|mut npz| npz.read("a"));
            assert!(result.is_err(), "declared {declared}");
        }
    }

    proptest! {
        #[test]
        fn changed_archives_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
                let mut bytes = archive(method, 3);
                let at = at.index(bytes.len());
                bytes[at] = byte;
                if let Ok(mut npz) = Npz::parse(ByteView::from(bytes)) {
                    let _ = (npz.read("a"), npz.read("b"));
                }
            }
        }
    }
}

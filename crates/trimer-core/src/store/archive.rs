//! Zip archives of arrays: NumPy's `.npz` and PyTorch's checkpoints.

use super::ByteView;
use std::{
    fmt,
    io::{self, Cursor, Read},
};
use zip::{
    CompressionMethod, ZipArchive,
    read::{ArchiveOffset, Config},
    result::ZipError,
};

/// Most entries that an archive may have. The largest checkpoints have some ten thousand.
const MAX_ENTRIES: usize = 1 << 20;

/// Largest entry that is unpacked into memory. Entries that are stored as they are have no limit:
/// they stay in the (mapped) file.
const MAX_UNPACKED: u64 = 4 << 30;

/// Deflate cannot do better; more is a false declaration.
const MAX_RATIO: u64 = 1032;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It is no zip archive, or a damaged one.
    #[error("not a readable zip archive: {0}")]
    Zip(#[from] ZipError),
    /// Two entries share a name, so that it is unclear which one is meant.
    #[error("entry `{name}` appears more than once")]
    Duplicate {
        /// Name of the entry.
        name: String,
    },
    /// More entries than any honest archive has.
    #[error("{given} entries, at most {MAX_ENTRIES} are allowed")]
    TooManyEntries {
        /// Number of entries.
        given: usize,
    },
    /// There is no such entry.
    #[error("entry `{name}` is missing")]
    Missing {
        /// Name of the entry.
        name: String,
    },
    /// An entry's name is no text.
    #[error("the name of entry {index} is not readable")]
    Name {
        /// Number of the entry, from 0.
        index: usize,
    },
    /// An entry is packed in a way that neither NumPy nor PyTorch uses.
    #[error("entry `{name}` is packed with {method}, expected stored or deflated")]
    Method {
        /// Name of the entry.
        name: String,
        /// The method found.
        method: String,
    },
    /// An entry declares more bytes than it can have.
    #[error("entry `{name}` declares {declared} bytes out of {packed} packed ones")]
    Size {
        /// Name of the entry.
        name: String,
        /// Declared size.
        declared: u64,
        /// Size in the archive.
        packed: u64,
    },
    /// An entry cannot be unpacked.
    #[error("entry `{name}` is damaged: {source}")]
    Entry {
        /// Name of the entry.
        name: String,
        /// What is wrong.
        source: io::Error,
    },
}

/// A zip archive in memory or mapped.
pub(crate) struct Archive {
    bytes: ByteView,
    zip: ZipArchive<Cursor<ByteView>>,
    names: Vec<String>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Archive {
    /// Whether bytes start like a zip archive.
    pub(crate) fn detect(bytes: &[u8]) -> bool {
        bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
    }

    /// Reads the directory of an archive.
    pub(crate) fn parse(bytes: ByteView) -> Result<Self, ArchiveError> {
        // Told to detect data before the archive, `zip` 9.4 takes the second entry of the directory
        // for the first when that one is 76 bytes long, the size of the zip64 records that PyTorch
        // always writes.
        let config = Config {
            archive_offset: ArchiveOffset::Known(0),
        };
        let zip = ZipArchive::with_config(config, Cursor::new(bytes.clone()))?;
        if zip.len() > MAX_ENTRIES {
            return Err(ArchiveError::TooManyEntries { given: zip.len() });
        }
        let names = (0..zip.len())
            .map(|index| {
                zip.name_for_index(index)
                    .and_then(Result::ok)
                    .map(std::borrow::Cow::into_owned)
                    .ok_or(ArchiveError::Name { index })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut sorted: Vec<&String> = names.iter().collect();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ArchiveError::Duplicate {
                name: pair[0].clone(),
            });
        }
        if zip.has_duplicate_names() {
            return Err(ArchiveError::Duplicate {
                name: "?".to_owned(),
            });
        }
        Ok(Self { bytes, zip, names })
    }

    /// Names of the entries in the order of the archive.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The bytes of an entry: a part of the archive when it is stored as it is, else unpacked. The
    /// checksum is verified only of what is unpacked, because the rest may be gigabytes that are
    /// never touched.
    pub(crate) fn read(&mut self, name: &str) -> Result<ByteView, ArchiveError> {
        let mut entry = self.zip.by_name(name).map_err(|error| match error {
            ZipError::FileNotFound => ArchiveError::Missing {
                name: name.to_owned(),
            },
            other => ArchiveError::Zip(other),
        })?;
        let (declared, packed) = (entry.size(), entry.compressed_size());
        let size_error = || ArchiveError::Size {
            name: name.to_owned(),
            declared,
            packed,
        };
        match entry.compression() {
            CompressionMethod::Stored => {
                let start = entry.data_start().ok_or_else(size_error)?;
                let range = usize::try_from(start)
                    .ok()
                    .zip(
                        start
                            .checked_add(declared)
                            .and_then(|e| usize::try_from(e).ok()),
                    )
                    .filter(|_| declared == packed)
                    .ok_or_else(size_error)?;
                self.bytes.slice(range.0..range.1).ok_or_else(size_error)
            }
            CompressionMethod::Deflated => {
                if declared > MAX_UNPACKED.min(packed.saturating_mul(MAX_RATIO).saturating_add(64))
                {
                    return Err(size_error());
                }
                let mut out = Vec::new();
                // One byte more than declared shows that the declaration is false.
                entry
                    .by_ref()
                    .take(declared + 1)
                    .read_to_end(&mut out)
                    .map_err(|source| ArchiveError::Entry {
                        name: name.to_owned(),
                        source,
                    })?;
                if out.len() as u64 != declared {
                    return Err(size_error());
                }
                Ok(ByteView::from(out))
            }
            method => Err(ArchiveError::Method {
                name: name.to_owned(),
                method: format!("{method:?}"),
            }),
        }
    }
}

//! Bytes that several arrays look into: a buffer in memory or a file mapped into it.

use std::{
    fs::File,
    io::{self, Read},
    ops::{Deref, Range},
    path::Path,
    sync::Arc,
};

/// Files up to this size are read rather than mapped: a mapping costs two system calls and a page
/// fault per 4 KiB, and a corpus of `.npy` files has many thousands of small ones.
const READ_LIMIT: u64 = 1 << 20;

#[derive(Debug)]
enum Owner {
    Memory(Vec<u8>),
    Map(memmap2::Mmap),
}

impl Owner {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Map(map) => map,
        }
    }
}

/// A range of shared, immutable bytes. Cloning and slicing copy nothing.
#[derive(Debug, Clone)]
pub struct ByteView {
    owner: Arc<Owner>,
    range: Range<usize>,
}

impl ByteView {
    /// The content of a file: mapped when it is large, read when it is small.
    ///
    /// A mapped file must not be shortened by another program while it is in use; the operating
    /// system would end this process on the next access.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, read or mapped, or is no regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Asked before opening: to open a pipe would wait for its other end.
        let meta = std::fs::metadata(path)?;
        if !meta.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let mut file = File::open(path)?;
        if meta.len() <= READ_LIMIT {
            let mut bytes = Vec::with_capacity(meta.len() as usize);
            // One byte over the limit tells a file that grew meanwhile from one that did not.
            file.by_ref().take(READ_LIMIT + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 <= READ_LIMIT {
                return Ok(Self::from(bytes));
            }
        }
        #[expect(unsafe_code, reason = "mapping a file is unsafe by nature")]
        // SAFETY: nothing in this process writes to the file. That no other program does while the
        // view lives is what this function asks of its caller.
        let map = unsafe { map_file(&file) }?;
        Ok(Self::new(Owner::Map(map)))
    }

    fn new(owner: Owner) -> Self {
        let range = 0..owner.as_slice().len();
        Self {
            owner: Arc::new(owner),
            range,
        }
    }

    /// A part of these bytes; `None` when it reaches outside of them.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        let start = self.range.start.checked_add(range.start)?;
        let end = self.range.start.checked_add(range.end)?;
        (start <= end && end <= self.range.end).then(|| Self {
            owner: Arc::clone(&self.owner),
            range: start..end,
        })
    }
}

/// Maps a whole file for reading.
///
/// The map is private to this process, read-only, and only ever seen as bytes, for which every bit
/// pattern is valid.
///
/// # Safety
///
/// While the map lives, no one may change or shorten the file: what stands behind a `&[u8]` would
/// change under its reader, or the system would end the process on the next access.
///
/// # Errors
///
/// Those of the operating system.
#[expect(unsafe_code, reason = "mapping a file is unsafe by nature")]
pub(crate) unsafe fn map_file(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: the caller keeps the file as it is while it is mapped.
    unsafe { memmap2::Mmap::map(file) }
}

impl Deref for ByteView {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.owner.as_slice()[self.range.clone()]
    }
}

impl AsRef<[u8]> for ByteView {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for ByteView {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(Owner::Memory(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_cannot_reach_outside_its_view() {
        let all = ByteView::from(vec![0, 1, 2, 3, 4]);
        let middle = all.slice(1..4).unwrap();
        assert_eq!(&*middle, [1, 2, 3]);
        assert_eq!(&*middle.slice(1..3).unwrap(), [2, 3]);
        assert!(middle.slice(0..4).is_none());
        #[expect(clippy::reversed_empty_ranges, reason = "the case under test")]
        let reversed = middle.slice(2..1);
        assert!(reversed.is_none());
        assert!(middle.slice(1..usize::MAX).is_none());
    }

    #[test]
    fn large_files_are_mapped_and_small_ones_read() {
        let dir = tempfile::tempdir().unwrap();
        for len in [0, 3, READ_LIMIT as usize + 7] {
            let path = dir.path().join(len.to_string());
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            let view = ByteView::open(&path).unwrap();
            assert_eq!(&*view, bytes);
            assert_eq!(
                matches!(*view.owner, Owner::Map(_)),
                len as u64 > READ_LIMIT
            );
        }
        assert!(ByteView::open(dir.path()).is_err());
    }
}

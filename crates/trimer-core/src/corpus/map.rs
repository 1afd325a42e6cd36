//! Files mapped into memory: the only place of this module tree that needs `unsafe`.

use crate::store::bytes::map_file;
use memmap2::{Advice, Mmap};
use std::{
    fs::File,
    io,
    ops::Deref,
    sync::atomic::{AtomicU64, Ordering},
};

/// Below this many bytes, page faults cost less than asking for the pages.
const PREPARE_BYTES: usize = 64 << 10;
/// After so many bytes were read, pages that were touched are given back.
const RELEASE_BYTES: u64 = 256 << 20;

/// A file that was mapped for reading.
#[derive(Debug)]
pub(super) struct Map(Mmap);

impl Map {
    pub(super) fn new(file: &File) -> io::Result<Self> {
        #[expect(
            unsafe_code,
            reason = "memory mapping is what makes 20 GB open in milliseconds"
        )]
        // SAFETY: this library never changes the files of a published corpus, it only makes new
        // directories; that no other program does while a corpus is open is said at `Corpus::open`.
        let map = unsafe { map_file(file) }?;
        Ok(Self(map))
    }

    /// Brings a range into memory with one call instead of a fault per few pages.
    pub(super) fn prepare(&self, offset: usize, len: usize) {
        if len < PREPARE_BYTES {
            return;
        }
        // Advice only: where the system has none of it, faults do the work.
        #[cfg(target_os = "linux")]
        drop(self.0.advise_range(Advice::PopulateRead, offset, len));
        #[cfg(all(unix, not(target_os = "linux")))]
        drop(self.0.advise_range(Advice::WillNeed, offset, len));
        #[cfg(not(unix))]
        let _ = offset;
    }

    /// Gives the memory back; the next access reads the file again, mostly from the system's cache.
    fn release(&self) {
        #[cfg(unix)]
        {
            use memmap2::UncheckedAdvice;
            #[expect(
                unsafe_code,
                reason = "else the resident size grows to that of the corpus"
            )]
            // SAFETY: the map is backed by a file and never written to, so a page that is given back
            // has the same content when it is touched again, also for those who hold a reference.
            drop(unsafe { self.0.unchecked_advise(UncheckedAdvice::DontNeed) });
        }
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Counts what is read from several maps, so that resident memory stays bounded.
#[derive(Debug, Default)]
pub(super) struct Budget(AtomicU64);

impl Budget {
    /// Notes that bytes were read; now and then gives back the memory of all `maps`.
    pub(super) fn spend<'a>(&self, bytes: u64, maps: impl Iterator<Item = &'a Map>) {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        if before < RELEASE_BYTES && before.saturating_add(bytes) >= RELEASE_BYTES {
            self.0.store(0, Ordering::Relaxed);
            maps.for_each(Map::release);
        }
    }
}

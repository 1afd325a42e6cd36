//! Buffers that go back to a shelf instead of to the system.
//!
//! A training step keeps hundreds of megabytes of activations until its backward pass. Taken fresh from the system
//! each time, their page faults cost more than a third of the step. Buffers carry whatever they held before, so they
//! are always initialised memory.
#![expect(unsafe_code, reason = "aligned allocation")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};

const ALIGN: usize = 64;

static SHELF: Mutex<Shelf> = Mutex::new(Shelf {
    free: BTreeMap::new(),
    bytes: 0,
});

struct Shelf {
    /// Free allocations by capacity (in values).
    free: BTreeMap<usize, Vec<Allocation>>,
    bytes: usize,
}

fn shelf() -> MutexGuard<'static, Shelf> {
    // No code that can panic runs while the lock is held half-way through a change.
    SHELF.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Allocation {
    ptr: NonNull<f32>,
    capacity: usize,
}

// SAFETY: an allocation is memory owned by one value alone.
unsafe impl Send for Allocation {}
// SAFETY: shared access only reads.
unsafe impl Sync for Allocation {}

fn layout(capacity: usize) -> Layout {
    Layout::array::<f32>(capacity)
        .and_then(|layout| layout.align_to(ALIGN))
        .expect("`Buffer::take` refuses what does not fit")
}

impl Allocation {
    fn new(capacity: usize) -> Self {
        let layout = layout(capacity);
        // SAFETY: capacities are at least one, so the layout has a size.
        let ptr = unsafe { alloc_zeroed(layout) };
        #[expect(
            clippy::cast_ptr_alignment,
            reason = "the layout asks for a whole cache line"
        )]
        let ptr = ptr.cast::<f32>();
        let Some(ptr) = NonNull::new(ptr) else {
            handle_alloc_error(layout)
        };
        Self { ptr, capacity }
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: made by `new` with the same layout, and dropped once.
        unsafe { dealloc(self.ptr.as_ptr().cast(), layout(self.capacity)) };
    }
}

const MIN: usize = 256;

/// Most values of a buffer: neither their bytes nor the rounding up to a size class can overflow.
const MOST: usize = isize::MAX as usize / (4 * size_of::<f32>());

/// Rounds up to one of eight sizes per power of two, so that buffers of nearly equal size serve one another.
fn size_class(len: usize) -> usize {
    let len = len.max(MIN);
    let step = len.next_power_of_two() / 16;
    len.next_multiple_of(step.max(1))
}

/// Whether buffers are as large as asked for and never used again, so that a memory checker sees what is read or written
/// beyond them: `TRIMER_POOL=exact`, in the tests of this crate alone.
#[inline]
pub(crate) fn exact() -> bool {
    cfg!(test) && std::env::var_os("TRIMER_POOL").is_some_and(|v| v == "exact")
}

/// A buffer of f32 from the shelf, 64-byte aligned; its contents at first are arbitrary numbers.
#[derive(Debug)]
pub(crate) struct Buffer {
    allocation: Option<Allocation>,
    len: usize,
}

impl Buffer {
    /// Takes a buffer of `len` values with arbitrary contents.
    ///
    /// # Panics
    /// If so many values do not fit into an address space.
    pub(crate) fn take(len: usize) -> Self {
        assert!(len <= MOST, "a buffer of {len} values");
        if exact() {
            return Self {
                allocation: Some(Allocation::new(len.max(1))),
                len,
            };
        }
        let class = size_class(len);
        let found = {
            let mut shelf = shelf();
            let found = shelf.free.get_mut(&class).and_then(Vec::pop);
            if found.is_some() {
                shelf.bytes -= class * size_of::<f32>();
            }
            found
        };
        Self {
            allocation: Some(found.unwrap_or_else(|| Allocation::new(class))),
            len,
        }
    }

    /// Takes a buffer of `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut buffer = Self::take(len);
        buffer.fill(0.0);
        buffer
    }

    fn ptr(&self) -> NonNull<f32> {
        self.allocation
            .as_ref()
            .map_or(NonNull::dangling(), |a| a.ptr)
    }

    /// The buffer as the storage of a tensor; it goes back to the shelf when the tensor is dropped.
    pub(crate) fn into_bytes(self) -> Bytes {
        let len = self.len * size_of::<f32>();
        // SAFETY: all `len` values are initialised, see the head of this file.
        unsafe { Bytes::from_controller(Box::new(self), len) }
    }
}

impl AllocationController for Buffer {
    /// The most that Burn's bytes may claim: a copy of them is allocated with it.
    fn alloc_align(&self) -> usize {
        align_of::<u128>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(
        &mut self,
        _: AccessPolicy,
    ) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let bytes = self.len * size_of::<f32>();
        // SAFETY: the allocation holds that many bytes; the caller writes initialised bytes only, and every bit
        // pattern is an f32. `&mut self` makes the access unique.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.ptr().as_ptr().cast(), bytes) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes = self.len * size_of::<f32>();
        // SAFETY: as for `memory_mut`; shared access only reads.
        Ok(unsafe { std::slice::from_raw_parts(self.ptr().as_ptr().cast(), bytes) })
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: the allocation holds at least `len` initialised values until drop.
        unsafe { std::slice::from_raw_parts(self.ptr().as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as for `deref`; `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.ptr().as_ptr(), self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if exact() {
            return;
        }
        if let Some(allocation) = self.allocation.take() {
            let mut shelf = shelf();
            shelf.bytes += allocation.capacity * size_of::<f32>();
            shelf
                .free
                .entry(allocation.capacity)
                .or_default()
                .push(allocation);
        }
    }
}

/// Bytes of buffers that are on the shelf, waiting to be used again.
pub fn pooled_bytes() -> usize {
    shelf().bytes
}

/// Gives all buffers on the shelf back to the system.
pub(crate) fn release() {
    let free = {
        let mut shelf = shelf();
        shelf.bytes = 0;
        std::mem::take(&mut shelf.free)
    };
    drop(free);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_grow_by_at_most_an_eighth() {
        for len in [
            1,
            255,
            256,
            257,
            1000,
            4096,
            4097,
            30_720,
            1 << 20,
            (1 << 20) + 1,
        ] {
            let class = size_class(len);
            assert!(class >= len);
            assert!(
                class <= MIN || class as f64 <= len as f64 * 1.125 + 1.0,
                "{len} -> {class}"
            );
            assert_eq!(size_class(class), class);
        }
    }

    #[test]
    #[should_panic(expected = "a buffer of 4611686018427387905 values")]
    fn sizes_whose_bytes_overflow_are_refused() {
        // Four bytes each: 2^64 + 4, which wraps to 4.
        let _ = Buffer::take((1 << 62) + 1);
    }

    #[test]
    fn the_largest_size_has_a_class() {
        let class = size_class(MOST);
        assert!(class >= MOST && layout(class).size() == class * size_of::<f32>());
    }

    #[test]
    fn buffers_are_aligned_and_come_back() {
        // A size no other test uses.
        let len = 777_777;
        let buffer = Buffer::zeros(len);
        assert_eq!(buffer.as_ptr().align_offset(ALIGN), 0);
        assert!(buffer.iter().all(|&x| x == 0.0));
        let ptr = buffer.as_ptr();
        drop(buffer);
        assert_eq!(Buffer::take(len).as_ptr(), ptr);
    }
}

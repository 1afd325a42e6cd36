//! What the forward and the backward pass of one head share: its matrices, packing, and working memory.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use std::marker::PhantomData;

use crate::engine::dropout_bits::DropoutStream;
use crate::engine::pool::{Buffer, exact};
use crate::engine::simd::{Simd, each, min, transpose};

/// Vectors of queries side by side in a strip.
pub(super) const NV: usize = 2;
/// Rows of keys are padded to a multiple of this.
pub(super) const KEYS: usize = 12;
/// Features are padded to a multiple of this.
pub(super) const FEATURES: usize = 8;
/// Keys per pass of the backward: two strips of this height share the first-level cache.
pub(super) const CHUNK: usize = 96;
/// Queries per product of the backward with gradients of scores: one or several strips.
pub(super) const GROUP: usize = 32;
/// Stands for the log-sum-exp of queries that see no key: makes every weight zero.
pub(super) const BLIND: f32 = 1e30;

/// A matrix of rows that lie `ld` apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) ptr: *const f32,
    pub(super) ld: usize,
    owner: PhantomData<&'a [f32]>,
}

impl Rows<'_> {
    pub(super) fn new(ptr: *const f32, ld: usize) -> Self {
        let owner = PhantomData;
        Self { ptr, ld, owner }
    }
}

/// A writable matrix of rows that lie `ld` apart.
pub(super) struct RowsMut<'a> {
    pub(super) ptr: *mut f32,
    pub(super) ld: usize,
    owner: PhantomData<&'a mut [f32]>,
}

impl RowsMut<'_> {
    pub(super) fn new(ptr: *mut f32, ld: usize) -> Self {
        let owner = PhantomData;
        Self { ptr, ld, owner }
    }
}

/// What the forward and the backward pass of a head have in common.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) n_queries: usize,
    pub(super) n_keys: usize,
    /// Head width.
    pub(super) width: usize,
    pub(super) q: Rows<'a>,
    pub(super) k: Rows<'a>,
    pub(super) v: Rows<'a>,
    /// The keys that take part, in order; `None` = all.
    pub(super) visible: Option<&'a [u32]>,
    pub(super) causal: Option<i64>,
    pub(super) dropout: Option<DropoutStream>,
    /// Where its dropout decisions begin.
    pub(super) first_dropout_row: u64,
    /// Per query: log2 of the sum of exp2 of scaled scores.
    pub(super) lse: *mut f32,
}

impl Head<'_> {
    /// Number of keys that take part.
    #[inline(always)]
    pub(super) fn keys(&self) -> usize {
        match self.visible {
            Some(list) => list.len(),
            None => self.n_keys,
        }
    }

    #[inline(always)]
    pub(super) fn key(&self, j: usize) -> usize {
        match self.visible {
            Some(list) => list[j] as usize,
            None => j,
        }
    }

    /// Copies the rows of visible keys; rows and columns that pad are zero.
    ///
    /// # Safety
    /// `dst` must hold `keys` (rounded up) rows of `ld` values.
    #[inline(always)]
    pub(super) unsafe fn gather<S: Simd>(&self, s: S, src: Rows<'_>, dst: *mut f32, ld: usize) {
        let keys = self.keys();
        // SAFETY: rows are those of the caller's matrix, columns stay below `width`.
        unsafe {
            each!(j in keys => {
                let row = src.ptr.add(self.key(j) * src.ld);
                // Where the next head's features lie, most likely.
                s.prefetch(row.wrapping_add(self.width));
                copy_row(s, row, self.width, dst.add(j * ld), ld);
            });
            each!(j in keys.next_multiple_of(KEYS) - keys => zero_row(s, dst.add((keys + j) * ld), ld));
        }
    }

    /// Writes the key of the dropout of each visible key's row.
    ///
    /// # Safety
    /// `dst` must hold two values per visible key.
    #[inline(always)]
    pub(super) unsafe fn dropout_keys(&self, dst: *mut [u32; 2]) {
        if let Some(stream) = self.dropout {
            let first = self.first_dropout_row;
            // SAFETY: as promised by the caller.
            each!(j in self.keys() => unsafe { *dst.add(j) = stream.row_key(first + self.key(j) as u64) });
        }
    }
}

/// # Safety
/// `src` must hold `n` values, `dst` `padded >= n`.
#[inline(always)]
pub(super) unsafe fn copy_row<S: Simd>(
    s: S,
    src: *const f32,
    n: usize,
    dst: *mut f32,
    padded: usize,
) {
    // SAFETY: as promised by the caller.
    unsafe {
        let mut c = 0;
        while c + S::LANES <= n {
            s.store(dst.add(c), s.load(src.add(c)));
            c += S::LANES;
        }
        while c < n {
            *dst.add(c) = *src.add(c);
            c += 1;
        }
        while c < padded {
            *dst.add(c) = 0.0;
            c += 1;
        }
    }
}

/// # Safety
/// `dst` must hold `n` values.
#[inline(always)]
pub(super) unsafe fn zero_row<S: Simd>(s: S, dst: *mut f32, n: usize) {
    let mut c = 0;
    // SAFETY: as promised by the caller.
    unsafe {
        while c + S::LANES <= n {
            s.store(dst.add(c), s.splat(0.0));
            c += S::LANES;
        }
        each!(i in n - c => *dst.add(c + i) = 0.0);
    }
}

/// Packs rows transposed into strips of `w` rows (`[strip][feature][w]`), times `factor`; lanes that pad are zero.
///
/// # Safety
/// `dst` must hold `n` rounded up to `w`, times `width` values.
#[inline(always)]
pub(super) unsafe fn pack_strips<S: Simd>(
    s: S,
    src: Rows<'_>,
    n: usize,
    width: usize,
    w: usize,
    factor: f32,
    dst: *mut f32,
) {
    // SAFETY: as promised by the caller.
    unsafe {
        let mut i = 0;
        while i < n {
            let rows = min(n - i, w);
            let dst = dst.add(i * width);
            transpose(s, src.ptr.add(i * src.ld), src.ld, dst, w, rows, width);
            each!(c in width => {
                each!(v in w - rows => *dst.add(c * w + rows + v) = 0.0);
            });
            let factor = s.splat(factor);
            let mut at = 0;
            while at < width * w {
                s.store(dst.add(at), s.mul(s.load(dst.add(at)), factor));
                at += S::LANES;
            }
            i += w;
        }
    }
}

/// Lanes of a strip that starts at query `first` which see `key`.
#[inline(always)]
pub(super) fn causal_bits(first: usize, key: usize, offset: i64) -> u32 {
    let blind = key as i64 - offset - first as i64;
    if blind <= 0 {
        u32::MAX
    } else if blind >= 32 {
        0
    } else {
        u32::MAX << blind
    }
}

/// The dropout decisions of a key for the strip of queries that starts at `first`. They come for 32 queries at a time:
/// where strips are narrower, `kept` keeps them from one strip to the next.
///
/// # Safety
/// `kept` must be valid, and hold what was written there for the strip before, unless `first` is a multiple of 32.
#[inline(always)]
pub(super) unsafe fn strip_random_bits<S: Simd>(
    s: S,
    key: [u32; 2],
    first: usize,
    threshold: u16,
    kept: *mut u32,
) -> u32 {
    if NV * S::LANES >= 32 {
        return s.random_bits(key, (first / 32) as u32, threshold);
    }
    // SAFETY: as promised by the caller.
    unsafe {
        if first.is_multiple_of(32) {
            *kept = s.random_bits(key, (first / 32) as u32, threshold);
        }
        *kept >> (first % 32)
    }
}

/// Working memory of a head; one serves any number of heads of the same shape, one after the other.
pub(crate) struct Scratch {
    buffer: Buffer,
    /// Where buffers are [`exact`], the parts of the head at hand: each is an allocation of its own, so that a memory
    /// checker sees what is read or written beyond it.
    separate: Vec<Buffer>,
}

impl Scratch {
    /// For heads of at most these sizes.
    pub(crate) fn new(n_queries: usize, n_keys: usize, width: usize, backward: bool) -> Self {
        let (queries, keys) = (
            n_queries.next_multiple_of(32),
            n_keys.next_multiple_of(KEYS),
        );
        let padded = width.next_multiple_of(32);
        let forward = keys * (2 * padded + 32 + 3) + queries * padded + padded * 32;
        let extra = queries * (5 * padded + 2) + 2 * keys * padded + CHUNK * (2 * GROUP + 1);
        Self {
            buffer: Buffer::take(forward + if backward { extra } else { 0 }),
            separate: Vec::new(),
        }
    }
}

/// Hands out consecutive parts of the scratch buffer.
pub(super) struct Parts<'a> {
    next: *mut f32,
    left: usize,
    separate: &'a mut Vec<Buffer>,
}

impl<'a> Parts<'a> {
    pub(super) fn new(scratch: &'a mut Scratch) -> Self {
        scratch.separate.clear();
        Self {
            next: scratch.buffer.as_mut_ptr(),
            left: scratch.buffer.len(),
            separate: &mut scratch.separate,
        }
    }

    #[inline(always)]
    pub(super) fn take(&mut self, len: usize) -> *mut f32 {
        assert!(len <= self.left, "scratch of a smaller head");
        self.left -= len;
        if exact() {
            let mut part = Buffer::take(len);
            let ptr = part.as_mut_ptr();
            self.separate.push(part);
            return ptr;
        }
        let part = self.next;
        // SAFETY: `len` values were left.
        self.next = unsafe { self.next.add(len) };
        part
    }
}

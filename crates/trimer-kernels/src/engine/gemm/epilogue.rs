//! What happens to a finished tile on its way to memory.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use crate::engine::dropout_bits::DropoutStream;
use crate::engine::simd::{Simd, each, min};

/// The matrix that a product writes: where it begins, and the distance of its rows.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) c: *mut f32,
    pub(crate) ldc: usize,
}

impl Target {
    /// # Safety
    /// `row` and `col` must be within the matrix.
    #[inline(always)]
    pub(super) unsafe fn at(self, row: usize, col: usize) -> *mut f32 {
        // SAFETY: as promised by the caller.
        unsafe { self.c.add(row * self.ldc + col) }
    }
}

/// A row of a tile: `n` columns from `col` on.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) row: usize,
    pub(crate) col: usize,
    pub(crate) n: usize,
}

/// What becomes of a row of a finished tile.
pub(crate) trait TileEpilogue: Copy {
    /// The result, which holds sums that are not finished yet.
    fn target(self) -> Target;
    /// Whether tiles start from zero (else from what [`TileEpilogue::initial`] loads).
    const FROM_ZERO: bool = true;
    /// # Safety
    /// `at` must be within the result, and `at.n <= NV * LANES`.
    #[inline(always)]
    unsafe fn initial<S: Simd, const NV: usize>(self, s: S, at: Place) -> [S::V; NV] {
        let _ = at;
        [s.splat(0.0); NV]
    }
    /// Asks for what [`TileEpilogue::finish`] will read of a row from `col` on, while the tile is still being computed.
    #[inline(always)]
    fn fetch<S: Simd, const NV: usize>(self, s: S, row: usize, col: usize) {
        let _ = (s, row, col);
    }
    /// # Safety
    /// As for [`TileEpilogue::initial`].
    unsafe fn finish<S: Simd, const NV: usize>(self, s: S, at: Place, acc: &[S::V; NV]);
}

/// Loads `n` values into `NV` vectors, zero behind them.
///
/// # Safety
/// `ptr` must be valid for reading `n` values.
#[inline(always)]
pub(super) unsafe fn load_row<S: Simd, const NV: usize>(
    s: S,
    ptr: *const f32,
    n: usize,
) -> [S::V; NV] {
    let mut out = [s.splat(0.0); NV];
    // SAFETY: only the first `n` values are read.
    unsafe {
        if n == NV * S::LANES {
            each!(v in NV => out[v] = s.load(ptr.add(v * S::LANES)));
        } else {
            each!(v in NV => if v * S::LANES < n {
                out[v] = s.load_part(ptr.add(v * S::LANES), min(n - v * S::LANES, S::LANES));
            });
        }
    }
    out
}

/// Stores `n` values from `NV` vectors.
///
/// # Safety
/// `ptr` must be valid for writing `n` values.
#[inline(always)]
pub(super) unsafe fn store_row<S: Simd, const NV: usize>(
    s: S,
    ptr: *mut f32,
    n: usize,
    row: &[S::V; NV],
) {
    // SAFETY: only the first `n` values are written.
    unsafe {
        if n == NV * S::LANES {
            each!(v in NV => s.store(ptr.add(v * S::LANES), row[v]));
        } else {
            each!(v in NV => if v * S::LANES < n {
                s.store_part(ptr.add(v * S::LANES), min(n - v * S::LANES, S::LANES), row[v]);
            });
        }
    }
}

/// `c = acc`, or `c += acc`.
#[derive(Clone, Copy)]
pub(crate) struct Store<const ADD: bool>(pub(crate) Target);

impl<const ADD: bool> TileEpilogue for Store<ADD> {
    #[inline(always)]
    fn target(self) -> Target {
        self.0
    }
    const FROM_ZERO: bool = !ADD;
    #[inline(always)]
    unsafe fn initial<S: Simd, const NV: usize>(self, s: S, at: Place) -> [S::V; NV] {
        // SAFETY: within the result.
        unsafe { load_row(s, self.0.at(at.row, at.col), at.n) }
    }
    #[inline(always)]
    unsafe fn finish<S: Simd, const NV: usize>(self, s: S, at: Place, acc: &[S::V; NV]) {
        // SAFETY: within the result.
        unsafe { store_row(s, self.0.at(at.row, at.col), at.n, acc) }
    }
}

/// `c = acc + bias`.
#[derive(Clone, Copy)]
pub(super) struct Biased {
    pub(super) bias: *const f32,
    pub(super) target: Target,
}

impl TileEpilogue for Biased {
    #[inline(always)]
    fn target(self) -> Target {
        self.target
    }
    const FROM_ZERO: bool = false;
    #[inline(always)]
    unsafe fn initial<S: Simd, const NV: usize>(self, s: S, at: Place) -> [S::V; NV] {
        // SAFETY: within the result, which is as wide as the bias.
        unsafe { load_row(s, self.bias.add(at.col), at.n) }
    }
    #[inline(always)]
    unsafe fn finish<S: Simd, const NV: usize>(self, s: S, at: Place, acc: &[S::V; NV]) {
        // SAFETY: within the result.
        unsafe { store_row(s, self.target.at(at.row, at.col), at.n, acc) }
    }
}

/// `c = max(acc + bias, 0)`.
#[derive(Clone, Copy)]
pub(super) struct Rectified {
    pub(super) bias: *const f32,
    pub(super) target: Target,
}

impl TileEpilogue for Rectified {
    #[inline(always)]
    fn target(self) -> Target {
        self.target
    }
    #[inline(always)]
    unsafe fn finish<S: Simd, const NV: usize>(self, s: S, at: Place, acc: &[S::V; NV]) {
        // SAFETY: within the result, which is as wide as the bias.
        unsafe {
            let mut y: [S::V; NV] = load_row(s, self.bias.add(at.col), at.n);
            // What is no number must stay none, or a diverged training would go on unnoticed.
            each!(v in NV => y[v] = s.max(s.splat(0.0), s.add(acc[v], y[v])));
            store_row(s, self.target.at(at.row, at.col), at.n, &y);
        }
    }
}

/// `c = dropout(max(acc + bias, 0))`.
#[derive(Clone, Copy)]
pub(super) struct Dropped {
    pub(super) bias: *const f32,
    pub(super) target: Target,
    pub(super) stream: DropoutStream,
    pub(super) first_row: u64,
}

impl TileEpilogue for Dropped {
    #[inline(always)]
    fn target(self) -> Target {
        self.target
    }
    #[inline(always)]
    unsafe fn finish<S: Simd, const NV: usize>(self, s: S, at: Place, acc: &[S::V; NV]) {
        let key = self.stream.row_key(self.first_row + at.row as u64);
        let (threshold, scale) = (self.stream.threshold(), s.splat(self.stream.scale()));
        // SAFETY: within the result, which is as wide as the bias.
        unsafe {
            let mut y: [S::V; NV] = load_row(s, self.bias.add(at.col), at.n);
            let mut bits = 0;
            each!(v in NV => {
                let col = at.col + v * S::LANES;
                let within = col % 32;
                if v == 0 || within == 0 {
                    bits = s.random_bits(key, (col / 32) as u32, threshold);
                }
                let positive = s.max(s.splat(0.0), s.add(acc[v], y[v]));
                y[v] = s.keep(bits >> within, s.mul(positive, scale));
            });
            store_row(s, self.target.at(at.row, at.col), at.n, &y);
        }
    }
}

/// `c = acc * factor` where `h > 0`, else 0.
#[derive(Clone, Copy)]
pub(super) struct Gated {
    pub(super) h: *const f32,
    pub(super) factor: f32,
    pub(super) target: Target,
}

impl TileEpilogue for Gated {
    #[inline(always)]
    fn target(self) -> Target {
        self.target
    }
    #[inline(always)]
    fn fetch<S: Simd, const NV: usize>(self, s: S, row: usize, col: usize) {
        let h = self.h.wrapping_add(row * self.target.ldc + col);
        each!(v in (NV * S::LANES).div_ceil(16) => s.prefetch(h.wrapping_add(16 * v)));
    }
    #[inline(always)]
    unsafe fn finish<S: Simd, const NV: usize>(self, s: S, at: Place, acc: &[S::V; NV]) {
        // SAFETY: within the result, whose shape `h` has.
        unsafe {
            let h = self.h.add(at.row * self.target.ldc + at.col);
            let mut y: [S::V; NV] = load_row(s, h, at.n);
            each!(v in NV => y[v] = s.where_positive(y[v], s.mul(acc[v], s.splat(self.factor))));
            store_row(s, self.target.at(at.row, at.col), at.n, &y);
        }
    }
}

//! The tile that stays in registers, and the loops around it.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use super::epilogue::{Place, TileEpilogue, load_row, store_row};
use crate::engine::simd::{RawKernel, Simd, each, min, with_simd_raw};

/// Steps of the reduction done in one go for all rows of a panel, which so stays close while they pass.
const STEP_K: usize = 512;

/// One tile: `acc[r][v] += sum_k a(r, k) * b[k][v]`, with `a(r, k) = a[k * lda + r]` if `AT`, else `a[r * lda + k]`.
///
/// # Safety
/// All addressed elements must be readable: `b` rows of `NV` vectors, `ldb` apart.
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd, const MR: usize, const NV: usize, const AT: bool>(
    s: S,
    k: usize,
    a: *const f32,
    lda: usize,
    b: *const f32,
    ldb: usize,
    acc: &mut [[S::V; NV]; MR],
) {
    // SAFETY: as promised by the caller.
    unsafe { tile_ahead::<S, MR, NV, AT, false>(s, k, a, lda, b, ldb, [0, 0], acc) }
}

/// As [`tile`]; with `AHEAD` it also asks for the elements so far ahead of those it reads.
///
/// # Safety
/// As for [`tile`].
#[expect(clippy::too_many_arguments, reason = "a matrix product has that many")]
#[inline(always)]
unsafe fn tile_ahead<
    S: Simd,
    const MR: usize,
    const NV: usize,
    const AT: bool,
    const AHEAD: bool,
>(
    s: S,
    k: usize,
    a: *const f32,
    lda: usize,
    b: *const f32,
    ldb: usize,
    ahead: [usize; 2],
    acc: &mut [[S::V; NV]; MR],
) {
    let (mut a, mut b) = (a, b);
    each!(_step in k => {
        if AHEAD {
            if AT {
                s.prefetch(a.wrapping_add(ahead[0]));
            }
            s.prefetch(b.wrapping_add(ahead[1]));
        }
        // SAFETY: the caller promises `k` steps of readable elements.
        unsafe {
            let mut row = [s.splat(0.0); NV];
            each!(v in NV => row[v] = s.load(b.add(v * S::LANES)));
            each!(r in MR => {
                let x = s.splat(*a.add(if AT { r } else { r * lda }));
                each!(v in NV => acc[r][v] = s.fma(x, row[v], acc[r][v]));
            });
            a = a.add(if AT { lda } else { 1 });
            b = b.add(ldb);
        }
    });
}

/// The product `a * b` of `m` x `k` and `k` x `n`, handed to an epilogue.
#[derive(Clone, Copy)]
pub(crate) struct Product<E, const AT: bool> {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// `a(r, k)` is at `k * lda + r` if `AT`, else at `r * lda + k`.
    pub(crate) a: *const f32,
    pub(crate) lda: usize,
    /// Panels of [`Isa::panel_width`] columns, `panel_step` values apart, with rows `ldb` apart.
    pub(crate) b: *const f32,
    pub(crate) ldb: usize,
    pub(crate) panel_step: usize,
    /// What will be asked for next follows this product's panels (and, with `AT`, left side): bring it closer.
    pub(crate) ahead: bool,
    pub(crate) epilogue: E,
}

impl<const AT: bool> Product<(), AT> {
    pub(super) fn with<E>(self, epilogue: E) -> Product<E, AT> {
        let Self {
            m,
            n,
            k,
            a,
            lda,
            b,
            ldb,
            panel_step,
            ahead,
            ..
        } = self;
        Product {
            m,
            n,
            k,
            a,
            lda,
            b,
            ldb,
            panel_step,
            ahead,
            epilogue,
        }
    }
}

impl<E: TileEpilogue, const AT: bool> Product<E, AT> {
    /// # Safety
    /// All matrices must be readable (the result writable) in full, and nothing else may write them meanwhile.
    pub(crate) unsafe fn run(self) {
        // SAFETY: as promised by the caller.
        unsafe { with_simd_raw(self) }
    }
}

impl<E: TileEpilogue, const AT: bool> RawKernel for Product<E, AT> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        // SAFETY: promised to `Product::run`.
        unsafe {
            match (S::ROWS, S::PANEL) {
                (6, 4) => self.all::<S, 6, 4>(s),
                (6, 2) => self.all::<S, 6, 2>(s),
                _ => self.all::<S, 4, 1>(s),
            }
        }
    }
}

impl<E: TileEpilogue, const AT: bool> Product<E, AT> {
    #[inline(always)]
    unsafe fn all<S: Simd, const MR: usize, const NV: usize>(self, s: S) {
        let width = NV * S::LANES;
        let full = self.m - self.m % MR;
        // SAFETY: the tiles lie within the matrices.
        unsafe {
            let mut col = 0;
            let mut b = self.b;
            while col < self.n {
                let n = min(self.n - col, width);
                let mut done = 0;
                loop {
                    let step = Step {
                        n,
                        done,
                        k: min(self.k - done, STEP_K),
                    };
                    let mut row = 0;
                    while row < full {
                        self.one::<S, MR, NV>(s, row, col, step, b);
                        row += MR;
                    }
                    match self.m - full {
                        1 => self.one::<S, 1, NV>(s, row, col, step, b),
                        2 => self.one::<S, 2, NV>(s, row, col, step, b),
                        3 => self.one::<S, 3, NV>(s, row, col, step, b),
                        4 => self.one::<S, 4, NV>(s, row, col, step, b),
                        5 => self.one::<S, 5, NV>(s, row, col, step, b),
                        _ => {}
                    }
                    done += step.k;
                    if done == self.k {
                        break;
                    }
                }
                col += width;
                b = b.wrapping_add(self.panel_step);
            }
        }
    }

    #[inline(always)]
    unsafe fn one<S: Simd, const MR: usize, const NV: usize>(
        &self,
        s: S,
        row: usize,
        col: usize,
        step: Step,
        b: *const f32,
    ) {
        let Step { n, done, k } = step;
        let target = self.epilogue.target();
        // SAFETY: the tile lies within the matrices.
        unsafe {
            each!(r in MR => self.epilogue.fetch::<S, NV>(s, row + r, col));
            let mut acc = [[s.splat(0.0); NV]; MR];
            if done > 0 {
                each!(r in MR => acc[r] = load_row(s, target.at(row + r, col), n));
            } else if !E::FROM_ZERO {
                each!(r in MR => acc[r] = self.epilogue.initial(s, place(row + r, col, n)));
            }
            let a = self.a.add(if AT {
                done * self.lda + row
            } else {
                row * self.lda + done
            });
            let b = b.add(done * self.ldb);
            if self.ahead {
                // Every tile row fetches another line of the panel's rows.
                let line = (row / MR % NV) * S::LANES;
                let ahead = [k * self.lda, k * self.ldb + line];
                tile_ahead::<S, MR, NV, AT, true>(s, k, a, self.lda, b, self.ldb, ahead, &mut acc);
            } else {
                tile::<S, MR, NV, AT>(s, k, a, self.lda, b, self.ldb, &mut acc);
            }
            if done + k == self.k {
                each!(r in MR => self.epilogue.finish(s, place(row + r, col, n), &acc[r]));
            } else {
                each!(r in MR => store_row(s, target.at(row + r, col), n, &acc[r]));
            }
        }
    }
}

#[inline(always)]
fn place(row: usize, col: usize, n: usize) -> Place {
    Place { row, col, n }
}

/// Part of the reduction for one panel.
#[derive(Clone, Copy)]
struct Step {
    /// Columns of the panel.
    n: usize,
    /// Steps of the reduction that are done, and that are to be done now.
    done: usize,
    k: usize,
}

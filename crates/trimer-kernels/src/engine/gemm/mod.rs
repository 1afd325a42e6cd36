//! Matrix products with packed right-hand sides and folded-in epilogues.
//!
//! The inner loop is one tile of `ROWS` x `PANEL` vectors that stays in registers: per step of the reduction it loads
//! one row of a packed panel and broadcasts `ROWS` values of the left-hand side, which is read in place.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

mod epilogue;
mod pack;
mod tile;
mod weight_gradient;

use rayon::prelude::*;

use self::epilogue::{Biased, Dropped, Gated, Rectified, Store};
use self::pack::{Pack, PackTransposed};
use self::tile::Product;
pub(crate) use self::tile::tile;
pub(crate) use self::weight_gradient::WeightGradient;
use super::dropout_bits::Stream;
use super::pool::Buffer;
use super::simd::Isa;

/// Number of values of a packed `k` x `n` matrix.
pub(crate) fn packed_len(k: usize, n: usize) -> usize {
    k * n.next_multiple_of(Isa::get().panel_width())
}

/// Weights of more values than this are brought to the second-level cache ahead of their use.
const AHEAD: usize = 1 << 18;
/// Packing goes over threads from this many values on.
const PARALLEL_PACK: usize = 1 << 18;

/// The right-hand side of a product, `k` x `n`, packed into panels.
#[derive(Debug)]
pub(crate) struct Packed {
    data: Buffer,
    k: usize,
    n: usize,
}

/// Consecutive panels of a packed matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panels<'a> {
    data: &'a [f32],
    k: usize,
    n: usize,
}

impl<'a> From<&'a Packed> for Panels<'a> {
    fn from(packed: &'a Packed) -> Self {
        Self {
            data: &packed.data,
            k: packed.k,
            n: packed.n,
        }
    }
}

impl Packed {
    /// Rows and columns.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.k, self.n)
    }

    /// Columns `first .. first + n`, where panels begin and end there.
    pub(crate) fn columns(&self, first: usize, n: usize) -> Option<Panels<'_>> {
        let width = Isa::get().panel_width();
        let fits = first.is_multiple_of(width) && n.is_multiple_of(width) && first + n <= self.n;
        fits.then(|| Panels {
            data: &self.data[first * self.k..(first + n) * self.k],
            k: self.k,
            n,
        })
    }

    /// Packs `w^T` for a weight `w` of `n` rows (outputs) and `k` columns (inputs): for `x w^T`.
    pub(crate) fn transposed(w: &[f32], n: usize, k: usize) -> Self {
        assert_eq!(w.len(), n * k, "weight of {n} x {k}");
        Self::panels(k, n, |col, n, dst| {
            let src = w[col * k..].as_ptr();
            // SAFETY: rows `col .. col + n` of `w`, one panel of room.
            unsafe {
                PackTransposed {
                    src,
                    ld: k,
                    k,
                    n,
                    dst,
                }
                .run();
            }
        })
    }

    /// Packs a matrix of `k` rows and `n` columns as it is: for `x w`.
    pub(crate) fn plain(w: &[f32], k: usize, n: usize) -> Self {
        assert_eq!(w.len(), n * k, "matrix of {k} x {n}");
        Self::panels(k, n, |col, cols, dst| {
            // SAFETY: columns `col .. col + cols` of `w`, one panel of room.
            unsafe {
                Pack {
                    src: w.as_ptr().add(col),
                    ld: n,
                    k,
                    n: cols,
                    dst,
                }
                .run();
            }
        })
    }

    fn panels(k: usize, n: usize, pack: impl Fn(usize, usize, *mut f32) + Sync) -> Self {
        let width = Isa::get().panel_width();
        let mut data = Buffer::take(packed_len(k, n));
        let one = |(p, panel): (usize, &mut [f32])| {
            let col = p * width;
            pack(col, (n - col).min(width), panel.as_mut_ptr());
        };
        if k * n < PARALLEL_PACK {
            data.chunks_mut((width * k).max(1))
                .enumerate()
                .for_each(one);
        } else {
            data.par_chunks_mut((width * k).max(1))
                .enumerate()
                .for_each(one);
        }
        Self { data, k, n }
    }
}

/// What happens to `a b` on its way to memory.
#[derive(Clone, Copy)]
pub(crate) enum Finish<'a> {
    /// Nothing.
    Plain,
    /// A bias is added.
    Bias(&'a [f32]),
    /// A bias is added, negative values become zero, and dropout may follow. The number is that of the first row in
    /// the stream's numbering.
    Relu(&'a [f32], Option<Stream>, u64),
    /// Values are multiplied by the factor where the given matrix is positive, and become zero elsewhere: the
    /// gradient through `Relu`.
    ReluGradient(&'a [f32], f32),
}

/// `c = finish(a b)` for `a` of `rows` x `k`.
pub(crate) fn product<'b>(
    rows: usize,
    a: &[f32],
    b: impl Into<Panels<'b>>,
    finish: Finish<'_>,
    c: &mut [f32],
) {
    let Panels { data: b, k, n } = b.into();
    assert_eq!(b.len(), packed_len(k, n), "panels of {k} x {n}");
    assert_eq!(a.len(), rows * k, "left side of {rows} x {k}");
    assert_eq!(c.len(), rows * n, "result of {rows} x {n}");
    let width = Isa::get().panel_width();
    let whole = Product::<(), false> {
        m: rows,
        n,
        k,
        a: a.as_ptr(),
        lda: k,
        b: b.as_ptr(),
        ldb: width,
        panel_step: width * k,
        // Smaller weights stay in the second-level cache from one task to the next.
        ahead: k * n > AHEAD,
        epilogue: (),
    };
    let c = c.as_mut_ptr();
    // SAFETY: `a`, `b` and `c` have the sizes checked above, and so have the vectors checked below.
    unsafe {
        match finish {
            Finish::Plain => whole.with(Store::<false> { c, ldc: n }).run(),
            Finish::Bias(bias) => {
                assert_eq!(bias.len(), n, "bias of {n}");
                whole
                    .with(Biased {
                        bias: bias.as_ptr(),
                        c,
                        ldc: n,
                    })
                    .run();
            }
            Finish::Relu(bias, None, _) => {
                assert_eq!(bias.len(), n, "bias of {n}");
                whole
                    .with(Rectified {
                        bias: bias.as_ptr(),
                        c,
                        ldc: n,
                    })
                    .run();
            }
            Finish::Relu(bias, Some(stream), first_row) => {
                assert_eq!(bias.len(), n, "bias of {n}");
                whole
                    .with(Dropped {
                        bias: bias.as_ptr(),
                        c,
                        ldc: n,
                        stream,
                        first_row,
                    })
                    .run();
            }
            Finish::ReluGradient(h, factor) => {
                assert_eq!(h.len(), rows * n, "activation of {rows} x {n}");
                whole
                    .with(Gated {
                        h: h.as_ptr(),
                        factor,
                        c,
                        ldc: n,
                    })
                    .run();
            }
        }
    }
}

/// `c = a b` for `a` of `m` x `k` (stored by columns if `AT`) and `b` of `k` x `n`, read where it is; each with the
/// distance of its rows. `n` is a multiple of the panels' width.
///
/// # Safety
/// All matrices must be readable (the result writable) in full, and nothing else may write them meanwhile.
pub(crate) unsafe fn overwriting_product<const AT: bool>(
    [m, n, k]: [usize; 3],
    (a, lda): (*const f32, usize),
    (b, ldb): (*const f32, usize),
    (c, ldc): (*mut f32, usize),
) {
    let width = Isa::get().panel_width();
    assert!(n.is_multiple_of(width), "{n} columns in panels of {width}");
    let whole = Product::<Store<false>, AT> {
        m,
        n,
        k,
        a,
        lda,
        b,
        ldb,
        panel_step: width,
        ahead: false,
        epilogue: Store { c, ldc },
    };
    // SAFETY: as promised by the caller.
    unsafe { whole.run() }
}

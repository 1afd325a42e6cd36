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

pub(crate) use self::epilogue::Target;
use self::epilogue::{Biased, Dropped, Gated, Rectified, Store};
use self::pack::{Pack, PackTransposed};
use self::tile::Product;
pub(crate) use self::tile::tile;
pub(crate) use self::weight_gradient::WeightGradient;
use super::dropout_bits::DropoutStream;
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
pub(crate) enum Epilogue<'a> {
    /// Nothing.
    Plain,
    /// A bias is added.
    Bias(&'a [f32]),
    /// A bias is added, negative values become zero, and dropout may follow.
    Relu {
        bias: &'a [f32],
        dropout: Option<DropoutStream>,
        /// Number of the first row in the numbering of the dropout.
        first_row: u64,
    },
    /// The gradient through `Relu`: values are multiplied by the factor where the given matrix is positive, and become
    /// zero elsewhere.
    ReluGradient { h: &'a [f32], factor: f32 },
}

/// `c = epilogue(a b)` for `a` of `rows` x `k`.
pub(crate) fn product<'b>(
    rows: usize,
    a: &[f32],
    b: impl Into<Panels<'b>>,
    epilogue: Epilogue<'_>,
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
    let target = Target {
        c: c.as_mut_ptr(),
        ldc: n,
    };
    let vector = |bias: &[f32]| {
        assert_eq!(bias.len(), n, "bias of {n}");
        bias.as_ptr()
    };
    // SAFETY: `a`, `b` and `c` have the sizes checked above, and so have the vectors and matrices checked below.
    unsafe {
        match epilogue {
            Epilogue::Plain => whole.with(Store::<false>(target)).run(),
            Epilogue::Bias(bias) => {
                let bias = vector(bias);
                whole.with(Biased { bias, target }).run();
            }
            Epilogue::Relu {
                bias,
                dropout: None,
                ..
            } => {
                let bias = vector(bias);
                whole.with(Rectified { bias, target }).run();
            }
            Epilogue::Relu {
                bias,
                dropout: Some(stream),
                first_row,
            } => {
                let dropped = Dropped {
                    bias: vector(bias),
                    target,
                    stream,
                    first_row,
                };
                whole.with(dropped).run();
            }
            Epilogue::ReluGradient { h, factor } => {
                assert_eq!(h.len(), rows * n, "activation of {rows} x {n}");
                let h = h.as_ptr();
                whole.with(Gated { h, factor, target }).run();
            }
        }
    }
}

/// A matrix that a product reads: where it begins, and the distance of its rows.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    pub(crate) ptr: *const f32,
    pub(crate) ld: usize,
}

/// `c = a b` for `a` of `m` x `k` (stored by columns if `AT`) and `b` of `k` x `n`, read where it is. `n` is a multiple of the panels' width.
///
/// # Safety
/// All matrices must be readable (the result writable) in full, and nothing else may write them meanwhile.
pub(crate) unsafe fn overwriting_product<const AT: bool>(
    [m, n, k]: [usize; 3],
    a: Source,
    b: Source,
    target: Target,
) {
    let width = Isa::get().panel_width();
    assert!(n.is_multiple_of(width), "{n} columns in panels of {width}");
    let whole = Product::<Store<false>, AT> {
        m,
        n,
        k,
        a: a.ptr,
        lda: a.ld,
        b: b.ptr,
        ldb: b.ld,
        panel_step: width,
        ahead: false,
        epilogue: Store(target),
    };
    // SAFETY: as promised by the caller.
    unsafe { whole.run() }
}

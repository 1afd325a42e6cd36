//! Matrix products with packed right-hand sides and folded-in epilogues.
//!
//! The inner loop is one tile of `ROWS` x `PANEL` vectors that stays in registers: per step of the reduction it loads
//! one row of a packed panel and broadcasts `ROWS` values of the left-hand side, which is read in place.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use rayon::prelude::*;

use super::norm::ColumnSum;
use crate::dropout::Stream;
use crate::pool::Buffer;
use crate::simd::{Isa, Kernel, Simd, each, transpose, with_simd};

/// The smaller of two numbers, sure to be inlined.
#[inline(always)]
pub(crate) fn lesser(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

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
    let (mut a, mut b) = (a, b);
    each!(_step in k => {
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

/// What becomes of a row of a finished tile.
pub(crate) trait Epilogue: Copy {
    /// Whether tiles start from zero (else from what [`Epilogue::initial`] loads).
    const FROM_ZERO: bool = true;
    /// # Safety
    /// `row` and `col .. col + n` must be within the result.
    #[inline(always)]
    unsafe fn initial<S: Simd, const NV: usize>(
        self,
        s: S,
        row: usize,
        col: usize,
        n: usize,
    ) -> [S::V; NV] {
        let _ = (row, col, n);
        [s.splat(0.0); NV]
    }
    /// # Safety
    /// `row` and `col .. col + n` must be within the result, `n <= NV * LANES`.
    unsafe fn finish<S: Simd, const NV: usize>(
        self,
        s: S,
        row: usize,
        col: usize,
        n: usize,
        acc: &[S::V; NV],
    );
}

/// Loads `n` values into `NV` vectors, zero behind them.
///
/// # Safety
/// `ptr` must be valid for reading `n` values.
#[inline(always)]
pub(crate) unsafe fn load_row<S: Simd, const NV: usize>(
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
                out[v] = s.load_part(ptr.add(v * S::LANES), lesser(n - v * S::LANES, S::LANES));
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
pub(crate) unsafe fn store_row<S: Simd, const NV: usize>(
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
                s.store_part(ptr.add(v * S::LANES), lesser(n - v * S::LANES, S::LANES), row[v]);
            });
        }
    }
}

/// `c = acc`, or `c += acc`.
#[derive(Clone, Copy)]
pub(crate) struct Store<const ADD: bool> {
    pub(crate) c: *mut f32,
    pub(crate) ldc: usize,
}

impl<const ADD: bool> Epilogue for Store<ADD> {
    const FROM_ZERO: bool = !ADD;
    #[inline(always)]
    unsafe fn initial<S: Simd, const NV: usize>(
        self,
        s: S,
        row: usize,
        col: usize,
        n: usize,
    ) -> [S::V; NV] {
        // SAFETY: within the result.
        unsafe { load_row(s, self.c.add(row * self.ldc + col), n) }
    }
    #[inline(always)]
    unsafe fn finish<S: Simd, const NV: usize>(
        self,
        s: S,
        row: usize,
        col: usize,
        n: usize,
        acc: &[S::V; NV],
    ) {
        // SAFETY: within the result.
        unsafe { store_row(s, self.c.add(row * self.ldc + col), n, acc) }
    }
}

/// `c = acc + bias`.
#[derive(Clone, Copy)]
struct Biased {
    bias: *const f32,
    c: *mut f32,
    ldc: usize,
}

impl Epilogue for Biased {
    const FROM_ZERO: bool = false;
    #[inline(always)]
    unsafe fn initial<S: Simd, const NV: usize>(
        self,
        s: S,
        _row: usize,
        col: usize,
        n: usize,
    ) -> [S::V; NV] {
        // SAFETY: within the result, which is as wide as the bias.
        unsafe { load_row(s, self.bias.add(col), n) }
    }
    #[inline(always)]
    unsafe fn finish<S: Simd, const NV: usize>(
        self,
        s: S,
        row: usize,
        col: usize,
        n: usize,
        acc: &[S::V; NV],
    ) {
        // SAFETY: within the result.
        unsafe { store_row(s, self.c.add(row * self.ldc + col), n, acc) }
    }
}

/// `c = max(acc + bias, 0)`.
#[derive(Clone, Copy)]
struct Rectified {
    bias: *const f32,
    c: *mut f32,
    ldc: usize,
}

impl Epilogue for Rectified {
    #[inline(always)]
    unsafe fn finish<S: Simd, const NV: usize>(
        self,
        s: S,
        row: usize,
        col: usize,
        n: usize,
        acc: &[S::V; NV],
    ) {
        // SAFETY: within the result, which is as wide as the bias.
        unsafe {
            let mut y: [S::V; NV] = load_row(s, self.bias.add(col), n);
            each!(v in NV => y[v] = s.max(s.add(acc[v], y[v]), s.splat(0.0)));
            store_row(s, self.c.add(row * self.ldc + col), n, &y);
        }
    }
}

/// `c = dropout(max(acc + bias, 0))`.
#[derive(Clone, Copy)]
struct Dropped {
    bias: *const f32,
    c: *mut f32,
    ldc: usize,
    stream: Stream,
    first_row: u64,
}

impl Epilogue for Dropped {
    #[inline(always)]
    unsafe fn finish<S: Simd, const NV: usize>(
        self,
        s: S,
        row: usize,
        col: usize,
        n: usize,
        acc: &[S::V; NV],
    ) {
        let key = self.stream.row_key(self.first_row + row as u64);
        let (threshold, scale) = (self.stream.threshold(), s.splat(self.stream.scale()));
        // SAFETY: within the result, which is as wide as the bias.
        unsafe {
            let mut y: [S::V; NV] = load_row(s, self.bias.add(col), n);
            let mut bits = 0;
            each!(v in NV => {
                let at = col + v * S::LANES;
                if v == 0 || at % 32 == 0 {
                    bits = s.draws(key, (at / 32) as u32, threshold);
                }
                let positive = s.max(s.add(acc[v], y[v]), s.splat(0.0));
                y[v] = s.keep(bits >> (at % 32), s.mul(positive, scale));
            });
            store_row(s, self.c.add(row * self.ldc + col), n, &y);
        }
    }
}

/// `c = acc * factor` where `h > 0`, else 0.
#[derive(Clone, Copy)]
struct Gated {
    h: *const f32,
    factor: f32,
    c: *mut f32,
    ldc: usize,
}

impl Epilogue for Gated {
    #[inline(always)]
    unsafe fn finish<S: Simd, const NV: usize>(
        self,
        s: S,
        row: usize,
        col: usize,
        n: usize,
        acc: &[S::V; NV],
    ) {
        // SAFETY: within the result, whose shape `h` has.
        unsafe {
            let at = row * self.ldc + col;
            let mut y: [S::V; NV] = load_row(s, self.h.add(at), n);
            each!(v in NV => y[v] = s.where_positive(y[v], s.mul(acc[v], s.splat(self.factor))));
            store_row(s, self.c.add(at), n, &y);
        }
    }
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
    pub(crate) epilogue: E,
}

impl<const AT: bool> Product<(), AT> {
    fn with<E>(self, epilogue: E) -> Product<E, AT> {
        let Self { m, n, k, a, lda, b, ldb, panel_step, .. } = self;
        Product { m, n, k, a, lda, b, ldb, panel_step, epilogue }
    }

    /// Runs a long reduction in steps, of which the first uses the epilogue and the others add to `c`, where the
    /// epilogue must have stored.
    ///
    /// # Safety
    /// As for [`Product::run`].
    unsafe fn in_steps<E: Epilogue>(mut self, first: E, c: *mut f32) {
        let (k, lda, ldc) = (self.k, self.lda, self.n);
        self.k = lesser(k, MAX_K);
        // SAFETY: as promised by the caller; the steps are parts of the whole reduction.
        unsafe {
            self.with(first).run();
            let mut done = self.k;
            while done < k {
                self.a = self.a.add(if AT { self.k * lda } else { self.k });
                self.b = self.b.add(self.k * self.ldb);
                self.k = lesser(k - done, MAX_K);
                self.with(Store::<true> { c, ldc }).run();
                done += self.k;
            }
        }
    }
}

impl<E: Epilogue, const AT: bool> Product<E, AT> {
    /// # Safety
    /// All matrices must be readable (the result writable) in full, and nothing else may write them meanwhile.
    pub(crate) unsafe fn run(self) {
        with_simd(self);
    }
}

impl<E: Epilogue, const AT: bool> Kernel for Product<E, AT> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
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

impl<E: Epilogue, const AT: bool> Product<E, AT> {
    #[inline(always)]
    unsafe fn all<S: Simd, const MR: usize, const NV: usize>(self, s: S) {
        let width = NV * S::LANES;
        let full = self.m - self.m % MR;
        // SAFETY: the tiles lie within the matrices.
        unsafe {
            let mut col = 0;
            let mut b = self.b;
            while col < self.n {
                let n = lesser(self.n - col, width);
                let mut row = 0;
                while row < full {
                    self.one::<S, MR, NV>(s, row, col, n, b);
                    row += MR;
                }
                match self.m - full {
                    1 => self.one::<S, 1, NV>(s, row, col, n, b),
                    2 => self.one::<S, 2, NV>(s, row, col, n, b),
                    3 => self.one::<S, 3, NV>(s, row, col, n, b),
                    4 => self.one::<S, 4, NV>(s, row, col, n, b),
                    5 => self.one::<S, 5, NV>(s, row, col, n, b),
                    _ => {}
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
        n: usize,
        b: *const f32,
    ) {
        // SAFETY: the tile lies within the matrices.
        unsafe {
            let mut acc = [[s.splat(0.0); NV]; MR];
            if !E::FROM_ZERO {
                each!(r in MR => acc[r] = self.epilogue.initial(s, row + r, col, n));
            }
            let a = self.a.add(if AT { row } else { row * self.lda });
            tile::<S, MR, NV, AT>(s, self.k, a, self.lda, b, self.ldb, &mut acc);
            each!(r in MR => self.epilogue.finish(s, row + r, col, n, &acc[r]));
        }
    }
}

/// Number of values of a packed `k` x `n` matrix.
pub(crate) fn packed_len(k: usize, n: usize) -> usize {
    k * n.next_multiple_of(Isa::get().panel_width())
}

/// Steps of the reduction done in one go: a panel of this height stays in the second-level cache.
const MAX_K: usize = 1024;
/// Rows of the batch per step of a weight gradient: their panel stays in the first-level cache.
const BATCH_ROWS: usize = 128;
/// Values of a weight gradient that one task computes, at least and about.
const GRADIENT_TASK: usize = 24576;
/// Packing goes over threads from this many values on.
const PARALLEL_PACK: usize = 1 << 18;

/// The right-hand side of a product, `k` x `n`, packed into panels.
#[derive(Debug)]
pub(crate) struct Packed {
    data: Buffer,
    k: usize,
    n: usize,
}

impl Packed {
    /// Packs `w^T` for a weight `w` of `n` rows (outputs) and `k` columns (inputs): for `x w^T`.
    pub(crate) fn transposed(w: &[f32], n: usize, k: usize) -> Self {
        assert_eq!(w.len(), n * k, "weight of {n} x {k}");
        Self::panels(k, n, |col, n, dst| {
            let src = w[col * k..].as_ptr();
            // SAFETY: rows `col .. col + n` of `w`, one panel of room.
            unsafe { PackTransposed { src, ld: k, k, n, dst }.run() }
        })
    }

    /// Packs a matrix of `k` rows and `n` columns as it is: for `x w`.
    pub(crate) fn plain(w: &[f32], k: usize, n: usize) -> Self {
        assert_eq!(w.len(), n * k, "matrix of {k} x {n}");
        Self::panels(k, n, |col, cols, dst| {
            // SAFETY: columns `col .. col + cols` of `w`, one panel of room.
            unsafe { Pack { src: w.as_ptr().add(col), ld: n, k, n: cols, dst }.run() }
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
            data.chunks_mut(width * k).enumerate().for_each(one);
        } else {
            data.par_chunks_mut(width * k).enumerate().for_each(one);
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
pub(crate) fn product(rows: usize, a: &[f32], b: &Packed, finish: Finish<'_>, c: &mut [f32]) {
    let (k, n) = (b.k, b.n);
    assert_eq!(a.len(), rows * k, "left side of {rows} x {k}");
    assert_eq!(c.len(), rows * n, "result of {rows} x {n}");
    let width = Isa::get().panel_width();
    let whole = Product::<(), false> {
        m: rows,
        n,
        k,
        a: a.as_ptr(),
        lda: k,
        b: b.data.as_ptr(),
        ldb: width,
        panel_step: width * k,
        epilogue: (),
    };
    let c = c.as_mut_ptr();
    // SAFETY: `a`, `b` and `c` have the sizes checked above, and so have the vectors checked below.
    unsafe {
        match finish {
            Finish::Plain => whole.in_steps(Store::<false> { c, ldc: n }, c),
            Finish::Bias(bias) => {
                assert_eq!(bias.len(), n, "bias of {n}");
                whole.in_steps(Biased { bias: bias.as_ptr(), c, ldc: n }, c);
            }
            Finish::Relu(bias, None, _) => {
                assert_eq!(bias.len(), n, "bias of {n}");
                whole.with(Rectified { bias: bias.as_ptr(), c, ldc: n }).run();
            }
            Finish::Relu(bias, Some(stream), first_row) => {
                assert_eq!(bias.len(), n, "bias of {n}");
                whole.with(Dropped { bias: bias.as_ptr(), c, ldc: n, stream, first_row }).run();
            }
            Finish::ReluGradient(h, factor) => {
                assert_eq!(h.len(), rows * n, "activation of {rows} x {n}");
                whole.with(Gated { h: h.as_ptr(), factor, c, ldc: n }).run();
            }
        }
    }
}

/// `dw += dy^T x` and `db += column sums of dy`, over all rows of a batch: `dy` of `rows` x `out`, `x` of `rows` x
/// `inputs`, `dw` of `out` x `inputs`.
///
/// Every value is summed over the rows in the same order, whatever the number of threads.
pub(crate) struct WeightGradient<'a> {
    rows: usize,
    out: usize,
    inputs: usize,
    dy: &'a [f32],
    x: &'a [f32],
    /// First output of this task; `dw` and `db` hold its outputs alone.
    first: usize,
    dw: &'a mut [f32],
    db: &'a mut [f32],
}

impl<'a> WeightGradient<'a> {
    /// Splits one gradient into independent tasks. `dw` and `db` must be zero or hold what is to be added to.
    pub(crate) fn tasks(
        rows: usize,
        dy: &'a [f32],
        x: &'a [f32],
        dw: &'a mut [f32],
        db: &'a mut [f32],
    ) -> Vec<Self> {
        let out = db.len();
        let inputs = dw.len() / out.max(1);
        assert_eq!(dw.len(), out * inputs, "gradient of {out} x {inputs}");
        assert_eq!(dy.len(), rows * out, "gradient of {rows} x {out}");
        assert_eq!(x.len(), rows * inputs, "input of {rows} x {inputs}");
        let height = (GRADIENT_TASK / inputs.max(1)).clamp(48, 192).next_multiple_of(12);
        dw.chunks_mut((height * inputs).max(1))
            .zip(db.chunks_mut(height))
            .enumerate()
            .map(|(i, (dw, db))| Self { rows, out, inputs, dy, x, first: i * height, dw, db })
            .collect()
    }

    pub(crate) fn run(self) {
        let Self { rows, out, inputs, dy, x, first, dw, db } = self;
        let width = Isa::get().panel_width();
        let in_place = inputs % width == 0;
        let mut packed = (!in_place).then(|| Buffer::take(packed_len(BATCH_ROWS, inputs)));
        let mut row = 0;
        while row < rows {
            let k = (rows - row).min(BATCH_ROWS);
            let a = dy[row * out + first..].as_ptr();
            let x = x[row * inputs..].as_ptr();
            // SAFETY: the slices have the sizes checked by `tasks`; this task alone writes `dw` and `db`.
            unsafe {
                let (b, ldb, panel_step) = if let Some(packed) = &mut packed {
                    let dst = packed.as_mut_ptr();
                    Pack { src: x, ld: inputs, k, n: inputs, dst }.run();
                    (dst.cast_const(), width, width * k)
                } else {
                    (x, inputs, width)
                };
                Product::<_, true> {
                    m: db.len(),
                    n: inputs,
                    k,
                    a,
                    lda: out,
                    b,
                    ldb,
                    panel_step,
                    epilogue: Store::<true> { c: dw.as_mut_ptr(), ldc: inputs },
                }
                .run();
                let sum = db.as_mut_ptr();
                ColumnSum { rows: k, cols: db.len(), x: a, ld: out, sum }.run();
            }
            row += k;
        }
    }
}

/// Packs rows `k0 .. k0 + k` of `b` (`ldb` apart, `n` columns) into panels.
#[derive(Clone, Copy)]
pub(crate) struct Pack {
    pub(crate) src: *const f32,
    pub(crate) ld: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) dst: *mut f32,
}

impl Pack {
    /// # Safety
    /// `src` must hold `k` rows of `n` values; `dst` must have room for [`packed_len`] values.
    pub(crate) unsafe fn run(self) {
        with_simd(self);
    }
}

impl Kernel for Pack {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = S::PANEL * S::LANES;
        let mut col = 0;
        let mut dst = self.dst;
        while col < self.n {
            let n = lesser(self.n - col, width);
            each!(k in self.k => {
                // SAFETY: within the matrices promised to `Pack::run`.
                unsafe {
                    let src = self.src.add(k * self.ld + col);
                    let mut v = 0;
                    while v < width {
                        let x = if v + S::LANES <= n {
                            s.load(src.add(v))
                        } else if v < n {
                            s.load_part(src.add(v), n - v)
                        } else {
                            s.splat(0.0)
                        };
                        s.store(dst.add(v), x);
                        v += S::LANES;
                    }
                    dst = dst.add(width);
                }
            });
            col += width;
        }
    }
}

/// Packs the transpose of `src` (`n` rows of `k` values, `ld` apart) into panels.
#[derive(Clone, Copy)]
pub(crate) struct PackTransposed {
    pub(crate) src: *const f32,
    pub(crate) ld: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) dst: *mut f32,
}

impl PackTransposed {
    /// # Safety
    /// `src` must hold `n` rows of `k` values; `dst` must have room for [`packed_len`] values.
    pub(crate) unsafe fn run(self) {
        with_simd(self);
    }
}

impl Kernel for PackTransposed {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = S::PANEL * S::LANES;
        let mut col = 0;
        let mut dst = self.dst;
        while col < self.n {
            let n = lesser(self.n - col, width);
            // SAFETY: within the matrices promised to `PackTransposed::run`.
            unsafe {
                if n < width {
                    each!(k in self.k => each!(v in width - n => {
                        *dst.add(k * width + n + v) = 0.0;
                    }));
                }
                transpose(s, self.src.add(col * self.ld), self.ld, dst, width, n, self.k);
                dst = dst.add(self.k * width);
            }
            col += width;
        }
    }
}

//! Layer normalisation of rows, with the sums and residuals around it folded in.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use super::simd::{RawKernel, Simd, each, with_simd_raw};

/// Scale, shift and epsilon of a layer norm.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub(crate) gamma: &'a [f32],
    pub(crate) beta: &'a [f32],
    pub(crate) eps: f32,
}

impl Norm<'_> {
    /// Number of features, and of rows of `x`.
    fn sizes(&self, x: &[f32]) -> (usize, usize) {
        let d = self.gamma.len();
        assert_eq!(self.beta.len(), d, "shift of {d}");
        assert_eq!(x.len() % d.max(1), 0, "rows of {d} features");
        (d, x.len() / d.max(1))
    }

    /// `out = norm(x) + residual`.
    pub(crate) fn forward(&self, x: &[f32], residual: Option<&[f32]>, out: &mut [f32]) {
        let (d, rows) = self.sizes(x);
        assert_eq!(out.len(), x.len(), "norm keeps the shape");
        assert!(
            residual.is_none_or(|r| r.len() == x.len()),
            "the residual has the same shape"
        );
        let residual = residual.map_or(std::ptr::null(), <[f32]>::as_ptr);
        let (gamma, beta, eps) = (self.gamma.as_ptr(), self.beta.as_ptr(), self.eps);
        let (x, out) = (x.as_ptr(), out.as_mut_ptr());
        // SAFETY: the sizes were checked.
        unsafe {
            Forward {
                gamma,
                beta,
                eps,
                rows,
                d,
                x,
                residual,
                out,
            }
            .run();
        }
    }

    /// `dx = gradient(dy) + residual`, where the norm was applied to `x`; adds to `[dgamma, dbeta]`.
    pub(crate) fn backward(
        &self,
        x: &[f32],
        dy: &[f32],
        residual: Option<&[f32]>,
        dx: &mut [f32],
        [dgamma, dbeta]: [&mut [f32]; 2],
    ) {
        let (d, rows) = self.sizes(x);
        assert!(
            dy.len() == x.len() && dx.len() == x.len(),
            "norm keeps the shape"
        );
        assert!(
            residual.is_none_or(|r| r.len() == x.len()),
            "the residual has the same shape"
        );
        assert!(dgamma.len() == d && dbeta.len() == d, "gradients of {d}");
        let backward = Backward {
            gamma: self.gamma.as_ptr(),
            eps: self.eps,
            rows,
            d,
            x: x.as_ptr(),
            dy: dy.as_ptr(),
            residual: residual.map_or(std::ptr::null(), <[f32]>::as_ptr),
            dx: dx.as_mut_ptr(),
            dgamma: dgamma.as_mut_ptr(),
            dbeta: dbeta.as_mut_ptr(),
        };
        // SAFETY: the sizes were checked.
        unsafe { backward.run() }
    }
}

/// Mean and reciprocal standard deviation (biased variance) of a row.
///
/// # Safety
/// `x` must hold `d` values.
#[inline(always)]
unsafe fn moments<S: Simd>(s: S, x: *const f32, d: usize, eps: f32) -> (f32, f32) {
    let full = d - d % S::LANES;
    // SAFETY: reads stay below `d`.
    unsafe {
        let mut sum = s.splat(0.0);
        let mut i = 0;
        while i < full {
            sum = s.add(sum, s.load(x.add(i)));
            i += S::LANES;
        }
        if full < d {
            sum = s.add(sum, s.load_part(x.add(full), d - full));
        }
        let mean = s.sum(sum) / d as f32;
        let center = s.splat(mean);
        let (mut rest, mut square) = (s.splat(0.0), s.splat(0.0));
        i = 0;
        while i < full {
            let x = s.sub(s.load(x.add(i)), center);
            rest = s.add(rest, x);
            square = s.fma(x, x, square);
            i += S::LANES;
        }
        let (mut off, mut var) = (s.sum(rest), s.sum(square));
        while i < d {
            let x = *x.add(i) - mean;
            off += x;
            var += x * x;
            i += 1;
        }
        // The mean of a nearly constant row is off by rounding, and the division by a deviation of almost nothing
        // would blow that up.
        let off = off / d as f32;
        let var = var / d as f32 - off * off;
        let var = if var > 0.0 { var } else { 0.0 };
        (mean + off, 1.0 / (var + eps).sqrt())
    }
}

/// Visits a row vector by vector: `$at` is the offset, `$load(ptr)` and `$store(ptr, v)` mind the end of the row.
macro_rules! row {
    ($s:ident: $S:ident, $d:expr, |$at:ident, $load:ident, $store:ident| $body:expr) => {{
        let (d, full) = ($d, $d - $d % $S::LANES);
        let mut $at = 0;
        {
            macro_rules! $load {
                ($p:expr) => {
                    $s.load($p.add($at))
                };
            }
            macro_rules! $store {
                ($p:expr, $v:expr) => {
                    $s.store($p.add($at), $v)
                };
            }
            while $at < full {
                $body;
                $at += $S::LANES;
            }
        }
        if full < d {
            let n = d - full;
            macro_rules! $load {
                ($p:expr) => {
                    $s.load_part($p.add($at), n)
                };
            }
            macro_rules! $store {
                ($p:expr, $v:expr) => {
                    $s.store_part($p.add($at), n, $v)
                };
            }
            $body;
        }
    }};
}

/// `out = norm(x)` for `rows` rows of `d` values, plus `residual` where it is not null.
#[derive(Clone, Copy)]
struct Forward {
    gamma: *const f32,
    beta: *const f32,
    eps: f32,
    rows: usize,
    d: usize,
    x: *const f32,
    residual: *const f32,
    out: *mut f32,
}

impl Forward {
    /// # Safety
    /// Every matrix must hold `rows * d` values; `out` may be the same as `x` or `residual`.
    unsafe fn run(self) {
        // SAFETY: as promised by the caller.
        unsafe { with_simd_raw(self) }
    }
}

impl RawKernel for Forward {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self {
            gamma,
            beta,
            eps,
            rows,
            d,
            x,
            residual,
            out,
        } = self;
        each!(r in rows => {
            // SAFETY: row `r` lies within the matrices promised to `Forward::run`.
            unsafe {
                let (x, out) = (x.add(r * d), out.add(r * d));
                let (mean, rstd) = moments(s, x, d, eps);
                let (center, scale) = (s.splat(mean), s.splat(rstd));
                if residual.is_null() {
                    row!(s: S, d, |at, load, store| {
                        let y = s.mul(s.sub(load!(x), center), scale);
                        store!(out, s.fma(y, load!(gamma), load!(beta)));
                    });
                } else {
                    let residual = residual.add(r * d);
                    row!(s: S, d, |at, load, store| {
                        let y = s.mul(s.sub(load!(x), center), scale);
                        let y = s.fma(y, load!(gamma), load!(beta));
                        store!(out, s.add(y, load!(residual)));
                    });
                }
            }
        });
    }
}

/// The gradient of a layer norm, row by row: with `g = dy * gamma` and `z = (x - mean) * rstd`,
/// `dx = rstd * (g - mean(g) - z * mean(g * z)) + residual`.
#[derive(Clone, Copy)]
struct Backward {
    gamma: *const f32,
    eps: f32,
    rows: usize,
    d: usize,
    /// What the norm was applied to.
    x: *const f32,
    dy: *const f32,
    /// Added to the result where not null.
    residual: *const f32,
    dx: *mut f32,
    /// Gradients of scale and shift, added to (`d` values each).
    dgamma: *mut f32,
    dbeta: *mut f32,
}

impl Backward {
    /// # Safety
    /// Every matrix must hold `rows * d` values, every vector `d`; `dx` may be the same as `dy` or `residual`.
    unsafe fn run(self) {
        // SAFETY: as promised by the caller.
        unsafe { with_simd_raw(self) }
    }
}

impl RawKernel for Backward {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self {
            gamma,
            eps,
            rows,
            d,
            x,
            dy,
            residual,
            dx,
            dgamma,
            dbeta,
        } = self;
        each!(r in rows => {
            // SAFETY: row `r` lies within the matrices promised to `Backward::run`.
            unsafe {
                let (x, dy, dx) = (x.add(r * d), dy.add(r * d), dx.add(r * d));
                let (mean, rstd) = moments(s, x, d, eps);
                let (center, scale) = (s.splat(mean), s.splat(rstd));
                let (mut sum, mut dot) = (s.splat(0.0), s.splat(0.0));
                row!(s: S, d, |at, load, store| {
                    // Behind the end of the row `dy` loads as zero, which keeps every sum right.
                    let z = s.mul(s.sub(load!(x), center), scale);
                    let dy = load!(dy);
                    let g = s.mul(dy, load!(gamma));
                    sum = s.add(sum, g);
                    dot = s.fma(g, z, dot);
                    store!(dgamma, s.fma(dy, z, load!(dgamma)));
                    store!(dbeta, s.add(dy, load!(dbeta)));
                });
                let sum = s.splat(-s.sum(sum) / d as f32);
                let dot = s.splat(-s.sum(dot) / d as f32);
                row!(s: S, d, |at, load, store| {
                    let z = s.mul(s.sub(load!(x), center), scale);
                    let g = s.fma(load!(dy), load!(gamma), sum);
                    let mut y = s.mul(s.fma(z, dot, g), scale);
                    if !residual.is_null() {
                        y = s.add(y, load!(residual.add(r * d)));
                    }
                    store!(dx, y);
                });
            }
        });
    }
}

/// `sum[c] += x[r][c]` over rows.
#[derive(Clone, Copy)]
pub(crate) struct ColumnSum {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) x: *const f32,
    pub(crate) ld: usize,
    pub(crate) sum: *mut f32,
}

impl ColumnSum {
    /// # Safety
    /// `x` must hold `rows` rows of `cols` values, `ld` apart; `sum` must hold `cols`.
    pub(crate) unsafe fn run(self) {
        // SAFETY: as promised by the caller.
        unsafe { with_simd_raw(self) }
    }
}

impl RawKernel for ColumnSum {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let block = 8 * S::LANES;
        let full = self.cols - self.cols % block;
        // SAFETY: within the matrices promised to `ColumnSum::run`.
        unsafe {
            let mut col = 0;
            while col < full {
                let mut acc = [s.splat(0.0); 8];
                each!(v in 8 => acc[v] = s.load(self.sum.add(col + v * S::LANES)));
                each!(r in self.rows => {
                    let x = self.x.add(r * self.ld + col);
                    each!(v in 8 => acc[v] = s.add(acc[v], s.load(x.add(v * S::LANES))));
                });
                each!(v in 8 => s.store(self.sum.add(col + v * S::LANES), acc[v]));
                col += block;
            }
            if full < self.cols {
                each!(r in self.rows => {
                    let (x, sum) = (self.x.add(r * self.ld + full), self.sum.add(full));
                    row!(s: S, self.cols - full, |at, load, store| {
                        store!(sum, s.add(load!(sum), load!(x)));
                    });
                });
            }
        }
    }
}

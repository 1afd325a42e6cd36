//! Linear maps of a few rows by a large weight, which is read where it is: packing it would cost more than using it.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use rayon::prelude::*;

use crate::engine::gemm::{Source, Target, overwriting_product};
use crate::engine::pool::Buffer;
use crate::engine::simd::{Isa, Kernel, Simd, each, min, with_simd};

/// Rows up to which a map is one of few rows.
const ROWS: usize = 32;
/// From so many values on a weight is large.
const LARGE: usize = 1 << 18;
/// Outputs of one task of the forward pass.
const OUTPUTS: usize = 4;
/// Inputs that the rows of a task pass through together, so that they stay in the second-level cache.
const INPUTS: usize = 1024;
/// Columns of the gradient of the inputs that one task computes.
const COLUMNS: usize = 2048;
/// Outputs whose weights' gradients one task computes: a multiple of the rows of a tile.
const GRADIENT_OUTPUTS: usize = 18;

/// Whether the functions of this module are the way for so many rows and so large a weight.
pub(crate) fn is_worth_it(rows: usize, weight: usize) -> bool {
    rows <= ROWS && weight > LARGE
}

/// `x w^T + b`.
pub(super) fn forward(x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
    let outputs = bias.len();
    let inputs = weight.len() / outputs;
    let rows = x.len() / inputs;
    assert!(
        x.len() == rows * inputs && y.len() == rows * outputs && weight.len() == outputs * inputs
    );
    // Output by output, so that tasks write apart from one another.
    let mut sums = Buffer::zeros(outputs * rows);
    sums.par_chunks_mut(OUTPUTS * rows)
        .zip(weight.par_chunks(OUTPUTS * inputs))
        .with_max_len(1)
        .for_each(|(sums, weight)| {
            let mut from = 0;
            while from < inputs {
                let n = (inputs - from).min(INPUTS);
                with_simd(Dots {
                    rows,
                    outputs: weight.len() / inputs,
                    n,
                    ld: inputs,
                    x: &x[from..],
                    weight: &weight[from..],
                    sums,
                });
                from += n;
            }
        });
    for (r, y) in y.chunks_mut(outputs).enumerate() {
        for ((y, b), sum) in y.iter_mut().zip(bias).zip(sums[r..].iter().step_by(rows)) {
            *y = sum + b;
        }
    }
}

/// Adds the products of rows of `x` and rows of `weight`, `n` values of each, `ld` apart.
struct Dots<'a> {
    rows: usize,
    outputs: usize,
    n: usize,
    ld: usize,
    x: &'a [f32],
    weight: &'a [f32],
    /// `[outputs, rows]`.
    sums: &'a mut [f32],
}

impl Kernel for Dots<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let mut o = 0;
        while o < self.outputs {
            let mut r = 0;
            while r < self.rows {
                match (self.outputs - o >= 4, self.rows - r >= 3) {
                    (true, true) => self.tile::<S, 3, 4>(s, r, o),
                    (true, false) => self.tile::<S, 1, 4>(s, r, o),
                    (false, true) => self.tile::<S, 3, 1>(s, r, o),
                    (false, false) => self.tile::<S, 1, 1>(s, r, o),
                }
                r += if self.rows - r >= 3 { 3 } else { 1 };
            }
            o += if self.outputs - o >= 4 { 4 } else { 1 };
        }
    }
}

impl Dots<'_> {
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const O: usize>(&mut self, s: S, row: usize, output: usize) {
        let (n, ld, rows) = (self.n, self.ld, self.rows);
        assert!((row + R - 1) * ld + n <= self.x.len() && row + R <= rows);
        assert!((output + O - 1) * ld + n <= self.weight.len());
        let (x, w) = (
            self.x[row * ld..].as_ptr(),
            self.weight[output * ld..].as_ptr(),
        );
        let mut acc = [[s.splat(0.0); O]; R];
        let whole = n - n % S::LANES;
        // SAFETY: `n` values of `R` and `O` rows, checked above.
        unsafe {
            let mut at = 0;
            while at < whole {
                let mut weights = [s.splat(0.0); O];
                each!(o in O => weights[o] = s.load(w.add(o * ld + at)));
                each!(r in R => {
                    let x = s.load(x.add(r * ld + at));
                    each!(o in O => acc[r][o] = s.fma(x, weights[o], acc[r][o]));
                });
                at += S::LANES;
            }
            if whole < n {
                let left = n - whole;
                each!(r in R => each!(o in O => acc[r][o] = s.fma(
                    s.load_part(x.add(r * ld + whole), left),
                    s.load_part(w.add(o * ld + whole), left),
                    acc[r][o],
                )));
            }
        }
        each!(r in R => each!(o in O => {
            self.sums[(output + o) * rows + row + r] += s.sum(acc[r][o]);
        }));
    }
}

/// A matrix of which several threads write different columns.
struct Columns(*mut f32);
// SAFETY: the threads' columns do not overlap.
unsafe impl Sync for Columns {}

impl Columns {
    fn from(&self, column: usize) -> *mut f32 {
        self.0.wrapping_add(column)
    }
}

/// `dx = dy w`.
pub(super) fn input_gradient(dy: &[f32], weight: &[f32], outputs: usize, dx: &mut [f32]) {
    let inputs = weight.len() / outputs;
    let rows = dy.len() / outputs;
    assert!(
        dy.len() == rows * outputs && dx.len() == rows * inputs && weight.len() == outputs * inputs
    );
    let whole = inputs - inputs % Isa::get().panel_width();
    let columns = Columns(dx.as_mut_ptr());
    (0..whole.div_ceil(COLUMNS))
        .into_par_iter()
        .for_each(|task| {
            let first = task * COLUMNS;
            let n = (whole - first).min(COLUMNS);
            let (a, b) = (dy.as_ptr(), weight[first..].as_ptr());
            // SAFETY: whole panels of `outputs` rows, and columns that this task alone writes.
            unsafe {
                overwriting_product::<false>(
                    [rows, n, outputs],
                    Source {
                        ptr: a,
                        ld: outputs,
                    },
                    Source { ptr: b, ld: inputs },
                    Target {
                        c: columns.from(first),
                        ldc: inputs,
                    },
                );
            }
        });
    // What is left of a panel could be read beyond the end of the weight. There may be many outputs to sum over.
    for (dy, dx) in dy.chunks(outputs).zip(dx.chunks_mut(inputs)) {
        for (c, dx) in dx.iter_mut().enumerate().skip(whole) {
            let column = weight[c..].iter().step_by(inputs);
            let terms = dy.iter().zip(column).map(|(dy, w)| f64::from(dy * w));
            *dx = terms.sum::<f64>() as f32;
        }
    }
}

/// `dw = dy^T x`, `db` = column sums of `dy`.
pub(super) fn weight_gradient(dy: &[f32], x: &[f32], dw: &mut [f32], db: &mut [f32]) {
    let outputs = db.len();
    let inputs = dw.len() / outputs;
    let rows = dy.len() / outputs;
    assert!(dy.len() == rows * outputs && x.len() == rows * inputs && dw.len() == outputs * inputs);
    let whole = inputs - inputs % Isa::get().panel_width();
    dw.par_chunks_mut(GRADIENT_OUTPUTS * inputs)
        .enumerate()
        .with_max_len(1)
        .for_each(|(task, dw)| {
            let first = task * GRADIENT_OUTPUTS;
            let n = min(outputs - first, GRADIENT_OUTPUTS);
            let (a, b) = (dy[first..].as_ptr(), x.as_ptr());
            // SAFETY: whole panels of `rows` rows, and outputs that this task alone writes.
            unsafe {
                overwriting_product::<true>(
                    [n, whole, rows],
                    Source {
                        ptr: a,
                        ld: outputs,
                    },
                    Source { ptr: b, ld: inputs },
                    Target {
                        c: dw.as_mut_ptr(),
                        ldc: inputs,
                    },
                );
            }
            for (o, dw) in dw.chunks_mut(inputs).enumerate() {
                let dy = || dy[first + o..].iter().step_by(outputs);
                for (c, dw) in dw.iter_mut().enumerate().skip(whole) {
                    *dw = dy()
                        .zip(x[c..].iter().step_by(inputs))
                        .map(|(dy, x)| dy * x)
                        .sum();
                }
            }
        });
    for (o, db) in db.iter_mut().enumerate() {
        *db = dy[o..].iter().step_by(outputs).sum();
    }
}

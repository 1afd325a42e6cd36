//! Gradients of weights: products over all rows of a batch, in tasks of a few outputs each.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use std::ops::Range;

use super::epilogue::{Store, Target};
use super::pack::Pack;
use super::packed_len;
use super::tile::Product;
use crate::engine::norm::ColumnSum;
use crate::engine::pool::Buffer;
use crate::engine::simd::Isa;

/// Rows of the batch per step of a weight gradient: small enough for the step after it to be fetched ahead.
const BATCH_ROWS: usize = 64;
/// From more inputs than these on, a weight gradient is computed by blocks of as many columns, so that a block of the
/// result stays in the second-level cache.
const WIDE: usize = 512;
/// Rows of the batch per step of such a gradient.
const WIDE_ROWS: usize = 128;
/// Values of a weight gradient that one task computes, at least and about.
const GRADIENT_TASK: usize = 24576;

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
        // Tall tasks read their inputs less often, but there must be enough of them.
        let most = if out >= 1024 {
            192
        } else {
            GRADIENT_TASK / inputs.max(1)
        };
        let height = most.clamp(48, 192).next_multiple_of(12);
        dw.chunks_mut((height * inputs).max(1))
            .zip(db.chunks_mut(height))
            .enumerate()
            .map(|(i, (dw, db))| Self {
                rows,
                out,
                inputs,
                dy,
                x,
                first: i * height,
                dw,
                db,
            })
            .collect()
    }

    pub(crate) fn run(mut self) {
        let mut blocks = Blocks::new(self.inputs, self.db.len());
        let mut column = 0;
        while column < self.inputs {
            let columns = column..self.inputs.min(column + blocks.columns);
            let mut row = 0;
            while row < self.rows {
                let end = self.rows.min(row + blocks.rows);
                self.add(&mut blocks, row..end, columns.clone());
                row = end;
            }
            column = columns.end;
        }
    }

    /// Adds what these rows of the batch give to these columns of the gradient.
    fn add(&mut self, blocks: &mut Blocks, rows: Range<usize>, columns: Range<usize>) {
        let (out, inputs, m) = (self.out, self.inputs, self.db.len());
        let (k, n) = (rows.len(), columns.len());
        let width = Isa::get().panel_width();
        let (a, lda) = if let Some(gathered) = &mut blocks.gathered {
            for (row, target) in rows.clone().zip(gathered.chunks_exact_mut(m)) {
                target.copy_from_slice(&self.dy[row * out + self.first..][..m]);
            }
            (gathered.as_ptr(), m)
        } else {
            (self.dy[rows.start * out + self.first..].as_ptr(), out)
        };
        let x = self.x[rows.start * inputs + columns.start..].as_ptr();
        // SAFETY: the slices have the sizes checked by `tasks`; this task alone writes `dw` and `db`.
        unsafe {
            let (b, ldb, panel_step) = if let Some(packed) = &mut blocks.packed {
                let dst = packed.as_mut_ptr();
                let ld = inputs;
                Pack {
                    src: x,
                    ld,
                    k,
                    n,
                    dst,
                }
                .run();
                (dst.cast_const(), width, width * k)
            } else {
                (x, inputs, width)
            };
            let c = self.dw[columns.start..].as_mut_ptr();
            Product::<_, true> {
                m,
                n,
                k,
                a,
                lda,
                b,
                ldb,
                panel_step,
                ahead: blocks.gathered.is_none(),
                epilogue: Store::<true>(Target { c, ldc: inputs }),
            }
            .run();
            if columns.start == 0 {
                let sum = self.db.as_mut_ptr();
                ColumnSum {
                    rows: k,
                    cols: m,
                    x: a,
                    ld: lda,
                    sum,
                }
                .run();
            }
        }
    }
}

/// How a task goes through a batch, and its working memory.
struct Blocks {
    /// Columns and rows that are taken together.
    columns: usize,
    rows: usize,
    /// Room for the gradient's rows of a block, where they are moved together.
    gathered: Option<Buffer>,
    /// Room for the inputs of a block, where they are not read in place.
    packed: Option<Buffer>,
}

impl Blocks {
    fn new(inputs: usize, outputs: usize) -> Self {
        let wide = inputs > WIDE;
        // Rows whose distance is a power of two share few sets of a first-level cache, and narrow panels take little of
        // each: what is read many times is better moved together. With wide panels it is read in place as fast.
        let narrow_panels = Isa::get() != Isa::Avx512;
        let gathers = wide || narrow_panels;
        let in_place = !gathers && inputs.is_multiple_of(Isa::get().panel_width());
        let (columns, rows) = if gathers {
            (inputs.min(WIDE), WIDE_ROWS)
        } else {
            (inputs, BATCH_ROWS)
        };
        Self {
            columns,
            rows,
            // Rows far apart would each be on a page of their own.
            gathered: gathers.then(|| Buffer::take(rows * outputs)),
            packed: (!in_place).then(|| Buffer::take(packed_len(rows, columns))),
        }
    }
}

//! Linear maps of all rows of a batch, split over threads.

use rayon::prelude::*;

use super::few_rows;
use crate::engine::dropout_bits::DropoutStream;
use crate::engine::gemm::{Epilogue, Packed, WeightGradient, product};
use crate::engine::pool::Buffer;
use crate::engine::rows::{PASS, drop_row};

/// Rows per task of a matrix product: at most, and of one with few rows.
const PRODUCT_ROWS: [usize; 2] = [192, 48];
fn rows_per_product(rows: usize) -> usize {
    let [most, few] = PRODUCT_ROWS;
    if rows > 2 * most { most } else { few }
}

/// `y = epilogue(x w^T + b)` for a weight that was packed transposed.
pub(crate) fn forward(
    x: &[f32],
    packed: &Packed,
    bias: &[f32],
    relu: bool,
    dropout: Option<DropoutStream>,
    y: &mut [f32],
) {
    let (inputs, outputs) = packed.sizes();
    let rows = rows_per_product(x.len() / inputs);
    x.par_chunks(rows * inputs)
        .zip(y.par_chunks_mut(rows * outputs))
        .enumerate()
        .with_max_len(1)
        .for_each(|(i, (x, y))| {
            let epilogue = if relu {
                Epilogue::Relu {
                    bias,
                    dropout,
                    first_row: (i * rows) as u64,
                }
            } else {
                Epilogue::Bias(bias)
            };
            product(x.len() / inputs, x, packed, epilogue, y);
        });
}

/// As [`forward`], for [few rows](few_rows::is_worth_it) and a weight that is not packed.
pub(crate) fn forward_few_rows(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    relu: bool,
    dropout: Option<DropoutStream>,
    y: &mut [f32],
) {
    few_rows::forward(x, weight, bias, y);
    if relu {
        // What is no number stays none.
        y.iter_mut().filter(|y| **y < 0.0).for_each(|y| *y = 0.0);
        if let Some(stream) = dropout {
            for (i, y) in y.chunks_mut(bias.len()).enumerate() {
                drop_row(y, &stream, i as u64);
            }
        }
    }
}

/// The gradients of [`forward`], written over what was there; `gate` is its result and the scale of its
/// dropout, if there was an activation.
pub(crate) fn backward(
    x: &[f32],
    weight: &[f32],
    gate: Option<(&[f32], f32)>,
    dy: &[f32],
    dx: Option<&mut [f32]>,
    [dw, db]: [&mut [f32]; 2],
) {
    let outputs = db.len();
    let inputs = weight.len() / outputs;
    let gated = gate.map(|(y, factor)| {
        let mut gated = Buffer::take(dy.len());
        gated
            .par_chunks_mut(PASS)
            .zip(y.par_chunks(PASS))
            .zip(dy.par_chunks(PASS))
            .for_each(|((gated, y), dy)| {
                for ((gated, y), dy) in gated.iter_mut().zip(y).zip(dy) {
                    *gated = if *y > 0.0 { dy * factor } else { 0.0 };
                }
            });
        gated
    });
    let dy = gated.as_deref().unwrap_or(dy);
    if few_rows::is_worth_it(dy.len() / outputs, weight.len()) {
        if let Some(dx) = dx {
            few_rows::input_gradient(dy, weight, outputs, dx);
        }
        return few_rows::weight_gradient(dy, x, dw, db);
    }
    if let Some(dx) = dx {
        let packed = Packed::plain(weight, outputs, inputs);
        let rows = rows_per_product(dy.len() / outputs);
        dy.par_chunks(rows * outputs)
            .zip(dx.par_chunks_mut(rows * inputs))
            .with_max_len(1)
            .for_each(|(dy, dx)| {
                product(dy.len() / outputs, dy, &packed, Epilogue::Plain, dx);
            });
    }
    dw.par_chunks_mut(PASS).for_each(|dw| dw.fill(0.0));
    db.fill(0.0);
    let tasks = WeightGradient::tasks(dy.len() / outputs, dy, x, dw, db);
    tasks
        .into_par_iter()
        .with_max_len(1)
        .for_each(WeightGradient::run);
}

//! Sinusoidal positions of the fairseq kind (specification CB3).

use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use std::sync::Arc;
use trimer_kernels::add_rows_dropout;

/// A constant table of positions: sines in the first half of a row, cosines in the second.
///
/// Row `p` is `[sin(p f_0) .. sin(p f_{h-1}), cos(p f_0) .. cos(p f_{h-1})]` with `h = d_model / 2` and
/// `f_j = exp(-j ln(10000) / (h - 1))`; an odd width ends in a zero. The step at index `t` has
/// position `t + 1`; position 0 is the zero vector.
#[derive(Module, Debug)]
pub struct SinusoidalPositions {
    #[module(skip)]
    table: Arc<[f32]>,
    #[module(skip)]
    d_model: usize,
}

impl SinusoidalPositions {
    /// Positions of `length` steps.
    pub fn new(length: usize, d_model: usize) -> Self {
        let half = d_model / 2;
        // A width below four has a single frequency; the formula would divide by zero.
        let scale = if half > 1 {
            10_000_f64.ln() / (half - 1) as f64
        } else {
            0.0
        };
        let frequencies: Vec<f64> = (0..half).map(|j| (-(j as f64) * scale).exp()).collect();
        let mut table = Vec::with_capacity(length * d_model);
        for position in 1..=length {
            let angles = frequencies.iter().map(|f| position as f64 * f);
            table.extend(angles.clone().map(|angle| angle.sin() as f32));
            table.extend(angles.map(|angle| angle.cos() as f32));
            table.extend(std::iter::repeat_n(0.0, d_model - 2 * half));
        }
        Self {
            table: table.into(),
            d_model,
        }
    }

    /// The rows of the first `time` steps.
    ///
    /// # Shapes
    /// - result: `[1, time, d_model]`
    ///
    /// # Panics
    /// If `time` is longer than the table: a caller's mistake.
    pub fn rows(&self, time: usize, device: &Device) -> Tensor<3> {
        let values = self.table[..time * self.d_model].to_vec();
        Tensor::from_data(TensorData::new(values, [1, time, self.d_model]), device)
    }

    /// `Drop(x + positions)`.
    ///
    /// # Shapes
    /// - `x` and result: `[batch, time, d_model]`
    ///
    /// # Panics
    /// If `time` is longer than the table: a caller's mistake.
    pub fn add_dropout(&self, x: Tensor<3>, p: f64, rec: &mut Recorder) -> Tensor<3> {
        let [_, time, _] = x.dims();
        let len = time * self.d_model;
        let rows = if len == self.table.len() {
            Arc::clone(&self.table)
        } else {
            Arc::from(&self.table[..len])
        };
        let dropout = (rec.is_training() && p > 0.0).then(|| (p, rec.next_seed()));
        add_rows_dropout(x, &rows, dropout)
    }

    /// `x` plus its positions, with the rule of the reference: a step whose channel 0 is exactly
    /// zero counts as padding and gets the zero vector.
    ///
    /// # Shapes
    /// - `x` and result: `[batch, time, d_model]`
    pub fn add_where_nonzero(&self, x: Tensor<3>) -> Tensor<3> {
        let [_, time, _] = x.dims();
        let occupied = x.clone().narrow(2, 0, 1).equal_elem(0.0).bool_not().float(); // [batch, time, 1]
        let rows = self.rows(time, &x.device());
        x + rows * occupied
    }
}

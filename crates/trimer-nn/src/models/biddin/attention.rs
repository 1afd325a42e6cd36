//! The attention of BiDDIN over the emotion states of all streams and both directions.

use super::MASKED;
use crate::layers::Initializer;
use crate::layers::turns::project;
use crate::probe;
use burn::module::{Module, Param};
use burn::tensor::{Bool, Tensor, activation::softmax};

/// Heads of the last attention.
pub(super) const HEADS: usize = 4;

/// Self attention without biases, four heads, a norm without parameters behind the sum.
#[derive(Module, Debug)]
pub struct MixedAttention {
    /// `[d, d]`, queries.
    pub w_q: Param<Tensor<2>>,
    /// `[d, d]`, keys.
    pub w_k: Param<Tensor<2>>,
    /// `[d, d]`, values.
    pub w_v: Param<Tensor<2>>,
    /// `[d, d]`, output.
    pub fc: Param<Tensor<2>>,
}

impl MixedAttention {
    pub(super) fn new(d: usize, init: &mut Initializer) -> Self {
        let bound = 1.0 / (d as f64).sqrt();
        let mut square = || init.uniform([d, d], bound);
        Self {
            w_q: square(),
            w_k: square(),
            w_v: square(),
            fc: square(),
        }
    }

    /// # Shapes
    /// - `x` and result: `[conversation, turn, d]`
    /// - `pad_mask`: `[conversation, turn]`, true = padding; read where `mix` is off
    pub(super) fn forward(&self, x: Tensor<3>, pad_mask: &Tensor<2, Bool>, mix: bool) -> Tensor<3> {
        let [batch, turns, d] = x.dims();
        // The reference holds `[turn, conversation, d]` and reads the same memory as
        // `[conversation, turn, d]` without moving it.
        let arranged = |x: Tensor<3>| {
            let x = if mix {
                x.swap_dims(0, 1).reshape([batch, turns, d])
            } else {
                x
            };
            x.reshape([batch, turns, HEADS, d / HEADS]).swap_dims(1, 2)
        };
        let [q, k, v] = [&self.w_q, &self.w_k, &self.w_v].map(|w| {
            probe::see(&[(w.id, Some(1))], &x);
            arranged(project(x.clone(), w.val(), None))
        });
        let mut scores = q.matmul(k.transpose()) / ((d / HEADS) as f64).sqrt();
        if !mix {
            let shape = [batch, HEADS, turns, turns];
            let pad = pad_mask.clone().reshape([batch, 1, 1, turns]).expand(shape);
            scores = scores.mask_fill(pad, MASKED);
        }
        let context = softmax(scores, 3)
            .matmul(v)
            .swap_dims(1, 2)
            .reshape([batch, turns, d]);
        probe::see(&[(self.fc.id, Some(1))], &context);
        standardised(project(context, self.fc.val(), None) + x)
    }
}

/// Each row minus its mean, divided by its standard deviation.
fn standardised(x: Tensor<3>) -> Tensor<3> {
    let centred = x.clone() - x.mean_dim(2);
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    centred / (variance + 1e-5).sqrt()
}

//! The steps of optimizers: one pass over a parameter and its gradient.

use burn::backend::Flex;
use burn::tensor::{Float, Tensor};
use rayon::prelude::*;

use crate::engine::pool::Buffer;
use crate::engine::tensors::{contiguous, tensor, values};
use crate::kernel_path::fused;

/// Values per task.
const TASK: usize = 1 << 15;

/// `value - lr * gradient`, both without autodiff.
///
/// # Panics
/// If the lengths differ.
pub fn sgd_step(value: Tensor<1>, gradient: Tensor<1>, lr: f64) -> Tensor<1> {
    assert_eq!(value.dims(), gradient.dims(), "one gradient per value");
    let on_host = |x: &Tensor<1>| {
        let x = fused(x).then(|| x.clone())?;
        x.try_into_primitive::<Flex>().ok().map(contiguous)
    };
    let (Some(x), Some(g)) = (on_host(&value), on_host(&gradient)) else {
        return value - gradient * lr;
    };
    let lr = lr as f32;
    let mut out = Buffer::take(values(&x).len());
    out.par_chunks_mut(TASK)
        .zip(values(&x).par_chunks(TASK))
        .zip(values(&g).par_chunks(TASK))
        .for_each(|((out, x), g)| {
            for (out, (x, g)) in out.iter_mut().zip(x.iter().zip(g)) {
                *out = x - lr * g;
            }
        });
    Tensor::<1, Float>::from_primitive::<Flex>(tensor(out, value.shape()))
}

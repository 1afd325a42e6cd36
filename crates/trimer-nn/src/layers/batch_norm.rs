//! Batch normalisation of vectors.

use super::{Buffer, Initializer};
use crate::probe;
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// PyTorch's epsilon, added to the variance.
const EPSILON: f64 = 1e-5;
/// Share of a batch's statistics that enters the running ones.
const MOMENTUM: f64 = 0.1;

/// `(x - mean) / sqrt(var + 1e-5) * weight + bias` per feature, as `torch.nn.BatchNorm1d`.
///
/// A training pass takes mean and biased variance from the batch and moves the running statistics a
/// tenth of the way towards the batch's mean and unbiased variance; an evaluation pass uses the
/// running statistics. They are buffers: in the state dict and in checkpoints, without gradient,
/// and not counted among the parameters. The batch counter that PyTorch keeps with them has no
/// effect and is not kept.
///
/// Deviation: a training batch of one row, for which PyTorch raises an error, is treated as in
/// evaluation.
#[derive(Module, Debug)]
pub struct BatchNorm1d {
    /// `[features]`.
    pub weight: Param<Tensor<1>>,
    /// `[features]`.
    pub bias: Param<Tensor<1>>,
    /// `[features]`, a buffer.
    pub running_mean: Buffer<1>,
    /// `[features]`, a buffer.
    pub running_var: Buffer<1>,
}

impl BatchNorm1d {
    /// Weight one, bias zero, running mean zero, running variance one.
    pub fn new(features: usize, init: &mut Initializer) -> Self {
        Self {
            weight: init.constant([features], 1.0),
            bias: init.constant([features], 0.0),
            running_mean: Buffer::new(Tensor::zeros([features], init.device())),
            running_var: Buffer::new(Tensor::ones([features], init.device())),
        }
    }

    /// # Shapes
    /// - `x` and result: `[rows, features]`
    pub fn forward(&self, x: Tensor<2>, rec: &Recorder) -> Tensor<2> {
        let [rows, _] = x.dims();
        probe::see(&[(self.weight.id, None), (self.bias.id, None)], &x);
        if !rec.is_training() || rows < 2 {
            let mean = self.running_mean.value().unsqueeze();
            let var: Tensor<2> = self.running_var.value().unsqueeze();
            return self.scale(x - mean, var);
        }
        let mean = x.clone().mean_dim(0); // [1, features]
        let centred = x - mean.clone();
        let var = (centred.clone() * centred.clone()).mean_dim(0);
        let unbiased = var.clone() * (rows as f64 / (rows - 1) as f64);
        update(&self.running_mean, mean);
        update(&self.running_var, unbiased);
        self.scale(centred, var)
    }

    fn scale(&self, centred: Tensor<2>, var: Tensor<2>) -> Tensor<2> {
        centred / (var + EPSILON).sqrt() * self.weight.val().unsqueeze()
            + self.bias.val().unsqueeze()
    }
}

fn update(running: &Buffer<1>, batch: Tensor<2>) {
    let batch = batch.detach().squeeze_dim(0);
    running.set(running.value() * (1.0 - MOMENTUM) + batch * MOMENTUM);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{is_buffer, map_parameters, parameter_count, parameters, to_vec};
    use burn::tensor::{Device, TensorData};

    fn rows(values: &[f32], n: usize, device: &Device) -> Tensor<2> {
        Tensor::from_data(
            TensorData::new(values.to_vec(), [n, values.len() / n]),
            device,
        )
    }

    #[test]
    fn training_moves_the_running_statistics_and_evaluation_uses_them() {
        let device = Device::flex().autodiff();
        let norm = BatchNorm1d::new(1, &mut Initializer::new(0, &device));
        let x = rows(&[1.0, 3.0], 2, &device);
        let y = to_vec(norm.forward(x.clone(), &Recorder::train(1)));
        assert!(
            (y[0] + 1.0).abs() < 1e-4 && (y[1] - 1.0).abs() < 1e-4,
            "{y:?}"
        );
        let all = parameters(&norm);
        assert_eq!(to_vec(all["running_mean"].1.clone()), [0.2]);
        // 0.9 * 1 + 0.1 * 2, the unbiased variance.
        assert!((to_vec(all["running_var"].1.clone())[0] - 1.1).abs() < 1e-6);
        let y = to_vec(norm.forward(x, &Recorder::eval()));
        assert!((y[0] - 0.8 / 1.1_f32.sqrt()).abs() < 1e-4);
        assert_eq!(parameter_count(&norm), 2);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = Device::flex().autodiff();
        let norm = BatchNorm1d::new(2, &mut Initializer::new(0, &device));
        let values = [0.3, -1.0, 1.2, 0.4, -0.7, 2.0, 0.1, 0.9];
        let weights = rows(&[0.5, -1.0, 2.0, 0.3, -0.6, 1.1, 0.2, -0.4], 4, &device);
        let loss = |x: Tensor<2>| (norm.forward(x, &Recorder::train(1)) * weights.clone()).sum();
        let x = rows(&values, 4, &device).require_grad();
        let grads = loss(x.clone()).backward();
        let gradient = to_vec(x.grad(&grads).unwrap());
        for (i, ours) in gradient.iter().enumerate() {
            let moved = |by: f32| {
                let mut values = values;
                values[i] += by;
                to_vec(loss(rows(&values, 4, &device)))[0]
            };
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((ours - slope).abs() < 3e-3, "value {i}: {ours} for {slope}");
        }
    }

    #[test]
    fn a_clone_has_running_statistics_of_its_own() {
        let device = Device::flex();
        let norm = BatchNorm1d::new(1, &mut Initializer::new(0, &device));
        let statistics = |norm: &BatchNorm1d| {
            ["running_mean", "running_var"].map(|path| to_vec(parameters(norm)[path].1.clone())[0])
        };
        let changed = map_parameters(norm.clone(), |path, value| {
            if is_buffer(path) { value + 1.0 } else { value }
        });
        assert_eq!(statistics(&changed), [1.0, 2.0]);
        assert_eq!(statistics(&norm), [0.0, 1.0]);
        let trained = norm.clone();
        trained.forward(rows(&[1.0, 3.0], 2, &device), &Recorder::train(1));
        assert_ne!(statistics(&trained), [0.0, 1.0]);
        assert_eq!(statistics(&norm), [0.0, 1.0]);
    }

    #[test]
    fn a_lonely_row_makes_no_nan() {
        let device = Device::flex();
        let norm = BatchNorm1d::new(2, &mut Initializer::new(0, &device));
        let y = to_vec(norm.forward(rows(&[1.0, 3.0], 1, &device), &Recorder::train(1)));
        assert!(y.iter().all(|y| y.is_finite()));
        assert_eq!(to_vec(norm.running_mean.value()), [0.0, 0.0]);
    }
}

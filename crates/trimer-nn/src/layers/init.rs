//! Seeded initial values of parameters.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal, Uniform};

/// Makes parameters from one seeded stream, in the order in which they are asked for.
#[derive(Debug)]
pub struct Initializer {
    rng: ChaCha8Rng,
    device: Device,
    /// Everything is zero: the values come from a file.
    uninitialised: bool,
}

impl Initializer {
    /// A stream that follows from `seed`; parameters are made on `device`.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            device: device.clone(),
            uninitialised: false,
        }
    }

    /// Makes every parameter zero without drawing a number, for a model whose values will be loaded.
    pub fn uninitialised(device: &Device) -> Self {
        Self {
            uninitialised: true,
            ..Self::new(0, device)
        }
    }

    /// Where the parameters are made.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// A parameter whose every element is `value`.
    pub fn constant<const D: usize>(&mut self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        if self.uninitialised {
            return self.zeros(shape);
        }
        let len = shape.iter().product();
        self.param(shape, vec![value; len])
    }

    /// Uniform in `[-bound, bound)`.
    pub fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f64) -> Param<Tensor<D>> {
        self.uniform_range(shape, -bound, bound)
    }

    /// Uniform in `[low, high)`; all equal to `low` when the range is empty.
    pub fn uniform_range<const D: usize>(
        &mut self,
        shape: [usize; D],
        low: f64,
        high: f64,
    ) -> Param<Tensor<D>> {
        if self.uninitialised {
            return self.zeros(shape);
        }
        let len: usize = shape.iter().product();
        let values = match Uniform::new(low, high) {
            Ok(range) => (0..len)
                .map(|_| range.sample(&mut self.rng) as f32)
                .collect(),
            Err(_) => vec![low as f32; len],
        };
        self.param(shape, values)
    }

    /// Normal with mean zero and the given standard deviation.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], std: f64) -> Param<Tensor<D>> {
        if self.uninitialised {
            return self.zeros(shape);
        }
        let len: usize = shape.iter().product();
        let values = (0..len)
            .map(|_| {
                let x: f64 = StandardNormal.sample(&mut self.rng);
                (x * std) as f32
            })
            .collect();
        self.param(shape, values)
    }

    fn param<const D: usize>(&self, shape: [usize; D], values: Vec<f32>) -> Param<Tensor<D>> {
        self.learned(Tensor::from_data(
            TensorData::new(values, shape),
            &self.device,
        ))
    }

    fn zeros<const D: usize>(&self, shape: [usize; D]) -> Param<Tensor<D>> {
        self.learned(Tensor::zeros(shape, &self.device))
    }

    fn learned<const D: usize>(&self, tensor: Tensor<D>) -> Param<Tensor<D>> {
        let tensor = if self.device.is_autodiff() {
            tensor.require_grad()
        } else {
            tensor
        };
        Param::initialized(ParamId::new(), tensor)
    }
}

//! Optimizers over parameters by path, with PyTorch's arithmetic.
//!
//! They are our own because their state must be keyed by parameter path, in a fixed order: a
//! resumed run continues bit-equal and a checkpoint can be read without this program.

use crate::error::Result;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trimer_kernels::sgd_step;
use trimer_nn::config::check_range;
use trimer_nn::weights::{NamedTensor, map_parameters, to_vec};

/// Which rule turns gradients into steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Gradient descent, with momentum where asked for.
    Sgd,
    /// Adaptive moments; weight decay is added to the gradient.
    Adam,
    /// Adaptive moments; weight decay shrinks the parameter directly.
    #[default]
    AdamW,
}

/// Settings of an optimizer. The learning rate is given at each step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The rule.
    pub rule: Rule,
    /// SGD: share of the last step that is kept.
    pub momentum: f64,
    /// SGD: look ahead.
    pub nesterov: bool,
    /// L2 added to the gradient (SGD, Adam) or shrinkage (AdamW).
    pub weight_decay: f64,
    /// Adam: decay of the first moment.
    pub beta1: f64,
    /// Adam: decay of the second moment.
    pub beta2: f64,
    /// Adam: added to the root of the second moment.
    pub eps: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            rule: Rule::AdamW,
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
        }
    }
}

impl OptimizerConfig {
    /// Refuses values outside their range.
    ///
    /// # Errors
    /// Names key, value and range.
    pub fn check(&self) -> Result<()> {
        check_range("train.optimizer.momentum", self.momentum, 0.0, 0.999_999)?;
        check_range("train.optimizer.weight_decay", self.weight_decay, 0.0, 10.0)?;
        check_range("train.optimizer.beta1", self.beta1, 0.0, 0.999_999)?;
        check_range("train.optimizer.beta2", self.beta2, 0.0, 0.999_999_9)?;
        Ok(check_range("train.optimizer.eps", self.eps, 1e-16, 1.0)?)
    }
}

/// An optimizer with its state per parameter.
#[derive(Debug, Clone)]
pub struct Optimizer {
    cfg: OptimizerConfig,
    /// Steps done; the same for every parameter that took part in all of them.
    steps: BTreeMap<String, u64>,
    first: BTreeMap<String, Tensor<1>>,
    second: BTreeMap<String, Tensor<1>>,
}

impl Optimizer {
    /// A fresh optimizer.
    pub const fn new(cfg: OptimizerConfig) -> Self {
        Self {
            cfg,
            steps: BTreeMap::new(),
            first: BTreeMap::new(),
            second: BTreeMap::new(),
        }
    }

    /// One step of every parameter that has a gradient (flattened, by path).
    pub fn step<M: Module>(
        &mut self,
        model: M,
        mut grads: BTreeMap<String, Tensor<1>>,
        lr: f64,
    ) -> M {
        map_parameters(model, |path, value| match grads.remove(path) {
            Some(grad) => self.step_one(path, value, grad.without_autodiff(), lr),
            None => value,
        })
    }

    fn step_one(&mut self, path: &str, value: Tensor<1>, grad: Tensor<1>, lr: f64) -> Tensor<1> {
        let steps = self.steps.entry(path.to_owned()).or_insert(0);
        *steps += 1;
        let n = i32::try_from(*steps).unwrap_or(i32::MAX);
        let decay = self.cfg.weight_decay;
        let grad = if decay > 0.0 && self.cfg.rule != Rule::AdamW {
            grad + value.clone() * decay
        } else {
            grad
        };
        match self.cfg.rule {
            Rule::Sgd => sgd_step(value, self.momentum(path, grad), lr),
            Rule::Adam | Rule::AdamW => {
                let value = if self.cfg.rule == Rule::AdamW && decay > 0.0 {
                    value * (1.0 - lr * decay)
                } else {
                    value
                };
                let (beta1, beta2) = (self.cfg.beta1, self.cfg.beta2);
                let first = blend(self.first.remove(path), grad.clone(), beta1);
                let second = blend(self.second.remove(path), grad.clone() * grad, beta2);
                let correction1 = 1.0 - beta1.powi(n);
                let correction2 = (1.0 - beta2.powi(n)).sqrt();
                let denominator = second.clone().sqrt() * (1.0 / correction2) + self.cfg.eps;
                let step = first.clone() / denominator * (lr / correction1);
                self.first.insert(path.to_owned(), first);
                self.second.insert(path.to_owned(), second);
                value - step
            }
        }
    }

    fn momentum(&mut self, path: &str, grad: Tensor<1>) -> Tensor<1> {
        if self.cfg.momentum == 0.0 {
            return grad;
        }
        let velocity = match self.first.remove(path) {
            Some(old) => old * self.cfg.momentum + grad.clone(),
            None => grad.clone(),
        };
        self.first.insert(path.to_owned(), velocity.clone());
        if self.cfg.nesterov {
            grad + velocity * self.cfg.momentum
        } else {
            velocity
        }
    }

    /// The state as named tensors: `first.<path>`, `second.<path>` and `steps.<path>`.
    pub fn state(&self) -> BTreeMap<String, NamedTensor> {
        let mut all = BTreeMap::new();
        for (name, moments) in [("first", &self.first), ("second", &self.second)] {
            for (path, tensor) in moments {
                let values = to_vec(tensor.clone());
                all.insert(
                    format!("{name}.{path}"),
                    NamedTensor {
                        shape: vec![values.len()],
                        values,
                    },
                );
            }
        }
        for (path, steps) in &self.steps {
            // Two 24-bit halves: f32 holds each exactly.
            let values = vec![(steps >> 24) as f32, (steps & 0xff_ffff) as f32];
            all.insert(
                format!("steps.{path}"),
                NamedTensor {
                    shape: vec![2],
                    values,
                },
            );
        }
        all
    }

    /// Puts back what [`Self::state`] gave.
    pub fn load_state(&mut self, state: &BTreeMap<String, NamedTensor>, device: &Device) {
        for (key, tensor) in state {
            let load = || Tensor::from_data(TensorData::from(tensor.values.as_slice()), device);
            if let Some(path) = key.strip_prefix("first.") {
                self.first.insert(path.to_owned(), load());
            } else if let Some(path) = key.strip_prefix("second.") {
                self.second.insert(path.to_owned(), load());
            } else if let (Some(path), [high, low]) =
                (key.strip_prefix("steps."), &tensor.values[..])
            {
                self.steps
                    .insert(path.to_owned(), ((*high as u64) << 24) + *low as u64);
            }
        }
    }
}

/// `decay * old + (1 - decay) * new`, starting from zero.
fn blend(old: Option<Tensor<1>>, new: Tensor<1>, decay: f64) -> Tensor<1> {
    let new = new * (1.0 - decay);
    match old {
        Some(old) => old * decay + new,
        None => new,
    }
}

/// Scales all gradients so that their joint L2 norm is at most `max_norm`, by PyTorch's factor
/// `min(1, max_norm / (norm + 1e-6))`. Returns the norm before.
pub fn clip_by_norm(grads: &mut BTreeMap<String, Tensor<1>>, max_norm: f64) -> f64 {
    let parts: Vec<Tensor<1>> = grads
        .values()
        .map(|g| (g.clone() * g.clone()).sum())
        .collect();
    if parts.is_empty() {
        return 0.0;
    }
    let squares: f64 = to_vec(Tensor::cat(parts, 0))
        .into_iter()
        .map(f64::from)
        .sum();
    let norm = squares.sqrt();
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        for grad in grads.values_mut() {
            *grad = grad.clone() * factor;
        }
    }
    norm
}

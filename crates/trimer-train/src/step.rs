//! The training step: forward, sum of losses, backward, plug-ins, clip, optimizer. There is only this one;
//! the trainer, measurements and the conformance walk share it.

use crate::error::{Result, TrainError};
use crate::objective::Objective;
use crate::optim::{Optimizer, clip_by_norm};
use crate::plugins::{Chain, Pass, StepInfo};
use burn::tensor::Tensor;
use trimer_core::{Head, HeadMap};
use trimer_nn::batch::Batch;
use trimer_nn::models::{AnyModel, FusionModel, ModelOutput};
use trimer_nn::recorder::Recorder;
use trimer_nn::weights::{gradients, to_vec};

/// What a training step changes.
#[derive(Debug)]
pub struct Learner {
    /// On a device with autodiff.
    pub model: AnyModel,
    /// Turns gradients into steps.
    pub optimizer: Optimizer,
    /// Change gradients between the backward pass and the optimizer.
    pub plugins: Chain,
}

/// What a training step is told.
#[derive(Debug, Clone, Copy)]
pub struct StepSettings {
    /// Learning rate.
    pub lr: f64,
    /// Largest joint norm of the gradients; 0 = no limit.
    pub clip_norm: f64,
}

/// The losses of a step's forward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct StepLosses {
    /// Unweighted, per head that has logits.
    pub heads: HeadMap<Option<f64>>,
    /// What the model adds by itself, by name and weighted.
    pub aux: Vec<(&'static str, f64)>,
    /// The weighted sum that is minimised.
    pub total: f64,
}

impl Learner {
    /// One step on a batch. `rec` is in training mode ([`Recorder::train`]), so that dropout is on.
    ///
    /// `None` when the model has no head that weighs anything: then nothing changes.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] when the loss is no finite number; the weights are then unchanged.
    pub fn step(
        &mut self,
        objective: &Objective,
        batch: &Batch,
        at: StepInfo,
        rec: &mut Recorder,
        settings: StepSettings,
    ) -> Result<Option<StepLosses>> {
        let (output, inputs) = self.plugins.watch(at, || self.model.forward(batch, rec));
        let heads = objective.losses(&output, batch);
        let Some(total) = objective.total(&heads, &output.aux_losses) else {
            return Ok(None);
        };
        let losses = read(&heads, &output, &total);
        if !losses.total.is_finite() {
            return Err(TrainError::Diverged {
                value: losses.total,
                epoch: at.epoch + 1,
                step: at.step + 1,
            });
        }
        let mut grads = gradients(&self.model, total.backward());
        let seen = Pass {
            batch,
            output: &output,
            loss: losses.total,
            inputs: &inputs,
            at,
            columns: objective.columns(),
            criterion: &|output, batch| objective.of(output, batch),
        };
        self.plugins.after_backward(&self.model, seen, &mut grads);
        if settings.clip_norm > 0.0 {
            clip_by_norm(&mut grads, settings.clip_norm);
        }
        self.model = self.optimizer.step(self.model.clone(), grads, settings.lr);
        Ok(Some(losses))
    }
}

/// All losses in one read from the device.
fn read(heads: &HeadMap<Option<Tensor<1>>>, output: &ModelOutput, total: &Tensor<1>) -> StepLosses {
    let present: Vec<(Head, Tensor<1>)> = Head::ALL
        .into_iter()
        .filter_map(|head| Some((head, heads.get(head).clone()?)))
        .collect();
    let parts = (present.iter().map(|(_, loss)| loss))
        .chain(output.aux_losses.iter().map(|(_, loss)| loss))
        .chain([total]);
    let parts = parts.map(|loss| loss.clone().without_autodiff()).collect();
    let mut values = to_vec(Tensor::cat(parts, 0)).into_iter().map(f64::from);
    let mut next = || values.next().unwrap_or(f64::NAN);
    let mut by_head = HeadMap::default();
    for (head, _) in &present {
        *by_head.get_mut(*head) = Some(next());
    }
    StepLosses {
        heads: by_head,
        aux: (output.aux_losses.iter())
            .map(|(name, _)| (*name, next()))
            .collect(),
        total: next(),
    }
}

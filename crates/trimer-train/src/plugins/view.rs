//! What a plug-in gets to see of the model and of a training step.

use super::chain::Criterion;
use burn::module::{Module, ParamId};
use burn::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet};
use trimer_core::{Head, HeadMap, ModalitySet};
use trimer_nn::batch::{Batch, Sequence};
use trimer_nn::models::{AnyModel, FusionModel, LateFusion, ModelInfo, ModelOutput, Owner, Task};
use trimer_nn::probe::{self, Inputs, Wanted};
use trimer_nn::recorder::Recorder;
use trimer_nn::weights;

/// Gradients by the path of their parameter, flattened.
pub type GradientMap = BTreeMap<String, Tensor<1>>;

/// Id and shape of parameters by path.
pub type Parameters = BTreeMap<String, (ParamId, Vec<usize>)>;

/// Where training stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepInfo {
    /// From 0.
    pub epoch: usize,
    /// From 0 within the epoch.
    pub step: usize,
    /// From 0 over all epochs.
    pub global_step: u64,
    /// Random numbers of this step follow from it: a function of the run's seed and the step.
    pub seed: u64,
}

/// A model as plug-ins see it, without its layers.
pub trait ModelView {
    /// The registry entry.
    fn model_info(&self) -> &'static ModelInfo;

    /// A pass in evaluation mode, without a graph.
    fn evaluate(&self, batch: &Batch) -> ModelOutput;

    /// Which modality owns the parameter at `path`.
    fn owner(&self, path: &str) -> Owner;

    /// Id and shape of every parameter by path.
    fn parameter_ids(&self) -> Parameters;

    /// How the scores come about where modalities only meet in a linear classifier.
    fn late(&self) -> Option<LateFusion>;

    /// Whether the model has no epochs, and so no gradients.
    fn has_no_steps(&self) -> bool;
}

impl ModelView for AnyModel {
    fn model_info(&self) -> &'static ModelInfo {
        self.info()
    }

    fn evaluate(&self, batch: &Batch) -> ModelOutput {
        self.valid().forward(batch, &mut Recorder::eval())
    }

    fn owner(&self, path: &str) -> Owner {
        self.properties().owner_of(path)
    }

    fn parameter_ids(&self) -> Parameters {
        weights::parameter_ids(self)
    }

    fn late(&self) -> Option<LateFusion> {
        self.valid().properties().late_fusion()
    }

    fn has_no_steps(&self) -> bool {
        self.closed_form().is_some()
    }
}

/// What is known before the first step.
pub struct Start<'a> {
    /// The model with its initial weights.
    pub host: &'a dyn ModelView,
    /// The first batch of the first epoch.
    pub batch: &'a Batch,
    /// Modalities that the model reads.
    pub modalities: ModalitySet,
    /// What is predicted.
    pub task: Task,
}

/// A step after its backward pass.
pub struct Step<'a> {
    /// The model as it was in the forward pass.
    pub host: &'a dyn ModelView,
    /// What it read.
    pub batch: &'a Batch,
    /// What the training pass gave; its tensors carry the graph.
    pub output: &'a ModelOutput,
    /// The training loss of that pass.
    pub loss: f64,
    /// What the layers read in the training pass, as far as some plug-in asked for it.
    pub inputs: &'a Inputs,
    /// Where training stands.
    pub at: StepInfo,
    /// Modalities that the model reads.
    pub modalities: ModalitySet,
    /// What is predicted.
    pub task: Task,
    /// Which label column supervises each head.
    pub columns: &'a HeadMap<Head>,
    pub(super) criterion: Criterion<'a>,
}

/// A pass with modalities erased.
pub struct Erased {
    /// The training loss of its output.
    pub loss: f64,
    /// What it gave.
    pub output: ModelOutput,
    /// What the wanted layers read.
    pub inputs: Inputs,
}

impl Step<'_> {
    /// Runs the model on the batch without `modalities`: their features are zeros, masks stay. In
    /// evaluation mode and without a graph.
    pub fn without(&self, modalities: ModalitySet, wanted: Option<BTreeSet<ParamId>>) -> Erased {
        let batch = erase(self.batch, modalities);
        let (output, inputs) = evaluate(self.host, &batch, wanted);
        Erased {
            loss: self.loss_of(&output),
            output,
            inputs,
        }
    }

    /// The training loss of an output; NaN where there is none.
    pub fn loss_of(&self, output: &ModelOutput) -> f64 {
        (self.criterion)(output, self.batch).map_or(f64::NAN, |loss| {
            weights::to_vec(loss.without_autodiff())
                .first()
                .map_or(f64::NAN, |x| f64::from(*x))
        })
    }
}

/// A pass in evaluation mode; what the wanted layers read is recorded.
pub(super) fn evaluate(
    host: &dyn ModelView,
    batch: &Batch,
    wanted: Wanted,
) -> (ModelOutput, Inputs) {
    if wanted.as_ref().is_some_and(BTreeSet::is_empty) {
        return (host.evaluate(batch), Inputs::default());
    }
    probe::record(wanted, || host.evaluate(batch))
}

/// The batch with zeros for the features of `modalities`; the pad masks stay as they are.
pub fn erase(batch: &Batch, modalities: ModalitySet) -> Batch {
    let mut batch = batch.clone();
    for modality in modalities.iter() {
        if let Some(sequence) = batch.sequences.get_mut(modality) {
            *sequence = Sequence {
                values: sequence.values.zeros_like(),
                pad_mask: sequence.pad_mask.clone(),
            };
        }
    }
    batch
}

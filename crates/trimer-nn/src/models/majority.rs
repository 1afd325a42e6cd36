//! The answer that needs no features: the train split's class frequencies, or its mean score.
//!
//! Every table should have this row. Nothing is learned by gradient: the outputs are numbers that
//! are counted on the train split, once.

use super::{
    ClosedForm, FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, Task, TaskKind,
};
use crate::batch::{Batch, InputSpec};
use crate::error::Result;
use crate::layers::{Buffer, Initializer};
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use trimer_core::{Head, HeadMap, Modality};

static INFO: ModelInfo = ModelInfo {
    id: "majority",
    title: "Majority class",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &[TaskKind::Classification, TaskKind::Regression],
    citation: "baseline",
    reconstruction: false,
    presets: &["default"],
    summary: "the train split's class frequencies, or its mean score, for every utterance",
};

/// Configuration of [`Majority`]; there is nothing to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MajorityConfig {}

impl ModelConfigOf for MajorityConfig {
    type Model = Majority;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        (name == "default").then(Self::default)
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn check_input(&self, _input: &InputSpec) -> Result<()> {
        Ok(())
    }

    fn forward_flops(&self, _input: &InputSpec, _task: Task) -> f64 {
        0.0
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Majority> {
        let present = input.modalities();
        let buffer = || Buffer::new(Tensor::zeros([task.n_outputs()], init.device()));
        let of = |head: Head| {
            let has = head.modality().is_none_or(|m| present.contains(m));
            has.then(&buffer)
        };
        Ok(Majority {
            text_prior: of(Head::Text),
            audio_prior: of(Head::Audio),
            vision_prior: of(Head::Vision),
            multimodal_prior: of(Head::Multimodal),
            task,
        })
    }
}

/// The baseline. Before [its fit](super::FusionModel::closed_form), all classes are equally likely and the score is 0.
#[derive(Module, Debug)]
pub struct Majority {
    /// Logarithms of the text label's frequencies, or its mean score; `[n_outputs]`, fitted without gradient.
    pub text_prior: Option<Buffer<1>>,
    /// The same of the audio label.
    pub audio_prior: Option<Buffer<1>>,
    /// The same of the vision label.
    pub vision_prior: Option<Buffer<1>>,
    /// The same of the multimodal label.
    pub multimodal_prior: Option<Buffer<1>>,
    #[module(skip)]
    task: Task,
}

impl Majority {
    const fn buffer(&self, head: Head) -> Option<&Buffer<1>> {
        match head {
            Head::Text => self.text_prior.as_ref(),
            Head::Audio => self.audio_prior.as_ref(),
            Head::Vision => self.vision_prior.as_ref(),
            Head::Multimodal => self.multimodal_prior.as_ref(),
        }
    }
}

impl FusionModel for Majority {
    fn forward(&self, batch: &Batch, _rec: &mut Recorder) -> ModelOutput {
        let logits = HeadMap::from_fn(|head| {
            let row: Tensor<2> = self.buffer(head)?.value().unsqueeze();
            Some(row.expand([batch.len(), self.task.n_outputs()]))
        });
        ModelOutput {
            logits,
            features: HeadMap::default(),
            aux_losses: Vec::new(),
        }
    }

    fn closed_form(&self) -> Option<ClosedForm<Self>> {
        Some(Self::fit)
    }
}

impl Majority {
    fn fit(self, batches: &mut dyn Iterator<Item = Batch>, columns: HeadMap<Head>) -> Self {
        let mut sums = HeadMap::<Vec<f64>>::from_fn(|_| vec![0.0; self.task.n_outputs()]);
        let mut counts = HeadMap::<f64>::default();
        for batch in batches {
            for head in Head::ALL {
                let column = *columns.get(head);
                let (sums, count) = (sums.get_mut(head), counts.get_mut(head));
                match self.task {
                    Task::Classification { .. } => {
                        for class in batch.labels.get(column).iter().flatten() {
                            sums[*class as usize] += 1.0;
                            *count += 1.0;
                        }
                    }
                    // Refused by `RunConfig::check`: not among the registry entry's tasks.
                    Task::MultiBinary { .. } => {}
                    Task::Regression => {
                        for score in batch.scores.get(column).iter().flatten() {
                            sums[0] += f64::from(*score);
                            *count += 1.0;
                        }
                    }
                }
            }
        }
        for head in Head::ALL {
            let count = *counts.get(head);
            let Some(buffer) = self.buffer(head).filter(|_| count > 0.0) else {
                continue;
            };
            let values: Vec<f32> = sums
                .get(head)
                .iter()
                .map(|sum| match self.task {
                    // A class that never occurs must keep a finite logarithm.
                    Task::Classification { .. } => (sum / count).max(1e-12).ln() as f32,
                    Task::Regression | Task::MultiBinary { .. } => (sum / count) as f32,
                })
                .collect();
            set_buffer(buffer, &values);
        }
        self
    }
}

/// Puts host values into a buffer.
pub(super) fn set_buffer<const D: usize>(buffer: &Buffer<D>, values: &[f32]) {
    let old = buffer.value();
    let data = TensorData::new(values.to_vec(), old.dims());
    buffer.set(Tensor::from_data(data, &old.device()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::to_vec;
    use burn::tensor::Device;
    use trimer_core::ModalityMap;

    fn batch(labels: &[Option<u32>], scores: &[Option<f32>]) -> Batch {
        Batch {
            indices: (0..labels.len()).collect(),
            conversations: None,
            sequences: ModalityMap::default(),
            labels: HeadMap::from_fn(|_| labels.to_vec()),
            scores: HeadMap::from_fn(|_| scores.to_vec()),
        }
    }

    fn fitted(task: Task) -> Vec<f32> {
        let device = Device::flex();
        let input = InputSpec {
            n_speakers: None,
            dims: ModalityMap::default(),
            lengths: ModalityMap::default(),
            sampling: ModalityMap::default(),
        };
        let mut init = Initializer::new(0, &device);
        let model = MajorityConfig {}.build(&input, task, &mut init).unwrap();
        let batches = [
            batch(&[Some(2), Some(1), None], &[Some(1.0), Some(0.0), None]),
            batch(&[Some(2), Some(2)], &[Some(2.0), Some(-1.0)]),
        ];
        let columns = HeadMap::from_fn(|head| head);
        let model = model.fit(&mut batches.clone().into_iter(), columns);
        let output = model.forward(&batches[0], &mut Recorder::eval());
        assert!(output.logits.text.is_none());
        to_vec(output.logits.multimodal.unwrap().narrow(0, 0, 1))
    }

    #[test]
    fn frequencies_and_means_are_those_of_the_labelled_rows() {
        let logits = fitted(Task::Classification { n_classes: 3 });
        let odds: Vec<f32> = logits.iter().map(|x| x.exp()).collect();
        assert!(odds[0] < 1e-6 && (odds[1] - 0.25).abs() < 1e-6 && (odds[2] - 0.75).abs() < 1e-6);
        assert_eq!(fitted(Task::Regression), [0.5]);
    }
}

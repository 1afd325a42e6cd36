//! GMU: modalities meet in gates that the model learns.
//!
//! Source: Arevalo et al., Gated Multimodal Units for Information Fusion, ICLR workshop 2017, eq. 1-4,
//! for any number of modalities: `h_m = tanh(W_m x_m)`, `z_m = σ(V_m [x_1; ..; x_M])`, `h = Σ z_m ∘ h_m`.
//!
//! Deviation: a bias in each layer; a sequence enters as the mean of its valid frames.

use trimer::burn;
use trimer::burn::module::Module;
use trimer::burn::tensor::Tensor;
use trimer::burn::tensor::activation::{sigmoid, tanh};
use trimer::models::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, Properties, ReadLimits, TaskKind,
};
use trimer::nn::batch::{Batch, InputSpec};
use trimer::nn::config::check_range;
use trimer::nn::layers::{Initializer, Linear, mean_step};
use trimer::nn::{Recorder, Result};
use trimer::serde::{Deserialize, Serialize};
use trimer::{HeadMap, Modality, ModalityMap, Task};

static INFO: ModelInfo = ModelInfo {
    id: "gmu",
    title: "Gated Multimodal Unit",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Arevalo et al., Gated Multimodal Units for Information Fusion, ICLR workshop 2017",
    reconstruction: false,
    presets: &["small"],
    summary: "a gate per modality decides, feature by feature, how much of it passes",
};

/// The keys of `[model]` in a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(crate = "trimer::serde", deny_unknown_fields)]
pub struct GmuConfig {
    /// Width of every projected modality.
    pub d_hidden: usize,
}

impl ModelConfigOf for GmuConfig {
    type Model = Gmu;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        (name == "small").then_some(Self { d_hidden: 32 })
    }

    fn check(&self) -> Result<()> {
        check_range("model.d_hidden", self.d_hidden as f64, 1.0, 4096.0)
    }

    fn read_limits(&self) -> ReadLimits {
        ReadLimits {
            lengths: ModalityMap::from_fn(|_| 100),
            sampling: ModalityMap::default(),
        }
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Gmu> {
        let all: usize = input.dims.iter().filter_map(|(_, dim)| *dim).sum();
        let mut layer = |modality, width: fn(usize, usize) -> usize| {
            let dim = (*input.dims.get(modality))?;
            Some(Linear::new(width(dim, all), self.d_hidden, init))
        };
        let [own, joint]: [fn(usize, usize) -> usize; 2] = [|own, _| own, |_, all| all];
        Ok(Gmu {
            hidden_text: layer(Modality::Text, own),
            hidden_audio: layer(Modality::Audio, own),
            hidden_vision: layer(Modality::Vision, own),
            gate_text: layer(Modality::Text, joint),
            gate_audio: layer(Modality::Audio, joint),
            gate_vision: layer(Modality::Vision, joint),
            classifier: Linear::new(self.d_hidden, task.n_outputs(), init),
        })
    }
}

/// The model. The gates read every modality, so no layer belongs to one alone: none has a name that
/// begins with a modality's.
#[derive(Module, Debug)]
pub struct Gmu {
    hidden_text: Option<Linear>,
    hidden_audio: Option<Linear>,
    hidden_vision: Option<Linear>,
    gate_text: Option<Linear>,
    gate_audio: Option<Linear>,
    gate_vision: Option<Linear>,
    classifier: Linear,
}

impl Gmu {
    /// Projection and gate of a modality, where the model reads it.
    fn layers(&self, modality: Modality) -> Option<(&Linear, &Linear)> {
        let (hidden, gate) = match modality {
            Modality::Text => (&self.hidden_text, &self.gate_text),
            Modality::Audio => (&self.hidden_audio, &self.gate_audio),
            Modality::Vision => (&self.hidden_vision, &self.gate_vision),
        };
        hidden.as_ref().zip(gate.as_ref())
    }
}

impl FusionModel for Gmu {
    fn forward(&self, batch: &Batch, _rec: &mut Recorder) -> ModelOutput {
        let mut read = Vec::new();
        for modality in Modality::ALL {
            let sequence = batch.sequences.get(modality).as_ref();
            if let (Some((hidden, gate)), Some(s)) = (self.layers(modality), sequence) {
                let mean = mean_step(s.values.clone(), Some(&s.pad_mask));
                read.push((hidden, gate, mean));
            }
        }
        let all = Tensor::cat(read.iter().map(|(_, _, x)| x.clone()).collect(), 1);
        let fused = read
            .into_iter()
            .map(|(hidden, gate, x)| sigmoid(gate.forward(all.clone())) * tanh(hidden.forward(x)))
            .reduce(|a, b| a + b);
        ModelOutput {
            logits: HeadMap {
                multimodal: fused.clone().map(|h| self.classifier.forward(h)),
                ..HeadMap::default()
            },
            features: HeadMap {
                multimodal: fused,
                ..HeadMap::default()
            },
            aux_losses: Vec::new(),
        }
    }

    fn properties(&self) -> &dyn Properties {
        self
    }
}

impl Properties for Gmu {
    /// The mean takes valid frames alone.
    fn ignores_padding(&self) -> bool {
        true
    }
}

//! Sizes and switches of BiDDIN.

use super::attention::HEADS;
use super::{Biddin, ORDER};
use crate::batch::InputSpec;
use crate::config::check_range;
use crate::error::{NnError, Result};
use crate::layers::Initializer;
use crate::models::{Level, ModelConfigOf, ModelInfo, Task, TaskKind};
use serde::{Deserialize, Serialize};
use trimer_core::Modality;

static INFO: ModelInfo = ModelInfo {
    id: "biddin",
    title: "Bidirectional Dynamic Dual Influence Network",
    level: Level::Conversation,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
    citation: "Zhang et al., Modeling both Intra- and Inter-modal Influence for Real-Time Emotion Detection in Conversations, ACM MM 2020",
    reconstruction: false,
    presets: &["released", "clean"],
    summary: "speaker states per modality, each reading the past of all modalities, in both directions",
};

/// Dropout behind positions.
const P_POSITIONS: f64 = 0.1;

/// Configuration of [`Biddin`]. Presets: `released`, `clean`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BiddinConfig {
    /// Width that every modality is brought to; 0 = that of the text features.
    pub d_model: usize,
    /// Width of a global state.
    pub d_global: usize,
    /// Width of a speaker's state.
    pub d_party: usize,
    /// Width of an emotion state; its double times the number of modalities is a multiple of 4.
    pub d_emotion: usize,
    /// Width per modality of the layer before the classifier.
    pub d_hidden: usize,
    /// Dropout on states and hidden units.
    pub p_dropout: f64,
    /// Dropout behind positions.
    pub p_positions: f64,
    /// Weights of the influences: a softmax over the batch (the code's quirk) or over modalities.
    pub batch_softmax: bool,
    /// Whether the last attention mixes time and conversations (the code's quirk).
    pub mix_heads: bool,
}

impl BiddinConfig {
    pub(super) fn width(&self, input: &InputSpec) -> usize {
        match self.d_model {
            0 => {
                let first = ORDER.into_iter().find_map(|m| *input.dims.get(m));
                first.unwrap_or(1)
            }
            width => width,
        }
    }
}

impl ModelConfigOf for BiddinConfig {
    type Model = Biddin;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        let released = Self {
            d_model: 0,
            d_global: 150,
            d_party: 150,
            d_emotion: 100,
            d_hidden: 100,
            p_dropout: 0.1,
            p_positions: P_POSITIONS,
            batch_softmax: true,
            mix_heads: true,
        };
        match name {
            "released" => Some(released),
            "clean" => Some(Self {
                batch_softmax: false,
                mix_heads: false,
                ..released
            }),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        for (key, value, low) in [
            ("d_model", self.d_model, 0.0),
            ("d_global", self.d_global, 2.0),
            ("d_party", self.d_party, 1.0),
            ("d_emotion", self.d_emotion, 1.0),
            ("d_hidden", self.d_hidden, 1.0),
        ] {
            check_range(&format!("model.{key}"), value as f64, low, 16_384.0)?;
        }
        check_range("model.p_dropout", self.p_dropout, 0.0, 0.95)?;
        check_range("model.p_positions", self.p_positions, 0.0, 0.95)
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        let present = input.modalities();
        if present.len() < 2 {
            return Err(NnError::Corpus {
                reason: format!("`biddin` needs at least two modalities, the input has `{present}`"),
                hint: "add a modality to `data.modalities`, or choose `dialoguernn`, which is happy with one".into(),
            });
        }
        let width = 2 * present.len() * self.d_emotion;
        if !width.is_multiple_of(HEADS) {
            return Err(NnError::ConfigRange {
                key: "model.d_emotion".into(),
                value: self.d_emotion.to_string(),
                expected: format!("an even number, so that {HEADS} heads divide {width}"),
            });
        }
        Ok(())
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let (n, m) = (input.modalities().len(), self.width(input));
        let (g, p, e) = (self.d_global, self.d_party, self.d_emotion);
        let gru = |d_input: usize, d_hidden: usize| 6 * d_hidden * (d_input + d_hidden);
        let dense: usize = input.dims.iter().filter_map(|(_, dim)| *dim).sum();
        let stream = gru(m + p, g) + gru(m + g, p) + gru(p, e) + 2 * n * (g * g + m * g);
        let d = 2 * n * e;
        let head = 8 * d * d + 2 * n * self.d_hidden * (d + task.n_outputs());
        (2 * (2 * dense * m + n * stream) + head) as f64
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Biddin> {
        self.check_input(input)?;
        Ok(Biddin::new(self, input, task, init))
    }
}

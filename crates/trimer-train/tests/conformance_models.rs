//! Models that break one promise each, and which check tells them so.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows only functions marked as tests, not their helpers"
)]

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::tanh;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU32, Ordering};
use trimer_core::{HeadMap, Modality};
use trimer_nn::batch::{Batch, InputSpec, Sequence};
use trimer_nn::layers::{Initializer, Linear, mean_step};
use trimer_nn::models::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, Properties, ReadLimits, Task,
    TaskKind, register,
};
use trimer_nn::recorder::Recorder;
use trimer_nn::weights::to_vec;
use trimer_train::conformance::{Faults, Report, check_model};

/// What is wrong with a toy, and its id.
const SOUND: usize = 0;
const NAN: usize = 1;
const UNUSED: usize = 2;
const FLAT: usize = 3;
const PADDED: usize = 4;
const MIXED: usize = 5;
const PANICS: usize = 6;
const WIDE: usize = 7;
const SECRET: usize = 8;
const GAPS: usize = 9;
const DULL: usize = 10;
const SWAPPED: usize = 11;
const RANDOM: usize = 12;
const MATRIX: usize = 13;
const LAX: usize = 14;

const IDS: [&str; 15] = [
    "sound", "nan", "unused", "flat", "padded", "mixed", "panics", "wide", "secret", "gaps",
    "dull", "swapped", "random", "matrix", "lax",
];

const fn info(kind: usize) -> ModelInfo {
    ModelInfo {
        id: IDS[kind],
        title: "Toy",
        level: Level::Utterance,
        modalities: &Modality::ALL,
        tasks: &TaskKind::ALL,
        citation: "",
        reconstruction: false,
        presets: &["small"],
        summary: "a layer per modality, added up",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToyConfig<const KIND: usize> {
    width: usize,
}

impl<const KIND: usize> ModelConfigOf for ToyConfig<KIND> {
    type Model = Toy;
    const INFO: &'static ModelInfo = &info(KIND);

    fn preset(name: &str) -> Option<Self> {
        (name == "small").then_some(Self { width: 16 })
    }

    fn check(&self) -> trimer_nn::Result<()> {
        Ok(())
    }

    fn build(
        &self,
        input: &InputSpec,
        task: Task,
        init: &mut Initializer,
    ) -> trimer_nn::Result<Toy> {
        Ok(Toy::new(KIND, self.width, input, task, init))
    }
}

/// As [`ToyConfig`], but a misspelt key goes unnoticed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct LaxConfig {
    width: usize,
}

impl ModelConfigOf for LaxConfig {
    type Model = Toy;
    const INFO: &'static ModelInfo = &info(LAX);

    fn preset(_: &str) -> Option<Self> {
        Some(Self { width: 16 })
    }

    fn check(&self) -> trimer_nn::Result<()> {
        Ok(())
    }

    fn read_limits(&self) -> ReadLimits {
        ReadLimits::one_vector()
    }

    fn build(
        &self,
        input: &InputSpec,
        task: Task,
        init: &mut Initializer,
    ) -> trimer_nn::Result<Toy> {
        Ok(Toy::new(LAX, self.width, input, task, init))
    }
}

#[derive(Module, Debug)]
struct Toy {
    text_in: Option<Linear>,
    audio_in: Option<Linear>,
    vision_in: Option<Linear>,
    classifier: Linear,
    /// Something more, for those that do something wrong with it.
    tokens: Option<Param<Tensor<2>>>,
    mixing: Option<Param<Tensor<2>>>,
    #[module(skip)]
    kind: usize,
    #[module(skip)]
    secret: f32,
}

impl Toy {
    fn new(
        kind: usize,
        width: usize,
        input: &InputSpec,
        task: Task,
        init: &mut Initializer,
    ) -> Self {
        let mut layer = |m: Modality| {
            let m = source(kind, m);
            let dim = (*input.dims.get(m))?;
            Some(Linear::new(dim, width, init))
        };
        Self {
            text_in: layer(Modality::Text),
            audio_in: layer(Modality::Audio),
            vision_in: layer(Modality::Vision),
            classifier: Linear::new(width, task.n_outputs() + usize::from(kind == WIDE), init),
            tokens: [UNUSED, FLAT]
                .contains(&kind)
                .then(|| init.uniform([1, width], 1.0)),
            mixing: (kind == MATRIX).then(|| init.uniform([width, width], 1.0)),
            secret: match kind {
                SECRET => to_vec(init.uniform([1], 1.0).val())[0],
                _ => 0.0,
            },
            kind,
        }
    }

    fn layer(&self, modality: Modality) -> Option<&Linear> {
        match modality {
            Modality::Text => self.text_in.as_ref(),
            Modality::Audio => self.audio_in.as_ref(),
            Modality::Vision => self.vision_in.as_ref(),
        }
    }

    fn mean(&self, s: &Sequence) -> Tensor<2> {
        match self.kind {
            PADDED => mean_step(s.values.clone(), None),
            GAPS => {
                let valid = s.pad_mask.clone().bool_not().float(); // [batch, time]
                let [batch, _, dim] = s.values.dims();
                let sum = s.values.clone().sum_dim(1).reshape([batch, dim]);
                sum / valid.sum_dim(1)
            }
            _ => mean_step(s.values.clone(), Some(&s.pad_mask)),
        }
    }
}

/// Whose features the layer of a modality reads.
fn source(kind: usize, modality: Modality) -> Modality {
    match (kind, modality) {
        (SWAPPED, Modality::Text) => Modality::Audio,
        (SWAPPED, Modality::Audio) => Modality::Text,
        (_, modality) => modality,
    }
}

impl FusionModel for Toy {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        static PASSES: AtomicU32 = AtomicU32::new(0);
        if self.kind == PANICS {
            assert!(batch.sequences.text.is_some(), "where is the text?");
        }
        let mut h: Option<Tensor<2>> = None;
        for modality in Modality::ALL {
            let sequence = batch.sequences.get(source(self.kind, modality)).as_ref();
            if let (Some(layer), Some(s)) = (self.layer(modality), sequence) {
                let own = tanh(layer.forward(self.mean(s)));
                h = Some(match h {
                    Some(h) => h + own,
                    None => own,
                });
            }
        }
        let mut h = h.expect("one modality at least");
        if let (FLAT, Some(tokens)) = (self.kind, &self.tokens) {
            h = h + tokens.val() * 0.0;
        }
        if let Some(mixing) = &self.mixing {
            h = h.matmul(mixing.val());
        }
        if self.kind == MIXED {
            h = h.clone() - h.mean_dim(0) + 0.1;
        }
        if self.kind == DULL {
            h = h.clone() * 0.0 + h.mean_dim(0);
        }
        let mut logits = self.classifier.forward(h.clone());
        if self.kind == NAN {
            logits = logits.log();
        }
        if self.kind == RANDOM && rec.is_training() {
            logits = logits * (1.0 + f64::from(PASSES.fetch_add(1, Ordering::Relaxed)));
        }
        ModelOutput {
            logits: HeadMap {
                multimodal: Some(logits * (1.0 + self.secret)),
                ..HeadMap::default()
            },
            features: HeadMap {
                multimodal: Some(h),
                ..HeadMap::default()
            },
            aux_losses: Vec::new(),
        }
    }

    fn properties(&self) -> &dyn Properties {
        self
    }
}

impl Properties for Toy {
    fn mixes_batch(&self) -> bool {
        self.kind == DULL
    }

    fn ignores_padding(&self) -> bool {
        true
    }
}

fn checked<C: ModelConfigOf>() -> Result<Report, Faults> {
    register::<C>().unwrap();
    check_model(C::INFO.id)
}

/// The checks that refuse a toy; the first of `expected` must be among them, and the others may.
#[track_caller]
fn refused<C: ModelConfigOf>(expected: &[&str], word: &str) {
    let faults = checked::<C>().unwrap_err();
    let checks: Vec<&str> = faults.faults.iter().map(|fault| fault.check).collect();
    assert!(checks.contains(&expected[0]), "{faults}");
    assert!(checks.iter().all(|c| expected.contains(c)), "{faults}");
    let subject = format!("{} (small)", C::INFO.id);
    assert!(
        faults.faults.iter().all(|f| f.subject == subject),
        "{faults}"
    );
    assert!(faults.to_string().contains(word), "{faults}");
}

#[test]
fn a_sound_model_passes_every_check_and_none_looks_at_nothing() {
    let report = checked::<ToyConfig<SOUND>>().unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(
        report.entries.len(),
        trimer_train::conformance::CHECKS.len()
    );
    for entry in &report.entries {
        assert!(entry.cases > 0, "{entry:?}");
    }
    // 7 sets of modalities for each of three tasks.
    assert_eq!(report.of("modality_sets").next().unwrap().cases, 21);
    assert!(
        !report.to_string().contains("skipped: `Properties"),
        "{report}"
    );
}

#[test]
fn outputs_that_are_no_numbers_or_of_another_shape_are_named() {
    refused::<ToyConfig<NAN>>(
        &[
            "outputs",
            "gradients",
            "modality_sets",
            "missing_modalities",
            "overfits",
            "repeats",
            "weights_file",
            "padding_content",
            "padding_length",
            "batch_order",
            "owners",
            "each_plugin",
            "all_plugins",
            "plugin_states",
        ],
        "NaN",
    );
    // Labels of three classes are valid for four outputs; that of a score are not.
    refused::<ToyConfig<WIDE>>(
        &[
            "outputs",
            "gradients",
            "modality_sets",
            "repeats",
            "all_plugins",
            "overfits",
            "batch_order",
            "each_plugin",
            "plugin_states",
        ],
        "shape [6, 4]",
    );
}

#[test]
fn parameters_that_nothing_trains_are_named() {
    refused::<ToyConfig<UNUSED>>(&["gradients"], "\"tokens\"");
    refused::<ToyConfig<FLAT>>(&["gradients"], "\"tokens\"");
    refused::<ToyConfig<DULL>>(&["overfits"], "of 6 wrong");
}

#[test]
fn what_leaks_between_utterances_is_named() {
    refused::<ToyConfig<PADDED>>(&["padding_content", "padding_length"], "logits");
    refused::<ToyConfig<PADDED>>(&["padding_length", "padding_content"], "two more steps");
    refused::<ToyConfig<MIXED>>(&["batch_order"], "the rest of the batch");
    refused::<ToyConfig<GAPS>>(&["missing_modalities", "padding_content"], "alone");
}

#[test]
fn what_is_not_a_parameter_but_matters_is_named() {
    refused::<ToyConfig<SECRET>>(
        &["weights_file", "uninitialised", "plugin_states"],
        "seed 99",
    );
    refused::<ToyConfig<RANDOM>>(
        &[
            "repeats",
            "plugin_states",
            "each_plugin",
            "all_plugins",
            "gradients",
        ],
        "same seed",
    );
}

#[test]
fn a_panic_is_a_fault_and_the_walk_goes_on() {
    refused::<ToyConfig<PANICS>>(&["modality_sets"], "it panicked: where is the text?");
}

#[test]
fn what_plugins_rely_on_is_checked() {
    refused::<ToyConfig<SWAPPED>>(&["owners"], "text");
    refused::<ToyConfig<MATRIX>>(&["reported_inputs"], "`mixing` [8, 8]");
}

#[test]
fn misspelt_keys_must_be_refused() {
    refused::<LaxConfig>(&["settings"], "no_such_key");
}

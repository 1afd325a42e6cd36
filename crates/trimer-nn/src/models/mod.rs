//! The models: one file each, and one line in the registry below.

pub mod bc_lstm;
pub mod biddin;
mod checks;
pub mod cmath;
pub mod dialoguegcn;
pub mod dialoguernn;
pub mod ef_transformer;
pub mod hct;
pub mod lf_transformer;
pub mod lfmim;
pub mod lmf;
pub mod logistic;
pub mod majority;
pub mod mbt;
pub mod mlf_dnn;
pub mod mlmf;
pub mod mm_dfn;
pub mod mmgcn;
pub mod mmsa;
pub mod mtfn;
pub mod mult;
pub mod pmr;
pub mod tfn;
pub mod unimodal;
pub mod utterance_mlp;

use crate::batch::{Batch, InputSpec};
use crate::config;
use crate::error::{NnError, Result};
use crate::layers::Initializer;
use crate::plugins::LateFusion;
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use trimer_core::error::nearest;
use trimer_core::{Head, HeadMap, Modality};

/// What a registry entry says about its model.
#[derive(Debug, Serialize)]
pub struct ModelInfo {
    /// Name on the command line and in files.
    pub id: &'static str,
    /// Full name.
    pub title: &'static str,
    /// `utterance`, or `conversation` for models that read whole conversations.
    pub level: &'static str,
    /// Names of the modalities that it can read.
    pub modalities: &'static [&'static str],
    /// `classification`, `regression`, `binary` (several yes/no labels).
    pub tasks: &'static [&'static str],
    /// Where it was published.
    pub citation: &'static str,
    /// True when the source leaves so much open that the model is partly ours.
    pub reconstruction: bool,
    /// Names of the presets; the first is the default.
    pub presets: &'static [&'static str],
    /// One sentence.
    pub summary: &'static str,
}

impl ModelInfo {
    /// Whether the model reads whole conversations.
    pub fn reads_conversations(&self) -> bool {
        self.level == "conversation"
    }
}

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Task {
    /// One of several classes; the output is one logit per class.
    Classification {
        /// How many classes.
        n_classes: usize,
    },
    /// A score; the output has width one.
    Regression,
    /// Several independent yes/no labels; the output is two logits per label, no and yes (MulT's
    /// IEMOCAP).
    MultiBinary {
        /// How many labels.
        n_labels: usize,
    },
}

impl Task {
    /// The name in [`ModelInfo::tasks`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classification { .. } => "classification",
            Self::Regression => "regression",
            Self::MultiBinary { .. } => "binary",
        }
    }

    /// Width of a head's output.
    pub const fn n_outputs(self) -> usize {
        match self {
            Self::Classification { n_classes } => n_classes,
            Self::Regression => 1,
            Self::MultiBinary { n_labels } => 2 * n_labels,
        }
    }

    /// How many numbers a prediction has: a probability per class, a score, or the probability of
    /// yes per label.
    pub const fn n_predictions(self) -> usize {
        match self {
            Self::MultiBinary { n_labels } => n_labels,
            Self::Classification { .. } | Self::Regression => self.n_outputs(),
        }
    }
}

/// Which modality a parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// Only this modality's data reach the layer.
    Modality(Modality),
    /// Several modalities meet in it.
    Shared,
}

impl Owner {
    /// Reads the owner from the prefix of a parameter's path: `text_`, `audio_` or `vision_`.
    pub fn from_prefix(path: &str) -> Self {
        Modality::ALL
            .into_iter()
            .find(|m| {
                path.strip_prefix(m.as_str())
                    .is_some_and(|rest| rest.starts_with('_'))
            })
            .map_or(Self::Shared, Self::Modality)
    }
}

/// What a forward pass gives.
#[derive(Debug, Clone)]
pub struct ModelOutput {
    /// `[batch, n_outputs]` per head that the model has.
    pub logits: HeadMap<Option<Tensor<2>>>,
    /// `[batch, width]` per tower: the representation just before its head.
    pub features: HeadMap<Option<Tensor<2>>>,
    /// Named losses that the model itself asks for; each has one element.
    pub aux_losses: Vec<(&'static str, Tensor<1>)>,
}

/// A model that reads several modalities. It knows no optimizer, no epoch and no file.
pub trait FusionModel: Module {
    /// The registry entry.
    fn info(&self) -> &'static ModelInfo;

    /// One pass over a batch.
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput;

    /// Which modality owns the parameter at `path` (dotted field names).
    fn owner_of(&self, path: &str) -> Owner {
        Owner::from_prefix(path)
    }

    /// Whether by its definition an utterance's output hangs on what else is in the batch.
    fn mixes_batch(&self) -> bool {
        false
    }

    /// Whether the model has the parameter at `path` by its definition, though no output hangs on it.
    fn is_idle(&self, path: &str) -> bool {
        let _ = path;
        false
    }

    /// The name of the parameter at `path` in the reference's `state_dict`.
    fn state_key(&self, path: &str) -> String {
        path.to_owned()
    }

    /// Whether [`Self::fit`] finds the best parameters at once, so that there are no epochs.
    fn is_fitted_at_once(&self) -> bool {
        false
    }

    /// The model fitted on the train split, given batch by batch in the corpus's order; `columns`
    /// tells which label column each head answers to. Only called where
    /// [`Self::is_fitted_at_once`].
    fn fit(self, batches: &mut dyn Iterator<Item = Batch>, columns: &HeadMap<Head>) -> Self {
        let _ = (batches, columns);
        self
    }

    /// The shape in the reference's `state_dict` of a parameter of ours; differs from ours by axes
    /// of length one at most.
    fn state_shape(&self, path: &str, shape: &[usize]) -> Vec<usize> {
        let _ = path;
        shape.to_vec()
    }

    /// Whether what lies under the pad mask can never change the output. Only then does the length
    /// to which a batch is padded not matter.
    fn ignores_padding(&self) -> bool {
        false
    }

    /// How the scores come about where the modalities meet in a linear classifier; plug-ins ask for it.
    fn late_fusion(&self) -> Option<LateFusion> {
        None
    }

    /// Whether a key of the reference's `state_dict` never influences its output, so that a
    /// checkpoint may have it or not.
    fn is_unused_key(&self, key: &str) -> bool {
        let _ = key;
        false
    }
}

/// A registered model's configuration: presets, checking, building.
pub trait ModelConfigOf: Serialize + for<'de> Deserialize<'de> + Clone {
    /// The model that this configuration builds.
    type Model: FusionModel;

    /// The registry entry.
    const INFO: &'static ModelInfo;

    /// The configuration of a preset of [`ModelInfo::presets`].
    fn preset(name: &str) -> Option<Self>;

    /// Refuses values outside their range.
    fn check(&self) -> Result<()>;

    /// Refuses an input that the model cannot read, before anything is built.
    fn check_input(&self, input: &InputSpec) -> Result<()>;

    /// Frames per modality that the preset reads at most, and how longer sequences are cut.
    fn default_input(
        &self,
    ) -> (
        trimer_core::ModalityMap<usize>,
        trimer_core::ModalityMap<crate::batch::Sampling>,
    );

    /// Floating-point operations of the matrix products of one utterance's forward pass.
    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64;

    /// Builds the model with seeded initial values.
    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Self::Model>;
}

/// Writes the configuration enum, the model enum and the list of models from one table.
macro_rules! registry {
    ($($variant:ident { $id:literal, $config:ty, $model:ty }),+ $(,)?) => {
        /// The configuration of any registered model; `id` in files tells which.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "id")]
        pub enum ModelConfig {
            $(#[doc = concat!("Configuration of `", $id, "`.")] #[serde(rename = $id)] $variant($config)),+
        }

        /// Any registered model.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant, reason = "one model lives at a time")]
        pub enum AnyModel {
            $(#[doc = concat!("`", $id, "`.")] $variant($model)),+
        }

        /// All registered models.
        pub static MODELS: &[&ModelInfo] = &[$(<$config as ModelConfigOf>::INFO),+];

        impl ModelConfig {
            /// The configuration of `id` from a preset and a table of overrides.
            ///
            /// # Errors
            /// Unknown model, preset or key, a value of the wrong type or out of range.
            pub fn resolve(id: &str, preset: Option<&str>, overrides: &toml::Table) -> Result<Self> {
                match id {
                    $($id => Ok(Self::$variant(resolve_one::<$config>(preset, overrides)?)),)+
                    _ => Err(unknown_model(id)),
                }
            }

            /// The registry entry.
            pub fn info(&self) -> &'static ModelInfo {
                match self { $(Self::$variant(_) => <$config as ModelConfigOf>::INFO),+ }
            }

            /// Frames per modality that the preset reads at most, and how longer sequences are cut.
            pub fn default_input(&self) -> (trimer_core::ModalityMap<usize>, trimer_core::ModalityMap<crate::batch::Sampling>) {
                match self { $(Self::$variant(c) => c.default_input()),+ }
            }

            /// Refuses values outside their range and an input that the model cannot read.
            ///
            /// # Errors
            /// Names what does not fit.
            pub fn check_input(&self, input: &InputSpec) -> Result<()> {
                check_level(self.info(), input)?;
                match self { $(Self::$variant(c) => { c.check()?; c.check_input(input) })+ }
            }

            /// Floating-point operations of the matrix products of one utterance's forward pass.
            pub fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
                match self { $(Self::$variant(c) => c.forward_flops(input, task)),+ }
            }

            /// Builds the model on `device` with initial values that follow from `seed`.
            ///
            /// # Errors
            /// When the configuration does not fit the input.
            pub fn build(&self, input: &InputSpec, task: Task, seed: u64, device: &Device) -> Result<AnyModel> {
                self.build_with(input, task, Initializer::new(seed, device))
            }

            /// Builds the model on `device` with nothing but zeros, for values that will be loaded.
            ///
            /// # Errors
            /// When the configuration does not fit the input.
            pub fn build_blank(&self, input: &InputSpec, task: Task, device: &Device) -> Result<AnyModel> {
                self.build_with(input, task, Initializer::blank(device))
            }

            fn build_with(&self, input: &InputSpec, task: Task, mut init: Initializer) -> Result<AnyModel> {
                self.check_input(input)?;
                match self {
                    $(Self::$variant(c) => { Ok(AnyModel::$variant(c.build(input, task, &mut init)?)) })+
                }
            }
        }

        impl FusionModel for AnyModel {
            fn info(&self) -> &'static ModelInfo {
                match self { $(Self::$variant(m) => m.info()),+ }
            }
            fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
                match self { $(Self::$variant(m) => m.forward(batch, rec)),+ }
            }
            fn owner_of(&self, path: &str) -> Owner {
                match self { $(Self::$variant(m) => m.owner_of(path)),+ }
            }
            fn mixes_batch(&self) -> bool {
                match self { $(Self::$variant(m) => m.mixes_batch()),+ }
            }
            fn is_idle(&self, path: &str) -> bool {
                match self { $(Self::$variant(m) => m.is_idle(path)),+ }
            }
            fn state_key(&self, path: &str) -> String {
                match self { $(Self::$variant(m) => m.state_key(path)),+ }
            }
            fn state_shape(&self, path: &str, shape: &[usize]) -> Vec<usize> {
                match self { $(Self::$variant(m) => m.state_shape(path, shape)),+ }
            }
            fn is_fitted_at_once(&self) -> bool {
                match self { $(Self::$variant(m) => m.is_fitted_at_once()),+ }
            }
            fn fit(self, batches: &mut dyn Iterator<Item = Batch>, columns: &HeadMap<Head>) -> Self {
                match self { $(Self::$variant(m) => Self::$variant(m.fit(batches, columns))),+ }
            }
            fn late_fusion(&self) -> Option<LateFusion> {
                match self { $(Self::$variant(m) => m.late_fusion()),+ }
            }
            fn ignores_padding(&self) -> bool {
                match self { $(Self::$variant(m) => m.ignores_padding()),+ }
            }
            fn is_unused_key(&self, key: &str) -> bool {
                match self { $(Self::$variant(m) => m.is_unused_key(key)),+ }
            }
        }
    };
}

registry! {
    Lfmim { "lfmim", lfmim::LfmimConfig, lfmim::Lfmim },
    Lmf { "lmf", lmf::LmfConfig, lmf::Lmf },
    Logistic { "logistic", logistic::LogisticConfig, logistic::Logistic },
    Majority { "majority", majority::MajorityConfig, majority::Majority },
    MlfDnn { "mlf_dnn", mlf_dnn::MlfDnnConfig, mlf_dnn::MlfDnn },
    Mlmf { "mlmf", mlmf::MlmfConfig, mlmf::Mlmf },
    Mtfn { "mtfn", mtfn::MtfnConfig, mtfn::Mtfn },
    Tfn { "tfn", tfn::TfnConfig, tfn::Tfn },
    Unimodal { "unimodal", unimodal::UnimodalConfig, unimodal::Unimodal },
    Mult { "mult", mult::MultConfig, mult::Mult },
    EfTransformer { "ef_transformer", ef_transformer::EfTransformerConfig, ef_transformer::EfTransformer },
    LfTransformer { "lf_transformer", lf_transformer::LfTransformerConfig, lf_transformer::LfTransformer },
    Pmr { "pmr", pmr::PmrConfig, pmr::Pmr },
    Mbt { "mbt", mbt::MbtConfig, mbt::Mbt },
    HctMg { "hct_mg", hct::HctMgConfig, hct::Hct },
    HctDmg { "hct_dmg", hct::HctDmgConfig, hct::Hct },
    UtteranceMlp { "utterance_mlp", utterance_mlp::UtteranceMlpConfig, utterance_mlp::UtteranceMlp },
    BcLstm { "bc_lstm", bc_lstm::BcLstmConfig, bc_lstm::BcLstm },
    DialogueRnn { "dialoguernn", dialoguernn::DialogueRnnConfig, dialoguernn::DialogueRnn },
    Biddin { "biddin", biddin::BiddinConfig, biddin::Biddin },
    Mmgcn { "mmgcn", mmgcn::MmgcnConfig, mmgcn::Mmgcn },
    DialogueGcn { "dialoguegcn", dialoguegcn::DialogueGcnConfig, dialoguegcn::DialogueGcn },
    MmDfn { "mm_dfn", mm_dfn::MmDfnConfig, mm_dfn::MmDfn },
    Cmath { "cmath", cmath::CmathConfig, cmath::Cmath },
}

/// Refuses an input that is arranged for models of the other level.
fn check_level(info: &ModelInfo, input: &InputSpec) -> Result<()> {
    let found = match input.n_speakers {
        None => "utterance",
        Some(_) => "conversation",
    };
    if info.level == found {
        return Ok(());
    }
    Err(NnError::ConfigRange {
        key: "input.n_speakers".into(),
        value: input
            .n_speakers
            .map_or_else(|| "none".into(), |n| n.to_string()),
        expected: match info.level {
            "conversation" => format!("a number, because `{}` reads conversations", info.id),
            _ => format!("none, because `{}` reads utterances", info.id),
        },
    })
}

fn unknown_model(id: &str) -> NnError {
    let ids: Vec<_> = MODELS.iter().map(|m| m.id).collect();
    let known = match nearest(id, ids.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("registered models: {}", ids.join(", ")),
    };
    NnError::UnknownModel {
        id: id.to_owned(),
        known,
    }
}

fn resolve_one<C: ModelConfigOf>(preset: Option<&str>, overrides: &toml::Table) -> Result<C> {
    let name = preset.unwrap_or(C::INFO.presets[0]);
    let base = C::preset(name).ok_or_else(|| NnError::ConfigRange {
        key: "model.preset".into(),
        value: format!("\"{name}\""),
        expected: format!("one of {}", C::INFO.presets.join(", ")),
    })?;
    let config: C = config::overlay("model", &base, overrides)?;
    config.check()?;
    Ok(config)
}
